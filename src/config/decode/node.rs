//! One value of a tree, as a serde deserializer that knows what belongs there.

use serde::de::{Deserializer, Visitor};

use super::access::{Chosen, Items, Pairs, Place};
use super::error::DecodeError;
use super::{Context, Refusal, nearest};
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::spanned::SPANNED;
use crate::config::tree::{self, Kind, Node, Scalar, Value};

/// So many keys of a struct are named where something else than a mapping stands in its place.
const FEW_KEYS: usize = 4;

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    /// The key that it is the value of.
    key: Option<&'a Node>,
    /// Any scalar is taken as text, as it was written: keys, and values where text is all there can be.
    as_written: bool,
    context: &'a Context<'a>,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn new(node: &'a Node, context: &'a Context<'a>) -> Self {
        Self { node, key: None, as_written: false, context }
    }

    pub(super) fn as_written(node: &'a Node, context: &'a Context<'a>) -> Self {
        Self { as_written: true, ..Self::new(node, context) }
    }

    pub(super) fn under(self, key: &'a Node) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The scalar that is here; a collection or nothing is an error that says what belongs here.
    fn scalar(&self, wanted: &str) -> Result<&'a Scalar, DecodeError> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.value != Value::Null || self.as_written => Ok(scalar),
            _ => Err(self.wrong(wanted, None)),
        }
    }

    /// "This is a list; a number belongs here."
    fn wrong(&self, wanted: &str, help: Option<String>) -> DecodeError {
        let excerpt = || self.context.excerpt(self.node.span);
        let found = match &self.node.kind {
            Kind::Sequence(_) => "this is a list".to_owned(),
            Kind::Mapping(_) => "this is a mapping".to_owned(),
            Kind::Scalar(scalar) => match scalar.value {
                Value::Null => return self.nothing(),
                Value::Boolean(_) => format!("`{}` is a boolean", excerpt()),
                Value::Integer(_) | Value::Float(_) => format!("`{}` is a number", excerpt()),
                Value::Quoted | Value::Plain => format!("`{}` is text", excerpt()),
            },
        };
        DecodeError::new(format!("{found}; {wanted} belongs here"), self.cure().or(help)).at(self.node)
    }

    /// What its key says should be written here.
    fn cure(&self) -> Option<String> {
        let (Kind::Scalar(scalar), Some(key)) = (&self.node.kind, self.key.and_then(Node::scalar_text)) else {
            return None;
        };
        (self.context.cure)(key, &scalar.text)
    }

    fn nothing(&self) -> DecodeError {
        match self.key.and_then(Node::scalar_text) {
            Some(key) => {
                DecodeError::new(format!("`{key}` has no value"), Some("write one, or take the line out".to_owned()))
            }
            None => DecodeError::new("there is no value here", Some("write one, or take it out".to_owned())),
        }
        .at(self.node)
    }

    fn integer<V>(
        &self,
        low: i128,
        high: i128,
        visit: impl FnOnce(i128) -> Result<V, DecodeError>,
    ) -> Result<V, DecodeError> {
        let scalar = self.scalar("a whole number")?;
        let Value::Integer(number) = scalar.value else {
            let unquoted = matches!(tree::resolve(&scalar.text), Value::Integer(_));
            return Err(self.wrong("a whole number", unquoted.then(|| format!("write `{}`", scalar.text))));
        };
        if !(low..=high).contains(&number) {
            let help = self.cure().unwrap_or_else(|| format!("write a whole number from {low} to {high}"));
            return Err(DecodeError::new(format!("`{number}` is out of range"), Some(help)).at(self.node));
        }
        visit(number).map_err(|error| error.at(self.node))
    }

    fn float<V>(&self, visit: impl FnOnce(f64) -> Result<V, DecodeError>) -> Result<V, DecodeError> {
        let scalar = self.scalar("a number")?;
        let number = match scalar.value {
            Value::Float(number) => number,
            #[expect(clippy::cast_precision_loss, reason = "what a person writes here is far below 2^53")]
            Value::Integer(number) => number as f64,
            _ => {
                return Err(self.wrong("a number", number_meant(scalar)));
            }
        };
        visit(number).map_err(|error| error.at(self.node))
    }

    fn text<V>(&self, visit: impl FnOnce(&str) -> Result<V, DecodeError>) -> Result<V, DecodeError> {
        let scalar = self.scalar("text")?;
        if !self.as_written && !matches!(scalar.value, Value::Quoted | Value::Plain) {
            return Err(self.wrong("text", Some(format!("write `\"{}\"`", scalar.text))));
        }
        visit(&scalar.text).map_err(|error| error.at(self.node))
    }

    fn items(&self) -> Result<Items<'a>, DecodeError> {
        match &self.node.kind {
            Kind::Sequence(items) => Ok(Items { items: items.iter(), context: self.context }),
            Kind::Scalar(_) => {
                Err(self.wrong("a list", Some(format!("write `[{}]`", self.context.excerpt(self.node.span)))))
            }
            Kind::Mapping(_) => {
                Err(self.wrong("a list", Some("begin each item with `- `, or write `[...]`".to_owned())))
            }
        }
    }

    /// `keys` are those that there may be, where they are known.
    fn pairs(&self, keys: &[&str]) -> Result<Pairs<'a>, DecodeError> {
        match &self.node.kind {
            Kind::Mapping(entries) => Ok(Pairs { entries: entries.iter(), value: None, context: self.context }),
            _ => {
                let keys = match keys.len() {
                    1..=FEW_KEYS => format!(" with {}", list(keys, ", ")),
                    _ => String::new(),
                };
                Err(self.wrong("a mapping", Some(format!("write `key: value` lines{keys}"))))
            }
        }
    }

    /// Notes and cuts the keys that the struct does not have.
    fn note_unknown(&self, structure: &str, fields: &[&'static str]) {
        let Kind::Mapping(entries) = &self.node.kind else { return };
        for (key, value) in entries {
            let name = key.scalar_text().unwrap_or_default();
            if fields.contains(&name) || self.context.is_cut(value) {
                continue;
            }
            self.context.cut(value.id);
            if self.context.is_full() {
                continue;
            }
            let at = Label::at(self.context.source, key.span);
            let diagnostic = if let Some(refusal) = (self.context.refuse)(structure, name) {
                let (why, help) = match refusal {
                    Refusal::NotYet(help) => ("is not supported yet", help),
                    Refusal::Elsewhere(help) => ("does not belong here", help),
                };
                Diagnostic::error(format!("`{name}` {why}"), at).help(help)
            } else if let Some(near) = nearest(name, fields.iter().copied()) {
                Diagnostic::error(format!("unknown key `{name}`, did you mean `{near}`?"), at)
            } else {
                Diagnostic::error(format!("unknown key `{name}`"), at)
                    .help(format!("known here: {}", list(fields, ", ")))
            };
            self.context.note(diagnostic);
        }
    }

    /// The variant whose name says what kind of value is here.
    fn kind_variant(&self, variants: &'static [&'static str]) -> Result<Chosen<'a>, DecodeError> {
        let fitting: &[&str] = match &self.node.kind {
            Kind::Sequence(_) => &["@list"],
            Kind::Mapping(_) => &["@mapping"],
            Kind::Scalar(scalar) => match scalar.value {
                Value::Null => return Err(self.nothing()),
                Value::Boolean(_) => &["@boolean", "@scalar", "@scalar-as-is"],
                Value::Integer(_) | Value::Float(_) => &["@number", "@scalar", "@scalar-as-is"],
                Value::Quoted | Value::Plain => &["@text", "@scalar", "@scalar-as-is"],
            },
        };
        let Some(variant) = variants.iter().copied().find(|variant| fitting.contains(variant)) else {
            let wanted: Vec<_> = variants.iter().map(|variant| what_belongs(variant)).collect();
            let meant = match &self.node.kind {
                Kind::Scalar(scalar) if variants.contains(&"@boolean") => boolean_meant(scalar),
                Kind::Scalar(scalar) if variants.contains(&"@number") => number_meant(scalar),
                _ => None,
            };
            return Err(self.wrong(&wanted.join(" or "), meant));
        };
        Ok(Chosen { variant, content: Self { as_written: variant == "@scalar", ..*self } })
    }

    fn named_variant(&self, variants: &'static [&'static str]) -> Result<Chosen<'a>, DecodeError> {
        let scalar = self.scalar("text")?;
        if let Some(variant) = variants.iter().copied().find(|variant| *variant == &*scalar.text) {
            return Ok(Chosen { variant, content: *self });
        }
        let suggestion = match nearest(&scalar.text, variants.iter().copied()) {
            Some(near) => format!(", did you mean `{near}`?"),
            None => String::new(),
        };
        let message = format!("`{}` is not known here{suggestion}", self.context.excerpt(self.node.span));
        let help = self.cure().unwrap_or_else(|| format!("write {}", list(variants, " or ")));
        Err(DecodeError::new(message, Some(help)).at(self.node))
    }
}

/// What to write for a `yes` or an `off`.
fn boolean_meant(scalar: &Scalar) -> Option<String> {
    match scalar.text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some("write `true`".to_owned()),
        "false" | "no" | "off" | "n" => Some("write `false`".to_owned()),
        _ => None,
    }
}

/// What to write for a `"3"` or a `3%`.
fn number_meant(scalar: &Scalar) -> Option<String> {
    let bare = scalar.text.trim_end_matches('%').trim_end();
    matches!(tree::resolve(bare), Value::Integer(_) | Value::Float(_)).then(|| format!("write `{bare}`"))
}

fn what_belongs(variant: &str) -> &'static str {
    match variant {
        "@list" => "a list",
        "@mapping" => "a mapping",
        "@boolean" => "`true` or `false`",
        "@number" => "a number",
        _ => "text",
    }
}

fn list(names: &[&str], separator: &str) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(separator)
}

macro_rules! integers {
    ($($method:ident $type:ty, $visit:ident $visited:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.integer(i128::from(<$type>::MIN), i128::from(<$type>::MAX), |number| {
                visitor.$visit(<$visited>::try_from(number).expect("the range was checked"))
            })
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = DecodeError;

    integers! {
        deserialize_i8 i8, visit_i64 i64;
        deserialize_i16 i16, visit_i64 i64;
        deserialize_i32 i32, visit_i64 i64;
        deserialize_i64 i64, visit_i64 i64;
        deserialize_u8 u8, visit_u64 u64;
        deserialize_u16 u16, visit_u64 u64;
        deserialize_u32 u32, visit_u64 u64;
        deserialize_u64 u64, visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.kind {
            Kind::Sequence(_) => self.deserialize_seq(visitor),
            Kind::Mapping(_) => self.deserialize_map(visitor),
            Kind::Scalar(scalar) => match scalar.value {
                _ if self.as_written => self.deserialize_str(visitor),
                Value::Null => visitor.visit_unit().map_err(|error: DecodeError| error.at(self.node)),
                Value::Boolean(_) => self.deserialize_bool(visitor),
                Value::Integer(_) => self.deserialize_i64(visitor),
                Value::Float(_) => self.deserialize_f64(visitor),
                Value::Quoted | Value::Plain => self.deserialize_str(visitor),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let scalar = self.scalar("`true` or `false`")?;
        let Value::Boolean(value) = scalar.value else {
            return Err(self.wrong("`true` or `false`", boolean_meant(scalar)));
        };
        visitor.visit_bool(value).map_err(|error: DecodeError| error.at(self.node))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.float(|number| visitor.visit_f64(number))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.float(|number| visitor.visit_f64(number))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(|text| visitor.visit_str(text))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(|text| visitor.visit_str(text))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.text(|text| visitor.visit_str(text))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        // A key without a value is not the same as no key: `allow:` with its list commented out must not mean "everyone".
        if self.node.is_null() && !self.as_written { Err(self.nothing()) } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self).map_err(|error| error.at(self.node))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(self.items()?).map_err(|error| error.at(self.node))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == SPANNED {
            let place = Place { span: self.node.span, step: 0, value: self };
            return visitor.visit_seq(place).map_err(|error| error.at(self.node));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_map(self.pairs(&[])?).map_err(|error| error.at(self.node))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let pairs = self.pairs(fields)?;
        self.note_unknown(name, fields);
        let entries = pairs.entries.clone();
        visitor.visit_map(pairs).map_err(|mut error| {
            // What is missing because it was cut has been noted where it stood.
            if let (None, Some(missing)) = (error.at, error.missing) {
                error.silent = entries.into_iter().any(|(key, _)| key.scalar_text() == Some(missing));
            }
            error.at(self.node)
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let by_kind = variants.iter().any(|variant| variant.starts_with('@'));
        let chosen = if by_kind { self.kind_variant(variants)? } else { self.named_variant(variants)? };
        visitor.visit_enum(chosen).map_err(|error| error.at(self.node))
    }

    serde::forward_to_deserialize_any! { char bytes byte_buf unit unit_struct ignored_any }
}
