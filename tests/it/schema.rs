//! The JSON Schema in config/ is current, and says of files what tidegate says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate::cli::schema::{Which, text};
use tidegate::config::source::Source;
use tidegate::config::tree::{self, Kind, Node};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_kept_schemas_are_current() {
    for (which, file) in
        [(Which::Tidegate, "config/tidegate.schema.json"), (Which::Service, "config/service.schema.json")]
    {
        let path = repository().join(file);
        if std::env::var_os("TIDEGATE_BLESS").is_some() {
            fs::write(&path, text(which)).expect("writable");
        }
        let kept = fs::read_to_string(&path).expect("kept in config/");
        assert_eq!(kept, text(which), "{file} is not current: run `TIDEGATE_BLESS=1 cargo test --test it schema`");
    }
}

#[test]
fn the_schemas_accept_what_tidegate_accepts() {
    let mut files = vec![(Which::Tidegate, repository().join("tests/fixtures/full/tidegate.yaml"))];
    files.extend(services(&repository().join("tests/fixtures/full/services")));
    files.extend(services(&repository().join("config/services")));
    let shipped = repository().join("config/tidegate.yaml");
    files.extend(shipped.exists().then_some((Which::Tidegate, shipped)));
    assert!(files.len() >= 3);
    for (which, path) in files {
        let wrong = validate(which, &fs::read_to_string(&path).expect("readable"));
        assert_eq!(wrong, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn the_schemas_refuse_what_tidegate_refuses() {
    for (which, text) in [
        (Which::Tidegate, "bogus: 1"),
        (Which::Tidegate, "client: {bogus: 1s}"),
        (Which::Tidegate, "threads: many"),
        (Which::Tidegate, "threads: 0"),
        (Which::Tidegate, "admin:"),
        (Which::Tidegate, "log: {level: loud}"),
        (Which::Service, "wieghts: {}"),
        (Which::Service, "versions: {a-001: {image: [x]}}"),
        (Which::Service, "versions: {a-001: {port: 65536}}"),
        (Which::Service, "versions: {a-001: {resources: {cores: 1}}}"),
        (Which::Service, "versions: {a-001: {volumes: {a: /b}}}"),
        (Which::Tidegate, "docker: {reach: far}"),
        (Which::Tidegate, "max_starts: 0"),
        (Which::Service, "rules: [{query: {a: b}}]"),
        (Which::Service, "routes: [{path: /x}]"),
        (Which::Service, "weights: {a-001: '3'}"),
        (Which::Service, "timeouts: {idle: 30}"),
        (Which::Service, "preview: sometimes"),
        (Which::Service, "redirect: {status: 301}"),
        (Which::Service, "allow:"),
        (Which::Tidegate, "queue: {max_waiting: 1}"),
        (Which::Service, "waiting_page: {page: x}"),
        (Which::Service, "versions: {a-001: {command: ./a}}"),
        (Which::Service, "versions: {a-001: {hook: {start: [a]}}}"),
        (Which::Service, "versions: {a-001: {replicas: {max: 0}}}"),
        (Which::Service, "versions: {a-001: {replicas: 101}}"),
        (Which::Service, "versions: {a-001: {scale: {target: 0}}}"),
        (Which::Service, "versions: {a-001: {scale: {on: memory}}}"),
        (Which::Service, "versions: {a-001: {max_concurrency: 0}}"),
        (Which::Service, "versions: {a-001: {sleep: {ignore: {status: 600}}}}"),
        (Which::Service, "versions: {a-001: {queue: {max_waiting: 1000001}}}"),
    ] {
        assert_ne!(validate(which, text), Vec::<String>::new(), "{text}");
    }
}

fn services(folder: &Path) -> Vec<(Which, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "yaml")).map(|path| (Which::Service, path)).collect()
}

fn validate(which: Which, yaml: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(&text(which)).expect("JSON");
    let source = Arc::new(Source { path: "x".into(), text: yaml.into() });
    let value = to_json(&tree::parse(&source).expect("YAML"));
    let mut wrong = Vec::new();
    check(&schema, &schema, &value, "", &mut wrong);
    wrong
}

fn to_json(node: &Node) -> Value {
    match &node.kind {
        Kind::Sequence(items) => items.iter().map(to_json).collect(),
        Kind::Mapping(entries) => {
            let key = |key: &Node| key.scalar_text().expect("scalar keys").to_owned();
            Value::Object(entries.iter().map(|(k, v)| (key(k), to_json(v))).collect::<Map<_, _>>())
        }
        Kind::Scalar(scalar) => match scalar.value {
            tree::Value::Null => Value::Null,
            tree::Value::Boolean(value) => json!(value),
            tree::Value::Integer(value) => json!(i64::try_from(value).expect("small")),
            tree::Value::Float(value) => json!(value),
            tree::Value::Quoted | tree::Value::Plain => json!(&*scalar.text),
        },
    }
}

/// As much of JSON Schema as the kept schemas use; a keyword that it does not know is a failure.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let schema = match schema {
        Value::Bool(true) => return,
        Value::Object(schema) => schema,
        _ => panic!("no schema at {at}"),
    };
    let fits = |schema: &Value| {
        let mut wrong = Vec::new();
        check(root, schema, value, at, &mut wrong);
        wrong.is_empty()
    };
    let mut say = |what: &str| wrong.push(format!("{at}: {what}"));
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$schema" | "title" | "description" | "definitions" | "format" | "additionalProperties" => {}
            "$ref" => {
                let pointer = rule.as_str().and_then(|r| r.strip_prefix('#')).expect("local");
                if !fits(root.pointer(pointer).expect("defined")) {
                    check(root, root.pointer(pointer).expect("defined"), value, at, wrong);
                    return;
                }
            }
            "type" => {
                let is = |name: &Value| match name.as_str().expect("a name") {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "number" => value.is_number(),
                    "integer" => value.is_i64(),
                    other => panic!("type {other}"),
                };
                if !rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is)) {
                    say("wrong type");
                }
            }
            "enum" if !rule.as_array().expect("a list").contains(value) => say("not in the enum"),
            "const" if rule != value => say("not the constant"),
            "anyOf" if !rule.as_array().expect("a list").iter().any(fits) => say("fits no choice"),
            "oneOf" if rule.as_array().expect("a list").iter().filter(|s| fits(s)).count() != 1 => {
                say("fits not one choice");
            }
            "allOf" if !rule.as_array().expect("a list").iter().all(fits) => say("does not fit all"),
            "minimum" if value.as_f64().is_some_and(|n| n < rule.as_f64().expect("a number")) => say("too small"),
            "maximum" if value.as_f64().is_some_and(|n| n > rule.as_f64().expect("a number")) => say("too large"),
            "minLength" if value.as_str().is_some_and(|s| s.len() < 2) => say("too short"),
            "required" => {
                for name in rule.as_array().expect("a list") {
                    if value.is_object() && value.get(name.as_str().expect("a name")).is_none() {
                        say(&format!("{name} is missing"));
                    }
                }
            }
            "enum" | "const" | "anyOf" | "oneOf" | "allOf" | "minimum" | "maximum" | "minLength" | "pattern"
            | "properties" | "items" => {}
            other => panic!("keyword {other} at {at}"),
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        match (schema.get("properties").and_then(|p| p.get(name)), schema.get("additionalProperties")) {
            (Some(property), _) => check(root, property, inner, &at, wrong),
            (None, Some(Value::Bool(false))) => wrong.push(format!("{at}: unknown key")),
            (None, Some(rest)) => check(root, rest, inner, &at, wrong),
            (None, None) => {}
        }
    }
    if let (Some(items), Value::Array(values)) = (schema.get("items"), value) {
        values.iter().for_each(|inner| check(root, items, inner, &format!("{at}[]"), wrong));
    }
}
