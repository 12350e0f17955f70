//! The operands of grad-weight, whose summation index runs over pixels of dy: row, column and image, the image fastest.

use super::super::axis::AxisMap;
use super::super::patches::{PatchSource, SHORT_RUN};
use super::filters::{store, transposed};
use super::gather::{Run, Runs};
use super::gemm::Pack;
use super::product::{COLUMNS, DEPTH, LEFT, RIGHT, ROWS};
use super::wide::interleave;
use std::ops::Range;

const PAIRS: usize = DEPTH / 2;

/// The left operand: rows are outputs of dy `(B, H', W', O)`.
pub(super) struct OutputRows<'a> {
    pub dy: &'a [u16],
    pub batch: usize,
    /// Positions: H' · W'.
    pub positions: usize,
    pub groups: usize,
    /// Outputs per group.
    pub outputs: usize,
}

impl OutputRows<'_> {
    /// Outputs of a pixel.
    fn line(&self, group: usize, outputs: Range<usize>, pixel: usize) -> &[u16] {
        let (position, image) = (pixel / self.batch, pixel % self.batch);
        if position >= self.positions {
            return &[];
        }
        let at = (image * self.positions + position) * self.groups * self.outputs + group * self.outputs;
        &self.dy[at..][outputs]
    }
}

impl Pack for OutputRows<'_> {
    fn pack(
        &self,
        group: usize,
        blocks: Range<usize>,
        k: Range<usize>,
        to: &mut [u16],
        present: &mut [bool],
    ) {
        present.fill(true);
        let rows = to.chunks_exact_mut(k.len() * LEFT);
        for (block, to) in blocks.zip(rows) {
            let outputs = block * ROWS..self.outputs.min((block + 1) * ROWS);
            for (k, to) in k.clone().zip(to.chunks_exact_mut(LEFT)) {
                let mut halves = [[0u32; PAIRS * COLUMNS]; 2];
                for pair in 0..PAIRS {
                    let pixel = k * DEPTH + 2 * pair;
                    let low = self.line(group, outputs.clone(), pixel);
                    let high = self.line(group, outputs.clone(), pixel + 1);
                    let mut line = [0u32; ROWS];
                    interleave_padded(low, high, &mut line);
                    for (half, line) in halves.iter_mut().zip(line.chunks_exact(COLUMNS)) {
                        half[pair * COLUMNS..][..COLUMNS].copy_from_slice(line);
                    }
                }
                for (half, to) in halves.iter().zip(to.chunks_exact_mut(LEFT / 2)) {
                    store(&transposed(half), to);
                }
            }
        }
    }
}

/// The right operand: columns are taps and inputs of x `(B, H, W, C)`.
pub(super) struct PatchColumns<'a> {
    pub x: &'a [u16],
    pub batch: usize,
    /// H and W.
    pub size: (usize, usize),
    pub groups: usize,
    /// Inputs per group.
    pub inputs: usize,
    /// From dy to x.
    pub rows: &'a AxisMap,
    pub cols: &'a AxisMap,
}

/// Where a tap reads each pixel of a block: the offset of its first channel, if inside.
type Offsets = [Option<usize>; DEPTH];

impl PatchColumns<'_> {
    fn offsets(&self, group: usize, tap: usize, k: usize) -> Offsets {
        let (tap_row, tap_col) = (tap / self.cols.taps, tap % self.cols.taps);
        let mut offsets = [None; DEPTH];
        for (pixel, offset) in (k * DEPTH..).zip(&mut offsets) {
            let (position, image) = (pixel / self.batch, pixel % self.batch);
            let (row, col) = (position / self.cols.len(), position % self.cols.len());
            if row >= self.rows.len() || tap_row >= self.rows.taps {
                continue;
            }
            let inside = (self.rows.source(row, tap_row), self.cols.source(col, tap_col));
            if let (Some(row), Some(col)) = inside {
                let pixel = (image * self.size.0 + row) * self.size.1 + col;
                *offset = Some(pixel * self.groups * self.inputs + group * self.inputs);
            }
        }
        offsets
    }

    /// Packs a run of columns of one tap at all pixels of a block.
    fn pack_run(&self, offsets: &Offsets, run: &Run, to: &mut [u16]) {
        let channels = run.channels.clone();
        let read = |offset: Option<usize>| offset.map_or(&[][..], |at| &self.x[at..][channels.clone()]);
        for (pair, to) in offsets.chunks_exact(2).zip(to.chunks_exact_mut(2 * COLUMNS)) {
            let mut line = [0u32; COLUMNS];
            interleave_padded(read(pair[0]), read(pair[1]), &mut line[..channels.len()]);
            store(&line[..channels.len()], &mut to[2 * run.at..][..2 * channels.len()]);
        }
    }
}

impl PatchColumns<'_> {
    fn taps(&self) -> usize {
        self.rows.taps * self.cols.taps
    }

    /// Whether the runs of channels are so short that rows of taps are copied.
    fn copies_patches(&self) -> bool {
        self.inputs < SHORT_RUN && self.taps() > 1
    }

    /// Copies the taps of one pair of pixels after another.
    fn pack_patches(&self, group: usize, panels: Range<usize>, k: Range<usize>, to: &mut [u16]) {
        let (len, depth) = (self.taps() * self.inputs, k.len());
        let size = (self.size.0, self.size.1, self.groups * self.inputs);
        let source = PatchSource { data: self.x, size, rows: self.rows, cols: self.cols };
        let channels = group * self.inputs..(group + 1) * self.inputs;
        let mut patches = [vec![0; len], vec![0; len]];
        let mut line = vec![0; len.next_multiple_of(COLUMNS)];
        for (i, pair) in (0..depth).flat_map(|i| (0..PAIRS).map(move |pair| (i, pair))) {
            let first = (k.start + i) * DEPTH + 2 * pair;
            for (pixel, patch) in (first..).zip(&mut patches) {
                let (position, image) = (pixel / self.batch, pixel % self.batch);
                let (row, col) = (position / self.cols.len(), position % self.cols.len());
                if row < self.rows.len() {
                    source.copy(patch, (image, row, col), 0..self.taps(), channels.clone());
                } else {
                    patch.fill(0);
                }
            }
            interleave(&patches[0], &patches[1], &mut line);
            for (j, line) in line.chunks_exact(COLUMNS).skip(panels.start).take(panels.len()).enumerate() {
                store(line, &mut to[(j * depth + i) * RIGHT + pair * 2 * COLUMNS..][..2 * COLUMNS]);
            }
        }
    }
}

impl Pack for PatchColumns<'_> {
    fn pack(
        &self,
        group: usize,
        panels: Range<usize>,
        k: Range<usize>,
        to: &mut [u16],
        present: &mut [bool],
    ) {
        if self.copies_patches() {
            present.fill(true);
            return self.pack_patches(group, panels, k, to);
        }
        let (depth, taps) = (k.len(), self.taps());
        for (i, k) in k.enumerate() {
            let (mut tap, mut offsets) = (usize::MAX, [None; DEPTH]);
            for (j, panel) in panels.clone().enumerate() {
                let block = j * depth + i;
                present[block] = false;
                for run in Runs::of(panel, COLUMNS, taps, self.inputs) {
                    if run.tap != tap {
                        (tap, offsets) = (run.tap, self.offsets(group, run.tap, k));
                    }
                    present[block] |= offsets.iter().any(Option::is_some);
                    self.pack_run(&offsets, &run, &mut to[block * RIGHT..][..RIGHT]);
                }
            }
        }
    }
}

/// Pairs of two lines, each of which may be missing.
fn interleave_padded(low: &[u16], high: &[u16], to: &mut [u32]) {
    const ZEROS: [u16; ROWS] = [0; ROWS];
    let len = low.len().max(high.len());
    let low = if low.is_empty() { &ZEROS[..len] } else { low };
    let high = if high.is_empty() { &ZEROS[..len] } else { high };
    interleave(low, high, &mut to[..len]);
}
