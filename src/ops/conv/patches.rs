//! im2col patches, for layers with too few channels per tap to multiply in place: single-channel first layers and
//! depthwise convolutions.

use super::axis::AxisMap;
use std::ops::Range;

/// Below this many channels per tap and group, patches are copied first.
pub(super) const SHORT_RUN: usize = 16;

/// An NHWC source with two axis maps.
pub(super) struct PatchSource<'a, T> {
    pub data: &'a [T],
    /// Height, width and channels of the source.
    pub size: (usize, usize, usize),
    pub rows: &'a AxisMap,
    pub cols: &'a AxisMap,
}

impl<T: Copy + Default> PatchSource<'_, T> {
    /// Offset of channel 0 of image `n` at a source position.
    #[inline]
    fn offset(&self, n: usize, row: usize, col: usize) -> usize {
        let (height, width, channels) = self.size;
        ((n * height + row) * width + col) * channels
    }

    /// Copies `channels` of the given taps (flattened, row-major) of one destination; taps outside are zero.
    pub fn copy(
        &self,
        to: &mut [T],
        (n, row, col): (usize, usize, usize),
        taps: Range<usize>,
        channels: Range<usize>,
    ) {
        let across = self.cols.taps;
        let mut rest = to;
        let mut tap = taps.start;
        while tap < taps.end {
            let first = tap % across;
            let last = across.min(first + taps.end - tap);
            let (run, beyond) = std::mem::take(&mut rest).split_at_mut((last - first) * channels.len());
            match self.rows.source(row, tap / across) {
                Some(r) => self.copy_row(run, (n, r, col), first..last, channels.clone()),
                None => run.fill(T::default()),
            }
            rest = beyond;
            tap += last - first;
        }
    }

    /// One row of taps; `r` is a source row, `col` a destination column.
    fn copy_row(
        &self,
        to: &mut [T],
        (n, r, col): (usize, usize, usize),
        taps: Range<usize>,
        channels: Range<usize>,
    ) {
        let depth = channels.len();
        if let (true, Some(c)) = (self.is_one_run(depth, col, &taps), self.cols.source(col, taps.start)) {
            let from = self.offset(n, r, c);
            return to.copy_from_slice(&self.data[from..from + to.len()]);
        }
        for (to, tap) in to.chunks_exact_mut(depth).zip(taps) {
            match self.cols.source(col, tap) {
                Some(c) => {
                    let from = self.offset(n, r, c);
                    to.copy_from_slice(&self.data[from + channels.start..from + channels.end]);
                }
                None => to.fill(T::default()),
            }
        }
    }

    /// Whether the taps read adjacent whole pixels, all inside.
    fn is_one_run(&self, depth: usize, col: usize, taps: &Range<usize>) -> bool {
        self.cols.dense && depth == self.size.2 && self.cols.source(col, taps.end - 1).is_some()
    }
}
