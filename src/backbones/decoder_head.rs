//! The decoder of tasks that paint a whole picture from a backbone's map (Pathak, Krähenbühl, Donahue, Darrell and Efros
//! 2016, section 3.2): a layer that is fully connected within each channel, a convolution across channels, and transposed
//! convolutions of stride 2 until the map is about as large as the picture (five above an AlexNet of 227 pixels).

use super::{
    kinds::{ChannelwiseRow, LayerKind, SlidingWindow},
    table::TableBuilder,
    task_head::Head,
};
use crate::{
    bounded::{Channels, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use candle_core::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Channels of a picture.
const COLORS: usize = 3;
/// Fewest channels of a hidden layer, unless the spec says otherwise.
const FEWEST: usize = 32;
/// Name of the last layer's tap.
pub const RECONSTRUCTION: &str = "reconstruction";

/// Head of a task that paints pictures. In YAML: `head: { channels: [128, 64, 64, 32] }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Decoder head")]
pub struct DecoderSpec {
    /// Layer of the backbone that the head reads; absent: the last with a map (pool5 of an AlexNet, layer4 of a ResNet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// Channels of the transposed convolutions but the last; absent: each has half of those before it, at least 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Channels>>,
    /// Batch normalization in the backbone and in the decoder.
    pub batch_norm: bool,
}

impl Default for DecoderSpec {
    fn default() -> Self {
        Self { tap: None, channels: None, batch_norm: true }
    }
}

/// A decoder for pictures of `side` pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderHead {
    pub side: usize,
    pub spec: DecoderSpec,
}

impl DecoderHead {
    /// Channels of the transposed convolutions but the last, from a map of `map` cells.
    fn channels(&self, map: usize, from: usize) -> Result<Vec<usize>> {
        let doublings = (self.side as f64 / map as f64).log2().round().max(1.0) as usize;
        let Some(given) = &self.spec.channels else {
            return Ok((1..doublings).map(|layer| (from >> layer).max(FEWEST)).collect());
        };
        if given.len() + 1 != doublings {
            bail!(
                "`head.channels`: {doublings} transposed convolutions lead from a map of {map} cells to {} pixels, the last to 3 \
                 channels: give {} numbers, not {}",
                self.side,
                doublings - 1,
                given.len()
            )
        }
        Ok(given.iter().map(|channels| channels.get()).collect())
    }
}

impl Head for DecoderHead {
    fn side(&self) -> usize {
        self.side
    }

    fn batch_norm(&self) -> bool {
        self.spec.batch_norm
    }

    fn reads(&self) -> Option<&str> {
        self.spec.tap.as_deref()
    }

    fn needs_map(&self) -> bool {
        true
    }

    fn append(&self, table: &mut TableBuilder, map: usize, norm: Option<BatchNormOptions>) -> Result<()> {
        let from = table.channels();
        let channels = self.channels(map, from)?;
        let fillers = Fillers { weight: Filler::Msra, bias: Some(Filler::Zero) };
        let filler = Filler::Gaussian { std: Positive::of(1.0 / map as f64) };
        let row = ChannelwiseRow { channels: from, side: map, filler };
        table.push("channelwise", LayerKind::Channelwise(row));
        table.conv("across", [1, 1, 0, 1, 1], from, fillers);
        norm_and_relu(table, "across", norm);
        let window = SlidingWindow { kernel: 4, stride: 2, pad: 1, dilation: 1 };
        for (number, channels) in (1..).zip(channels) {
            let name = format!("decoder{number}");
            table.conv_transpose(&name, window, channels, fillers);
            norm_and_relu(table, &name, norm);
        }
        table.conv_transpose(RECONSTRUCTION, window, COLORS, fillers).tap(RECONSTRUCTION);
        Ok(())
    }
}

fn norm_and_relu(table: &mut TableBuilder, name: &str, norm: Option<BatchNormOptions>) {
    if let Some(options) = norm {
        table.batch_norm(&format!("{name}_bn"), options);
    }
    table.relu(&format!("{name}_relu"), 0.0);
}

impl fmt::Display for DecoderHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a decoder to pictures of {0}×{0} pixels", self.side)
    }
}
