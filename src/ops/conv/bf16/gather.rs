//! The left operand of forward and grad-input: rows are pixels of the destination (row, column, image; the image fastest), the
//! summation index runs over taps and, within a tap, channels of the source.

use super::super::axis::AxisMap;
use super::super::patches::{PatchSource, SHORT_RUN};
use super::gemm::Pack;
use super::product::{DEPTH, LEFT, ROWS};
use std::ops::Range;

/// A source `(batch, size.0, size.1, groups · depth)` with the maps of its taps.
#[derive(Clone, Copy)]
pub(super) struct Gather<'a> {
    pub source: &'a [u16],
    pub batch: usize,
    pub size: (usize, usize),
    pub groups: usize,
    /// Channels per group.
    pub depth: usize,
    pub rows: &'a AxisMap,
    pub cols: &'a AxisMap,
}

/// The places of a block of rows.
struct Places {
    /// Row, column and image of each.
    all: [(usize, usize, usize); ROWS],
    len: usize,
}

/// Where a tap reads each row of a block: the offset of its first channel, if inside.
type Offsets = [Option<usize>; ROWS];

impl Gather<'_> {
    fn taps(&self) -> usize {
        self.rows.taps * self.cols.taps
    }

    /// Rows of the product.
    pub fn len(&self) -> usize {
        self.rows.len() * self.cols.len() * self.batch
    }

    /// Row, column and image of a row of the product.
    pub fn place(&self, m: usize) -> (usize, usize, usize) {
        let (at, image) = (m / self.batch, m % self.batch);
        let (row, col) = (at / self.cols.len(), at % self.cols.len());
        (self.rows.order[row], self.cols.order[col], image)
    }

    fn places(&self, block: usize) -> Places {
        let mut places = Places { all: [(0, 0, 0); ROWS], len: ROWS.min(self.len() - block * ROWS) };
        for (i, place) in places.all.iter_mut().enumerate().take(places.len) {
            *place = self.place(block * ROWS + i);
        }
        places
    }

    fn offsets(&self, group: usize, places: &Places, tap: usize) -> Offsets {
        let (tap_row, tap_col) = (tap / self.cols.taps, tap % self.cols.taps);
        if tap_row == self.rows.taps {
            return [None; ROWS];
        }
        let channels = self.groups * self.depth;
        let mut offsets = [None; ROWS];
        for (offset, &(row, col, image)) in offsets.iter_mut().zip(&places.all[..places.len]) {
            let inside = (self.rows.source(row, tap_row), self.cols.source(col, tap_col));
            if let (Some(row), Some(col)) = inside {
                let pixel = (image * self.size.0 + row) * self.size.1 + col;
                *offset = Some(pixel * channels + group * self.depth);
            }
        }
        offsets
    }
}

impl Gather<'_> {
    /// Whether the runs of channels are so short that rows of taps are copied.
    fn copies_patches(&self) -> bool {
        self.depth < SHORT_RUN && self.taps() > 1
    }

    /// Copies the taps of one row after another.
    fn pack_patches(&self, group: usize, blocks: Range<usize>, k: Range<usize>, to: &mut [u16]) {
        let (len, taps) = (self.taps() * self.depth, self.taps());
        let size = (self.size.0, self.size.1, self.groups * self.depth);
        let source = PatchSource { data: self.source, size, rows: self.rows, cols: self.cols };
        let mut patch = vec![0; len.next_multiple_of(DEPTH)];
        for (block, to) in blocks.zip(to.chunks_exact_mut(k.len() * LEFT)) {
            let places = self.places(block);
            for (r, &(row, col, image)) in places.all[..places.len].iter().enumerate() {
                let channels = group * self.depth..(group + 1) * self.depth;
                source.copy(&mut patch[..len], (image, row, col), 0..taps, channels);
                for (to, from) in to.chunks_exact_mut(LEFT).zip(patch.chunks_exact(DEPTH).skip(k.start)) {
                    to[r * DEPTH..][..DEPTH].copy_from_slice(from);
                }
            }
            for to in to.chunks_exact_mut(LEFT) {
                to[places.len * DEPTH..].fill(0);
            }
        }
    }
}

impl Pack for Gather<'_> {
    fn pack(
        &self,
        group: usize,
        blocks: Range<usize>,
        k: Range<usize>,
        to: &mut [u16],
        present: &mut [bool],
    ) {
        if self.copies_patches() {
            present.fill(true);
            return self.pack_patches(group, blocks, k, to);
        }
        let rows = to.chunks_exact_mut(k.len() * LEFT).zip(present.chunks_exact_mut(k.len()));
        for (block, (to, present)) in blocks.zip(rows) {
            let places = self.places(block);
            let (mut tap, mut offsets) = (usize::MAX, [None; ROWS]);
            for (k, (to, present)) in k.clone().zip(to.chunks_exact_mut(LEFT).zip(present)) {
                *present = false;
                for run in Runs::of(k, DEPTH, self.taps(), self.depth) {
                    if run.tap != tap {
                        (tap, offsets) = (run.tap, self.offsets(group, &places, run.tap));
                    }
                    *present |= offsets.iter().any(Option::is_some);
                    copy(self.source, &offsets, &run, to);
                }
            }
        }
    }
}

/// A part of a block of an index over taps and channels: channels of one tap. What is beyond the last tap counts as one more.
pub(super) struct Run {
    pub tap: usize,
    pub channels: Range<usize>,
    /// Where it begins in the block.
    pub at: usize,
}

/// The runs of a block of `len` places of the index.
pub(super) struct Runs {
    next: usize,
    end: usize,
    first: usize,
    taps: usize,
    depth: usize,
}

impl Runs {
    pub fn of(block: usize, len: usize, taps: usize, depth: usize) -> Self {
        Self { next: block * len, end: (block + 1) * len, first: block * len, taps, depth }
    }
}

impl Iterator for Runs {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        if self.next == self.end {
            return None;
        }
        let (tap, channel) = (self.next / self.depth, self.next % self.depth);
        let left = self.end - self.next;
        let len = if tap < self.taps { left.min(self.depth - channel) } else { left };
        let run =
            Run { tap: tap.min(self.taps), channels: channel..channel + len, at: self.next - self.first };
        self.next += len;
        Some(run)
    }
}

/// Copies a run of all rows of a block; what is outside is zero.
fn copy(source: &[u16], offsets: &Offsets, run: &Run, to: &mut [u16]) {
    let len = run.channels.len();
    for (offset, row) in offsets.iter().zip(to.chunks_exact_mut(DEPTH)) {
        match offset {
            Some(offset) if len == DEPTH => {
                row.copy_from_slice(&source[offset + run.channels.start..][..DEPTH]);
            }
            Some(offset) => {
                row[run.at..run.at + len].copy_from_slice(&source[offset + run.channels.start..][..len]);
            }
            None => row[run.at..run.at + len].fill(0),
        }
    }
}
