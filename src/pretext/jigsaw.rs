//! Jigsaw puzzles (Noroozi and Favaro 2016): nine tiles of a picture are shuffled by one of many permutations, and the
//! network says which. The tiles share the network up to the embedding.
//!
//! What would let a network solve puzzles without looking at what they show is taken away, as in the authors' code: gaps
//! of random width between the tiles (continued edges), normalization of each tile (its brightness), channels displaced
//! against one another, gray puzzles and projected colors (chromatic aberration). Their first release normalizes by the
//! mean of the data set and displaces no channels, their second (`++`) does both as here.

use super::{
    permutations::{ALL, Permutation, TILES, permutations},
    view_classifier::{ViewMaker, ViewTaskSpec},
    views::{Normalization, Picture, gray, project},
};
use crate::{
    backbones::view_head::{ViewHead, ViewHeadSpec},
    bounded::{Count, Fraction, Pixels},
    key_error::KeyError,
};
use anyhow::{Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Cells along each side of a puzzle.
const CELLS: usize = 3;

/// The order of shuffled tiles (Noroozi and Favaro 2016). In YAML: `jigsaw: { permutations: 100 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JigsawSpec {
    /// Number of permutations, which are the classes: 100 in the authors' code, 1000 in the paper.
    pub permutations: Count<ALL>,
    /// Side of a tile in pixels; absent: 64 of the 85 pixels of a cell, in proportion to the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<Pixels>,
    /// Largest distance in pixels of a tile from the upper left corner of its cell, drawn for each axis; absent: as
    /// far as the cell reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<usize>,
    /// Largest displacement of each channel in pixels, drawn for each axis and tile; absent: 2 of 64 pixels of a
    /// tile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<usize>,
    /// Share of puzzles in gray.
    pub gray: Fraction,
    /// Share of puzzles whose colors are projected on the plane without green and magenta.
    pub projected: Fraction,
    /// Normalization of each tile.
    pub normalize: Normalization,
    /// Batch normalization in the backbone and in the head.
    pub batch_norm: bool,
    /// Default: a layer of 1024 channels on the map of each tile, then one of 4096 on all nine.
    pub head: ViewHeadSpec,
}

impl Default for JigsawSpec {
    fn default() -> Self {
        Self {
            permutations: Count::of(100),
            tile: None,
            jitter: None,
            shift: None,
            gray: Fraction::of(0.5),
            projected: Fraction::of(0.25),
            normalize: Normalization::Joint,
            batch_norm: true,
            head: ViewHeadSpec::default(),
        }
    }
}

/// Sizes in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    crop: usize,
    cell: usize,
    tile: usize,
    jitter: usize,
    shift: usize,
}

impl JigsawSpec {
    fn layout(&self, crop: usize) -> Result<Layout> {
        let cell = crop / CELLS;
        let tile = self.tile.map_or_else(|| ((64 * cell + 42) / 85).max(1), Count::get);
        ensure!(
            (1..=cell).contains(&tile),
            KeyError::new(
                ViewTaskSpec::size_keys(self).iter().copied(),
                format!("the cells of a puzzle of {crop} pixels have {cell} pixels, and its tiles {tile}")
            )
            .advice("use a larger `crop` or a smaller `tile`")
        );
        let gap = cell - tile;
        let shift = self.shift.unwrap_or(((2 * tile + 32) / 64).min(gap));
        let jitter = self.jitter.unwrap_or(gap.saturating_sub(shift));
        ensure!(
            jitter.saturating_add(shift) <= gap,
            KeyError::new(
                ["task", "jigsaw", if self.jitter.is_some() { "jitter" } else { "shift" }],
                format!(
                    "a tile of {tile} pixels displaced by up to {jitter} pixels, and its channels by {shift} more, leaves \
                     its cell of {cell}"
                )
            )
            .advice("use a larger `crop`, or a smaller `tile`, `jitter` or `shift`")
        );
        let (gray, projected) = (self.gray.get(), self.projected.get());
        ensure!(
            gray + projected <= 1.0,
            KeyError::new(
                ["task", "jigsaw", "projected"],
                format!(
                    "`gray` {gray} and `projected` {projected} are shares of the puzzles and add up to more than 1"
                )
            )
        );
        Ok(Layout { crop, cell, tile, jitter, shift })
    }
}

impl ViewTaskSpec for JigsawSpec {
    fn name(&self) -> &'static str {
        "jigsaw"
    }

    fn size_keys(&self) -> &'static [&'static str] {
        if self.tile.is_some() { &["task", "jigsaw", "tile"] } else { &["data", "crop"] }
    }

    fn head(&self, crop: usize) -> Result<ViewHead> {
        let classes = self.permutations.get();
        ensure!(
            classes > 1,
            KeyError::new(
                ["task", "jigsaw", "permutations"],
                "with one permutation there is nothing to tell"
            )
            .advice("use at least two `permutations`")
        );
        let head = ViewHead {
            side: self.layout(crop)?.tile,
            views: TILES,
            groups: [(0..TILES).collect()].into(),
            classes,
            chance: 1.0 / classes as f64,
            embedding: 1024,
            hidden: vec![4096],
            batch_norm: self.batch_norm,
            ..ViewHead::default()
        };
        Ok(head.with(&self.head))
    }

    fn maker(&self, crop: usize) -> Result<Box<dyn ViewMaker>> {
        Ok(Box::new(Jigsaw {
            layout: self.layout(crop)?,
            permutations: permutations(self.permutations.get()),
            gray: self.gray.get(),
            projected: self.projected.get(),
        }))
    }

    fn normalization(&self) -> Normalization {
        self.normalize
    }
}

#[derive(Debug)]
struct Jigsaw {
    layout: Layout,
    permutations: Vec<Permutation>,
    gray: f64,
    projected: f64,
}

impl ViewMaker for Jigsaw {
    /// Place i receives cell `permutation[i]`.
    fn make(&self, picture: Picture, rng: &mut ChaCha8Rng, views: &mut [&mut [u8]]) -> Result<Vec<u32>> {
        let Layout { crop, cell, tile, jitter, shift } = self.layout;
        let (width, height) = (picture.width, picture.height);
        ensure!((width, height) == (crop, crop), "a puzzle has {crop}×{crop} pixels, not {width}×{height}");
        let label = rng.random_range(0..self.permutations.len());
        let treatment: f64 = rng.random();
        let spare = crop - CELLS * cell;
        let (top, left) = (rng.random_range(0..=spare), rng.random_range(0..=spare));
        for (view, place) in views.iter_mut().zip(self.permutations[label]) {
            let (row, column) = (usize::from(place) / CELLS, usize::from(place) % CELLS);
            let mut draw = |most: usize| (rng.random_range(0..=most), rng.random_range(0..=most));
            let (down, right) = draw(jitter);
            let shifts = [(); 3].map(|()| draw(shift));
            picture.cut((top + row * cell + down, left + column * cell + right), shifts, tile, view);
            match treatment {
                share if share < self.gray => gray(view),
                share if share < self.gray + self.projected => project(view),
                _ => {}
            }
        }
        Ok(vec![label as u32])
    }

    fn titles(&self) -> Vec<String> {
        (1..=TILES).map(|place| place.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Each pixel says where it is: (column, row, 100).
    fn map(side: usize) -> Vec<u8> {
        (0..side * side).flat_map(|i| [(i % side) as u8, (i / side) as u8, 100]).collect()
    }

    fn colored() -> JigsawSpec {
        let none = Fraction::of(0.0);
        JigsawSpec { gray: none, projected: none, ..JigsawSpec::default() }
    }

    /// Views and classes of `count` puzzles of `crop` pixels.
    fn puzzles(spec: &JigsawSpec, crop: usize, count: u64) -> Vec<(Vec<Vec<u8>>, usize)> {
        let (side, pixels) = (spec.layout(crop).unwrap().tile, map(crop));
        let maker = spec.maker(crop).unwrap();
        let puzzle = |index| {
            let mut views = vec![vec![0; 3 * side * side]; TILES];
            let mut slots: Vec<&mut [u8]> = views.iter_mut().map(Vec::as_mut_slice).collect();
            let picture = Picture { pixels: &pixels, width: crop, height: crop };
            let labels = maker.make(picture, &mut Rng::new(5).at(0, index), &mut slots).unwrap();
            (views, labels[0] as usize)
        };
        (0..count).map(puzzle).collect()
    }

    #[test]
    fn the_sizes_are_those_of_the_authors_and_grow_with_the_picture() {
        let sizes = |crop| {
            let Layout { cell, tile, jitter, shift, .. } = JigsawSpec::default().layout(crop).unwrap();
            (cell, tile, jitter, shift)
        };
        assert_eq!(sizes(255), (85, 64, 19, 2));
        assert_eq!(sizes(128), (42, 32, 9, 1));
        assert_eq!(sizes(32), (10, 8, 2, 0));
    }

    /// Place i shows a square inside of cell `permutation[i]`; its distance from the corner of the cell takes every
    /// value at every place, so that it tells nothing.
    #[test]
    fn tiles_are_cut_inside_the_cells_that_the_permutation_names() {
        let spec = JigsawSpec { shift: Some(0), ..colored() };
        let set = permutations(100);
        let mut seen = vec![std::collections::BTreeSet::new(); TILES];
        let mut labels = std::collections::BTreeSet::new();
        for (views, label) in puzzles(&spec, 96, 400) {
            labels.insert(label);
            for ((place, view), cell) in views.iter().enumerate().zip(set[label]) {
                let (column, row) = (usize::from(view[0]), usize::from(view[1]));
                assert_eq!((row / 32, column / 32), (usize::from(cell) / 3, usize::from(cell) % 3));
                assert_eq!((view[view.len() - 3], view[view.len() - 2]), (column as u8 + 23, row as u8 + 23));
                assert!(row % 32 + 24 <= 32 && column % 32 + 24 <= 32);
                seen[place].extend([(0, column % 32), (1, row % 32)]);
            }
        }
        assert!(seen.iter().all(|offsets| offsets.len() == 18), "{seen:?}");
        assert!(labels.len() > 90, "{} of 100 classes", labels.len());
    }

    #[test]
    fn a_grid_that_leaves_pixels_over_takes_every_place() {
        let spec = JigsawSpec { shift: Some(0), jitter: Some(0), ..colored() };
        let set = permutations(100);
        let top = |(views, label): (Vec<Vec<u8>>, usize)| {
            let first = set[label].iter().position(|cell| *cell == 0).unwrap();
            views[first][1]
        };
        let tops: std::collections::BTreeSet<u8> = puzzles(&spec, 98, 60).into_iter().map(top).collect();
        assert_eq!(tops.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn channels_are_displaced_against_one_another() {
        let spec = JigsawSpec { shift: Some(2), jitter: Some(0), tile: Some(Count::of(24)), ..colored() };
        let mut seen = std::collections::BTreeSet::new();
        for (views, _) in puzzles(&spec, 96, 60) {
            // red tells its column, green its row
            seen.extend(views.iter().map(|view| (view[0] % 32, view[1] % 32)));
        }
        assert_eq!(seen.len(), 9, "{seen:?}");
    }

    #[test]
    fn shares_of_puzzles_are_gray_or_projected() {
        let count = |spec: &JigsawSpec| {
            let (mut gray, mut projected) = (0, 0);
            for (views, _) in puzzles(spec, 96, 300) {
                let pixels: Vec<u8> = views.concat();
                let is = |holds: &dyn Fn(&[u8]) -> bool| pixels.chunks_exact(3).all(holds);
                let is_gray = is(&|p| p[0] == p[1] && p[1] == p[2]);
                let along = |p: &[u8]| 2 * i32::from(p[1]) - i32::from(p[0]) - i32::from(p[2]);
                // where rounding and the range of a byte leave it
                let is_projected = is(&|p| p.contains(&0) || along(p).abs() <= 2);
                gray += i32::from(is_gray);
                projected += i32::from(!is_gray && is_projected);
            }
            (gray, projected)
        };
        let (gray, projected) = count(&JigsawSpec::default());
        assert!((120..180).contains(&gray) && (50..105).contains(&projected), "{gray}, {projected}");
        assert_eq!(count(&colored()), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_advice() {
        let refused = |spec: JigsawSpec, crop| spec.head(crop).unwrap_err().to_string();
        let of = |yaml: &str| serde_yaml::from_str::<JigsawSpec>(yaml).unwrap();
        assert!(refused(of("tile: 40"), 96).contains("use a larger `crop` or a smaller `tile`"));
        assert!(refused(of("{ tile: 24, jitter: 9 }"), 96).contains("leaves its cell of 32"));
        assert!(refused(of("{ jitter: 18446744073709551615 }"), 96).contains("leaves its cell"));
        assert!(refused(of("{ gray: 0.8, projected: 0.3 }"), 96).contains("more than 1"));
        assert!(refused(of("permutations: 1"), 96).contains("at least two"));
        assert!(refused(JigsawSpec::default(), 2).contains("larger `crop`"));
        for yaml in ["permutations: 362881", "permutations: 0", "gray: 2", "tiles: 4"] {
            assert!(serde_yaml::from_str::<JigsawSpec>(yaml).is_err(), "{yaml}");
        }
    }
}
