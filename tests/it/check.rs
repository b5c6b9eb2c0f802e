//! What `tidegate check` says, held still: every file in tests/it/check is a case.
//!
//! A case has sections that begin with `=== PATH`: the files of a config folder, then `=== output`. `TIDEGATE_BLESS=1` writes
//! what is said now into the cases.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::resource::{UsageWho, getrusage};
use proptest::prelude::*;
use tidegate::cli::check::{CheckArgs, run};

fn check(root: &Path, json: bool) -> (bool, String) {
    let args = CheckArgs { file: Some(root.to_owned()), config: None, json };
    let mut out = Vec::new();
    let code = run(&args, &|_| None, &mut out, false).expect("writable");
    let folder = format!("{}/", root.parent().expect("in a folder").display());
    (code == ExitCode::SUCCESS, String::from_utf8(out).expect("UTF-8").replace(&folder, ""))
}

#[test]
fn every_case_says_what_it_said() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/check");
    let mut paths: Vec<_> = fs::read_dir(cases).expect("cases").map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() > 10);
    let mut wrong = Vec::new();
    for path in paths {
        let case = fs::read_to_string(&path).expect("UTF-8");
        let (input, expected) = case.split_once("=== output\n").expect("an output section");
        let folder = tempfile::tempdir().expect("writable");
        fs::create_dir(folder.path().join("services")).expect("writable");
        copy_pairs(&folder.path().join("certs"));
        fs::write(folder.path().join("tidegate.yaml"), "{}\n").expect("writable");
        for section in input.split("=== ").skip(1) {
            let (name, text) = section.split_once('\n').expect("a name and a text");
            fs::write(folder.path().join(name), text).expect("writable");
        }
        let (good, said) = check(&folder.path().join("tidegate.yaml"), false);
        assert_eq!(good, !said.contains("error"), "{}", path.display());
        if said != expected {
            if std::env::var_os("TIDEGATE_BLESS").is_some() {
                fs::write(&path, format!("{input}=== output\n{said}")).expect("writable");
            } else {
                wrong.push(format!("{}\n--- expected\n{expected}\n--- said\n{said}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn json_has_places_and_no_lines_of_files() {
    let folder = tempfile::tempdir().expect("writable");
    fs::create_dir(folder.path().join("services")).expect("writable");
    fs::write(folder.path().join("tidegate.yaml"), "bogus: hunter2\n").expect("writable");
    let (good, said) = check(&folder.path().join("tidegate.yaml"), true);
    assert!(!good);
    let list: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(list[0]["severity"], "error");
    assert_eq!((list[0]["line"].as_u64(), list[0]["column"].as_u64()), (Some(1), Some(1)));
    assert!(!said.contains("hunter2"));
}

#[test]
fn the_full_example_is_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/full/tidegate.yaml");
    let (good, said) = check(&root, false);
    assert!(good, "{said}");
    assert_eq!(said, "tidegate.yaml: good, 3 services with 5 versions\n");
}

#[test]
fn without_a_file_it_says_which_one_to_write() {
    let folder = tempfile::tempdir().expect("writable");
    let (good, said) = check(&folder.path().join("tidegate.yaml"), false);
    assert!(!good);
    assert!(said.contains("no such file") && said.contains("write this one (`{}` will do)"), "{said}");
    let (good, said) = check(folder.path(), false);
    assert!(!good);
    assert!(
        said.contains("it is a directory")
            && said.contains("name the file in it: `")
            && said.contains("/tidegate.yaml`"),
        "{said}"
    );
    if Path::new("/etc/tidegate/tidegate.yaml").exists() {
        // Somebody's own, which would be served.
        return;
    }
    for verb in ["check", "serve"] {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg(verb)
            .current_dir(folder.path())
            .output()
            .expect("runs");
        let said = String::from_utf8([program.stdout, program.stderr].concat()).expect("UTF-8");
        assert_eq!(program.status.code(), Some(1), "{said}");
        assert!(said.contains("looked for `config/tidegate.yaml` and `/etc/tidegate/tidegate.yaml`"), "{said}");
    }
}

#[test]
fn the_program_says_the_same() {
    let tidegate = |arguments: &[&str]| {
        let program =
            std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().expect("runs");
        (program.status.code(), String::from_utf8(program.stdout).expect("UTF-8"))
    };
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/full/tidegate.yaml");
    let (code, said) = tidegate(&["check", &full.display().to_string()]);
    assert_eq!((code, said), (Some(0), format!("{}: good, 3 services with 5 versions\n", full.display())));

    let folder = tempfile::tempdir().expect("writable");
    let root = folder.path().join("tidegate.yaml");
    fs::write(&root, "threads: \"3\"\n").expect("writable");
    let (code, said) = tidegate(&["check", &root.display().to_string()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("tidegate.yaml:1:10") && said.contains("there is no folder"), "{said}");
    assert!(!said.contains('\x1b'), "colours are for terminals");

    let kept = fs::read_to_string(full.with_file_name("../../../config/service.schema.json")).expect("kept");
    assert_eq!(tidegate(&["schema", "service"]), (Some(0), kept));
}

#[test]
fn a_file_made_to_be_slow_is_checked_in_time() {
    let many = |line: &dyn Fn(usize) -> String| (0..30_000).map(line).collect::<String>();
    for text in [
        many(&|i| format!("k{i}: 1\n")),
        format!("versions:\n{}", many(&|i| format!("  shop-{i:03}: {{}}\n"))),
        format!("weights:\n{}", many(&|i| format!("  x-{i}: 1\n"))),
        format!("domains: [{}]\nmaintenance: true\n", many(&|i| format!("d{i}.example.com, "))),
        format!("domains: [{}]\n", "'', ".repeat(200_000)),
        format!("routes:\n{}", many(&|_| "  - {host: [a]}\n".to_owned())),
        format!("remark: {}", "x".repeat(1_000_000)),
        "[".repeat(1_000_000),
        "a: &a [*a]\n".repeat(50_000),
        "- ".repeat(500_000),
    ] {
        // Of this thread, whatever else the machine has to do.
        let spent = || getrusage(UsageWho::RUSAGE_THREAD).expect("its own").user_time().tv_sec();
        let before = spent();
        survives(&text);
        let took = spent() - before;
        assert!(took < 20, "{took} s for {}", &text[..60]);
    }
}

#[test]
fn process_ports_lie_outside_the_kernels_own() {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux");
    let first = range.split_whitespace().next().expect("two numbers");
    let folder = tempfile::tempdir().expect("writable");
    fs::create_dir(folder.path().join("services")).expect("writable");
    fs::write(folder.path().join("tidegate.yaml"), format!("process: {{ports: {first}-{first}}}\n")).expect("writable");
    let (good, said) = check(&folder.path().join("tidegate.yaml"), false);
    assert!(!good);
    assert!(said.contains("these ports overlap the kernel's own for outgoing connections"), "{said}");
    assert!(said.contains("tidegate.yaml:1:18"), "{said}");
}

fn copy_pairs(to: &Path) {
    fs::create_dir(to).expect("writable");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls")).expect("pairs") {
        let path = entry.expect("readable").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("writable");
    }
}

/// Checks a service's file of this text, renders all that is found, and so shows that nothing panics.
fn survives(text: &str) {
    let folder = tempfile::tempdir().expect("writable");
    fs::create_dir(folder.path().join("services")).expect("writable");
    for name in ["tidegate.yaml", "services/shop.yaml"] {
        fs::write(folder.path().join(name), text).expect("writable");
    }
    check(&folder.path().join("tidegate.yaml"), false);
    fs::write(folder.path().join("tidegate.yaml"), "{}").expect("writable");
    check(&folder.path().join("tidegate.yaml"), true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        survives(&text);
    }

    #[test]
    fn no_text_of_yaml_characters_makes_it_panic(text in "[a-c0-9 \\n\\t:,{}\\[\\]&*!|>'\"%@`#?<=.~$-]{0,80}") {
        survives(&text);
    }

    #[test]
    fn no_edit_of_a_good_file_makes_it_panic(
        root in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, "[a-z0-9 \\n:,{}\\[\\]&*'\"#.~$ü-]{0,6}"), 1..4),
    ) {
        let file = if root { "tidegate.yaml" } else { "services/shop.yaml" };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/full").join(file);
        let mut text: Vec<char> = fs::read_to_string(path).expect("UTF-8").chars().collect();
        for (at, cut, put) in edits {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, put.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }
}
