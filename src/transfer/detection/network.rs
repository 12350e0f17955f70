//! Class scores and class-specific offsets of boxes, from a feature map pooled inside each box.

use crate::{
    backbones::{
        network::Network,
        table::{lattice, reader},
    },
    nn::{Mode, layers::Linear, params::Params},
    ops::roi_pool::{Roi, roi_max_pool},
    rng::Rng,
    transfer::gaussian,
};
use anyhow::{Context, Result};
use candle_core::Tensor;

/// The trunk, the layers that process a region, and the two output layers.
pub struct RegionNetwork {
    net: Network,
    /// The layer whose map is pooled, and the last layer that processes a region.
    trunk: String,
    last: String,
    /// Side of the pooled grid, in cells.
    cells: usize,
    stride: f64,
    class: Linear,
    offsets: Linear,
}

impl RegionNetwork {
    /// Names of the output layers: the scores of the classes, and the offsets of their boxes.
    pub const HEADS: [&str; 2] = ["class", "offsets"];

    /// Adds `class`, N(0, 0.01²), background first, and `offsets`, N(0, 0.001²), to `params`.
    ///
    /// # Errors
    /// A network without layers that process a region.
    pub fn new(net: Network, classes: usize, params: &mut Params, rng: &Rng) -> Result<Self> {
        let (layers, name) = (net.layers(), net.interface().name);
        let reads = reader(layers).zip(net.interface().region);
        let (reader, cells) = reads.with_context(|| {
            format!("{name} has no layers that read a region: use alexnet, vgg16 or resnet")
        })?;
        let trunk = layers[reader].from[0];
        let (last, width) = (net.head().label().to_string(), net.head().outputs);
        let outputs = classes + 1;
        let [class, offsets] = Self::HEADS;
        let class = Linear::new(params, class, (width, outputs), gaussian(0.01, 0.0), rng)?;
        let offsets = Linear::new(params, offsets, (width, 4 * outputs), gaussian(0.001, 0.0), rng)?;
        Ok(Self {
            trunk: layers[trunk - 1].label().into(),
            last,
            cells,
            stride: lattice(layers, trunk).stride,
            class,
            offsets,
            net,
        })
    }

    /// Pixels per cell of the pooled map.
    pub fn stride(&self) -> f64 {
        self.stride
    }

    /// Pictures u8 RGB `(B, H, W, 3)` and R boxes → scores `(R, classes + 1)` and offsets `(R, 4·(classes + 1))`.
    ///
    /// # Errors
    /// Pictures too small for the trunk.
    pub fn forward(&self, pixels: &Tensor, rois: &[Roi], mode: &Mode) -> Result<(Tensor, Tensor)> {
        let x = self.net.input().read(pixels)?;
        let map = self.net.forward(&x, &[&self.trunk], mode)?.remove(0);
        let regions = roi_max_pool(&map, rois, 1.0 / self.stride, (self.cells, self.cells))?;
        let read = self.net.forward_reader(&regions, &[&self.last], mode)?.remove(0);
        let read = read.flatten_from(1)?;
        Ok((self.class.forward(&read, mode)?, self.offsets.forward(&read, mode)?))
    }
}
