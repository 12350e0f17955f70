//! Forward and grad-input: `dst[m] = Σ_taps source[map(m, tap)] · filter[tap]`, a matrix product whose left rows are
//! gathered in place from the NHWC source, with no im2col copy.
//!
//! Rows `m` run over (row, column, image) with the image fastest, so with eight or more images all rows of a tile
//! share one position, and a tap in the padding is skipped instead of multiplied by zero. Filter columns are packed,
//! one depth block at a time, into a buffer that fits in the L2 cache.

use super::axis::AxisMap;
use super::panels::{Packed, Panel, Shared, even_ranges, in_order};
use super::patches::{PatchSource, SHORT_RUN};
use super::tile::{MAX_ROWS, Real, Segment, Tile, TileKernel};
use std::ops::Range;

/// Size of the packed filter per task: half of a typical L2 cache.
const PACKED_BYTES: usize = 512 << 10;
/// Channels of one tap per block if there are several taps, so that the source slice is reread from cache.
const BLOCK_CHANNELS: usize = 512;
/// Fewest destination rows per task that amortize packing a filter column.
const TASK_ROWS: usize = 512;
/// Tasks per thread, for load balancing.
const TASKS_PER_THREAD: usize = 8;

/// The filter as a strided matrix: element (group, tap, depth, column) is at the sum of index × step.
pub(super) struct Filter<'a, T> {
    pub data: &'a [T],
    pub group_step: usize,
    pub tap_step: usize,
    pub depth_step: usize,
    pub column_step: usize,
}

/// Epilogue of the product: bias `(groups · width)` and optional ReLU.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<'a, T> {
    pub bias: Option<&'a [T]>,
    pub relu: bool,
}

/// A gather product; see the module.
pub(super) struct GatherGemm<'a, T> {
    pub batch: usize,
    pub groups: usize,
    /// Source channels per group.
    pub depth: usize,
    /// Destination channels per group.
    pub width: usize,
    pub rows: AxisMap,
    pub cols: AxisMap,
    /// `(batch, source_size.0, source_size.1, groups · depth)`.
    pub source: &'a [T],
    pub source_size: (usize, usize),
    pub filter: Filter<'a, T>,
    /// Applied to the sums before they are stored.
    pub finish: Epilogue<'a, T>,
}

/// A block of the summation index: some taps, some channels of each.
#[derive(Clone)]
struct DepthBlock {
    taps: Range<usize>,
    channels: Range<usize>,
}

impl DepthBlock {
    fn depth(&self) -> usize {
        self.taps.len() * self.channels.len()
    }
}

/// A task: some panels of one group over some destination rows.
struct GatherTask<'p> {
    panels: &'p [Panel],
    rows: Range<usize>,
}

/// A worker's buffers.
struct GemmScratch<T> {
    packed: Packed<T>,
    patches: Vec<T>,
    zeros: Vec<T>,
    segments: Vec<Segment<T>>,
}

/// The destination rows of one tile.
struct TileRows {
    len: usize,
    /// Distinct (row, column) positions among them.
    positions: [(usize, usize); MAX_ROWS],
    distinct: usize,
    /// Position and image of each row.
    position: [usize; MAX_ROWS],
    image: [usize; MAX_ROWS],
}

impl<T: Real> GatherGemm<'_, T> {
    /// Computes the destination, `(batch, rows, cols, groups · width)`.
    pub fn run(&self) -> Vec<T> {
        let kernel = T::kernel();
        let len = self.row_count() * self.groups * self.width;
        let mut out = Vec::with_capacity(len);
        let dst = Shared::new(out.as_mut_ptr());
        let panels = Panel::split(self.groups, self.width, kernel.lanes, kernel.vectors());
        let blocks = self.blocks(kernel.depth);
        let tasks = self.tasks(&panels, &blocks, kernel);
        in_order(
            tasks.len(),
            || self.scratch(&blocks),
            |scratch, i| self.run_task(kernel, scratch, &tasks[i], &blocks, dst),
        );
        // SAFETY: the tasks cover all rows and panels, and the first block of each stores every element.
        unsafe { out.set_len(len) };
        out
    }

    fn row_count(&self) -> usize {
        self.rows.len() * self.cols.len() * self.batch
    }

    fn taps(&self) -> usize {
        self.rows.taps * self.cols.taps
    }

    fn copies_patches(&self) -> bool {
        self.depth < SHORT_RUN && self.taps() > 1
    }

    /// The summation index in blocks, channels outermost. Depends only on shape and CPU, since it determines the
    /// rounding.
    fn blocks(&self, depth: usize) -> Vec<DepthBlock> {
        let most = if self.taps() == 1 { depth } else { BLOCK_CHANNELS.min(depth) };
        let channel_ranges = even_ranges(self.depth, self.depth.div_ceil(most));
        let taps_per_block = (depth / channel_ranges[0].len()).max(1);
        let tap_ranges = even_ranges(self.taps(), self.taps().div_ceil(taps_per_block));
        let block = |channels: &Range<usize>, taps: &Range<usize>| DepthBlock {
            taps: taps.clone(),
            channels: channels.clone(),
        };
        channel_ranges.iter().flat_map(|c| tap_ranges.iter().map(move |t| block(c, t))).collect()
    }

    /// Groups panels within the packing budget, then splits the rows until there are enough tasks for all threads.
    fn tasks<'p>(
        &self,
        panels: &'p [Panel],
        blocks: &[DepthBlock],
        kernel: &TileKernel<T>,
    ) -> Vec<GatherTask<'p>> {
        let depth = blocks.iter().map(DepthBlock::depth).max().unwrap_or(0);
        let panel_bytes = (depth * kernel.vectors() * kernel.lanes * size_of::<T>()).max(1);
        let per_group = panels.len() / self.groups;
        let together = (PACKED_BYTES / panel_bytes).clamp(1, per_group);
        let columns: Vec<&[Panel]> = (0..self.groups)
            .flat_map(|g| {
                even_ranges(per_group, per_group.div_ceil(together)).into_iter().map(move |r| (g, r))
            })
            .map(|(g, r)| &panels[g * per_group..][r])
            .collect();
        let rows = self.row_count();
        let wanted = (rayon::current_num_threads() * TASKS_PER_THREAD).div_ceil(columns.len());
        let chunks = wanted.min(rows / TASK_ROWS).max(1);
        even_ranges(rows.div_ceil(kernel.rows), chunks)
            .into_iter()
            .map(|tiles| tiles.start * kernel.rows..(tiles.end * kernel.rows).min(rows))
            .flat_map(|rows| columns.iter().map(move |&panels| GatherTask { panels, rows: rows.clone() }))
            .collect()
    }

    fn scratch(&self, blocks: &[DepthBlock]) -> GemmScratch<T> {
        let longest = blocks.iter().map(DepthBlock::depth).max().unwrap_or(0);
        let patches = if self.copies_patches() { vec![T::default(); MAX_ROWS * longest] } else { Vec::new() };
        GemmScratch {
            packed: Packed::default(),
            patches,
            zeros: vec![T::default(); longest],
            segments: Vec::new(),
        }
    }

    fn run_task(
        &self,
        kernel: &TileKernel<T>,
        scratch: &mut GemmScratch<T>,
        task: &GatherTask,
        blocks: &[DepthBlock],
        dst: Shared<T>,
    ) {
        for (i, block) in blocks.iter().enumerate() {
            let packed = self.pack(kernel, &mut scratch.packed, task.panels, block);
            for first in task.rows.clone().step_by(kernel.rows) {
                let tile = self.tile_rows(first, kernel.rows.min(task.rows.end - first));
                self.collect_segments(scratch, &tile, block, task.panels[0].group);
                let (add, relu) = (i > 0, self.finish.relu && i + 1 == blocks.len());
                if !add || relu || !scratch.segments.is_empty() {
                    let panels = (task.panels, packed, self.ahead(first, kernel.rows));
                    self.multiply(kernel, &scratch.segments, &tile, panels, (block, add, relu), dst);
                }
            }
        }
    }

    /// Packs a block of the filter for each panel in turn: lines of `vectors · lanes` columns, tap by tap.
    fn pack(
        &self,
        kernel: &TileKernel<T>,
        packed: &mut Packed<T>,
        panels: &[Panel],
        block: &DepthBlock,
    ) -> *const T {
        let lanes = kernel.lanes;
        let vectors: usize = panels.iter().map(|p| p.vectors).sum();
        let start = packed.room(vectors * lanes * block.depth());
        let mut to = start;
        for panel in panels {
            let pitch = panel.vectors * lanes;
            for tap in block.taps.clone() {
                // SAFETY: `room` was made for all lines of all panels, which are written one after another.
                unsafe {
                    self.pack_tap(kernel, (to, pitch), panel, tap, &block.channels);
                    to = to.add(block.channels.len() * pitch);
                }
            }
        }
        start
    }

    /// Packs one tap of one panel. `to` must have room for `channels.len() · pitch` elements.
    unsafe fn pack_tap(
        &self,
        kernel: &TileKernel<T>,
        (to, pitch): (*mut T, usize),
        panel: &Panel,
        tap: usize,
        channels: &Range<usize>,
    ) {
        let f = &self.filter;
        let first = panel.group * f.group_step
            + tap * f.tap_step
            + channels.start * f.depth_step
            + panel.first * f.column_step;
        let (depth, cols) = (channels.len(), panel.cols);
        let last = first + (depth - 1) * f.depth_step + (cols - 1) * f.column_step;
        let from = f.data[first..=last].as_ptr();
        // SAFETY: reads stay within the slice just taken, writes within `depth · pitch`.
        unsafe {
            if f.column_step == 1 {
                for k in 0..depth {
                    let line = to.add(k * pitch);
                    std::ptr::copy_nonoverlapping(from.add(k * f.depth_step), line, cols);
                    pad_line(line, cols, pitch);
                }
            } else {
                debug_assert_eq!(f.depth_step, 1);
                kernel.transpose((from, f.column_step), (to, pitch), cols, depth);
                (0..depth).for_each(|k| pad_line(to.add(k * pitch), cols, pitch));
            }
        }
    }

    /// Positions and images of `len` rows from `first`.
    fn tile_rows(&self, first: usize, len: usize) -> TileRows {
        let (mut image, at) = (first % self.batch, first / self.batch);
        let (mut row, mut col) = (at / self.cols.len(), at % self.cols.len());
        let mut tile = TileRows {
            len,
            positions: [(0, 0); MAX_ROWS],
            distinct: 1,
            position: [0; MAX_ROWS],
            image: [0; MAX_ROWS],
        };
        tile.positions[0] = (self.rows.order[row], self.cols.order[col]);
        for r in 0..len {
            if image == self.batch {
                image = 0;
                col += 1;
                if col == self.cols.len() {
                    (row, col) = (row + 1, 0);
                }
                tile.positions[tile.distinct] = (self.rows.order[row], self.cols.order[col]);
                tile.distinct += 1;
            }
            tile.position[r] = tile.distinct - 1;
            tile.image[r] = image;
            image += 1;
        }
        tile
    }

    /// Collects the segments of a tile in this block; taps outside the input for all rows are skipped.
    fn collect_segments(
        &self,
        scratch: &mut GemmScratch<T>,
        tile: &TileRows,
        block: &DepthBlock,
        group: usize,
    ) {
        scratch.segments.clear();
        let channels = group * self.depth + block.channels.start..group * self.depth + block.channels.end;
        if self.copies_patches() {
            return self.copy_patches(scratch, tile, block, channels);
        }
        let (height, width) = self.source_size;
        let pitch = self.groups * self.depth;
        let zeros = scratch.zeros.as_ptr();
        for (i, tap) in block.taps.clone().enumerate() {
            let (tap_row, tap_col) = (tap / self.cols.taps, tap % self.cols.taps);
            let mut offsets = [None; MAX_ROWS];
            for (offset, &(row, col)) in offsets.iter_mut().zip(&tile.positions[..tile.distinct]) {
                *offset = match (self.rows.source(row, tap_row), self.cols.source(col, tap_col)) {
                    (Some(r), Some(c)) => Some((r * width + c) * pitch + channels.start),
                    _ => None,
                };
            }
            if offsets.iter().all(Option::is_none) {
                continue;
            }
            let mut rows = [zeros; MAX_ROWS];
            for (r, row) in rows.iter_mut().enumerate().take(tile.len) {
                if let Some(offset) = offsets[tile.position[r]] {
                    let at = tile.image[r] * height * width * pitch + offset;
                    debug_assert!(at + channels.len() <= self.source.len());
                    *row = self.source.as_ptr().wrapping_add(at);
                }
            }
            let len = channels.len();
            scratch.segments.push(Segment { rows, line: i * len, len });
        }
    }

    /// For short runs: one segment over copied patches.
    fn copy_patches(
        &self,
        scratch: &mut GemmScratch<T>,
        tile: &TileRows,
        block: &DepthBlock,
        channels: Range<usize>,
    ) {
        let (height, width) = self.source_size;
        let size = (height, width, self.groups * self.depth);
        let source = PatchSource { data: self.source, size, rows: &self.rows, cols: &self.cols };
        let len = block.depth();
        let mut rows = [scratch.zeros.as_ptr(); MAX_ROWS];
        for (r, patch) in scratch.patches.chunks_exact_mut(len).enumerate().take(tile.len) {
            let (row, col) = tile.positions[tile.position[r]];
            source.copy(patch, (tile.image[r], row, col), block.taps.clone(), channels.clone());
            rows[r] = patch.as_ptr();
        }
        scratch.segments.push(Segment { rows, line: 0, len });
    }

    /// Distance from row `first` to the first row of the next tile, for layers of one tap: those of more taps find their
    /// rows in the cache.
    fn ahead(&self, first: usize, rows: usize) -> Option<isize> {
        let pitch = self.groups * self.depth;
        let offset = |m: usize| -> Option<isize> {
            let (image, at) = (m % self.batch, m / self.batch);
            let (row, col) = (at / self.cols.len(), at % self.cols.len());
            let row = self.rows.source(*self.rows.order.get(row)?, 0)?;
            let pixel = row * self.source_size.1 + self.cols.source(self.cols.order[col], 0)?;
            Some(((image * self.source_size.0 * self.source_size.1 + pixel) * pitch) as isize)
        };
        if self.taps() > 1 { None } else { Some(offset(first + rows)? - offset(first)?) }
    }

    /// Multiplies the segments by each panel of the block and stores the result, or adds to earlier blocks' results.
    fn multiply(
        &self,
        kernel: &TileKernel<T>,
        segments: &[Segment<T>],
        tile: &TileRows,
        (panels, packed, ahead): (&[Panel], *const T, Option<isize>),
        (block, add, relu): (&DepthBlock, bool, bool),
        dst: Shared<T>,
    ) {
        let pitch = self.groups * self.width;
        let mut panel_start = packed;
        for (i, panel) in panels.iter().enumerate() {
            let channel = panel.group * self.width + panel.first;
            let mut to = [std::ptr::null_mut(); MAX_ROWS];
            for (r, to) in to.iter_mut().enumerate().take(tile.len) {
                let (row, col) = tile.positions[tile.position[r]];
                let at = (tile.image[r] * self.rows.len() + row) * self.cols.len() + col;
                *to = dst.get().wrapping_add(at * pitch + channel);
            }
            let bias = self.finish.bias.filter(|_| !add).map_or(std::ptr::null(), |b| b[channel..].as_ptr());
            let product = Tile {
                segments,
                step: 1,
                panel: panel_start,
                dst: to,
                rows: tile.len,
                cols: panel.cols,
                bias,
                add,
                relu,
                // The first panel is multiplied while the next rows are fetched.
                ahead: ahead.filter(|_| i == 0),
            };
            // SAFETY: rows point into the source, the patches or the zeros, each with `len` elements to go; the panel was
            // packed for this block; no other task writes these rows of these columns.
            unsafe { kernel.multiply(panel.vectors, &product) };
            panel_start = panel_start.wrapping_add(panel.vectors * kernel.lanes * block.depth());
        }
    }
}

/// Zeroes a line beyond its columns.
unsafe fn pad_line<T: Real>(line: *mut T, cols: usize, pitch: usize) {
    for c in cols..pitch {
        // SAFETY: the caller's line has `pitch` elements.
        unsafe { line.add(c).write(T::default()) };
    }
}
