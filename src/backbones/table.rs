//! A network as a table of rows. Each row specifies its operation and its input rows (by default the previous row), so
//! a table is a graph in topological order. Parameter names, shapes, taps, roles, counts, the printed summary and the
//! network itself are all derived from it.

use super::kinds::{
    ActivationRow, BatchNormRow, ConvRow, ConvTransposeRow, DropoutRow, LayerKind, LinearRow, MapSize,
    PoolRow, ResponseNormRow, SlidingWindow,
};
use crate::{
    bounded::Positive,
    nn::layers::{BatchNormOptions, Fillers},
};
use candle_core::{Result, bail};

/// Role of a row, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Computes the map that detectors pool regions from.
    Trunk,
    /// Reads the trunk's map or a region of it: fc6 and fc7 of AlexNet, layer4 of a ResNet.
    Reader,
    /// Output layer of a task. If there are several, the last one is the network's own.
    Head,
}

/// One row. Values are numbered: 0 is the network's input, i + 1 the output of row i.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Prefix of the parameter names: `conv1`, `bn1`, `layer1.0.conv1`.
    pub name: String,
    pub kind: LayerKind,
    /// Numbers of the input values.
    pub from: Vec<usize>,
    /// Channels of the first input.
    pub inputs: usize,
    /// Channels of the output.
    pub outputs: usize,
    pub role: Role,
    /// Name of the output as a tap: `conv1` is the output of the ReLU after the convolution.
    pub tap: Option<String>,
    /// Whether a fully convolutional network adds a skip connection from here (Long, Shelhamer and Darrell 2015).
    pub skip: bool,
}

impl Layer {
    /// Display name: the tap's, or the row's.
    pub fn label(&self) -> &str {
        self.tap.as_deref().unwrap_or(&self.name)
    }

    /// Whether the row has a weight and is not a head.
    pub fn is_hidden(&self) -> bool {
        self.kind.has_weights() && self.role != Role::Head
    }

    /// Whether the row is a fully connected layer implemented as a convolution.
    pub fn is_fully_connected(&self) -> bool {
        self.conv().is_some_and(|conv| conv.fully_connected)
    }

    /// The row's convolution, if it is one.
    pub fn conv(&self) -> Option<&ConvRow> {
        match &self.kind {
            LayerKind::Conv(conv) => Some(conv),
            _ => None,
        }
    }
}

/// Names of the taps, in order.
pub fn taps(rows: &[Layer]) -> impl Iterator<Item = &str> {
    rows.iter().filter_map(|row| row.tap.as_deref())
}

/// Taps of the heads; the network's own head is the last.
pub fn heads(layers: &[Layer]) -> impl Iterator<Item = &str> {
    layers.iter().filter(|layer| layer.role == Role::Head).map(Layer::label)
}

/// Index of the row whose output is the tap `name`.
pub fn tap(rows: &[Layer], name: &str) -> Option<usize> {
    rows.iter().position(|row| row.tap.as_deref() == Some(name))
}

/// The first row of a tap: of those that are named after it (`layer4` is the whole stage), else the one after the tap
/// before it.
pub fn first_of(rows: &[Layer], name: &str) -> Option<usize> {
    let last = tap(rows, name)?;
    let is_named =
        |row: &Layer| row.name.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with('.'));
    let after = || rows[..last].iter().rposition(|row| row.tap.is_some()).map_or(0, |before| before + 1);
    Some(rows.iter().position(is_named).unwrap_or_else(after))
}

/// Taps at the end of rows with weights, except heads: (name, row).
pub fn hidden_taps(rows: &[Layer]) -> Vec<(&str, usize)> {
    let mut found = vec![];
    let mut is_hidden = false;
    for (i, row) in rows.iter().enumerate() {
        is_hidden |= row.is_hidden();
        if let Some(tap) = row.tap.as_deref() {
            if is_hidden {
                found.push((tap, i));
            }
            is_hidden = false;
        }
    }
    found
}

/// The first row after the trunk that reads the trunk's map, if any.
pub fn reader(rows: &[Layer]) -> Option<usize> {
    rows.iter().position(|row| row.role == Role::Reader).filter(|at| *at > 0)
}

/// Joins the rows of `kept` up to the tap `at` with the rows of `fresh` after it. Both tables compute the same up to
/// there.
///
/// # Errors
/// A tap missing in either table; rows after it that read a value before it.
pub fn spliced(kept: &[Layer], fresh: &[Layer], at: &str) -> Result<Vec<Layer>> {
    let (Some(own), Some(other)) = (tap(kept, at), tap(fresh, at)) else { bail!("there is no layer `{at}`") };
    let mut rows = kept[..=own].to_vec();
    for row in &fresh[other + 1..] {
        let mut row = row.clone();
        for value in &mut row.from {
            if *value <= other {
                bail!("`{}` reads a value before `{at}`: the network cannot be cut there", row.name)
            }
            *value = *value - other + own;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Sizes of all values that `rows` compute from an input of `size` as value `entry`; a row without known inputs has
/// none.
///
/// # Errors
/// The name of a row whose window is larger than its input.
pub fn sizes(rows: &[Layer], entry: usize, size: MapSize) -> Result<Vec<Option<MapSize>>> {
    let mut sizes: Vec<Option<MapSize>> = vec![None; rows.len() + 1];
    sizes[entry] = Some(size);
    for (i, row) in rows.iter().enumerate().skip(entry) {
        let Some(inputs) = row.from.iter().map(|value| sizes[*value]).collect::<Option<Vec<MapSize>>>()
        else {
            continue;
        };
        let Some(out) = row.kind.size(&inputs) else {
            let ((h, w), maps) = (size, inputs.iter().map(|(y, x)| format!("{y}×{x}")));
            bail!(
                "{}: its window does not fit the {} map of a {h}×{w} picture: use a larger `crop` or, if the backbone has \
                 one, `stem: small`",
                row.label(),
                maps.collect::<Vec<_>>().join(" and ")
            )
        };
        sizes[i + 1] = Some(out);
    }
    Ok(sizes)
}

/// Maximum number of parameters of a network: 16 GiB. The largest published network here has 138 million.
const MOST_PARAMETERS: usize = 1 << 32;

/// Rejects networks that do not fit into memory, before allocating.
///
/// # Errors
/// The number of parameters.
pub fn check_size(rows: &[Layer]) -> std::result::Result<(), String> {
    let parameters = rows.iter().map(|row| row.kind.parameters()).fold(0, usize::saturating_add);
    if parameters <= MOST_PARAMETERS {
        return Ok(());
    }
    let parameters = parameters as f64;
    Err(format!(
        "the network would have {parameters:.1e} parameters, more than {MOST_PARAMETERS}: take a smaller `width`, `fc` or \
         `channels`"
    ))
}

/// Alignment of map cells with picture pixels: cell j is centered on pixel `origin + stride·j`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lattice {
    /// Pixels between adjacent cells.
    pub stride: f64,
    /// Center pixel of cell 0; negative if the padding exceeds half the window.
    pub origin: f64,
}

/// The lattice of a value, along the first input of every row; rows without a window are ignored.
pub fn lattice(rows: &[Layer], value: usize) -> Lattice {
    let Some(row) = value.checked_sub(1).map(|at| &rows[at]) else {
        return Lattice { stride: 1.0, origin: 0.0 };
    };
    let mut at = lattice(rows, row.from[0]);
    if let Some(window) = row.kind.window() {
        at.origin += ((window.extent() - 1) as f64 / 2.0 - window.pad as f64) * at.stride;
        at.stride *= window.stride as f64;
    }
    at
}

/// kernel, stride, pad, groups, dilation of a convolution
pub(super) type KernelShape = [usize; 5];

/// Builds a table row by row. A row reads the current value, which is the output of the previous row unless set by
/// [`TableBuilder::read`].
#[derive(Clone)]
pub(super) struct TableBuilder {
    rows: Vec<Layer>,
    /// Channels of every value.
    channels: Vec<usize>,
    at: usize,
    role: Role,
}

impl TableBuilder {
    /// An empty table whose input has `channels`.
    pub fn new(channels: usize) -> Self {
        Self { rows: vec![], channels: vec![channels], at: 0, role: Role::Trunk }
    }

    /// A table that continues after the last of `rows`, which have one input of `channels`.
    pub fn after(rows: Vec<Layer>, channels: usize) -> Self {
        let channels = std::iter::once(channels).chain(rows.iter().map(|row| row.outputs)).collect();
        Self { at: rows.len(), rows, channels, role: Role::Trunk }
    }

    /// The finished table.
    pub fn rows(self) -> Vec<Layer> {
        self.rows
    }

    /// Number of the current value.
    pub fn value(&self) -> usize {
        self.at
    }

    /// Channels of the current value.
    pub fn channels(&self) -> usize {
        self.channels[self.at]
    }

    /// Sets the value that the next row reads.
    pub fn read(&mut self, value: usize) {
        self.at = value;
    }

    /// Sets the role of all following rows.
    pub fn role(&mut self, role: Role) {
        self.role = role;
    }

    /// Appends a row of any kind that reads the current value.
    pub fn push(&mut self, name: &str, kind: LayerKind) -> &mut Self {
        self.join(name, kind, vec![self.at])
    }

    /// Appends a row with several inputs.
    pub fn join(&mut self, name: &str, kind: LayerKind, from: Vec<usize>) -> &mut Self {
        let inputs: Vec<usize> = from.iter().map(|value| self.channels[*value]).collect();
        let outputs = kind.channels(&inputs);
        let (inputs, role) = (inputs.first().copied().unwrap_or(0), self.role);
        let name = name.to_string();
        self.rows.push(Layer { name, kind, from, inputs, outputs, role, tap: None, skip: false });
        self.channels.push(outputs);
        self.at = self.rows.len();
        self
    }

    /// Names the output of the last row as a tap.
    pub fn tap(&mut self, name: &str) -> &mut Self {
        if let Some(row) = self.rows.last_mut() {
            row.tap = Some(name.into());
        }
        self
    }

    /// Marks the last row as the source of a skip connection in fully convolutional networks.
    pub fn skip(&mut self) -> &mut Self {
        if let Some(row) = self.rows.last_mut() {
            row.skip = true;
        }
        self
    }

    pub fn conv(&mut self, name: &str, shape: KernelShape, outputs: usize, fillers: Fillers) -> &mut Self {
        let conv = self.shaped(shape, outputs, fillers);
        self.push(name, LayerKind::Conv(conv))
    }

    /// Appends a fully connected layer as a convolution.
    pub fn fully_connected(
        &mut self,
        name: &str,
        shape: KernelShape,
        outputs: usize,
        fillers: Fillers,
    ) -> &mut Self {
        let conv = ConvRow { fully_connected: true, ..self.shaped(shape, outputs, fillers) };
        self.push(name, LayerKind::Conv(conv))
    }

    fn shaped(
        &self,
        [kernel, stride, pad, groups, dilation]: KernelShape,
        outputs: usize,
        fillers: Fillers,
    ) -> ConvRow {
        let window = SlidingWindow { kernel, stride, pad, dilation };
        ConvRow { inputs: self.channels(), outputs, window, groups, fillers, fully_connected: false }
    }

    /// Appends a transposed convolution.
    pub fn conv_transpose(
        &mut self,
        name: &str,
        shape: SlidingWindow,
        outputs: usize,
        fillers: Fillers,
    ) -> &mut Self {
        let inputs = self.channels();
        self.push(name, LayerKind::ConvTranspose(ConvTransposeRow { inputs, outputs, shape, fillers }))
    }

    pub fn linear(&mut self, name: &str, outputs: usize, fillers: Fillers) -> &mut Self {
        let inputs = self.channels();
        self.push(name, LayerKind::Linear(LinearRow { inputs, outputs, fillers }))
    }

    pub fn pool(&mut self, name: &str, pool: PoolRow) -> &mut Self {
        self.push(name, LayerKind::Pool(pool))
    }

    pub fn batch_norm(&mut self, name: &str, options: BatchNormOptions) -> &mut Self {
        let channels = self.channels();
        self.push(name, LayerKind::BatchNorm(BatchNormRow { channels, options }))
    }

    pub fn response_norm(&mut self, name: &str) -> &mut Self {
        self.push(name, LayerKind::ResponseNorm(ResponseNormRow))
    }

    /// Appends a ReLU with negative slope `slope`.
    pub fn relu(&mut self, name: &str, slope: f64) -> &mut Self {
        self.push(name, LayerKind::Activation(ActivationRow { slope }))
    }

    /// Appends dropout of 0.5 on the layer `of`.
    pub fn dropout(&mut self, name: &str, of: &str) -> &mut Self {
        self.push(name, LayerKind::Dropout(DropoutRow { share: 0.5, stream: of.into() }))
    }
}

/// A hidden channel count at a width: the nearest multiple of 8, at least 8, bounded so that sums cannot overflow.
pub(super) fn channels(full: usize, width: Positive) -> usize {
    ((full as f64 * width.get() / 8.0).round() as usize).clamp(1, MOST_PARAMETERS) * 8
}
