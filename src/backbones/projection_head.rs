//! The projection of contrastive tasks: the features of a backbone, averaged over the map, through a small perceptron
//! (Chen, Kornblith, Norouzi and Hinton 2020, section 2.1; three layers as in SimCLR v2, whose first is as wide as the
//! features).

use super::{
    table::TableBuilder,
    task_head::{Head, hidden_layer},
};
use crate::{
    backbones::kinds::PoolRow,
    bounded::{Channels, Count},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
    text::counted,
};
use candle_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Head of a contrastive task. In YAML: `head: { layers: 2, outputs: 128 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Projection head")]
pub struct ProjectionSpec {
    /// Layer of the backbone that the head reads; absent: the last before any fully connected layer (pool5 of an
    /// AlexNet, avgpool of a ResNet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// Largest side of the map that the head reads; larger maps are averaged.
    pub cells: Count,
    /// Fully connected layers.
    pub layers: Count<64>,
    /// Channels of the hidden layers; absent: those of the features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Channels>,
    /// Channels of the projection.
    pub outputs: Channels,
    /// Batch normalization in the backbone and in the head.
    pub batch_norm: bool,
}

impl Default for ProjectionSpec {
    fn default() -> Self {
        let (cells, outputs) = (Count::of(1), Count::of(128));
        Self { tap: None, cells, layers: Count::of(3), hidden: None, outputs, batch_norm: true }
    }
}

/// A projection of views of `side` pixels, two of each picture.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionHead {
    pub side: usize,
    pub spec: ProjectionSpec,
}

/// Name of the projection's tap.
pub const PROJECTION: &str = "projection";

impl Head for ProjectionHead {
    fn side(&self) -> usize {
        self.side
    }

    fn views(&self) -> usize {
        2
    }

    fn compares_pictures(&self) -> bool {
        true
    }

    fn batch_norm(&self) -> bool {
        self.spec.batch_norm
    }

    fn reads(&self) -> Option<&str> {
        self.spec.tap.as_deref()
    }

    /// The last layer has no bias and no ReLU; its normalization has no scale and shift (the original has a scale).
    fn append(&self, table: &mut TableBuilder, map: usize, norm: Option<BatchNormOptions>) -> Result<()> {
        let window = map.div_ceil(self.spec.cells.get());
        if window > 1 {
            table.pool("head_pool", PoolRow::average(window, window, 0));
        }
        let (mut side, width) = (map.div_ceil(window), self.spec.hidden.map_or(table.channels(), Count::get));
        for number in 1..self.spec.layers.get() {
            hidden_layer(table, &format!("projection{number}"), (side, width), norm);
            side = 1;
        }
        let fillers = Fillers { weight: Filler::Msra, bias: None };
        table.fully_connected(PROJECTION, [side, 1, 0, 1, 1], self.spec.outputs.get(), fillers);
        if let Some(options) = norm {
            table.batch_norm("projection_bn", BatchNormOptions { affine: false, ..options });
        }
        table.tap(PROJECTION);
        Ok(())
    }
}

impl fmt::Display for ProjectionHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, spec: ProjectionSpec { layers, outputs, .. } } = self;
        let layers = counted(layers.get(), "layer");
        write!(
            f,
            "2 views of {side}×{side} pixels of each picture, {layers} to a projection of {outputs} numbers"
        )
    }
}
