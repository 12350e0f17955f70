//! Grad-weight: `dw = Gᵀ Σ_tiles [(A dy Aᵀ) ⊙ (Bᵀ x B)] G` for each block of taps.
//!
//! x is transformed into panels of columns, dy into blocks of one vector of output channels, for as many images and
//! output channels as fit in a part of the L3 cache; then a task multiplies some output channels by a panel for each
//! component, the tiles being the summation index, and transforms the sums back.

use super::super::panels::{Packed, Panel, Shared, even_ranges, in_order};
use super::super::simd::Simd;
use super::super::tile::Real;
use super::correlate::SKEW;
use super::grid::{Grid, Section};
use super::scheme::Limits;
use super::transform::{Kind, MAX_ALPHA, Spread, spread};
use std::ops::Range;

/// Tiles transformed by one task.
const TILES: usize = 4;

/// A grad-weight product.
pub(super) struct WeightGradient<'a, T> {
    pub simd: Simd,
    pub limits: Limits,
    /// The forward plan.
    pub grid: Grid,
    pub batch: usize,
    pub groups: usize,
    /// Channels per group of x and dy.
    pub inputs: usize,
    pub outputs: usize,
    pub x: &'a [T],
    pub dy: &'a [T],
    /// Height and width of x.
    pub x_size: (usize, usize),
    /// Taps of the layer, and its columns of taps.
    pub taps: (usize, usize),
}

/// The operands of some images: x `[panel][component][source tile][image][column]`, dy `[group][vector of
/// outputs][component][tile][image][lane]`.
pub(super) struct Operands<T> {
    pub(super) x: Shared<T>,
    pub(super) dy: Shared<T>,
    pub(super) images: Range<usize>,
    /// Vectors of output channels of each group that are in `dy`.
    pub(super) vectors: Range<usize>,
}

impl<T: Real> WeightGradient<'_, T> {
    /// Computes dw, `(O, KH, KW, C/groups)`.
    pub fn run(&self) -> Vec<T> {
        let len = self.groups * self.outputs * self.taps.0 * self.inputs;
        let mut dw = Vec::with_capacity(len);
        let to = Shared::new(dw.as_mut_ptr());
        let sections = self.grid.sections();
        let section = &sections[0];
        let panels = Panel::split(self.groups, self.inputs, self.simd.lanes(), self.simd.vectors());
        let (mut x, mut dy, mut kept) = (Packed::default(), Packed::default(), Packed::default());
        let parts = self.image_parts(section, &panels);
        let last = parts.len() - 1;
        for (part, images) in parts.into_iter().enumerate() {
            let chunks = if last > 0 { 1 } else { self.output_chunks(section, images.len()) };
            let x = Shared::new(x.room(self.x_len(&panels, images.len())));
            let mut operands = Operands { x, dy: x, images, vectors: 0..0 };
            self.transform_x(&operands, &panels);
            for vectors in even_ranges(self.output_vectors(), chunks) {
                operands.vectors = vectors;
                let len = self.dy_len(section, &operands) * operands.vectors.len() * self.groups;
                operands.dy = Shared::new(dy.room(len));
                self.transform_dy(section, &operands);
                let (tasks, len) = self.tasks(section, &panels, &operands);
                let kept = (last > 0).then(|| Shared::<T>::new(kept.room(len)));
                in_order(tasks.len(), Packed::default, |scratch, i| {
                    let sums = kept.map(|k| k.get().wrapping_add(tasks[i].at));
                    self.run_task(scratch, &tasks[i], section, &panels, &operands, sums, part > 0);
                    if part == last {
                        self.store(&tasks[i], section, &panels, sums.unwrap_or(scratch.as_mut_ptr()), to);
                    }
                });
            }
        }
        // SAFETY: the tasks cover every output channel, panel and block, and the last part stores every element.
        unsafe { dw.set_len(len) };
        dw
    }

    pub(super) fn components(&self) -> usize {
        self.grid.scheme.alpha().pow(2)
    }

    fn output_vectors(&self) -> usize {
        self.outputs.div_ceil(self.simd.lanes())
    }

    /// Images that are processed together, by shape alone, since it determines the rounding.
    fn image_parts(&self, section: &Section, panels: &[Panel]) -> Vec<Range<usize>> {
        let x = self.x_len(panels, self.batch) * size_of::<T>();
        let dy = self.dy_bytes(section, self.batch);
        // Sums that are read and written for each part must not be larger than the operands.
        let sums = self.components() * section.blocks.len() * self.outputs * self.inputs * self.groups;
        let whole = x + dy <= self.limits.operands || sums * size_of::<T>() > self.limits.kept;
        let most = if whole { self.batch } else { self.limits.operands * self.batch / (x + dy) };
        even_ranges(self.batch, self.batch.div_ceil(most.clamp(1, self.batch)))
    }

    /// Size of the transformed gradient of some images.
    fn dy_bytes(&self, section: &Section, images: usize) -> usize {
        section.tiles.len() * images * self.components() * self.groups * self.outputs * size_of::<T>()
    }

    /// Parts of the output channels whose transformed gradient fits.
    fn output_chunks(&self, section: &Section, images: usize) -> usize {
        self.dy_bytes(section, images).div_ceil(self.limits.outputs).clamp(1, self.output_vectors())
    }

    /// Elements of one component of a panel of x.
    pub(super) fn x_component(&self, panel: &Panel, images: usize) -> usize {
        self.grid.source_tiles() * images * panel.vectors * self.simd.lanes() + SKEW
    }

    pub(super) fn x_len(&self, panels: &[Panel], images: usize) -> usize {
        panels.iter().map(|p| self.x_component(p, images) * self.components()).sum()
    }

    pub(super) fn x_panel(&self, operands: &Operands<T>, panels: &[Panel], panel: usize) -> *mut T {
        operands.x.get().wrapping_add(self.x_len(&panels[..panel], operands.images.len()))
    }

    /// Elements of one component of a vector of dy.
    pub(super) fn dy_component(&self, section: &Section, operands: &Operands<T>) -> usize {
        section.tiles.len() * operands.images.len() * self.simd.lanes() + SKEW
    }

    /// Elements of one vector of dy.
    pub(super) fn dy_len(&self, section: &Section, operands: &Operands<T>) -> usize {
        self.dy_component(section, operands) * self.components()
    }

    fn transform_x(&self, operands: &Operands<T>, panels: &[Panel]) {
        let channels = self.groups * self.inputs;
        let zeros = vec![T::default(); channels];
        let tiles = self.grid.source_tiles();
        let size = self.x_size.0 * self.x_size.1 * channels;
        let count = self.components();
        in_order(
            tiles.div_ceil(TILES),
            || (),
            |_, i| {
                for tile in i * TILES..tiles.min((i + 1) * TILES) {
                    let places = self.grid.source_pixels(tile, self.x_size.1);
                    for (n, image) in operands.images.clone().enumerate() {
                        let picture = &self.x[image * size..][..size];
                        for (p, panel) in panels.iter().enumerate() {
                            let channel = panel.group * self.inputs + panel.first;
                            let mut pixels = [zeros.as_ptr(); MAX_ALPHA * MAX_ALPHA];
                            for (pixel, place) in pixels.iter_mut().zip(&places[..count]) {
                                if let Some(at) = place {
                                    *pixel = picture[at * channels + channel..].as_ptr();
                                }
                            }
                            let line = tile * operands.images.len() + n;
                            let at = line * panel.vectors * self.simd.lanes();
                            let tile = Spread {
                                pixels: &pixels[..count],
                                len: panel.cols,
                                to: self.x_panel(operands, panels, p).wrapping_add(at),
                                component: self.x_component(panel, operands.images.len()),
                                vector: self.simd.lanes(),
                            };
                            // SAFETY: pixels are readable over the panel's columns; only this task writes this line.
                            unsafe { spread(self.simd, self.grid.scheme.alpha(), Kind::Input, &tile) };
                        }
                    }
                }
            },
        );
    }

    fn transform_dy(&self, section: &Section, operands: &Operands<T>) {
        let (m, lanes) = (self.grid.scheme.m, self.simd.lanes());
        let channels = self.groups * self.outputs;
        let zeros = vec![T::default(); channels];
        let tiles = section.tiles.len();
        let size = self.grid.rows.len * self.grid.cols.len * channels;
        let from = operands.vectors.start * lanes;
        let to = self.outputs.min(operands.vectors.end * lanes);
        in_order(
            tiles.div_ceil(TILES),
            || (),
            |_, i| {
                for tile in i * TILES..tiles.min((i + 1) * TILES) {
                    let places = self.grid.pixels(section.tiles[tile]);
                    for (n, image) in operands.images.clone().enumerate() {
                        let picture = &self.dy[image * size..][..size];
                        for group in 0..self.groups {
                            let channel = group * self.outputs + from;
                            let mut pixels = [zeros.as_ptr(); MAX_ALPHA * MAX_ALPHA];
                            for (pixel, place) in pixels.iter_mut().zip(&places[..m * m]) {
                                if let Some(at) = place {
                                    *pixel = picture[at * channels + channel..].as_ptr();
                                }
                            }
                            let line = (tile * operands.images.len() + n) * lanes;
                            let first = group * operands.vectors.len() * self.dy_len(section, operands);
                            let tile = Spread {
                                pixels: &pixels[..m * m],
                                len: to - from,
                                to: operands.dy.get().wrapping_add(first + line),
                                component: self.dy_component(section, operands),
                                vector: self.dy_len(section, operands),
                            };
                            // SAFETY: pixels are readable over these outputs; only this task writes this line.
                            unsafe { spread(self.simd, self.grid.scheme.alpha(), Kind::Output(m), &tile) };
                        }
                    }
                }
            },
        );
    }
}
