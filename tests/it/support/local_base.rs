//! Base images made from what this host has installed: an interpreter, the libraries that `ldd` names, its own modules. No registry is
//! asked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A root folder's content, as a tar; `None` where the interpreter is not installed.
pub(crate) fn python() -> Option<Vec<u8>> {
    // Whatever `python3` is (it may be a script that picks a version), it knows its own places.
    let places =
        "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'))";
    let said = output("python3", &["-I", "-c", places])?;
    let (program, modules) = said.trim().split_once('\n')?;
    let (program, modules) = (PathBuf::from(program), PathBuf::from(modules));
    let mut root = Root::new();
    let wanted = |path: &Path| {
        let part = |name: &str| path.components().any(|part| part.as_os_str() == name);
        ![
            "test",
            "tests",
            "idlelib",
            "ensurepip",
            "tkinter",
            "site-packages",
            "dist-packages",
            "__pycache__",
            "lib2to3",
        ]
        .iter()
        .any(|name| part(name))
            && !path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("config-"))
            && path.extension().is_none_or(|extension| extension != "a")
    };
    root.folder(&modules, &wanted);
    root.program(&program, "python3");
    Some(root.tar())
}

/// As [`python`].
pub(crate) fn node() -> Option<Vec<u8>> {
    let program = output("node", &["-p", "process.execPath"])?;
    let mut root = Root::new();
    root.program(Path::new(program.trim()), "node");
    Some(root.tar())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Root {
    tar: tar::Builder<Vec<u8>>,
    taken: BTreeSet<PathBuf>,
}

impl Root {
    fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()), taken: BTreeSet::new() }
    }

    /// A program with its libraries, also at `/usr/bin/NAME`.
    fn program(&mut self, program: &Path, name: &str) {
        self.file(program);
        let usual = Path::new("/usr/bin").join(name);
        if usual != program {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            self.tar.append_link(&mut header, &usual.as_os_str().to_string_lossy()[1..], program).expect("in memory");
        }
    }

    fn folder(&mut self, folder: &Path, wanted: &impl Fn(&Path) -> bool) {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if !wanted(&path) {
                continue;
            }
            if path.is_dir() {
                self.folder(&path, wanted);
            } else if path.is_file() {
                self.file(&path);
            }
        }
    }

    /// A file, at its own path, with what it is linked to.
    fn file(&mut self, path: &Path) {
        if !self.taken.insert(path.to_owned()) {
            return;
        }
        let inside = path.strip_prefix("/").expect("absolute");
        let mut header = tar::Header::new_gnu();
        let content = fs::read(path).expect("readable");
        header.set_size(content.len() as u64);
        header.set_mode(if is_elf(&content) { 0o755 } else { 0o644 });
        self.tar.append_data(&mut header, inside, &content[..]).expect("in memory");
        if is_elf(&content) {
            for library in libraries(path) {
                self.file(&library);
            }
        }
    }

    fn tar(self) -> Vec<u8> {
        self.tar.into_inner().expect("in memory")
    }
}

fn is_elf(content: &[u8]) -> bool {
    content.starts_with(b"\x7fELF")
}

/// The loader and the libraries, by the paths that the loader looks for.
fn libraries(path: &Path) -> Vec<PathBuf> {
    let listed = output("ldd", &[&path.to_string_lossy()]).unwrap_or_default();
    let paths = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    paths.map(PathBuf::from).collect()
}
