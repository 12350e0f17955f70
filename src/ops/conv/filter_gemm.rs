//! Grad-weight: `dw[o][tap][c] = Σ_(position, image) dy[position, image][o] · x[map(position, tap), image][c]`.
//!
//! Both operands are packed once, the image fastest: dy in blocks of as many channels as a tile has rows, x in panels
//! of columns. For each tap, the positions inside the input form contiguous runs of both (with a stride too, since
//! the columns of x are stored phase by phase), so padding is never multiplied. Layers with few input channels pack
//! patches instead.

use super::axis::{Axis, AxisMap};
use super::panels::{Packed, Panel, Shared, even_ranges, in_order};
use super::patches::{PatchSource, SHORT_RUN};
use super::shape::ConvShape;
use super::tile::{MAX_ROWS, Real, Segment, Tile, TileKernel};
use std::ops::Range;

/// Positions × images accumulated before the sums are stored: two packed operands of this length fit in a typical L2
/// cache.
const BLOCK_DEPTH: usize = 2304;
/// From this many taps on, one panel is multiplied at a time: its block of dy is reread for every tap.
const MANY_TAPS: usize = 4;
/// Otherwise, number of panels that share a block of dy, and their depth: then dy, which comes from beyond the L2 cache,
/// is read seldom enough not to be waited for.
const PANELS_TOGETHER: usize = 12;
const SHARED_DEPTH: usize = 1152;
/// Tasks per thread, for load balancing.
const TASKS_PER_THREAD: usize = 12;

/// A grad-weight product; see the module.
pub(super) struct FilterGemm<'a, T: 'static> {
    shape: &'a ConvShape,
    x: &'a [T],
    dy: &'a [T],
    kernel: &'static TileKernel<T>,
    /// Geometry of the product: the layer's, or with patches a single tap per output position.
    rows: Axis,
    cols: Axis,
    /// Columns of one tap and group: the group's channels, or a whole patch.
    width: usize,
    panels: Vec<Panel>,
    /// Blocks of output channels in one group.
    blocks: usize,
}

/// The packed operands.
struct PackedOperands<T> {
    x: Shared<T>,
    dy: Shared<T>,
}

/// A task: some panels of one group times some blocks of its output channels.
struct FilterTask {
    panels: Range<usize>,
    blocks: Range<usize>,
}

impl<'a, T: Real> FilterGemm<'a, T> {
    /// x `(B, H, W, C)`, dy `(B, H', W', O)`.
    pub fn new(shape: &'a ConvShape, x: &'a [T], dy: &'a [T]) -> Self {
        let kernel = T::kernel();
        let patches = shape.inputs_per_group() < SHORT_RUN && shape.taps() > 1;
        let point = |n| Axis { input: n, output: n, kernel: 1, stride: 1, pad: 0, dilation: 1 };
        let (rows, cols, width) = if patches {
            (point(shape.rows.output), point(shape.cols.output), shape.taps() * shape.inputs_per_group())
        } else {
            (shape.rows, shape.cols, shape.inputs_per_group())
        };
        let panels = Panel::split(shape.groups, width, kernel.lanes, kernel.vectors());
        let blocks = shape.outputs_per_group().div_ceil(kernel.rows);
        Self { shape, x, dy, kernel, rows, cols, width, panels, blocks }
    }

    fn packs_patches(&self) -> bool {
        self.rows.kernel * self.cols.kernel < self.shape.taps()
    }

    /// Computes dw, `(O, KH, KW, C/groups)`.
    pub fn run(&self) -> Vec<T> {
        let lanes = self.kernel.lanes;
        let vectors: usize = self.panels.iter().map(|p| p.vectors).sum();
        let mut x = Packed::with_capacity(vectors * lanes * self.x_lines());
        let mut dy =
            Packed::with_capacity(self.shape.groups * self.blocks * self.kernel.rows * self.dy_lines());
        let operands = PackedOperands { x: Shared::new(x.as_mut_ptr()), dy: Shared::new(dy.as_mut_ptr()) };
        in_order(self.rows.input, || (), |_, row| self.pack_x_row(&operands, row));
        in_order(self.rows.output, || (), |_, row| self.pack_dy_row(&operands, row));
        let len = self.shape.weight_len();
        let mut dw = Vec::with_capacity(len);
        let to = Shared::new(dw.as_mut_ptr());
        let tasks = self.tasks();
        in_order(tasks.len(), Vec::new, |segments, i| self.run_task(segments, &tasks[i], &operands, to));
        // SAFETY: the tasks cover every panel, block and tap, and the first run over positions stores every element.
        unsafe { dw.set_len(len) };
        dw
    }

    /// Lines of one packed panel of x: positions × images.
    fn x_lines(&self) -> usize {
        self.rows.input * self.cols.input * self.shape.batch
    }

    /// Lines of one packed block of dy.
    fn dy_lines(&self) -> usize {
        self.rows.output * self.cols.output * self.shape.batch
    }

    fn x_panel(&self, operands: &PackedOperands<T>, panel: usize) -> *mut T {
        let vectors: usize = self.panels[..panel].iter().map(|p| p.vectors).sum();
        operands.x.get().wrapping_add(vectors * self.kernel.lanes * self.x_lines())
    }

    fn dy_block(&self, operands: &PackedOperands<T>, group: usize, block: usize) -> *mut T {
        let before = (group * self.blocks + block) * self.kernel.rows;
        operands.dy.get().wrapping_add(before * self.dy_lines())
    }

    /// Packs one row of x into all panels, columns phase by phase.
    fn pack_x_row(&self, operands: &PackedOperands<T>, row: usize) {
        if self.packs_patches() {
            return self.pack_patch_row(operands, row);
        }
        let s = self.shape;
        for (i, panel) in self.panels.iter().enumerate() {
            let pitch = panel.vectors * self.kernel.lanes;
            let first = row * self.cols.input * s.batch * pitch;
            let mut line = self.x_panel(operands, i).wrapping_add(first);
            for col in self.cols.inputs_by_phase() {
                for n in 0..s.batch {
                    let from = ((n * self.rows.input + row) * self.cols.input + col) * s.inputs
                        + panel.group * self.width
                        + panel.first;
                    // SAFETY: the line is in this row of this panel, which no other task writes.
                    unsafe { write_line(line, pitch, &self.x[from..from + panel.cols]) };
                    line = line.wrapping_add(pitch);
                }
            }
        }
    }

    /// Packs the patches of one row of outputs into all panels.
    fn pack_patch_row(&self, operands: &PackedOperands<T>, row: usize) {
        let s = self.shape;
        let (rows, cols) = (AxisMap::forward(&s.rows), AxisMap::forward(&s.cols));
        let size = (s.rows.input, s.cols.input, s.inputs);
        let source = PatchSource { data: self.x, size, rows: &rows, cols: &cols };
        let mut patch = vec![T::default(); self.width];
        let depth = s.inputs_per_group();
        for group in 0..s.groups {
            for at in 0..self.cols.output * s.batch {
                let (col, n) = (at / s.batch, at % s.batch);
                let channels = group * depth..(group + 1) * depth;
                source.copy(&mut patch, (n, row, col), 0..s.taps(), channels);
                let line = row * self.cols.output * s.batch + at;
                for (i, panel) in self.panels.iter().enumerate().filter(|(_, p)| p.group == group) {
                    let pitch = panel.vectors * self.kernel.lanes;
                    let to = self.x_panel(operands, i).wrapping_add(line * pitch);
                    // SAFETY: the line is in this row of this panel, which no other task writes.
                    unsafe { write_line(to, pitch, &patch[panel.first..panel.first + panel.cols]) };
                }
            }
        }
    }

    /// Packs one row of dy into all blocks of output channels.
    fn pack_dy_row(&self, operands: &PackedOperands<T>, row: usize) {
        let s = self.shape;
        let (pitch, per_group) = (self.kernel.rows, s.outputs_per_group());
        for col in 0..self.cols.output {
            let position = row * self.cols.output + col;
            for (group, block) in (0..s.groups).flat_map(|g| (0..self.blocks).map(move |b| (g, b))) {
                let channels = block * pitch..per_group.min((block + 1) * pitch);
                let mut line = self.dy_block(operands, group, block).wrapping_add(position * s.batch * pitch);
                for n in 0..s.batch {
                    let pixel = n * self.rows.output * self.cols.output + position;
                    let from = pixel * s.outputs + group * per_group + channels.start;
                    // SAFETY: the line is at this position of this block, which no other task writes.
                    unsafe { write_line(line, pitch, &self.dy[from..from + channels.len()]) };
                    line = line.wrapping_add(pitch);
                }
            }
        }
    }

    /// Panels multiplied by each block of dy while it is cached. With many taps a block is reused anyway.
    fn panels_together(&self) -> usize {
        let per_group = self.panels.len() / self.shape.groups;
        if self.has_many_taps() { 1 } else { per_group.min(PANELS_TOGETHER) }
    }

    fn has_many_taps(&self) -> bool {
        self.rows.kernel * self.cols.kernel >= MANY_TAPS
    }

    fn tasks(&self) -> Vec<FilterTask> {
        let per_group = self.panels.len() / self.shape.groups;
        let sets = even_ranges(per_group, per_group.div_ceil(self.panels_together()));
        let wanted =
            (rayon::current_num_threads() * TASKS_PER_THREAD).div_ceil(sets.len() * self.shape.groups);
        let ranges = even_ranges(self.blocks, wanted.min(self.blocks));
        let mut tasks = Vec::new();
        for first in (0..self.shape.groups).map(|g| g * per_group) {
            for set in &sets {
                let panels = first + set.start..first + set.end;
                tasks.extend(ranges.iter().map(|b| FilterTask { panels: panels.clone(), blocks: b.clone() }));
            }
        }
        tasks
    }

    fn run_task(
        &self,
        segments: &mut Vec<Segment<T>>,
        task: &FilterTask,
        operands: &PackedOperands<T>,
        to: Shared<T>,
    ) {
        let group = self.panels[task.panels.start].group;
        let row_depth = self.cols.output * self.shape.batch;
        let depth = if self.has_many_taps() { BLOCK_DEPTH } else { SHARED_DEPTH };
        let parts = self.rows.output.div_ceil((depth / row_depth).max(1));
        for (i, rows) in even_ranges(self.rows.output, parts).into_iter().enumerate() {
            for block in task.blocks.clone() {
                for tap in 0..self.rows.kernel * self.cols.kernel {
                    self.collect_segments(segments, operands, (group, block), tap, rows.clone());
                    if i > 0 && segments.is_empty() {
                        continue;
                    }
                    for panel in task.panels.clone() {
                        // The first panel is multiplied while the next block of dy is fetched.
                        let ahead = panel == task.panels.start && !self.has_many_taps();
                        let ahead = ahead.then_some((self.kernel.rows * self.dy_lines()) as isize);
                        self.multiply(segments, operands, (panel, block), tap, (i > 0, ahead), to);
                    }
                }
            }
        }
    }

    /// The runs of positions inside for one tap, within some output rows.
    fn collect_segments(
        &self,
        segments: &mut Vec<Segment<T>>,
        operands: &PackedOperands<T>,
        (group, block): (usize, usize),
        tap: usize,
        rows: Range<usize>,
    ) {
        segments.clear();
        let batch = self.shape.batch;
        let (tap_row, tap_col) = (tap / self.cols.kernel, tap % self.cols.kernel);
        let inside = self.cols.outputs_inside(tap_col);
        let Some(first_col) = self.cols.input_of(inside.start, tap_col).filter(|_| !inside.is_empty()) else {
            return;
        };
        let dy = self.dy_block(operands, group, block).cast_const();
        let x_col = self.phase_place(first_col);
        for row in rows {
            let Some(x_row) = self.rows.input_of(row, tap_row) else { continue };
            let dy_line = (row * self.cols.output + inside.start) * batch;
            let mut rows = [dy; MAX_ROWS];
            for (r, p) in rows.iter_mut().enumerate().take(self.kernel.rows) {
                *p = dy.wrapping_add(dy_line * self.kernel.rows + r);
            }
            let line = (x_row * self.cols.input + x_col) * batch;
            segments.push(Segment { rows, line, len: inside.len() * batch });
        }
    }

    /// Index of column `col` in phase order.
    fn phase_place(&self, col: usize) -> usize {
        let stride = self.cols.stride;
        let earlier = |phase: usize| self.cols.input.saturating_sub(phase).div_ceil(stride);
        (0..col % stride).map(earlier).sum::<usize>() + col / stride
    }

    fn multiply(
        &self,
        segments: &[Segment<T>],
        operands: &PackedOperands<T>,
        (panel, block): (usize, usize),
        tap: usize,
        (add, ahead): (bool, Option<isize>),
        to: Shared<T>,
    ) {
        let columns = &self.panels[panel];
        let per_group = self.shape.outputs_per_group();
        let first = block * self.kernel.rows;
        let rows = self.kernel.rows.min(per_group - first);
        let taps = self.rows.kernel * self.cols.kernel;
        let mut dst = [std::ptr::null_mut(); MAX_ROWS];
        for (r, dst) in dst.iter_mut().enumerate().take(rows) {
            let channel = columns.group * per_group + first + r;
            *dst = to.get().wrapping_add((channel * taps + tap) * self.width + columns.first);
        }
        let tile = Tile {
            segments,
            step: self.kernel.rows,
            panel: self.x_panel(operands, panel).cast_const(),
            dst,
            rows,
            cols: columns.cols,
            bias: std::ptr::null(),
            add,
            relu: false,
            ahead,
        };
        // SAFETY: segments stay inside the packed block and panel; no other task writes these channels and columns.
        unsafe { self.kernel.multiply(columns.vectors, &tile) };
    }
}

/// Writes a line of `pitch` elements: `from`, then zeros. `to` must have room for them.
#[inline]
unsafe fn write_line<T: Real>(to: *mut T, pitch: usize, from: &[T]) {
    // SAFETY: `from` is at most `pitch` long, and the caller has room for the line.
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        for c in from.len()..pitch {
            to.add(c).write(T::default());
        }
    }
}
