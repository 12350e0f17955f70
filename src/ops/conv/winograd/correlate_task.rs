//! The tasks of a correlation: pack a part of a filter, multiply every row by it, transform the sums back.

use super::super::panels::{Packed, Panel, Shared, even_ranges};
use super::super::tile::Real;
use super::correlate::{Correlation, SKEW, Stage, Transformed};
use super::grid::Section;
use super::pack::FilterPacker;
use super::product::{MAX_ROWS, Product, Run, multiply};
use super::transform::{Gather, Kind, MAX_ALPHA, gather, part_rows};
use std::ops::Range;

/// Tasks per thread, for load balancing.
const TASKS_PER_THREAD: usize = 4;
/// Fewest rows of a task.
const TASK_ROWS: usize = 64;

/// A task: a panel of a section, and a range of its rows (tile × image).
pub(super) struct Task<'p> {
    pub(super) section: &'p Section,
    pub(super) panel: &'p Panel,
    pub(super) rows: Range<usize>,
    /// Where its sums start if they are kept.
    pub(super) at: usize,
}

/// A worker's buffers.
pub(super) struct Scratch<T: 'static> {
    pub(super) filter: FilterPacker<T>,
    pub(super) sums: Packed<T>,
    pub(super) zeros: Vec<T>,
    /// See `collect_rows`.
    pub(super) rows: Vec<Option<usize>>,
}

/// Some channels of one block of taps.
struct DepthRange {
    block: (usize, usize),
    channels: Range<usize>,
}

impl<T: Real> Correlation<'_, T> {
    pub(super) fn scratch(&self) -> Scratch<T> {
        Scratch {
            filter: FilterPacker::new(self.simd, self.grid.scheme),
            sums: Packed::default(),
            zeros: vec![T::default(); self.groups * self.depth],
            rows: Vec::new(),
        }
    }

    /// Splits the rows of each section until sums fit and there are enough tasks for all threads.
    /// Also gives the elements of all their sums.
    pub(super) fn tasks<'p>(
        &self,
        sections: &'p [Section],
        panels: &'p [Panel],
        images: usize,
    ) -> (Vec<Task<'p>>, usize) {
        let high = self.simd.rows();
        let row_bytes = self.components() * self.simd.vectors() * self.simd.lanes() * size_of::<T>();
        let most = (self.limits.sums / row_bytes / high).max(1) * high;
        let wanted =
            (rayon::current_num_threads() * TASKS_PER_THREAD).div_ceil(panels.len() * sections.len());
        let (mut tasks, mut at) = (Vec::new(), 0);
        for section in sections {
            let rows = section.tiles.len() * images;
            let chunks = wanted.min(rows / TASK_ROWS).max(rows.div_ceil(most)).max(1);
            for range in even_ranges(rows.div_ceil(high), chunks) {
                let range = range.start * high..(range.end * high).min(rows);
                for panel in panels {
                    tasks.push(Task { section, panel, rows: range.clone(), at });
                    at += self.sums_component(panel, range.len()) * self.components();
                }
            }
        }
        (tasks, at)
    }

    /// The summation index in parts whose packed filter fits. Depends only on shape and CPU, since it determines the
    /// rounding.
    fn depth_ranges(&self, section: &Section, stage: &Stage) -> Vec<DepthRange> {
        let line = 2 * self.grid.scheme.alpha() * self.simd.vectors() * self.simd.lanes() * size_of::<T>();
        let most = (self.limits.filter / line).max(1);
        let mut all = Vec::new();
        let (first, depth) =
            if stage.keeps() { (stage.channels.start, stage.channels.len()) } else { (0, self.depth) };
        for channels in even_ranges(depth, depth.div_ceil(most)) {
            let channels = first + channels.start..first + channels.end;
            all.extend(section.blocks.iter().map(|&block| DepthRange { block, channels: channels.clone() }));
        }
        all
    }
    /// Elements of one component of the sums of some rows of a panel.
    fn sums_component(&self, panel: &Panel, rows: usize) -> usize {
        rows.next_multiple_of(self.simd.rows()) * panel.vectors * self.simd.lanes() + SKEW
    }

    pub(super) fn run_task(
        &self,
        scratch: &mut Scratch<T>,
        task: &Task,
        source: &Transformed<T>,
        kept: Option<Shared<T>>,
        dst: Shared<T>,
    ) {
        let component = self.sums_component(task.panel, task.rows.len());
        let sums = match kept {
            Some(kept) => kept.get().wrapping_add(task.at),
            None => scratch.sums.room(component * self.components()),
        };
        let ranges = self.depth_ranges(task.section, &source.stage);
        if ranges.is_empty() {
            // No tap reaches these destinations.
            // SAFETY: room was made for all components.
            unsafe { std::ptr::write_bytes(sums, 0, component * self.components()) };
        }
        for (i, range) in ranges.iter().enumerate() {
            let taps = self.grid.taps(task.section, range.block, self.tap_cols);
            scratch.filter.load(&self.filter, task.panel, &taps, range.channels.clone());
            self.collect_rows(&mut scratch.rows, task, range, source);
            for part in 0..self.grid.scheme.alpha() / 2 {
                let packed = scratch.filter.pack(part);
                self.multiply(
                    scratch,
                    task,
                    (part, range),
                    source,
                    packed,
                    (sums, component),
                    !source.stage.first || i > 0,
                );
            }
        }
        if source.stage.last {
            self.store(task, &source.stage.images, (sums, component), dst);
        }
    }

    /// Where each row of a task starts in a component of the source; none if it is all padding.
    fn collect_rows(
        &self,
        rows: &mut Vec<Option<usize>>,
        task: &Task,
        range: &DepthRange,
        source: &Transformed<T>,
    ) {
        let channel = task.panel.group * self.depth + range.channels.start - source.stage.channels.start;
        let images = source.stage.images.len();
        rows.clear();
        rows.extend(task.rows.clone().map(|row| {
            let tile = self.grid.source_of(task.section.tiles[row / images], range.block)?;
            Some((tile * images + row % images) * source.pitch + channel)
        }));
    }

    /// All rows of a task times one part of the packed filter, component by component.
    #[allow(clippy::too_many_arguments)]
    fn multiply(
        &self,
        scratch: &Scratch<T>,
        task: &Task,
        (part, range): (usize, &DepthRange),
        source: &Transformed<T>,
        (packed, packed_component): (*const T, usize),
        (sums, component): (*mut T, usize),
        add: bool,
    ) {
        let (high, pitch) = (self.simd.rows(), task.panel.vectors * self.simd.lanes());
        let runs = [Run { offset: 0, line: 0, len: range.channels.len() }];
        let alpha = self.grid.scheme.alpha();
        let components = part_rows(alpha, part).into_iter().flat_map(|row| row * alpha..(row + 1) * alpha);
        for (p, c) in components.enumerate() {
            let data = source.data.get().wrapping_add(c * source.component).cast_const();
            let rows_at = |offsets: &[Option<usize>]| {
                let mut rows = [scratch.zeros.as_ptr(); MAX_ROWS];
                for (row, offset) in rows.iter_mut().zip(offsets) {
                    if let Some(at) = offset {
                        *row = data.wrapping_add(*at);
                    }
                }
                rows
            };
            let mut tiles = scratch.rows.chunks(high).enumerate().peekable();
            let mut next = rows_at(&scratch.rows[..high.min(scratch.rows.len())]);
            while let Some((i, offsets)) = tiles.next() {
                let rows = next;
                if let Some((_, offsets)) = tiles.peek() {
                    next = rows_at(offsets);
                }
                let all_outside = offsets.iter().all(Option::is_none);
                if add && all_outside {
                    continue;
                }
                let tile = Product {
                    rows,
                    step: 1,
                    runs: if all_outside { &[] } else { &runs },
                    vectors: task.panel.vectors,
                    panel: packed.wrapping_add(p * packed_component),
                    dst: sums.wrapping_add(c * component + i * high * pitch),
                    add,
                    next: Some(&next),
                    ahead: std::ptr::null(),
                    ahead_lines: 0,
                };
                // SAFETY: rows are readable over the group's channels, the panel was packed for this range, and the
                // sums have room for whole tiles.
                unsafe { multiply(self.simd, &tile) };
            }
        }
    }

    /// Transforms the sums of a task back and stores the destination.
    fn store(&self, task: &Task, images: &Range<usize>, (sums, component): (*mut T, usize), dst: Shared<T>) {
        let scheme = self.grid.scheme;
        let (count, pitch) = (scheme.m * scheme.m, self.groups * self.width);
        let channel = task.panel.group * self.width + task.panel.first;
        let bias = self.finish.bias.map_or(std::ptr::null(), |b| b[channel..].as_ptr());
        let size = self.grid.rows.len * self.grid.cols.len;
        let mut known = None;
        let mut places = [None; MAX_ALPHA * MAX_ALPHA];
        for (i, row) in task.rows.clone().enumerate() {
            let (tile, image) = (row / images.len(), images.start + row % images.len());
            if known != Some(tile) {
                places = self.grid.pixels(task.section.tiles[tile]);
                known = Some(tile);
            }
            let mut pixels = [std::ptr::null_mut(); MAX_ALPHA * MAX_ALPHA];
            for (pixel, place) in pixels.iter_mut().zip(&places[..count]) {
                if let Some(at) = place {
                    *pixel = dst.get().wrapping_add((image * size + at) * pitch + channel);
                }
            }
            let tile = Gather {
                from: sums.wrapping_add(i * task.panel.vectors * self.simd.lanes()),
                component,
                pixels: &pixels[..count],
                len: task.panel.cols,
                bias,
                relu: self.finish.relu,
            };
            // SAFETY: the sums of this row were stored; no other task writes these pixels' channels.
            unsafe { gather(self.simd, scheme.alpha(), Kind::Output(scheme.m), &tile) };
        }
    }
}
