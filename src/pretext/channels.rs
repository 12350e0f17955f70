//! The Lab channels that a network sees and predicts, and their units.
//!
//! A network's input is L − 50, a and b: all three range over about ±110 around 0. A regression predicts normalized
//! values, of the same scale as its other activations: (L − 50) / 50, a / 110 and b / 110.

use crate::{
    backbones::input::Input,
    device::{keep_layouts, table},
};
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// Offset subtracted from L.
const L_OFFSET: f32 = 50.0;

/// Lab channels, in the order L, a, b. Weight files use it to state a network's input: `input: ab`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabChannels {
    Lightness,
    Ab,
    Lab,
}

impl LabChannels {
    /// Number of channels.
    pub fn count(self) -> usize {
        self.range().1
    }

    /// Index of the first channel, and the number of channels.
    fn range(self) -> (usize, usize) {
        match self {
            Self::Lightness => (0, 1),
            Self::Ab => (1, 2),
            Self::Lab => (0, 3),
        }
    }

    /// Whether L is one of the channels.
    fn has_lightness(self) -> bool {
        self.range().0 == 0
    }

    /// Selects these channels of Lab `(B, H, W, 3)` → `(B, H, W, C)`, values unchanged.
    pub fn select(self, lab: &Tensor) -> Result<Tensor> {
        let (first, count) = self.range();
        let _layouts = keep_layouts(lab.device());
        lab.narrow(3, first, count)?.contiguous()
    }

    /// The input that a network trained on these channels expects.
    pub fn input_kind(self) -> Input {
        match self {
            Self::Lightness => Input::Lightness,
            Self::Ab => Input::Ab,
            Self::Lab => Input::Lab,
        }
    }

    /// Network input from Lab `(B, H, W, 3)` → `(B, H, W, C)`: L − 50, a, b.
    pub fn input(self, lab: &Tensor) -> Result<Tensor> {
        let _layouts = keep_layouts(lab.device());
        self.select(lab)?.broadcast_sub(&self.offsets(lab)?)
    }

    /// Converts a regression's output `(B, h, w, C)` to Lab units.
    pub(super) fn to_lab_units(self, output: &Tensor) -> Result<Tensor> {
        let (first, count) = self.range();
        let units = table(&[50f32, 110.0, 110.0][first..first + count], output.device())?;
        let _layouts = keep_layouts(output.device());
        output.broadcast_mul(&units)?.broadcast_add(&self.offsets(output)?)
    }

    /// Channel offsets `(C)`: 50 for L, 0 for a and b.
    fn offsets(self, like: &Tensor) -> Result<Tensor> {
        let mut offsets = vec![0.0; self.count()];
        if self.has_lightness() {
            offsets[0] = L_OFFSET;
        }
        table(&offsets, like.device())
    }

    /// A full Lab picture `(B, H, W, 3)` with these channels from `part` and the others from `lab`.
    pub(super) fn with_rest_of(self, part: &Tensor, lab: &Tensor) -> Result<Tensor> {
        match self {
            Self::Lightness => Tensor::cat(&[part, &Self::Ab.select(lab)?], 3),
            Self::Ab => Tensor::cat(&[&Self::Lightness.select(lab)?, part], 3),
            Self::Lab => Ok(part.clone()),
        }
    }

    /// A picture of these channels only, `(B, H, W, 3)`: the others are set to gray of L 50.
    pub(super) fn isolated(self, lab: &Tensor) -> Result<Tensor> {
        let gray = Self::Lab.offsets(lab)?.broadcast_as(lab.shape())?;
        self.with_rest_of(&self.select(lab)?, &gray)
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
        assert_eq!(values(LabChannels::Lightness.input(&lab()).unwrap()), [20.0]);
        assert_eq!(values(LabChannels::Ab.input(&lab()).unwrap()), [-20.0, 30.0]);
        assert_eq!(values(LabChannels::Lab.input(&lab()).unwrap()), [20.0, -20.0, 30.0]);
    }

    #[test]
    fn a_part_is_completed_by_what_it_lacks() {
        let other = Tensor::new(&[[[[10f32, 1.0, 2.0]]]], &Device::Cpu).unwrap();
        for (channels, whole) in [
            (LabChannels::Lightness, [70.0, 1.0, 2.0]),
            (LabChannels::Ab, [10.0, -20.0, 30.0]),
            (LabChannels::Lab, [70.0, -20.0, 30.0]),
        ] {
            let part = channels.select(&lab()).unwrap();
            assert_eq!(values(channels.with_rest_of(&part, &other).unwrap()), whole);
        }
        assert_eq!(values(LabChannels::Ab.isolated(&lab()).unwrap()), [50.0, -20.0, 30.0]);
    }

    #[test]
    fn a_regression_puts_out_numbers_around_one() {
        let ones = Tensor::new(&[[[[1f32, -1.0, 0.5]]]], &Device::Cpu).unwrap();
        assert_eq!(values(LabChannels::Lab.to_lab_units(&ones).unwrap()), [100.0, -110.0, 55.0]);
        assert_eq!(
            values(LabChannels::Lightness.to_lab_units(&ones.narrow(3, 1, 1).unwrap()).unwrap()),
            [0.0]
        );
    }
}
