//! The tasks of a grad-weight product: multiply some output channels by a panel of x, transform the sums back.

use super::super::panels::{Packed, Panel, Shared, even_ranges};
use super::super::tile::Real;
use super::correlate::SKEW;
use super::grid::Section;
use super::product::{BETWEEN_PREFETCHES, MAX_ROWS, Product, Run, multiply};
use super::transform::{Gather, Kind, MAX_ALPHA, gather};
use super::weights::{Operands, WeightGradient};
use std::ops::Range;

/// Most output channels of a task.
const TASK_OUTPUTS: usize = 128;
/// Fewest tasks wanted.
const TASKS: usize = 16;

/// A task: some output channels of a group, one panel, one block of taps.
pub(super) struct Task {
    group: usize,
    outputs: Range<usize>,
    panel: usize,
    block: usize,
    /// Where its sums start if they outlive the task.
    pub(super) at: usize,
}

impl<T: Real> WeightGradient<'_, T> {
    /// The tasks of some output channels, and the elements of all their sums.
    pub(super) fn tasks(
        &self,
        section: &Section,
        panels: &[Panel],
        operands: &Operands<T>,
    ) -> (Vec<Task>, usize) {
        let lanes = self.simd.lanes();
        let (first, end) = (operands.vectors.start * lanes, self.outputs.min(operands.vectors.end * lanes));
        let most = TASK_OUTPUTS / lanes;
        let wanted = TASKS.div_ceil(panels.len() * section.blocks.len());
        let parts = operands.vectors.len().div_ceil(most).max(wanted.min(operands.vectors.len()));
        let (mut tasks, mut at) = (Vec::new(), 0);
        for range in even_ranges(operands.vectors.len(), parts) {
            let outputs = first + range.start * lanes..end.min(first + range.end * lanes);
            for block in 0..section.blocks.len() {
                for (i, panel) in panels.iter().enumerate() {
                    let outputs = outputs.clone();
                    tasks.push(Task { group: panel.group, outputs, panel: i, block, at });
                    at += self.sums_component(&tasks[tasks.len() - 1], panel) * self.components();
                }
            }
        }
        (tasks, at)
    }

    /// Elements of one component of the sums of a task.
    fn sums_component(&self, task: &Task, panel: &Panel) -> usize {
        task.outputs.len().next_multiple_of(self.simd.rows()) * panel.vectors * self.simd.lanes() + SKEW
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_task(
        &self,
        scratch: &mut Packed<T>,
        task: &Task,
        section: &Section,
        panels: &[Panel],
        operands: &Operands<T>,
        sums: Option<*mut T>,
        add: bool,
    ) {
        let panel = &panels[task.panel];
        let (lanes, high) = (self.simd.lanes(), self.simd.rows());
        let component = self.sums_component(task, panel);
        let sums = sums.unwrap_or_else(|| scratch.room(component * self.components()));
        let runs = self.runs(section, task.block, operands.images.len());
        let first = task.outputs.start - operands.vectors.start * lanes;
        let x = self.x_panel(operands, panels, task.panel).cast_const();
        let dy_len = self.dy_len(section, operands);
        let dy = operands.dy.get().wrapping_add(task.group * operands.vectors.len() * dy_len).cast_const();
        let (pitch, tiles) = (panel.vectors * lanes, task.outputs.len().div_ceil(high));
        let x_component = self.x_component(panel, operands.images.len());
        // The next component of the panel is prefetched while this one is multiplied.
        let (line, depth) = (runs.first().map_or(0, |r| r.line), runs.iter().map(|r| r.len).sum::<usize>());
        let chunks = runs.iter().map(|r| r.len.div_ceil(BETWEEN_PREFETCHES)).sum::<usize>().max(1);
        let ahead = (depth * pitch * size_of::<T>()).div_ceil(64 * chunks * tiles);
        for c in 0..self.components() {
            let dy = dy.wrapping_add(c * self.dy_component(section, operands));
            let next_dy = dy.wrapping_add(self.dy_component(section, operands));
            let rows_at = |dy: *const T, at: usize| {
                let mut rows = [dy; MAX_ROWS];
                for (r, row) in rows.iter_mut().enumerate().take(high) {
                    // Rows beyond the outputs repeat the last, unused.
                    let output = first + (at + r).min(task.outputs.len() - 1);
                    *row = dy.wrapping_add(output / lanes * dy_len + output % lanes);
                }
                rows
            };
            let panel_at = x.wrapping_add(c * x_component);
            let mut next = rows_at(dy, 0);
            for i in 0..tiles {
                let rows = next;
                next = if i + 1 < tiles { rows_at(dy, (i + 1) * high) } else { rows_at(next_dy, 0) };
                let tile = Product {
                    rows,
                    step: lanes,
                    runs: &runs,
                    vectors: panel.vectors,
                    panel: panel_at,
                    dst: sums.wrapping_add(c * component + i * high * pitch),
                    add,
                    next: Some(&next),
                    ahead: panel_at
                        .wrapping_add(x_component + line * pitch + i * ahead * chunks * 64 / size_of::<T>()),
                    ahead_lines: ahead,
                };
                // SAFETY: runs stay within the transformed tiles; the sums have room for whole tiles.
                unsafe { multiply(self.simd, &tile) };
            }
        }
    }

    /// The runs of tiles whose sources are adjacent, without those in the padding.
    fn runs(&self, section: &Section, block: usize, images: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (i, &tile) in section.tiles.iter().enumerate() {
            let Some(source) = self.grid.source_of(tile, section.blocks[block]) else { continue };
            let (line, at) = (source * images, i * images);
            match runs.last_mut() {
                Some(run) if run.line + run.len == line && run.offset / self.simd.lanes() + run.len == at => {
                    run.len += images;
                }
                _ => runs.push(Run { offset: at * self.simd.lanes(), line, len: images }),
            }
        }
        runs
    }

    /// Transforms the sums of a task back and stores its taps.
    pub(super) fn store(
        &self,
        task: &Task,
        section: &Section,
        panels: &[Panel],
        sums: *const T,
        to: Shared<T>,
    ) {
        let (panel, scheme) = (&panels[task.panel], self.grid.scheme);
        let component = self.sums_component(task, panel);
        let taps = self.grid.taps(section, section.blocks[task.block], self.taps.1);
        let count = scheme.r * scheme.r;
        for (i, output) in task.outputs.clone().enumerate() {
            let channel = (task.group * self.outputs + output) * self.taps.0;
            let mut pixels = [std::ptr::null_mut(); MAX_ALPHA * MAX_ALPHA];
            for (pixel, tap) in pixels.iter_mut().zip(&taps[..count]) {
                if let Some(tap) = tap {
                    *pixel = to.get().wrapping_add((channel + tap) * self.inputs + panel.first);
                }
            }
            let tile = Gather {
                from: sums.wrapping_add(i * panel.vectors * self.simd.lanes()),
                component,
                pixels: &pixels[..count],
                len: panel.cols,
                bias: std::ptr::null(),
                relu: false,
            };
            // SAFETY: the sums of this output were stored; no other task writes these taps of these columns.
            unsafe { gather(self.simd, scheme.alpha(), Kind::Filter(scheme.r), &tile) };
        }
    }
}
