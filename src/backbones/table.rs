//! A row of a layer table: name, geometry, channels, normalisation, how the weights start. Parameter names, shapes, taps,
//! counts, the printed summary and the network itself are all read from such rows.

use crate::{
    bounded::Positive,
    nn::layers::{BatchNormOptions, Fillers},
    ops::{conv::ConvGeometry, lrn::Lrn, pool::PoolGeometry},
};

/// What a row of the table computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Conv,
    /// Transposed convolution, which enlarges the map by the stride.
    ConvTranspose,
    MaxPool,
    /// Local response normalisation over `kernel` channels.
    Lrn,
}

impl Kind {
    /// Whether such a row has a weight and a bias.
    pub fn has_weights(self) -> bool {
        match self {
            Self::Conv | Self::ConvTranspose => true,
            Self::MaxPool | Self::Lrn => false,
        }
    }
}

/// The batch normalisation of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Its own name: `bn1`, `conv1_2norm`.
    pub name: String,
    /// Behind the ReLU (VGG colorizer) rather than before it (AlexNet colorizer).
    pub after_relu: bool,
    pub options: BatchNormOptions,
}

/// One row of the layer table. One number serves both axes of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Caffe's name: `conv1`, `pool1`, …, `fc8`; `conv1_1`, …, `conv8_313`.
    pub name: String,
    pub kind: Kind,
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub groups: usize,
    pub dilation: usize,
    /// Channels coming in.
    pub inputs: usize,
    /// Channels going out.
    pub outputs: usize,
    pub norm: Option<Norm>,
    pub relu: bool,
    /// Slope of the ReLU below 0: 0 but in leaky networks.
    pub leak: f64,
    /// Share of the outputs that training drops.
    pub dropout: f64,
    /// A branch: it reads what the row before it puts out, and the row after it does not read it.
    pub branch: bool,
    /// How weight and bias start; pools have none.
    pub fillers: Fillers,
}

impl Layer {
    /// As the convolution ops want it.
    pub fn conv_geometry(&self) -> ConvGeometry {
        ConvGeometry { stride: self.stride, pad: self.pad, dilation: self.dilation, groups: self.groups }
    }

    /// As the pooling op wants it; Caffe's pools round up.
    pub fn pool_geometry(&self) -> PoolGeometry {
        PoolGeometry { kernel: self.kernel, stride: self.stride, pad: self.pad, ceil: true }
    }

    /// Length of the output along an axis of `n`; `None` where the window does not fit.
    pub fn out(&self, n: usize) -> Option<usize> {
        let reach = self.dilation * (self.kernel - 1) + 1;
        let length = match self.kind {
            Kind::Conv => (n + 2 * self.pad).checked_sub(reach)? / self.stride + 1,
            Kind::ConvTranspose => self.conv_geometry().transposed_out(n, self.kernel),
            Kind::Lrn => n,
            Kind::MaxPool => {
                (n + 2 * self.pad).checked_sub(reach)?;
                self.pool_geometry().out(n)
            }
        };
        (length > 0).then_some(length)
    }

    /// Trained numbers: weights and biases, scale and shift.
    pub fn parameters(&self) -> usize {
        let affine = self.norm.as_ref().is_some_and(|norm| norm.options.affine);
        let norm = if affine { 2 * self.outputs } else { 0 };
        if self.kind.has_weights() { self.weights().saturating_add(self.outputs + norm) } else { 0 }
    }

    /// Multiply-accumulates of one picture for which the row takes a map `from` to a map `to`, taps on the padding
    /// included.
    pub fn macs(&self, from: (usize, usize), to: (usize, usize)) -> usize {
        match self.kind {
            Kind::Conv => (to.0 * to.1).saturating_mul(self.weights()),
            Kind::ConvTranspose => (from.0 * from.1).saturating_mul(self.weights()),
            Kind::MaxPool | Kind::Lrn => 0,
        }
    }

    fn weights(&self) -> usize {
        let window = self.kernel.saturating_mul(self.kernel);
        (window.saturating_mul(self.inputs) / self.groups.max(1)).saturating_mul(self.outputs)
    }
}

/// Trained numbers of a network, at most: 16 GiB of them. The largest of the literature's here has 138 million.
const MOST_PARAMETERS: usize = 1 << 32;

/// Refuses networks that fit into no memory, before any of it is asked for.
///
/// # Errors
/// How many parameters there would be.
pub fn check_size(rows: &[Layer]) -> Result<(), String> {
    let parameters = rows.iter().map(Layer::parameters).fold(0, usize::saturating_add);
    if parameters <= MOST_PARAMETERS {
        return Ok(());
    }
    let parameters = parameters as f64;
    Err(format!(
        "the network would have {parameters:.1e} parameters, more than {MOST_PARAMETERS}: take a smaller `width`, `fc` or \
         `channels`"
    ))
}

/// Where the cells of a map lie on the picture: cell j is centred on pixel `origin + stride·j`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    /// Pixels from one cell to the next.
    pub stride: f64,
    /// Pixel on which cell 0 is centred; negative where padding reaches further than the windows.
    pub origin: f64,
}

/// The lattice of what the last of `rows` puts out, branches and transposed convolutions left aside.
pub fn lattice(rows: &[Layer]) -> Lattice {
    let mut at = Lattice { stride: 1.0, origin: 0.0 };
    for row in rows.iter().filter(|row| !row.branch && row.kind != Kind::ConvTranspose) {
        let reach = (row.dilation * (row.kernel - 1)) as f64;
        at.origin += (reach / 2.0 - row.pad as f64) * at.stride;
        at.stride *= row.stride as f64;
    }
    at
}

/// kernel, stride, pad, groups, dilation
pub(super) type Window = [usize; 5];

/// A table being written, row by row: each row takes the channels that the one before it gives.
pub(super) struct Table {
    pub rows: Vec<Layer>,
    channels: usize,
}

impl Table {
    /// No rows; the first will take `channels`.
    pub fn new(channels: usize) -> Self {
        Self { rows: vec![], channels }
    }

    /// A convolution with a ReLU and no normalisation.
    pub fn conv(&mut self, name: &str, window: Window, outputs: usize, fillers: Fillers) -> &mut Layer {
        self.row(name, Kind::Conv, window, outputs, fillers)
    }

    /// The same for a transposed convolution.
    pub fn conv_transpose(
        &mut self,
        name: &str,
        window: Window,
        outputs: usize,
        fillers: Fillers,
    ) -> &mut Layer {
        self.row(name, Kind::ConvTranspose, window, outputs, fillers)
    }

    /// A maximum over windows.
    pub fn pool(&mut self, name: &str, window: Window) {
        let nothing = Fillers { weight: crate::nn::init::Filler::Zero, bias: None };
        self.row(name, Kind::MaxPool, window, self.channels, nothing).relu = false;
    }

    /// AlexNet's local response normalisation.
    pub fn lrn(&mut self, name: &str) {
        let nothing = Fillers { weight: crate::nn::init::Filler::Zero, bias: None };
        let window = [Lrn::ALEXNET.size, 1, 0, 1, 1];
        self.row(name, Kind::Lrn, window, self.channels, nothing).relu = false;
    }

    /// A 1×1 convolution without a ReLU that feeds no other row.
    pub fn branch(&mut self, name: &str, outputs: usize, fillers: Fillers) {
        let channels = self.channels;
        let row = self.conv(name, [1, 1, 0, 1, 1], outputs, fillers);
        (row.relu, row.branch) = (false, true);
        self.channels = channels;
    }

    fn row(
        &mut self,
        name: &str,
        kind: Kind,
        [kernel, stride, pad, groups, dilation]: Window,
        outputs: usize,
        fillers: Fillers,
    ) -> &mut Layer {
        let (name, inputs) = (name.into(), self.channels);
        let (norm, relu, leak, dropout, branch) = (None, true, 0.0, 0.0, false);
        self.channels = outputs;
        let at = self.rows.len();
        self.rows.push(Layer {
            name,
            kind,
            kernel,
            stride,
            pad,
            groups,
            dilation,
            inputs,
            outputs,
            norm,
            relu,
            leak,
            dropout,
            branch,
            fillers,
        });
        &mut self.rows[at]
    }
}

/// A hidden channel count at a width: the nearest multiple of 8, at least 8, and never so many that sums of them wrap.
pub(super) fn channels(full: usize, width: Positive) -> usize {
    ((full as f64 * width.get() / 8.0).round() as usize).clamp(1, MOST_PARAMETERS) * 8
}
