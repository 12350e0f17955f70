//! The plan of a pass over a layer table: which rows are computed, in which order, which of them compute the ReLU that
//! follows, and how often each value is read, so that a value is dropped at its last use.
//!
//! A training pass keeps a value longer only if some layer's backward pass holds it ([`crate::ops::tape`]).

use super::{
    kinds::{LayerKind, MapSize},
    table::{Layer, sizes},
};
use crate::device::{activations, host_memory};
use candle_core::{DType, Result, Tensor, bail};

/// The steps of a pass from value `entry` to the rows asked for. Value 0 is the input, value `i + 1` the output of row
/// `i`.
#[derive(Debug)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// How often each value is read.
    reads: Vec<usize>,
    /// Height and width of each value, as far as it is computed.
    sizes: Vec<Option<MapSize>>,
}

/// The computation of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub row: usize,
    /// The row of the ReLU that is computed together with `row`.
    pub relu: Option<usize>,
}

impl Step {
    /// The value that it computes.
    pub fn value(&self) -> usize {
        self.relu.unwrap_or(self.row) + 1
    }
}

impl Plan {
    /// The plan for the outputs of the rows `asked`, with `x` `(B, H, W, C)` as value `entry`. `fuses` tells of a row
    /// whether it computes a ReLU that follows.
    ///
    /// # Errors
    /// A row that comes before the entry or depends on a value before it; wrong channels; a map that is too small.
    pub fn new(
        (name, rows): (&str, &[Layer]),
        (x, entry): (&Tensor, usize),
        asked: &[usize],
        fuses: impl Fn(usize) -> bool,
    ) -> Result<Self> {
        let needed = needed(rows, entry, asked);
        let early = |i: &&usize| **i < entry || (entry > 0 && rows[**i].from.contains(&0));
        if let Some(early) = asked.iter().find(early).or_else(|| needed.iter().find(early)) {
            let [early, first] = [*early, entry].map(|row| rows[row].label());
            bail!("{name}: `{early}` comes before `{first}`")
        }
        let sizes = checked_sizes((name, rows), (x, entry), &needed)?;
        let mut steps: Vec<Step> = vec![];
        for &row in &needed {
            if steps.last().is_none_or(|step: &Step| step.relu != Some(row)) {
                let relu = fused(rows, row, &needed, asked).filter(|_| fuses(row));
                steps.push(Step { row, relu });
            }
        }
        let mut reads = vec![0; rows.len() + 1];
        steps.iter().flat_map(|step| &rows[step.row].from).for_each(|value| reads[*value] += 1);
        Ok(Self { steps, reads, sizes })
    }

    /// Refuses a recorded pass in host memory whose maps alone are larger than that: the system would kill the process.
    /// Maps of the first `frozen` rows are not kept, nor are inputs of dropout.
    ///
    /// # Errors
    /// The sizes, and what to do.
    pub fn check_memory(&self, (name, rows): (&str, &[Layer]), frozen: usize, x: &Tensor) -> Result<()> {
        let element = inside_dtype(x).size_in_bytes();
        let Some(most) = host_memory().filter(|_| x.device().is_cpu()) else { return Ok(()) };
        let (batch, height, width, _) = x.dims4()?;
        let map = |step: &Step| {
            let (h, w) = self.sizes[step.value()].unwrap_or_default();
            h as f64 * w as f64 * rows[step.row].outputs as f64
        };
        let keeps =
            |step: &&Step| step.row >= frozen && !matches!(rows[step.row].kind, LayerKind::Dropout(_));
        let bytes = self.steps.iter().filter(keeps).map(map).sum::<f64>() * (batch * element) as f64;
        if bytes > most as f64 {
            bail!(
                "{name}: a training pass over {batch} pictures of {height}×{width} keeps {:.1} GB of maps, more than the \
                 {:.1} GB of this machine: use a smaller `batch`, with `iter_size` for the same update, or smaller pictures",
                bytes / 1e9,
                most as f64 / 1e9
            )
        }
        Ok(())
    }

    /// The values of a pass that begins with `x` as value `entry`.
    pub fn begin(&self, entry: usize, x: Tensor) -> LiveValues {
        let mut values = LiveValues { held: vec![None; self.reads.len()], reads: self.reads.clone() };
        values.put(entry, x);
        values
    }
}

/// The dtype of the maps of a pass of `x`: inputs and outputs of a network are f32, its layers compute in the device's
/// precision; other dtypes stay.
pub(super) fn inside_dtype(x: &Tensor) -> DType {
    if x.dtype() == DType::F32 { activations(x.device()) } else { x.dtype() }
}

/// The rows from value `entry` on that `asked` depends on, in order.
pub(super) fn needed(rows: &[Layer], entry: usize, asked: &[usize]) -> Vec<usize> {
    let mut is_needed = vec![false; rows.len()];
    asked.iter().for_each(|row| is_needed[*row] = true);
    for i in (entry..rows.len()).rev().filter(|i| *i >= entry) {
        if is_needed[i] {
            let read = rows[i].from.iter().filter(|value| **value != entry && **value > 0);
            read.for_each(|value| is_needed[value - 1] = true);
        }
    }
    (0..rows.len()).filter(|i| is_needed[*i]).collect()
}

/// The ReLU that can be computed with row `i`: its only reader, unless the row's own output is asked for.
fn fused(rows: &[Layer], i: usize, needed: &[usize], asked: &[usize]) -> Option<usize> {
    let mut readers = needed.iter().copied().filter(|row| rows[*row].from.contains(&(i + 1)));
    let (reader, more) = (readers.next()?, readers.next());
    let relu = matches!(&rows[reader].kind, LayerKind::Activation(act) if act.slope == 0.0);
    // Only with the row before it: the steps stay in order.
    (relu && more.is_none() && !asked.contains(&i) && reader == next(needed, i)?).then_some(reader)
}

fn next(needed: &[usize], row: usize) -> Option<usize> {
    needed.iter().copied().find(|other| *other > row)
}

/// The sizes of all values; checks the number of channels, and that every window of the needed rows fits.
fn checked_sizes(
    (name, rows): (&str, &[Layer]),
    (x, entry): (&Tensor, usize),
    needed: &[usize],
) -> Result<Vec<Option<MapSize>>> {
    let (_, height, width, channels) = x.dims4()?;
    let Some(last) = needed.last() else { return Ok(vec![]) };
    let reader = needed.iter().map(|i| &rows[*i]).find(|row| row.from[0] == entry);
    if let Some(Layer { name: row, inputs, .. }) = reader.filter(|row| row.inputs != channels) {
        bail!("{name}: the input is {:?} (B, H, W, C), but {row} takes {inputs} channels", x.dims())
    }
    sizes(&rows[..=*last], entry, (height, width))
}

/// Values of a pass that are still needed: each is dropped after its last read.
#[derive(Debug)]
pub(super) struct LiveValues {
    held: Vec<Option<Tensor>>,
    /// Remaining reads of each value.
    reads: Vec<usize>,
}

impl LiveValues {
    /// Takes the values `from` for one read.
    pub fn take(&mut self, from: &[usize]) -> Result<Vec<Tensor>> {
        let mut taken = vec![];
        for &value in from {
            self.reads[value] = self.reads[value].saturating_sub(1);
            let slot = &mut self.held[value];
            let tensor = if self.reads[value] == 0 { slot.take() } else { slot.clone() };
            let Some(tensor) = tensor else { bail!("value {value} of a pass is read before it is computed") };
            taken.push(tensor);
        }
        Ok(taken)
    }

    /// Keeps a value for its readers, if there are any.
    pub fn put(&mut self, value: usize, tensor: Tensor) {
        if self.reads[value] > 0 {
            self.held[value] = Some(tensor);
        }
    }
}
