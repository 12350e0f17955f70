//! Which channels of Lab a network sees and which it predicts, and in what units.
//!
//! A network's input is L − 50 and a, b as they are: all three lie within about ±110 around 0. The numbers that a
//! regression puts out are of the size of its other activations: (L − 50) / 50, a / 110 and b / 110.

use crate::backbones::input::Input;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// What the middle of L is shifted by.
const MIDDLE: f32 = 50.0;

/// Channels of Lab, in the order L, a, b. Also how a weight file says what its network sees: `input: ab`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    Lightness,
    Ab,
    Lab,
}

impl Channels {
    /// How many there are.
    pub fn count(self) -> usize {
        self.range().1
    }

    /// The first, and how many.
    fn range(self) -> (usize, usize) {
        match self {
            Self::Lightness => (0, 1),
            Self::Ab => (1, 2),
            Self::Lab => (0, 3),
        }
    }

    /// Whether L is among them.
    fn has_lightness(self) -> bool {
        self.range().0 == 0
    }

    /// These channels of Lab `(B, H, W, 3)` → `(B, H, W, C)`, values unchanged.
    pub fn of(self, lab: &Tensor) -> Result<Tensor> {
        let (first, count) = self.range();
        lab.narrow(3, first, count)?.contiguous()
    }

    /// What a network that was trained on these channels expects of a picture.
    pub fn expected(self) -> Input {
        match self {
            Self::Lightness => Input::Lightness,
            Self::Ab => Input::Ab,
            Self::Lab => Input::Lab,
        }
    }

    /// A network's input from Lab `(B, H, W, 3)` → `(B, H, W, C)`: L − 50, a, b.
    pub fn input(self, lab: &Tensor) -> Result<Tensor> {
        self.of(lab)?.broadcast_sub(&self.middles(lab)?)
    }

    /// What a regression's output `(B, h, w, C)` means in Lab units.
    pub(super) fn in_lab(self, output: &Tensor) -> Result<Tensor> {
        let (first, count) = self.range();
        let units = Tensor::new(&[50f32, 110.0, 110.0][first..first + count], output.device())?;
        output.broadcast_mul(&units)?.broadcast_add(&self.middles(output)?)
    }

    /// 50 for L, 0 for a and b: `(C)`.
    fn middles(self, like: &Tensor) -> Result<Tensor> {
        let mut middles = vec![0.0; self.count()];
        if self.has_lightness() {
            middles[0] = MIDDLE;
        }
        Tensor::new(middles, like.device())
    }

    /// A whole picture `(B, H, W, 3)` of `part`, which holds these channels, and for the rest those of `lab`.
    pub(super) fn completed(self, part: &Tensor, lab: &Tensor) -> Result<Tensor> {
        match self {
            Self::Lightness => Tensor::cat(&[part, &Self::Ab.of(lab)?], 3),
            Self::Ab => Tensor::cat(&[&Self::Lightness.of(lab)?, part], 3),
            Self::Lab => Ok(part.clone()),
        }
    }

    /// A picture of these channels alone: the others are gray of L 50, `(B, H, W, 3)`.
    pub(super) fn alone(self, lab: &Tensor) -> Result<Tensor> {
        let gray = Self::Lab.middles(lab)?.broadcast_as(lab.shape())?;
        self.completed(&self.of(lab)?, &gray)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn lab() -> Tensor {
        Tensor::new(&[[[[70f32, -20.0, 30.0]]]], &Device::Cpu).unwrap()
    }
    fn values(x: Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn inputs_are_l_minus_50_and_ab_as_they_are() {
        assert_eq!(values(Channels::Lightness.input(&lab()).unwrap()), [20.0]);
        assert_eq!(values(Channels::Ab.input(&lab()).unwrap()), [-20.0, 30.0]);
        assert_eq!(values(Channels::Lab.input(&lab()).unwrap()), [20.0, -20.0, 30.0]);
    }

    #[test]
    fn a_part_is_completed_by_what_it_lacks() {
        let other = Tensor::new(&[[[[10f32, 1.0, 2.0]]]], &Device::Cpu).unwrap();
        for (channels, whole) in [
            (Channels::Lightness, [70.0, 1.0, 2.0]),
            (Channels::Ab, [10.0, -20.0, 30.0]),
            (Channels::Lab, [70.0, -20.0, 30.0]),
        ] {
            let part = channels.of(&lab()).unwrap();
            assert_eq!(values(channels.completed(&part, &other).unwrap()), whole);
        }
        assert_eq!(values(Channels::Ab.alone(&lab()).unwrap()), [50.0, -20.0, 30.0]);
    }

    #[test]
    fn a_regression_puts_out_numbers_around_one() {
        let ones = Tensor::new(&[[[[1f32, -1.0, 0.5]]]], &Device::Cpu).unwrap();
        assert_eq!(values(Channels::Lab.in_lab(&ones).unwrap()), [100.0, -110.0, 55.0]);
        assert_eq!(values(Channels::Lightness.in_lab(&ones.narrow(3, 1, 1).unwrap()).unwrap()), [0.0]);
    }
}
