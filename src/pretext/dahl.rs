//! Colorization by a residual encoder (Dahl 2016): training of the network [`crate::backbones::dahl`] to put out U and V of
//! YUV. The loss is the mean of three squared distances: of the maps, and of both blurred by Gaussians of 3×3 and 5×5
//! pixels. Such a regression tends to sepia.

use super::{
    colorizer::{Colorizer, ColorizerSpec, OutputKind},
    colorizer_task::{ColorizerCriterion, ColorizerTaskSpec, Draw, check_multiple},
};
use crate::{
    backbones::{BackboneSpec, Build, Variant},
    color::yuv::unit_uv,
    data::Batch,
    key_error::KeyError,
    nn::Mode,
    ops::activation::sigmoid,
    train::task::StepOutput,
    yaml,
};
use anyhow::Result;
use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the network's sides must be multiples of.
const MULTIPLE: usize = 8;
/// One side of the Gaussians from the middle on, of deviations 0.8 and 1.1, the usual ones for these sizes: exp(−x² / 2σ²).
const BLURS: [(usize, f64); 2] = [(1, 0.8), (2, 1.1)];

/// U and V of YUV by a residual encoder, without options. In YAML: `task: dahl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DahlTaskSpec {}

impl ColorizerSpec for DahlTaskSpec {
    fn name(&self) -> &'static str {
        "dahl"
    }

    fn section(&self) -> Result<String, serde_yaml::Error> {
        yaml::write(self)
    }

    fn build(&self) -> Build {
        Build { variant: Variant::Pretext, batch_norm: true, input_channels: 3, outputs: Some(2) }
    }

    fn output(&self, _: &BackboneSpec) -> OutputKind {
        OutputKind::Uv
    }

    fn network(&self) -> Option<&'static str> {
        Some("dahl")
    }
}

impl ColorizerTaskSpec for DahlTaskSpec {
    fn losses(&self) -> &'static [&'static str] {
        &["loss", "l2"]
    }

    fn check_crop(&self, crop: usize) -> Result<(), KeyError> {
        check_multiple(self.name(), MULTIPLE, crop)
    }

    fn criterion(&self) -> Box<dyn ColorizerCriterion> {
        Box::new(BlurredDistance)
    }
}

/// Squared distances of plain and blurred maps, summed over pixels and averaged over pictures. The mean distance of a pixel
/// is logged.
struct BlurredDistance;

impl ColorizerCriterion for BlurredDistance {
    fn score(&self, colorizer: &Colorizer, batch: &Batch, mode: &Mode, _: Draw) -> Result<StepOutput> {
        let input = colorizer.network().input().read(&batch.pixels)?;
        let head = colorizer.network().head().label();
        let predicted = sigmoid(&colorizer.network().forward(&input, &[head], mode)?.remove(0))?;
        let off = (predicted - unit_uv(&batch.pixels)?)?;
        let (images, height, width, _) = off.dims4()?;
        let loss = (blurred_distance(&off)? / images as f64)?;
        let pixels = (height * width) as f64;
        let scalars =
            vec![("loss", (loss.detach() / pixels)?), ("l2", (off.detach().sqr()?.mean_all()? * 2.0)?)];
        Ok(StepOutput { loss, scalars })
    }
}

/// A third of the sum of squares of a difference of maps `(B, H, W, C)` and of its two blurs: blurring is linear.
fn blurred_distance(off: &Tensor) -> candle_core::Result<Tensor> {
    let squares = |x: &Tensor| x.sqr()?.sum_all();
    let mut total = squares(off)?;
    for (radius, deviation) in BLURS {
        total = (total + squares(&blurred(off, radius, deviation)?)?)?;
    }
    total / 3.0
}

/// Gaussian of 2·radius + 1 pixels along both axes, with zeros around the map.
fn blurred(x: &Tensor, radius: usize, deviation: f64) -> candle_core::Result<Tensor> {
    let weight = |i: usize| {
        let away = i as f64 - radius as f64;
        (-away * away / (2.0 * deviation * deviation)).exp()
    };
    let sum: f64 = (0..=2 * radius).map(weight).sum();
    let along = |x: &Tensor, axis: usize| {
        let (padded, n) = (x.pad_with_zeros(axis, radius, radius)?, x.dim(axis)?);
        let part = |i: usize| padded.narrow(axis, i, n)?.contiguous()? * (weight(i) / sum);
        (1..=2 * radius).try_fold(part(0)?, |total, i| total + part(i)?)
    };
    along(&along(x, 1)?, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// Of one point, the blurs are the Gaussians: by hand, their weights are 0.239, 0.522, 0.239 and 0.071, 0.244, 0.370, …
    #[test]
    fn a_point_is_blurred_to_the_gaussian() -> candle_core::Result<()> {
        let mut values = vec![0f32; 49];
        values[24] = 1.0;
        let point = Tensor::from_vec(values, (1, 7, 7, 1), &Device::Cpu)?;
        let row = |radius, deviation| blurred(&point, radius, deviation)?.flatten_all()?.to_vec1::<f32>();
        let (small, large) = (row(1, 0.8)?, row(2, 1.1)?);
        for (got, wanted) in [
            (small[24], 0.522 * 0.522),
            (small[25], 0.522 * 0.239),
            (small[32], 0.239 * 0.239),
            (small[26], 0.0),
            (large[24], 0.36955 * 0.36955),
            (large[26], 0.36955 * 0.07077),
        ] {
            assert!((got - wanted).abs() < 5e-4, "{got} and {wanted}");
        }
        assert!((large.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        Ok(())
    }

    #[test]
    fn its_gradient_is_that_of_finite_differences() -> candle_core::Result<()> {
        let values: Vec<f64> = (0..60).map(|i| (i * 37 % 19) as f64 / 10.0 - 0.9).collect();
        let x = Var::from_tensor(&Tensor::from_vec(values, (1, 5, 6, 2), &Device::Cpu)?)?;
        let gradient = blurred_distance(&x)?.backward()?.remove(&x).expect("a gradient");
        let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
        for at in [0, 13, 31, 59] {
            let mut direction = vec![0f64; 60];
            direction[at] = 1e-5;
            let direction = Tensor::from_vec(direction, x.shape(), &Device::Cpu)?;
            let of = |x: &Tensor| blurred_distance(x)?.to_dtype(DType::F64)?.to_scalar::<f64>();
            let numeric = (of(&(x.as_tensor() + &direction)?)? - of(&(x.as_tensor() - &direction)?)?) / 2e-5;
            assert!((gradient[at] - numeric).abs() < 1e-6, "{at}: {} and {numeric}", gradient[at]);
        }
        Ok(())
    }
}
