//! Reduces feature maps of any size to the roughly 9,600 features of a linear probe (Zhang et al. 2016 and table 7 of
//! the Split-Brain paper: 10² × 96, 6² × 256, 5² × 384; average-pooling kernels from FAIR's self-supervision
//! benchmark).

use crate::ops::{
    pool::{PoolGeometry, avg_pool2d},
    resize::resize_bilinear,
};
use candle_core::{Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How maps are reduced to features. The results of the two are not comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Protocol of features")]
pub enum Protocol {
    /// Two-tap bilinear resize without antialiasing, as in the released code and the published tables of follow-up
    /// work.
    #[default]
    Bilinear,
    /// Average pooling, as in the paper's text, with FAIR's kernels where they apply.
    Avgpool,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bilinear => "bilinear",
            Self::Avgpool => "avgpool",
        })
    }
}

/// Side of the largest square grid of `channels` with at most `dimensions` features that is not larger than the map.
/// 9,600 dimensions give the published grids: 96 → 10, 256 → 6, 384 → 5.
pub fn grid(map: usize, channels: usize, dimensions: usize) -> usize {
    (dimensions / channels).isqrt().clamp(1, map.max(1))
}

/// Kernel and stride of the average pooling from `n` to `side` cells: FAIR's overlapping windows for AlexNet's maps of
/// 227-pixel crops, otherwise windows that tile the map with minimal overlap.
fn window(n: usize, side: usize) -> (usize, usize) {
    match (n, side) {
        (55, 10) => (19, 4),
        (27, 6) => (12, 3),
        (13, 5) => (9, 1),
        (13, 6) => (8, 1),
        _ => (n - (side - 1) * (n / side), n / side),
    }
}

/// `(B, H, W, C)` → `(B, side·side·C)`. Maps must be square (`H` = `W`).
pub fn downsample(x: &Tensor, dimensions: usize, protocol: Protocol) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let side = grid(h.min(w), c, dimensions);
    let x = match protocol {
        _ if (h, w) == (side, side) => x.clone(),
        Protocol::Bilinear => resize_bilinear(x, (side, side), false)?,
        Protocol::Avgpool if h == w => {
            let (kernel, stride) = window(h, side);
            avg_pool2d(x, PoolGeometry { kernel, stride, pad: 0, ceil: false })?
        }
        Protocol::Avgpool => {
            candle_core::bail!("average-pooled probes need square feature maps, got {h}×{w}")
        }
    };
    x.reshape((b, side * side * c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn published_grids_come_out() {
        let published = [(55, 96, 10), (27, 256, 6), (13, 384, 5), (13, 256, 6), (6, 256, 6), (27, 96, 10)];
        for (map, channels, side) in published {
            assert_eq!(grid(map, channels, 9600), side, "{channels} channels on {map}²");
        }
    }

    #[test]
    fn windows_reach_every_cell_and_stay_inside() {
        for n in 1..70 {
            for side in 1..=n {
                let (kernel, stride) = window(n, side);
                assert_eq!((n - kernel) / stride + 1, side, "{n} → {side}");
                assert!(
                    kernel >= stride && (side - 1) * stride + kernel == n,
                    "{n} → {side}: cells left out"
                );
            }
        }
    }

    #[test]
    fn both_protocols_keep_a_constant() -> Result<()> {
        let x = Tensor::ones((2, 13, 13, 24), DType::F32, &Device::Cpu)?;
        for protocol in [Protocol::Bilinear, Protocol::Avgpool] {
            let y = downsample(&x, 600, protocol)?;
            assert_eq!(y.dims(), [2, 600]);
            assert!(y.to_vec2::<f32>()?.concat().iter().all(|v| (v - 1.0).abs() < 1e-6));
        }
        Ok(())
    }
}
