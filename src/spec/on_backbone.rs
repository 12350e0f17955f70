//! A choice with an optional network: `gaussian: { init: msra, backbone: { resnet: {} } }`.

use crate::backbones::BackboneSpec;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

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
