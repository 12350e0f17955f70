//! Rotation prediction (Gidaris, Singh and Komodakis 2018): by which multiple of 90 degrees a picture was turned. All
//! four turns of a picture are in the same batch, which their paper found clearly better than one of them. Turns move
//! pixels and interpolate nothing, and a picture is cropped to a square before it is turned, so that neither resampling
//! nor the aspect ratio tells.

use super::{
    view_classifier::{ViewMaker, ViewTaskSpec},
    views::{Normalization, Picture, quarter_turns},
};
use crate::backbones::view_head::{ViewHead, ViewHeadSpec};
use anyhow::{Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of turns, which are the classes.
const TURNS: usize = 4;

/// The turn of a picture (Gidaris, Singh and Komodakis 2018). In YAML: `rotation: { turns: all }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationSpec {
    /// The turns of a picture that a batch holds.
    pub turns: Turns,
    /// Batch normalization in the backbone and in the head.
    pub batch_norm: bool,
    /// Default: a layer of 4096 channels on the map, then another.
    pub head: ViewHeadSpec,
}

impl Default for RotationSpec {
    fn default() -> Self {
        Self { turns: Turns::All, batch_norm: true, head: ViewHeadSpec::default() }
    }
}

/// The turns of a picture that a batch holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Turns of a rotation")]
pub enum Turns {
    /// All four.
    #[default]
    All,
    /// One, at random.
    One,
}

impl ViewTaskSpec for RotationSpec {
    fn name(&self) -> &'static str {
        "rotation"
    }

    fn head(&self, crop: usize) -> Result<ViewHead> {
        let views = if self.turns == Turns::All { TURNS } else { 1 };
        let head = ViewHead {
            side: crop,
            views,
            groups: (0..views).map(|view| vec![view]).collect(),
            classes: TURNS,
            chance: 1.0 / TURNS as f64,
            embedding: 4096,
            hidden: vec![4096],
            batch_norm: self.batch_norm,
            ..ViewHead::default()
        };
        Ok(head.with(&self.head))
    }

    fn maker(&self, crop: usize) -> Result<Box<dyn ViewMaker>> {
        Ok(Box::new(Rotation { turns: self.turns, side: crop }))
    }

    fn normalization(&self) -> Normalization {
        Normalization::Off
    }
}

#[derive(Debug)]
struct Rotation {
    turns: Turns,
    side: usize,
}

impl ViewMaker for Rotation {
    fn make(&self, picture: Picture, rng: &mut ChaCha8Rng, views: &mut [&mut [u8]]) -> Result<Vec<u32>> {
        let Picture { pixels, width, height } = picture;
        ensure!(
            (width, height) == (self.side, self.side),
            "only squares of {} pixels can be turned, not {width}×{height}",
            self.side
        );
        let turns: Vec<usize> = match self.turns {
            Turns::All => (0..TURNS).collect(),
            Turns::One => vec![rng.random_range(0..TURNS)],
        };
        for (view, turns) in views.iter_mut().zip(&turns) {
            quarter_turns(pixels, self.side, *turns, view);
        }
        Ok(turns.into_iter().map(|turns| turns as u32).collect())
    }

    fn titles(&self) -> Vec<String> {
        match self.turns {
            Turns::All => (0..TURNS).map(|turns| format!("{}°", 90 * turns)).collect(),
            Turns::One => vec!["turned".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn all_turns_or_one_with_their_classes() {
        let pixels: Vec<u8> = (0..3 * 25).collect();
        let picture = Picture { pixels: &pixels, width: 5, height: 5 };
        let mut turned = vec![vec![0; 75]; TURNS];
        for (turns, turned) in turned.iter_mut().enumerate() {
            quarter_turns(&pixels, 5, turns, turned);
        }
        let made = |spec: &RotationSpec, index| {
            let head = spec.head(5).unwrap();
            let mut views = vec![vec![0; 75]; head.views];
            let mut slots: Vec<&mut [u8]> = views.iter_mut().map(Vec::as_mut_slice).collect();
            let maker = spec.maker(5).unwrap();
            let labels = maker.make(picture, &mut Rng::new(1).at(0, index), &mut slots).unwrap();
            assert_eq!((labels.len(), head.groups.len(), head.chance), (head.views, head.views, 0.25));
            (views, labels)
        };
        let all = made(&RotationSpec::default(), 0);
        assert_eq!(all, (turned.clone(), vec![0, 1, 2, 3]));
        let one = RotationSpec { turns: Turns::One, ..RotationSpec::default() };
        let mut seen = [0; TURNS];
        for index in 0..80 {
            let (views, labels) = made(&one, index);
            assert_eq!(views, [turned[labels[0] as usize].clone()]);
            seen[labels[0] as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 8), "{seen:?}");
    }

    /// A turned picture that is not a square would tell by its aspect.
    #[test]
    fn only_squares_are_turned() {
        let pixels = vec![0; 3 * 20];
        let picture = Picture { pixels: &pixels, width: 5, height: 4 };
        let error =
            RotationSpec::default().maker(5).unwrap().make(picture, &mut Rng::new(1).at(0, 0), &mut []);
        assert!(error.unwrap_err().to_string().contains("not 5×4"));
    }
}
