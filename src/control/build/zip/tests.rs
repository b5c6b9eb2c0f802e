use std::io::Cursor;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::super::ignore::Ignore;
use super::super::selection::Selection;
use super::*;

type Writer<'a> = ZipWriter<Cursor<&'a mut Vec<u8>>>;

fn zip(write: impl FnOnce(&mut Writer<'_>)) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = Vec::new();
    let mut writer = ZipWriter::new(Cursor::new(&mut bytes));
    write(&mut writer);
    writer.finish().expect("in memory");
    keep(&bytes)
}

fn keep(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("context.zip");
    std::fs::write(&path, bytes).expect("written");
    (folder, path)
}

fn file(writer: &mut Writer<'_>, name: &str, content: &[u8]) {
    writer.start_file(name, SimpleFileOptions::default()).expect("in memory");
    writer.write_all(content).expect("in memory");
}

fn link(writer: &mut Writer<'_>, name: &str, target: &str) {
    writer.add_symlink(name, target, SimpleFileOptions::default()).expect("in memory");
}

fn refused(write: impl FnOnce(&mut Writer<'_>)) -> String {
    let (_folder, path) = zip(write);
    ZipTree::open(&path).map(|_| ()).expect_err("refused").to_string()
}

/// The paths, modes and contents that are sent.
fn sent(tree: &mut ZipTree, context: &str) -> Vec<(String, u32, String)> {
    let selection = Selection::new(Ignore::default(), Vec::new());
    let mut packer = Packer::new(Vec::new(), &selection);
    tree.pack(Path::new(context), &mut packer).expect("packed");
    let (_, _, bytes) = packer.finish().expect("in memory");
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("text");
        if let Some(target) = entry.link_name().expect("a name") {
            content = format!("-> {}", target.display());
        }
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        (path, entry.header().mode().expect("a mode"), content)
    });
    entries.collect()
}

#[test]
fn entries_are_sent_with_their_modes_and_links() {
    let (_folder, path) = zip(|writer| {
        writer.start_file("bin/run.sh", SimpleFileOptions::default().unix_permissions(0o4755)).expect("in memory");
        writer.write_all(b"#!/bin/sh\n").expect("in memory");
        file(writer, "./Dockerfile", b"FROM scratch\n");
        link(writer, "current", "bin");
    });
    let mut tree = ZipTree::open(&path).expect("a zip");
    let all = sent(&mut tree, "");
    let expected = [
        ("Dockerfile", 0o644, "FROM scratch\n"),
        ("bin", 0o755, ""),
        ("bin/run.sh", 0o755, "#!/bin/sh\n"),
        ("current", 0o777, "-> bin"),
    ];
    let expected: Vec<_> = expected.map(|(path, mode, content)| (path.to_owned(), mode, content.to_owned())).into();
    assert_eq!(all, expected);
    assert_eq!(sent(&mut tree, "current"), [("run.sh".to_owned(), 0o755, "#!/bin/sh\n".to_owned())]);
    assert_eq!((tree.find(Path::new("current/run.sh")), tree.find(Path::new("none"))), (Found::File, Found::Nothing));
}

#[test]
fn a_single_top_folder_can_be_the_root() {
    let (_folder, path) = zip(|writer| {
        file(writer, "shop-1.0/Dockerfile", b"FROM scratch\n");
        file(writer, "__MACOSX/shop-1.0/._Dockerfile", b"");
    });
    let mut tree = ZipTree::open(&path).expect("a zip");
    assert_eq!(tree.find(Path::new("Dockerfile")), Found::Nothing);
    assert!(tree.enter_single_folder());
    assert_eq!(tree.find(Path::new("Dockerfile")), Found::File);
    assert_eq!(tree.read(Path::new("Dockerfile"), 100).expect("read"), b"FROM scratch\n");
    assert_eq!(sent(&mut tree, "").len(), 1);

    let (_folder, path) = zip(|writer| {
        file(writer, "a/x", b"");
        file(writer, "b/x", b"");
    });
    assert!(!ZipTree::open(&path).expect("a zip").enter_single_folder());
}

#[test]
fn paths_that_lead_out_are_refused() {
    // The writer cleans names, so they are put in by hand, at their length.
    for name in ["../evil", "/evil/x", "a/../../x", "a\\..\\b", "a/\0/bcd"] {
        let (plain, mut bytes) = ("y".repeat(name.len()), Vec::new());
        let mut writer = ZipWriter::new(Cursor::new(&mut bytes));
        file(&mut writer, &plain, b"x");
        writer.finish().expect("in memory");
        let text = plain.as_bytes();
        let places: Vec<_> = (0..bytes.len() - text.len()).filter(|at| bytes[*at..].starts_with(text)).collect();
        for at in places {
            bytes[at..at + text.len()].copy_from_slice(name.as_bytes());
        }
        let (_folder, path) = keep(&bytes);
        let error = ZipTree::open(&path).map(|_| ()).expect_err(name).to_string();
        assert!(error.contains("outside of it") || error.contains("is no path"), "{name}: {error}");
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in ["/etc/passwd", "../x", "a/../../x", "deep/two/up/../../x"] {
        let error = refused(|writer| {
            // By its letters, the last one stays within; but `up` leads to the root.
            link(writer, "deep/two/up", "../..");
            link(writer, "evil", target);
        });
        assert!(error.contains("`evil` in the zip is a symbolic link to"), "{target}: {error}");
    }
    let (_folder, path) = zip(|writer| {
        link(writer, "a", "b");
        link(writer, "b", "a");
        link(writer, "dangling", "not/there");
        link(writer, "sub/fine", "../Dockerfile");
        file(writer, "Dockerfile", b"");
    });
    let tree = ZipTree::open(&path).expect("a zip");
    assert_eq!((tree.find(Path::new("a")), tree.find(Path::new("sub/fine"))), (Found::Nothing, Found::File));
}

#[test]
fn nothing_is_written_through_a_link_or_twice() {
    let error = refused(|writer| {
        link(writer, "a", "b");
        file(writer, "a/x", b"");
    });
    assert!(error.contains("more than once"), "{error}");
    let error = refused(|writer| {
        file(writer, "a/x", b"");
        file(writer, "a", b"");
    });
    assert!(error.contains("more than once"), "{error}");
    let error = refused(|writer| {
        file(writer, "a", b"1");
        file(writer, "./a", b"2");
    });
    assert!(error.contains("more than once"), "{error}");
}

#[test]
fn bombs_are_refused() {
    let error = refused(|writer| {
        writer.start_file("zeros", SimpleFileOptions::default()).expect("in memory");
        let piece = vec![0; 1 << 20];
        for _ in 0..70 {
            writer.write_all(&piece).expect("in memory");
        }
    });
    assert!(error.contains("as zip bombs do"), "{error}");

    let (_folder, path) = zip(|writer| (0..10).for_each(|at| file(writer, &format!("f{at}"), b"")));
    let error = ZipTree::open_with(&path, 9, MOST_BYTES).map(|_| ()).expect_err("refused").to_string();
    assert!(error.contains("has 10 entries; 9 are allowed"), "{error}");
    let (_folder, path) = zip(|writer| file(writer, "f", &[1; 1000]));
    let error = ZipTree::open_with(&path, 9, 999).map(|_| ()).expect_err("refused").to_string();
    assert!(error.contains("1000 bytes; 999 are allowed"), "{error}");
}

#[test]
fn an_entry_that_lies_about_its_length_is_refused() {
    let mut bytes = Vec::new();
    let mut writer = ZipWriter::new(Cursor::new(&mut bytes));
    file(&mut writer, "zeros", &[0; 5000]);
    writer.finish().expect("in memory");
    let (said, lie) = (5000_u32.to_le_bytes(), 10_u32.to_le_bytes());
    let places: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(&said)).collect();
    for at in places {
        bytes[at..at + 4].copy_from_slice(&lie);
    }
    let (_folder, path) = keep(&bytes);
    let selection = Selection::new(Ignore::default(), Vec::new());
    let mut packer = Packer::new(Vec::new(), &selection);
    let outcome = ZipTree::open(&path).map_err(PackError::from);
    let outcome = outcome.and_then(|mut tree| tree.pack(Path::new(""), &mut packer));
    assert!(matches!(outcome, Err(PackError::Zip(_))), "{outcome:?}");
}

#[test]
fn what_is_no_zip_says_so() {
    let (_folder, path) = keep(b"not a zip at all");
    let error = ZipTree::open(&path).map(|_| ()).expect_err("refused").to_string();
    assert!(error.contains("context.zip` is not a zip that can be read"), "{error}");
}
