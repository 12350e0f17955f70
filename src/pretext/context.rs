//! Context prediction (Doersch, Gupta and Efros 2015): two patches of a picture are given, and the network says in which
//! of eight directions from the first the second lies. The patches share the network up to the embedding.
//!
//! As in the authors' code, patches are cut from a grid at a random place, and all pairs of neighbors in the grid are
//! examples, in both orders. Gaps and jitter take away continued edges; dropped or projected colors chromatic
//! aberration; normalization of each patch its brightness; some patches are blurred by shrinking and enlarging them.

use super::{
    view_classifier::{ViewMaker, ViewTaskSpec},
    views::{Normalization, Picture, blur, drop_colors, project},
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

/// Neighbors of a patch in reading order, which are the classes: rows and columns from it.
const DIRECTIONS: [(isize, isize); 8] =
    [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)];
/// Sides of patches, gaps and jitter in the authors' code.
const PATCH: usize = 96;
const GAP: usize = 48;
const JITTER: usize = 7;
/// Smallest side to which the authors shrink a patch of 96 pixels to blur it.
const SMALLEST: usize = 10;

/// The position of one patch seen from another (Doersch, Gupta and Efros 2015). In YAML: `context: { patch: 96, gap:
/// 48, jitter: 7 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContextSpec {
    /// Patches along each side of the grid.
    pub grid: Count<8>,
    /// Side of a patch in pixels; absent: 96, or less where the picture is smaller than such a grid, in proportion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Pixels>,
    /// Pixels between patches; absent: half a patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<usize>,
    /// Largest displacement of a patch from its place in pixels, drawn for each axis; absent: 7 of 96 pixels of a
    /// patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<usize>,
    /// Share of blurred patches.
    pub blur: Fraction,
    /// What becomes of color.
    pub color: PatchColor,
    /// Normalization of each patch.
    pub normalize: Normalization,
    /// Batch normalization in the backbone and in the head.
    pub batch_norm: bool,
    /// Default: a layer of 4096 channels on the map of each patch, then two on both.
    pub head: ViewHeadSpec,
}

impl Default for ContextSpec {
    fn default() -> Self {
        Self {
            grid: Count::of(3),
            patch: None,
            gap: None,
            jitter: None,
            blur: Fraction::of(1.0 / 3.0),
            color: PatchColor::Drop,
            normalize: Normalization::Contrast,
            batch_norm: true,
            head: ViewHeadSpec::default(),
        }
    }
}

/// What becomes of the colors of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PatchColor {
    /// One channel stays, the others become noise (the authors' code).
    #[default]
    Drop,
    /// The component from green to magenta is removed (in the paper too).
    Project,
    /// The colors stay.
    Keep,
}

/// Sizes in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    crop: usize,
    grid: usize,
    patch: usize,
    gap: usize,
    jitter: usize,
}

impl Layout {
    /// Side of the square that the grid needs.
    fn side(&self) -> usize {
        let Self { grid, patch, gap, jitter, .. } = *self;
        grid.saturating_mul(patch)
            .saturating_add((grid - 1).saturating_mul(gap))
            .saturating_add(jitter.saturating_mul(2))
    }
}

impl ContextSpec {
    fn layout(&self, crop: usize) -> Result<Layout> {
        let grid = self.grid.get();
        ensure!(
            grid > 1,
            KeyError::new(["task", "context", "grid"], "`grid: 1` has one patch and no neighbors")
                .advice("use 2 or more")
        );
        let full = Layout { crop, grid, patch: PATCH, gap: GAP, jitter: JITTER }.side();
        let patch = self.patch.map_or_else(|| (PATCH * crop.min(full) / full).max(1), Count::get);
        let gap = self.gap.unwrap_or(patch / 2);
        let jitter = self.jitter.unwrap_or(patch * JITTER / PATCH);
        let layout = Layout { crop, grid, patch, gap, jitter };
        let side = layout.side();
        ensure!(
            side <= crop,
            KeyError::new(
                ["task", "context"],
                format!(
                    "{grid}×{grid} patches of {patch} pixels with gaps of {gap} and a jitter of {jitter} take {side} \
                     pixels, and the pictures have {crop}"
                )
            )
            .advice("use a larger `crop`, or a smaller `patch`, `gap`, `jitter` or `grid`")
        );
        Ok(layout)
    }

    /// All pairs of neighbors in the grid, in both orders, and the direction of the second from the first.
    fn pairs(&self) -> Vec<(Vec<usize>, u32)> {
        let grid = self.grid.get();
        let pairs = (0..grid * grid).flat_map(|first| {
            DIRECTIONS.iter().zip(0..).filter_map(move |((down, right), label)| {
                let at = |index: usize, by: isize| index.checked_add_signed(by).filter(|index| *index < grid);
                let (row, column) = (at(first / grid, *down)?, at(first % grid, *right)?);
                Some((vec![first, row * grid + column], label))
            })
        });
        pairs.collect()
    }
}

impl ViewTaskSpec for ContextSpec {
    fn name(&self) -> &'static str {
        "context"
    }

    fn size_keys(&self) -> &'static [&'static str] {
        if self.patch.is_some() { &["task", "context", "patch"] } else { &["data", "crop"] }
    }

    fn head(&self, crop: usize) -> Result<ViewHead> {
        let (layout, pairs) = (self.layout(crop)?, self.pairs());
        let count = |class: u32| pairs.iter().filter(|(_, label)| *label == class).count();
        let most = (0..DIRECTIONS.len() as u32).map(count).max().unwrap_or(1);
        let head = ViewHead {
            side: layout.patch,
            views: layout.grid * layout.grid,
            groups: pairs.iter().map(|(pair, _)| pair.clone()).collect(),
            classes: DIRECTIONS.len(),
            chance: most as f64 / pairs.len() as f64,
            embedding: 4096,
            hidden: vec![4096, 4096],
            batch_norm: self.batch_norm,
            ..ViewHead::default()
        };
        Ok(head.with(&self.head))
    }

    fn maker(&self, crop: usize) -> Result<Box<dyn ViewMaker>> {
        Ok(Box::new(Context {
            layout: self.layout(crop)?,
            labels: self.pairs().into_iter().map(|(_, label)| label).collect(),
            blur: self.blur.get(),
            color: self.color,
        }))
    }

    fn normalization(&self) -> Normalization {
        self.normalize
    }
}

#[derive(Debug)]
struct Context {
    layout: Layout,
    labels: Vec<u32>,
    blur: f64,
    color: PatchColor,
}

impl ViewMaker for Context {
    fn make(&self, picture: Picture, rng: &mut ChaCha8Rng, views: &mut [&mut [u8]]) -> Result<Vec<u32>> {
        let Layout { crop, grid, patch, gap, jitter } = self.layout;
        let (width, height) = (picture.width, picture.height);
        ensure!(
            (width, height) == (crop, crop),
            "the grid is cut from {crop}×{crop} pixels, not {width}×{height}"
        );
        let spare = crop - self.layout.side();
        let (top, left) = (rng.random_range(0..=spare), rng.random_range(0..=spare));
        for (number, view) in views.iter_mut().enumerate() {
            let (row, column) = (number / grid, number % grid);
            let mut at = |start, cell: usize| start + cell * (patch + gap) + rng.random_range(0..=2 * jitter);
            let at = (at(top, row), at(left, column));
            picture.cut(at, [(0, 0); 3], patch, view);
            self.treat(view, rng)?;
        }
        Ok(self.labels.clone())
    }
}

impl Context {
    fn treat(&self, view: &mut [u8], rng: &mut ChaCha8Rng) -> Result<()> {
        let patch = self.layout.patch;
        if rng.random::<f64>() < self.blur && patch > 2 {
            // uniform in the area, as in the authors' code
            let (least, most) = ((patch * SMALLEST / PATCH).max(1) as f64, (patch - 1) as f64);
            let area = least.powi(2) + (most.powi(2) - least.powi(2)) * rng.random::<f64>();
            blur(view, patch, area.sqrt() as usize)?;
        }
        match self.color {
            PatchColor::Drop => drop_colors(view, rng),
            PatchColor::Project => project(view),
            PatchColor::Keep => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Each pixel says where it is: (column, row, 0).
    fn map(side: usize) -> Vec<u8> {
        (0..side * side).flat_map(|i| [(i % side) as u8, (i / side) as u8, 0]).collect()
    }

    fn sharp(grid: usize) -> ContextSpec {
        let blur = Fraction::of(0.0);
        ContextSpec { grid: Count::of(grid), color: PatchColor::Keep, blur, ..ContextSpec::default() }
    }

    /// Patches and classes of a picture of `crop` pixels.
    fn patches(spec: &ContextSpec, crop: usize, index: u64) -> (Vec<Vec<u8>>, Vec<u32>) {
        let (head, pixels) = (spec.head(crop).unwrap(), map(crop));
        let mut views = vec![vec![0; 3 * head.side * head.side]; head.views];
        let mut slots: Vec<&mut [u8]> = views.iter_mut().map(Vec::as_mut_slice).collect();
        let picture = Picture { pixels: &pixels, width: crop, height: crop };
        let labels =
            spec.maker(crop).unwrap().make(picture, &mut Rng::new(5).at(0, index), &mut slots).unwrap();
        (views, labels)
    }

    #[test]
    fn the_sizes_are_those_of_the_authors_and_shrink_with_the_picture() {
        let sizes = |grid, crop| {
            let Layout { patch, gap, jitter, .. } = sharp(grid).layout(crop).unwrap();
            (patch, gap, jitter)
        };
        assert_eq!((sizes(3, 398), sizes(3, 600), sizes(2, 254)), ((96, 48, 7), (96, 48, 7), (96, 48, 7)));
        assert_eq!((sizes(2, 128), sizes(2, 32), sizes(3, 96)), ((48, 24, 3), (12, 6, 0), (23, 11, 1)));
        // whatever the size, the grid fits
        assert!((4..=500).all(|crop| sharp(3).layout(crop).is_ok()));
    }

    /// The class is the direction from the first patch of a pair to the second, as the pixels tell it: reading order
    /// around the center.
    #[test]
    fn the_class_is_where_the_second_patch_lies() {
        for (grid, crop, pairs) in [(2, 64, 12), (3, 96, 40), (4, 128, 84)] {
            let spec = sharp(grid);
            let head = spec.head(crop).unwrap();
            let (views, labels) = patches(&spec, crop, 3);
            assert_eq!((labels.len(), head.groups.len(), head.views), (pairs, pairs, grid * grid));
            for (pair, label) in head.groups.iter().zip(&labels) {
                let [first, second] =
                    [pair[0], pair[1]].map(|view| (i16::from(views[view][1]), i16::from(views[view][0])));
                let (down, right) = (second.0 - first.0, second.1 - first.1);
                // a step of the grid is longer than half a patch, jitter much shorter
                let step = |way: i16| if way.abs() < head.side as i16 / 2 { 0 } else { way.signum() };
                let wanted = match (step(down), step(right)) {
                    (-1, -1) => 0,
                    (-1, 0) => 1,
                    (-1, 1) => 2,
                    (0, -1) => 3,
                    (0, 1) => 4,
                    (1, -1) => 5,
                    (1, 0) => 6,
                    (1, 1) => 7,
                    other => panic!("{other:?}"),
                };
                assert_eq!(*label, wanted);
            }
            let most =
                (0..8).map(|class| labels.iter().filter(|label| **label == class).count()).max().unwrap();
            assert_eq!(head.chance, most as f64 / pairs as f64);
        }
    }

    /// Patches stay in the picture, the grid takes every place, and every patch is displaced by itself.
    #[test]
    fn grid_and_patches_move() {
        let spec = ContextSpec { patch: Some(Count::of(20)), gap: Some(10), jitter: Some(3), ..sharp(2) };
        let (mut lefts, mut steps) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
        for index in 0..300 {
            let views = patches(&spec, 60, index).0;
            lefts.insert(views[0][0]);
            steps.insert(views[1][0] - views[0][0]);
            assert!(views.iter().all(|view| view[view.len() - 3] < 60 && view[view.len() - 2] < 60));
        }
        // 60 − (20 + 10 + 20 + 2·3) pixels of play, and ±3 of jitter
        assert_eq!(lefts.into_iter().collect::<Vec<_>>(), (0..=10).collect::<Vec<_>>());
        assert_eq!(steps.into_iter().collect::<Vec<_>>(), (24..=36).collect::<Vec<_>>());
    }

    #[test]
    fn patches_are_treated_by_default() {
        let views = patches(&ContextSpec::default(), 128, 1).0;
        let noisy = |view: &Vec<u8>| {
            (0..3).filter(|c| view.iter().skip(*c).step_by(3).all(|v| (127..=128).contains(v))).count()
        };
        assert!(views.iter().all(|view| noisy(view) == 2));
        let blurred = ContextSpec { blur: Fraction::of(1.0), ..sharp(2) };
        assert_ne!(patches(&blurred, 128, 1).0, patches(&sharp(2), 128, 1).0);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_advice() {
        let refused = |yaml: &str, crop| {
            serde_yaml::from_str::<ContextSpec>(yaml).unwrap().head(crop).unwrap_err().to_string()
        };
        let words = refused("patch: 96", 224);
        assert!(words.contains("398") || words.contains("take 398 pixels"), "{words}");
        assert!(words.contains("use a larger `crop`"), "{words}");
        assert!(refused("grid: 1", 224).contains("use 2 or more"));
        assert!(refused("{ gap: 18446744073709551615 }", 224).contains("use a larger `crop`"));
        for yaml in ["grid: 9", "color: gray", "blur: -1", "patches: 2"] {
            assert!(serde_yaml::from_str::<ContextSpec>(yaml).is_err(), "{yaml}");
        }
    }
}
