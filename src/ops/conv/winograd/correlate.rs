//! Forward and grad-input: `destination = Aᵀ Σ_blocks [(G w Gᵀ) ⊙ (Bᵀ source B)] A`.
//!
//! The source of some images is transformed first, shared by all threads. A task then takes one panel of destination
//! channels and some destination tiles: block by block it transforms and packs the filter, in its own cache, multiplies
//! it, one product per component with as many rows as there are tiles × images, and transforms the sums back.

use super::super::gather_gemm::{Epilogue, Filter};
use super::super::panels::{Packed, Panel, Shared, even_ranges, in_order};
use super::super::simd::Simd;
use super::super::tile::Real;
use super::grid::{Grid, Section};
use super::scheme::Limits;
use super::transform::{Kind, MAX_ALPHA, Spread, spread};
use std::ops::Range;

/// Fewest rows (tiles × images) that make good use of a packed filter.
const STAGE_ROWS: usize = 64;
/// Source tiles transformed by one task.
const SOURCE_TILES: usize = 8;
/// Keeps the components of one tile out of the same set of the cache.
pub(super) const SKEW: usize = 16;

/// A product of a whole batch.
pub(super) struct Correlation<'a, T> {
    pub simd: Simd,
    pub limits: Limits,
    pub grid: Grid,
    pub batch: usize,
    pub groups: usize,
    /// Source channels per group.
    pub depth: usize,
    /// Destination channels per group.
    pub width: usize,
    /// `(batch, source_size.0, source_size.1, groups · depth)`.
    pub source: &'a [T],
    pub source_size: (usize, usize),
    /// Columns of the layer's filter.
    pub tap_cols: usize,
    pub filter: Filter<'a, T>,
    pub finish: Epilogue<'a, T>,
}

/// A part of the work: some images, some channels of the source.
pub(super) struct Stage {
    pub(super) images: Range<usize>,
    pub(super) channels: Range<usize>,
    /// Whether these are the first and the last channels of these images.
    pub(super) first: bool,
    pub(super) last: bool,
}

impl Stage {
    /// Whether sums are kept from stage to stage.
    pub(super) fn keeps(&self) -> bool {
        !(self.first && self.last)
    }
}

/// The transformed source of a stage: `[component][source tile][image][channel]`.
pub(super) struct Transformed<T> {
    pub(super) data: Shared<T>,
    pub(super) stage: Stage,
    pub(super) component: usize,
    pub(super) pitch: usize,
}

impl<T: Real> Correlation<'_, T> {
    /// Computes the destination, `(batch, rows, cols, groups · width)`.
    pub fn run(&self) -> Vec<T> {
        let (rows, cols) = (self.grid.rows.len, self.grid.cols.len);
        let len = self.batch * rows * cols * self.groups * self.width;
        let mut out = Vec::with_capacity(len);
        let dst = Shared::new(out.as_mut_ptr());
        let sections = self.grid.sections();
        let panels = Panel::split(self.groups, self.width, self.simd.lanes(), self.simd.vectors());
        let (mut room, mut kept) = (Packed::default(), Packed::default());
        for stage in self.stages(&sections) {
            let pitch = stage.channels.len().next_multiple_of(self.simd.lanes());
            let component = self.grid.source_tiles() * stage.images.len() * pitch + SKEW;
            let data = Shared::new(room.room(component * self.components()));
            let source = Transformed { data, stage, component, pitch };
            self.transform_source(&source);
            let (tasks, len) = self.tasks(&sections, &panels, source.stage.images.len());
            let kept = source.stage.keeps().then(|| Shared::<T>::new(kept.room(len)));
            in_order(
                tasks.len(),
                || self.scratch(),
                |scratch, i| self.run_task(scratch, &tasks[i], &source, kept, dst),
            );
        }
        // SAFETY: the tasks cover all tiles of all images and all panels, and store every element.
        unsafe { out.set_len(len) };
        out
    }

    /// Splits the work until the transformed source fits: by images, or, if then too few rows would be left to use a
    /// packed filter, by channels, and sums are kept. By shape alone, since it determines the rounding.
    fn stages(&self, sections: &[Section]) -> Vec<Stage> {
        let channels = self.groups * self.depth;
        let channel = self.grid.source_tiles() * self.components() * size_of::<T>();
        let image = (channel * channels).max(1);
        let tiles = sections.iter().map(|s| s.tiles.len()).max().unwrap_or(1).max(1);
        let images = (self.limits.source / image).max(STAGE_ROWS.div_ceil(tiles)).clamp(1, self.batch);
        if images == 1 || images * image <= 2 * self.limits.source || self.groups > 1 {
            let whole = |images| Stage { images, channels: 0..channels, first: true, last: true };
            return even_ranges(self.batch, self.batch.div_ceil(images)).into_iter().map(whole).collect();
        }
        let sums = self.components() * tiles * self.width * size_of::<T>();
        let images = (self.limits.kept / sums.max(1)).clamp(images, self.batch);
        let most = (self.limits.source / (channel * images)).max(self.simd.lanes());
        let ranges = even_ranges(channels, channels.div_ceil(most));
        let stage = |images: &Range<usize>, i: usize| Stage {
            images: images.clone(),
            channels: ranges[i].clone(),
            first: i == 0,
            last: i + 1 == ranges.len(),
        };
        let images = even_ranges(self.batch, self.batch.div_ceil(images));
        images.iter().flat_map(|images| (0..ranges.len()).map(move |i| stage(images, i))).collect()
    }

    pub(super) fn components(&self) -> usize {
        self.grid.scheme.alpha().pow(2)
    }

    fn transform_source(&self, to: &Transformed<T>) {
        let zeros = vec![T::default(); self.groups * self.depth];
        let tiles = self.grid.source_tiles();
        in_order(
            tiles.div_ceil(SOURCE_TILES),
            || (),
            |_, i| {
                for tile in i * SOURCE_TILES..tiles.min((i + 1) * SOURCE_TILES) {
                    self.transform_tile(tile, to, &zeros);
                }
            },
        );
    }

    /// Transforms one source tile of all images.
    fn transform_tile(&self, tile: usize, to: &Transformed<T>, zeros: &[T]) {
        let (height, width) = self.source_size;
        let (channels, images) = (self.groups * self.depth, &to.stage.images);
        let places = self.grid.source_pixels(tile, width);
        let count = self.components();
        for (i, image) in images.clone().enumerate() {
            let picture = &self.source[image * height * width * channels..][..height * width * channels];
            let mut pixels = [zeros.as_ptr(); MAX_ALPHA * MAX_ALPHA];
            for (pixel, place) in pixels.iter_mut().zip(&places[..count]) {
                if let Some(at) = place {
                    *pixel = picture[at * channels + to.stage.channels.start..].as_ptr();
                }
            }
            let row = (tile * images.len() + i) * to.pitch;
            let tile = Spread {
                pixels: &pixels[..count],
                len: to.stage.channels.len(),
                to: to.data.get().wrapping_add(row),
                component: to.component,
                vector: self.simd.lanes(),
            };
            // SAFETY: pixels are whole pixels or zeros; this row of every component is written by this task only.
            unsafe { spread(self.simd, self.grid.scheme.alpha(), Kind::Input, &tile) };
        }
    }
}
