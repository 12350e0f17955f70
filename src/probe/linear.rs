//! Linear probes: how well a linear classifier does on the frozen features of each layer.

use crate::bounded::Count;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which layers are probed, and how their maps become vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearProbeSpec {
    /// Layers of the backbone, each with its own classifier, all trained in one pass.
    pub layers: Vec<String>,
    pub protocol: Protocol,
    /// Side of the map that a layer is brought to; absent layers use the protocol's own.
    pub sizes: BTreeMap<String, Count>,
    /// Whether the batch norm in front of the classifier learns a scale and a shift.
    pub affine: bool,
}

impl Default for LinearProbeSpec {
    fn default() -> Self {
        Self {
            layers: (1..=5).map(|i| format!("conv{i}")).collect(),
            protocol: Protocol::default(),
            sizes: BTreeMap::new(),
            affine: false,
        }
    }
}

/// How a map is brought to about 9,000 numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Two-tap bilinear resize without antialiasing: the released code and the published tables.
    #[default]
    Bilinear,
    /// Average pooling: the paper's text.
    Avgpool,
}
