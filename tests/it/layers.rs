//! Imports go down only: `src/` is read, and an arrow that points up or sideways fails.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer may import those before it. `model` and `telemetry` stand side by side, and so do `proxy`, `reload` and `control`.
const LAYERS: [&[&str]; 9] = [
    &["model", "telemetry"],
    &["tls"],
    &["config"],
    &["lifecycle"],
    &["live"],
    &["proxy", "reload", "control"],
    &["admin"],
    &["app"],
    &["cli"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top modules that a file names by `crate::`, one by one or in a group.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        let line = text[..at].lines().count().max(1);
        let of_line = text[..at].rsplit('\n').next().unwrap_or_default().trim_start();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') || of_line.starts_with("//") {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            let mut fresh = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => fresh = true,
                    c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => name.push(c),
                    ':' if depth == 0 && !name.is_empty() => {
                        found.push((line, std::mem::take(&mut name)));
                        fresh = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push((line, rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()));
        }
    }
    found
}

#[test]
fn imports_go_down_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in &all {
        let inside = path.strip_prefix(&source).expect("below src");
        let own = inside.components().next().expect("a name").as_os_str().to_string_lossy().replace(".rs", "");
        let Some(own_layer) = layer(&own) else {
            assert!(matches!(own.as_str(), "lib" | "main"), "{} belongs to no layer", inside.display());
            continue;
        };
        for (line, imported) in imports(&fs::read_to_string(path).expect("text")) {
            let Some(imported_layer) = layer(&imported) else { continue };
            seen += 1;
            if imported != own && imported_layer >= own_layer {
                wrong.push(format!("src/{}:{line}: {own} imports {imported}", inside.display()));
            }
        }
    }
    assert!(seen > 200, "the imports were not understood: {seen} found");
    assert!(wrong.is_empty(), "imports that do not go down:\n{}", wrong.join("\n"));
}

#[test]
fn an_import_in_any_form_is_seen() {
    let text = "use crate::{\n    admin::client::Client,\n    control::status::{A, B},\n};\nuse crate::live::Live;\n// crate::cli\nlet x = crate::model::y();";
    let names: Vec<String> = imports(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["admin", "control", "live", "model"]);
}
