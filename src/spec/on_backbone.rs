//! A choice with an optional network: `gaussian: { init: msra, backbone: { resnet: {} } }`.

use crate::backbones::BackboneSpec;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::Value;
use std::{borrow::Cow, fmt, marker::PhantomData};

/// A choice, and its own network if it does not use the section's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnBackbone<T> {
    #[serde(flatten)]
    pub choice: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneSpec>,
}

impl<T> OnBackbone<T> {
    /// Name by which the spec deserializer recognizes the additional key.
    pub(super) const NAME: &'static str = "OnBackbone";
    /// The additional key.
    pub(super) const KEY: &'static str = "backbone";
}

impl<T> From<T> for OnBackbone<T> {
    fn from(choice: T) -> Self {
        Self { choice, backbone: None }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OnBackbone<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Self::NAME, Both(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OnBackbone<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OnBackbone", T::schema_name()).into()
    }

    /// The schema of the choice, with one more key beside each name.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let mut backbone = generator.subschema_for::<BackboneSpec>();
        let meaning = "Architecture of the row; default: that of the section, or of the stage that trained the weights.";
        backbone.insert("description".into(), meaning.into());
        schema.insert("title".into(), "Row of a table".into());
        schema.insert(
            "description".into(),
            "Weights to compare, and their own network if they need one.".into(),
        );
        let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
        for keys in variants.filter_map(|variant| variant.get_mut("properties")?.as_object_mut()) {
            keys.insert(Self::KEY.into(), backbone.clone().into());
        }
        schema
    }
}

struct Both<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Both<T> {
    type Value = OnBackbone<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name with what it configures")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        T::deserialize(deserializer).map(OnBackbone::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let choice = seq.next_element()?.ok_or_else(|| A::Error::custom("a choice is missing"))?;
        Ok(OnBackbone { choice, backbone: seq.next_element()? })
    }
}
