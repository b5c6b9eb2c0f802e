//! `tidegate schema`: the JSON Schema of the files, for editors. It is made from the very structs that read them.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::config::file::{RootFile, ServiceFile};

/// Print the JSON Schema of the files, for editors.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Which file's schema
    #[arg(value_enum, default_value_t = Which::Tidegate)]
    pub which: Which,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// tidegate.yaml
    Tidegate,
    /// services/NAME.yaml
    Service,
}

/// Prints it.
///
/// # Errors
/// It cannot be written.
pub fn run(args: &SchemaArgs, out: &mut impl Write) -> io::Result<()> {
    out.write_all(text(args.which).as_bytes())
}

/// The schema as it is kept in config/.
#[must_use]
pub fn text(which: Which) -> String {
    let schema = match which {
        Which::Tidegate => schema::<RootFile>("tidegate.yaml"),
        Which::Service => schema::<ServiceFile>("services/NAME.yaml of tidegate"),
    };
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain data");
    text.push('\n');
    text
}

fn schema<T: JsonSchema>(title: &str) -> Schema {
    // Draft 7 is what yaml-language-server, and so most editors, speak.
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(without_null));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    schema
}

/// A key is written with a value or not at all: `null` is for neither, and the defaults are in the descriptions.
fn without_null(schema: &mut Schema) {
    let null = json!("null");
    schema.remove("default");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| *name != null);
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&null));
        if choices.len() == 1 {
            let choices = Value::Array(std::mem::take(choices));
            schema.remove("anyOf");
            // Draft 7 overlooks what stands beside a bare `$ref`.
            schema.insert("allOf".to_owned(), choices);
        }
    }
}
