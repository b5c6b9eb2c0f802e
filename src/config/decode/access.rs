//! How serde walks through lists, mappings and enums of a tree.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::Context;
use super::error::DecodeError;
use super::node::NodeDeserializer;
use crate::config::source::Span;
use crate::config::tree::Node;

/// The items of a list that are not cut.
pub(super) struct Items<'a> {
    pub(super) items: std::slice::Iter<'a, Node>,
    pub(super) context: &'a Context<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let context = self.context;
        match self.items.find(|item| !context.is_cut(item)) {
            Some(item) => {
                seed.deserialize(NodeDeserializer::new(item, context)).map(Some).map_err(|error| error.at(item))
            }
            None => Ok(None),
        }
    }
}

/// The entries of a mapping that are not cut.
pub(super) struct Pairs<'a> {
    pub(super) entries: std::slice::Iter<'a, (Node, Node)>,
    pub(super) value: Option<(&'a Node, &'a Node)>,
    pub(super) context: &'a Context<'a>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let context = self.context;
        let Some((key, value)) = self.entries.find(|(key, value)| !context.is_cut(key) && !context.is_cut(value))
        else {
            return Ok(None);
        };
        self.value = Some((key, value));
        seed.deserialize(NodeDeserializer::as_written(key, context)).map(Some).map_err(|error| error.at(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let (key, value) = self.value.take().expect("serde asks for a value after its key");
        // A type that makes its own error from what it was given leaves the place to us.
        seed.deserialize(NodeDeserializer::new(value, self.context).under(key)).map_err(|error| error.at(value))
    }
}

/// Start, end and the value itself: what `Spanned` asks for.
pub(super) struct Place<'a> {
    pub(super) span: Span,
    pub(super) step: u8,
    pub(super) value: NodeDeserializer<'a>,
}

impl<'de> SeqAccess<'de> for Place<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        self.step += 1;
        match self.step {
            1 => seed.deserialize(self.span.start.into_deserializer()).map(Some),
            2 => seed.deserialize(self.span.end.into_deserializer()).map(Some),
            3 => seed.deserialize(self.value).map(Some),
            _ => Ok(None),
        }
    }
}

/// A variant, chosen by name or by the kind of value that is there.
pub(super) struct Chosen<'a> {
    pub(super) variant: &'static str,
    pub(super) content: NodeDeserializer<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Chosen<'a> {
    type Error = DecodeError;
    type Variant = NodeDeserializer<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), DecodeError> {
        let name: StrDeserializer<'_, DecodeError> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> VariantAccess<'de> for NodeDeserializer<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        serde::Deserializer::deserialize_seq(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        serde::Deserializer::deserialize_struct(self, "", fields, visitor)
    }
}
