//! Networks that learn representations, each a layer table first, then the forward pass.

pub mod alexnet;

use serde::{Deserialize, Serialize};

/// A network, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackboneSpec {
    Alexnet(alexnet::AlexNetSpec),
}
