//! The right operand of forward and grad-input: filters `(O, KH, KW, C/groups)` in f32, narrowed as they are packed.

use super::super::shape::ConvShape;
use super::super::tile::Real;
use super::gemm::Pack;
use super::product::{COLUMNS, DEPTH, RIGHT};
use super::wide::{narrow_pairs, narrow_run};
use std::ops::Range;

/// Pairs of a block.
const PAIRS: usize = DEPTH / 2;
type Block = [u32; PAIRS * COLUMNS];

/// Columns are outputs, the summation index runs over taps and inputs.
pub(super) struct ForwardFilters<'a> {
    pub shape: &'a ConvShape,
    pub w: &'a [f32],
}

/// Columns are inputs, the summation index runs over taps and outputs.
pub(super) struct AdjointFilters<'a> {
    pub shape: &'a ConvShape,
    pub w: &'a [f32],
}

impl Pack for ForwardFilters<'_> {
    fn pack(
        &self,
        group: usize,
        panels: Range<usize>,
        k: Range<usize>,
        to: &mut [u16],
        present: &mut [bool],
    ) {
        present.fill(true);
        let (width, depth) =
            (self.shape.outputs_per_group(), self.shape.taps() * self.shape.inputs_per_group());
        let filters = &self.w[group * width * depth..][..width * depth];
        for (block, (panel, k)) in to.chunks_exact_mut(RIGHT).zip(each(panels, k)) {
            let columns = panel * COLUMNS..width.min((panel + 1) * COLUMNS);
            let run = k * DEPTH..depth.min((k + 1) * DEPTH);
            let mut lines = [0u32; COLUMNS * PAIRS];
            for (line, column) in lines.chunks_exact_mut(PAIRS).zip(columns) {
                let from = &filters[column * depth..][run.clone()];
                if from.len() == DEPTH {
                    narrow_run(from, line);
                } else {
                    let mut padded = [0.0; DEPTH];
                    padded[..from.len()].copy_from_slice(from);
                    narrow_run(&padded, line);
                }
            }
            store(&transposed(&lines), block);
        }
    }
}

impl Pack for AdjointFilters<'_> {
    fn pack(
        &self,
        group: usize,
        panels: Range<usize>,
        k: Range<usize>,
        to: &mut [u16],
        present: &mut [bool],
    ) {
        present.fill(true);
        for (block, (panel, k)) in to.chunks_exact_mut(RIGHT).zip(each(panels, k)) {
            let mut pairs: Block = [0; PAIRS * COLUMNS];
            for (pair, line) in pairs.chunks_exact_mut(COLUMNS).enumerate() {
                let (mut rooms, at) = ([[0.0; COLUMNS]; 2], k * DEPTH + 2 * pair);
                let [low, high] = &mut rooms;
                let (low, high) = (self.line(group, panel, at, low), self.line(group, panel, at + 1, high));
                narrow_pairs(low, high, line);
            }
            store(&pairs, block);
        }
    }
}

impl AdjointFilters<'_> {
    /// The filters of the columns of a panel at a place of the summation index.
    fn line<'b>(&'b self, group: usize, panel: usize, k: usize, room: &'b mut [f32; COLUMNS]) -> &'b [f32] {
        let (outputs, width, taps) =
            (self.shape.outputs_per_group(), self.shape.inputs_per_group(), self.shape.taps());
        let (tap, output) = (k / outputs, group * outputs + k % outputs);
        let columns = panel * COLUMNS..width.min((panel + 1) * COLUMNS);
        if tap >= taps {
            return room;
        }
        let from = &self.w[(output * taps + tap) * width..][columns];
        if from.len() == COLUMNS {
            return from;
        }
        room[..from.len()].copy_from_slice(from);
        room
    }
}

/// Blocks in their order: panels, and k within.
pub(super) fn each(panels: Range<usize>, k: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    panels.flat_map(move |panel| k.clone().map(move |k| (panel, k)))
}

/// Pairs of 16 rows, one row after another, as 16 columns of pairs.
pub(super) fn transposed(rows: &[u32; COLUMNS * PAIRS]) -> Block {
    let mut columns = [0u32; PAIRS * COLUMNS];
    let (from, to) = (rows.as_ptr().cast::<f32>(), columns.as_mut_ptr().cast::<f32>());
    // SAFETY: both have 16 lines of 16 words, which are moved whatever they mean.
    unsafe { f32::kernel().transpose((from, PAIRS), (to, COLUMNS), COLUMNS, PAIRS) };
    columns
}

/// Writes pairs as two elements each, the low half first.
pub(super) fn store(pairs: &[u32], to: &mut [u16]) {
    for (to, pair) in to.chunks_exact_mut(2).zip(pairs) {
        (to[0], to[1]) = (*pair as u16, (pair >> 16) as u16);
    }
}
