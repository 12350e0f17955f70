//! A layer table with its parameters: builds the rows and runs them in order. Every backbone is one of these; what
//! tells them apart is their table.

use super::{
    input::Input,
    summary::Summary,
    table::{Kind, Layer, check_size},
};
use crate::{
    device::activations,
    nn::{
        Mode,
        layers::{BatchNorm, Conv, ConvShape, ConvTranspose},
        params::Params,
    },
    ops::{
        activation::leaky_relu,
        dropout::dropout,
        lrn::{Lrn, lrn},
        pool::max_pool2d,
    },
    rng::Rng,
};
use candle_core::{DType, Result, Tensor, bail};
use std::ops::Range;

/// Where the pixels of a prediction lie on the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelGrid {
    /// Pixels from one label to the next: labels are points at multiples of it.
    pub stride: usize,
    /// Whether the first and the last sample of two maps meet when one is resized to the size of the other; else
    /// their outer borders do.
    pub align_corners: bool,
    /// What the sides of a picture must divide by for the maps to line up.
    pub multiple: usize,
}

impl PixelGrid {
    /// Labels along an axis of `pixels`: at stride 8, 180 → 23.
    pub fn labels(&self, pixels: usize) -> usize {
        pixels.div_ceil(self.stride)
    }
}

/// A network: its table, and the parameters of each row.
#[derive(Clone, Debug)]
pub struct Network {
    name: &'static str,
    grid: PixelGrid,
    input: Input,
    layers: Vec<Layer>,
    blocks: Vec<Block>,
    /// How many rows, from the first, are constants.
    frozen: usize,
}

#[derive(Clone, Debug)]
struct Block {
    window: Window,
    norm: Option<BatchNorm>,
}

#[derive(Clone, Debug)]
enum Window {
    Conv(Conv),
    ConvTranspose(ConvTranspose),
    Pool,
    Lrn,
}

impl Network {
    /// Adds the parameters of `layers` to `params` in their order: `conv1.weight`, `conv1.bias`, …, and with batch
    /// normalisation its buffers. `name` is what messages call the network.
    ///
    /// # Errors
    /// More parameters than fit into memory, channels that do not split into groups, a name given twice, a tensor that cannot be made on the device.
    pub fn new(
        name: &'static str,
        grid: PixelGrid,
        input: Input,
        layers: Vec<Layer>,
        params: &mut Params,
        rng: &Rng,
    ) -> Result<Self> {
        if let Err(reason) = check_size(&layers) {
            bail!("{name}: {reason}")
        }
        let blocks = layers.iter().map(|layer| Block::new(layer, params, rng)).collect::<Result<_>>()?;
        Ok(Self { name, grid, input, layers, blocks, frozen: 0 })
    }

    /// The table, in the order of computation. Each name is a tap.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Where predictions lie on the picture.
    pub fn grid(&self) -> PixelGrid {
        self.grid
    }

    /// What its weights expect of a picture.
    pub fn input(&self) -> Input {
        self.input
    }

    /// The last row: what the task reads.
    ///
    /// # Panics
    /// On a network without rows, which no backbone has.
    pub fn head(&self) -> &Layer {
        self.layers.last().expect("a backbone has at least one row")
    }

    /// Makes every row up to and including `layer` a constant: computed with the statistics of evaluation and without a
    /// graph, its parameters moved to the buffers of `params`. Dropout behind such a row still drops in training.
    ///
    /// # Errors
    /// When there is no such row.
    pub fn freeze_through(&mut self, layer: &str, params: &mut Params) -> Result<()> {
        let count = self.index(layer)? + 1;
        let rows = &self.layers[..count];
        let owners = || rows.iter().flat_map(|l| [Some(&l.name), l.norm.as_ref().map(|n| &n.name)]).flatten();
        params
            .freeze(|name| owners().any(|owner| name.rsplit_once('.').is_some_and(|(own, _)| own == owner)));
        self.frozen = self.frozen.max(count);
        Ok(())
    }

    /// Of a frozen first convolution, lets the channels after the first learn: a and b of a network that is given colour.
    ///
    /// # Errors
    /// A first row that is no convolution, or reads lightness alone.
    pub fn release_color(&mut self, params: &mut Params) -> Result<()> {
        match (&self.layers[0], &mut self.blocks[0].window) {
            (layer, Window::Conv(conv)) => conv.release_color(&layer.name, params),
            (layer, _) => bail!("{}: `{}` is no convolution", self.name, layer.name),
        }
    }

    /// Output maps, parameters and multiply-accumulates for a picture of `(height, width)` pixels.
    pub fn summary(&self, input: (usize, usize)) -> Result<Summary> {
        Summary::of(&self.layers, input)
    }

    /// x `(B, H, W, C)` → the outputs after the named taps (a hidden row's after its ReLU, normalisation and, in
    /// training, dropout; a pool's maximum, a response normalisation's output; the head's and a branch's logits), in the order asked. Computes no row
    /// beyond the last one asked, and no branch that is not asked for. Errors on a name that is no row of this
    /// network, and on maps too small for a window.
    pub fn forward(&self, x: &Tensor, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        self.run(x, 0, taps, mode)
    }

    /// The same from the row `first` on, whose input `x` is: how a detector runs its regions through fc6 and fc7.
    pub fn forward_from(&self, first: &str, x: &Tensor, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        self.run(x, self.index(first)?, taps, mode)
    }

    fn run(&self, x: &Tensor, first: usize, taps: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        let asked = taps.iter().map(|tap| self.index(tap)).collect::<Result<Vec<usize>>>()?;
        let end = asked.iter().max().map_or(first, |last| last + 1);
        if let Some(tap) = taps.iter().zip(&asked).find_map(|(tap, at)| (*at < first).then_some(tap)) {
            bail!("{}: `{tap}` comes before `{}`", self.name, self.layers[first].name)
        }
        self.check_input(x, first..end)?;
        let mut kept: Vec<Option<Tensor>> = vec![None; taps.len()];
        // Layers compute in what the device's precision says; what comes in and goes out is f32 (f64 stays f64).
        let outside = x.dtype();
        let mut hidden = if outside == DType::F32 { x.to_dtype(activations(x.device()))? } else { x.clone() };
        for i in first..end {
            let (layer, block) = (&self.layers[i], &self.blocks[i]);
            if layer.branch && !asked.contains(&i) {
                continue;
            }
            let y = block.forward(layer, &hidden, mode, i < self.frozen && !block.learns_color())?;
            for (slot, _) in kept.iter_mut().zip(&asked).filter(|(_, asked)| **asked == i) {
                *slot = Some(y.to_dtype(outside)?);
            }
            if !layer.branch {
                hidden = y;
            }
        }
        Ok(kept.into_iter().flatten().collect())
    }

    fn index(&self, tap: &str) -> Result<usize> {
        match self.layers.iter().position(|layer| layer.name == tap) {
            Some(index) => Ok(index),
            None => {
                let names: Vec<&str> = self.layers.iter().map(|layer| layer.name.as_str()).collect();
                bail!("{}: there is no layer `{tap}`; the layers are {}", self.name, names.join(", "))
            }
        }
    }

    /// The channels, and that every window of these rows fits.
    fn check_input(&self, x: &Tensor, rows: Range<usize>) -> Result<()> {
        let (_, height, width, channels) = x.dims4()?;
        let Layer { name, inputs, .. } = &self.layers[rows.start];
        if channels != *inputs {
            bail!(
                "{}: the input is {:?} (B, H, W, C), but {name} takes {inputs} channels",
                self.name,
                x.dims()
            )
        }
        Summary::of(&self.layers[rows], (height, width)).map(drop)
    }
}

impl Block {
    fn new(layer: &Layer, params: &mut Params, rng: &Rng) -> Result<Self> {
        let shape = ConvShape { inputs: layer.inputs, outputs: layer.outputs, kernel: layer.kernel };
        let (geometry, fillers) = (layer.conv_geometry(), layer.fillers);
        let window = match layer.kind {
            Kind::MaxPool => Window::Pool,
            Kind::Lrn => Window::Lrn,
            Kind::Conv => Window::Conv(Conv::new(params, &layer.name, shape, geometry, fillers, rng)?),
            Kind::ConvTranspose => {
                Window::ConvTranspose(ConvTranspose::new(params, &layer.name, shape, geometry, fillers, rng)?)
            }
        };
        let norm = layer.norm.as_ref().map(|norm| {
            // A ReLU that follows the normalisation is computed in the same pass.
            let relu = layer.relu && layer.leak == 0.0 && !norm.after_relu;
            let options = if relu { norm.options.with_relu() } else { norm.options };
            BatchNorm::new(params, &norm.name, layer.outputs, options)
        });
        Ok(Self { window, norm: norm.transpose()? })
    }

    fn learns_color(&self) -> bool {
        matches!(&self.window, Window::Conv(conv) if conv.learns_color())
    }

    /// A frozen row's parameters and statistics stand still; what training drops behind it is dropped all the same.
    fn forward(&self, layer: &Layer, x: &Tensor, mode: &Mode, frozen: bool) -> Result<Tensor> {
        let dropping = mode;
        let mode = if frozen { &Mode::Frozen } else { mode };
        // A ReLU is computed with what it follows: the window, or the normalisation between. A leaky one is not.
        let leaky = layer.relu && layer.leak > 0.0;
        let relu = layer.relu && !leaky && layer.norm.as_ref().is_none_or(|norm| norm.after_relu);
        let mut y = match (&self.window, relu) {
            (Window::Pool, _) => return max_pool2d(x, layer.pool_geometry()),
            (Window::Lrn, _) => return lrn(x, Lrn::ALEXNET),
            (Window::Conv(conv), true) => conv.forward_relu(x, mode)?,
            (Window::Conv(conv), false) => conv.forward(x, mode)?,
            (Window::ConvTranspose(conv), true) => conv.forward_relu(x, mode)?,
            (Window::ConvTranspose(conv), false) => conv.forward(x, mode)?,
        };
        if let Some(norm) = &self.norm {
            y = norm.forward(&y, mode)?;
        }
        if leaky {
            y = leaky_relu(&y, layer.leak)?;
        }
        match dropping {
            Mode::Train(rng) if layer.dropout > 0.0 => {
                dropout(&y, layer.dropout, rng.split(&layer.name).at(0, 0))
            }
            _ => Ok(y),
        }
    }
}
