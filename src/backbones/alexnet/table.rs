//! The layer table: names, geometry, channels. Parameter names, shapes, taps, counts and the printed summary are
//! all read from here.

use super::{AlexNetSpec, Build, Graph, Stem};
use crate::ops::{conv::ConvGeometry, pool::PoolGeometry};

/// Every tap of the full network, in order.
pub const TAPS: [&str; 11] =
    ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7", "fc8"];

/// What a row of the table computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Conv,
    MaxPool,
}

/// One row of the layer table. One number serves both axes of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Caffe's name: `conv1`, `pool1`, …, `fc8`.
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
    /// Batch normalisation (no scale, no shift) before the ReLU.
    pub batch_norm: bool,
    pub relu: bool,
    /// Share of the outputs that training drops.
    pub dropout: f64,
}

impl Layer {
    /// As the convolution op wants it.
    pub fn conv_geometry(&self) -> ConvGeometry {
        ConvGeometry { stride: self.stride, pad: self.pad, dilation: self.dilation, groups: self.groups }
    }

    /// As the pooling op wants it; Caffe's pools round up.
    pub fn pool_geometry(&self) -> PoolGeometry {
        PoolGeometry { kernel: self.kernel, stride: self.stride, pad: self.pad, ceil: true }
    }

    /// Length of the output along an axis of `n`; `None` where the window does not fit.
    pub fn out(&self, n: usize) -> Option<usize> {
        let room = (n + 2 * self.pad).checked_sub(self.dilation * (self.kernel - 1) + 1)?;
        match self.kind {
            Kind::Conv => Some(room / self.stride + 1),
            Kind::MaxPool => Some(self.pool_geometry().out(n)),
        }
    }

    /// Trained numbers: weights and biases.
    pub fn parameters(&self) -> usize {
        match self.kind {
            Kind::Conv => self.outputs * (self.fan_in() + 1),
            Kind::MaxPool => 0,
        }
    }

    /// Multiply-accumulates of one picture whose output map is `(height, width)`, taps on the padding included.
    pub fn macs(&self, (height, width): (usize, usize)) -> usize {
        match self.kind {
            Kind::Conv => height * width * self.outputs * self.fan_in(),
            Kind::MaxPool => 0,
        }
    }

    fn fan_in(&self) -> usize {
        self.kernel * self.kernel * self.inputs / self.groups
    }

    /// Name of its batch normalisation: `bn1` of `conv1`, `bn6` of `fc6`.
    pub fn batch_norm_name(&self) -> Option<String> {
        let number = self.name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        self.batch_norm.then(|| format!("bn{number}"))
    }
}

/// kernel, stride, pad, groups, dilation
type Window = [usize; 5];

/// The windows that differ between the graphs and the stems.
struct Windows {
    conv1: Window,
    pool: Window,
    pool5: Window,
    fc6: Window,
}

impl Windows {
    fn of(stem: Stem, graph: Graph) -> Self {
        let (conv1, fc6) = match (stem, graph) {
            (Stem::Standard, Graph::Pretext) => ([11, 4, 5, 1, 1], [6, 1, 5, 1, 2]),
            (Stem::Standard, Graph::Transfer) => ([11, 4, 0, 1, 1], [6, 1, 0, 1, 1]),
            (Stem::Small, Graph::Pretext) => ([5, 1, 2, 1, 1], [3, 1, 2, 1, 2]),
            (Stem::Small, Graph::Transfer) => ([5, 1, 2, 1, 1], [3, 1, 0, 1, 1]),
        };
        let (pool, pool5) = match graph {
            Graph::Pretext => ([3, 2, 1, 1, 1], [3, 1, 1, 1, 1]),
            Graph::Transfer => ([3, 2, 0, 1, 1], [3, 2, 0, 1, 1]),
        };
        Self { conv1, pool, pool5, fc6 }
    }
}

/// The rows of a network, without building it.
pub fn layer_table(spec: &AlexNetSpec, build: &Build) -> Vec<Layer> {
    let Windows { conv1, pool, pool5, fc6 } = Windows::of(spec.stem, build.graph);
    let fc = spec.fc.map_or_else(|| channels(4096, spec), |fc| fc.get());
    let mut table = Table { rows: vec![], channels: build.input_channels, batch_norm: build.batch_norm };
    table.conv("conv1", conv1, channels(96, spec));
    table.pool("pool1", pool);
    table.conv("conv2", [5, 1, 2, 2, 1], channels(256, spec));
    table.pool("pool2", pool);
    table.conv("conv3", [3, 1, 1, 1, 1], channels(384, spec));
    table.conv("conv4", [3, 1, 1, 2, 1], channels(384, spec));
    table.conv("conv5", [3, 1, 1, 2, 1], channels(256, spec));
    table.pool("pool5", pool5);
    table.conv("fc6", fc6, fc);
    table.conv("fc7", [1, 1, 0, 1, 1], fc);
    if build.graph == Graph::Transfer {
        table.rows.iter_mut().filter(|row| row.name.starts_with("fc")).for_each(|row| row.dropout = 0.5);
    }
    if let Some(outputs) = build.outputs {
        table.batch_norm = false;
        table.conv("fc8", [1, 1, 0, 1, 1], outputs);
    }
    table.rows.iter_mut().filter(|row| row.name == "fc8").for_each(|row| row.relu = false);
    table.rows
}

/// A hidden channel count at the spec's width: the nearest multiple of 8, at least 8.
fn channels(full: usize, spec: &AlexNetSpec) -> usize {
    ((full as f64 * spec.width.get() / 8.0).round() as usize).max(1) * 8
}

struct Table {
    rows: Vec<Layer>,
    channels: usize,
    batch_norm: bool,
}

impl Table {
    fn conv(&mut self, name: &str, window: Window, outputs: usize) {
        self.row(name, Kind::Conv, window, outputs);
    }
    fn pool(&mut self, name: &str, window: Window) {
        self.row(name, Kind::MaxPool, window, self.channels);
    }
    fn row(
        &mut self,
        name: &str,
        kind: Kind,
        [kernel, stride, pad, groups, dilation]: Window,
        outputs: usize,
    ) {
        let conv = kind == Kind::Conv;
        let (inputs, batch_norm) = (self.channels, self.batch_norm && conv);
        let row = Layer {
            name: name.into(),
            kind,
            kernel,
            stride,
            pad,
            groups,
            dilation,
            inputs,
            outputs,
            batch_norm,
            relu: conv,
            dropout: 0.0,
        };
        self.rows.push(row);
        self.channels = outputs;
    }
}
