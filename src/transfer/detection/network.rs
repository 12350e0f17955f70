//! A picture's map, pooled inside boxes, to a score for every class and offsets for every class of each box.

use crate::{
    backbones::{
        network::Network,
        table::{Kind, lattice},
    },
    nn::{Mode, layers::Linear, params::Params},
    ops::roi_pool::{Roi, roi_max_pool},
    rng::Rng,
    transfer::gaussian,
};
use anyhow::{Context, Result};
use candle_core::Tensor;

/// The trunk, the layers that read a region, and the two new ones.
pub struct RegionNetwork {
    net: Network,
    /// The row whose map is pooled, and the one that reads a region.
    trunk: String,
    reader: String,
    last: String,
    /// Cells on a side that the reader takes.
    cells: usize,
    stride: f64,
    class: Linear,
    offsets: Linear,
}

impl RegionNetwork {
    /// Adds `class` N(0, 0.01²), background first, and `offsets` N(0, 0.001²) to `params`.
    ///
    /// # Errors
    /// A network without fully connected layers.
    pub fn new(net: Network, classes: usize, params: &mut Params, rng: &Rng) -> Result<Self> {
        let layers = net.layers();
        let reader = layers.iter().position(|layer| layer.name == "fc6");
        let reader = reader.filter(|&at| at > 0 && layers[at].kind == Kind::Conv);
        let reader = reader.context("the backbone has no fc6 to read regions with: use alexnet or vgg16")?;
        let last = layers.last().context("the backbone has no layers")?;
        let width = last.outputs;
        let outputs = classes + 1;
        let class = Linear::new(params, "class", (width, outputs), gaussian(0.01, 0.0), rng)?;
        let offsets = Linear::new(params, "offsets", (width, 4 * outputs), gaussian(0.001, 0.0), rng)?;
        Ok(Self {
            trunk: layers[reader - 1].name.clone(),
            reader: layers[reader].name.clone(),
            last: last.name.clone(),
            cells: layers[reader].kernel,
            stride: lattice(&layers[..reader]).stride,
            class,
            offsets,
            net,
        })
    }

    /// Pixels from one cell of the pooled map to the next.
    pub fn stride(&self) -> f64 {
        self.stride
    }

    /// Pictures u8 RGB `(B, H, W, 3)` and R boxes on them → scores `(R, classes + 1)` and offsets `(R, 4·(classes + 1))`.
    ///
    /// # Errors
    /// Pictures too small for the trunk.
    pub fn forward(&self, pixels: &Tensor, rois: &[Roi], mode: &Mode) -> Result<(Tensor, Tensor)> {
        let x = self.net.input().read(pixels)?;
        let map = self.net.forward(&x, &[&self.trunk], mode)?.remove(0);
        let regions = roi_max_pool(&map, rois, 1.0 / self.stride, (self.cells, self.cells))?;
        let read = self.net.forward_from(&self.reader, &regions, &[&self.last], mode)?.remove(0);
        let read = read.flatten_from(1)?;
        Ok((self.class.forward(&read, mode)?, self.offsets.forward(&read, mode)?))
    }
}
