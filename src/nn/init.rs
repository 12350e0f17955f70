//! Fillers, which initialize weights: Gaussian, Xavier (Glorot and Bengio 2010), MSRA (He et al. 2015), constant,
//! zero, with Caffe's fans. Data-dependent initialization is a separate module.

use crate::rng::Rng;
use candle_core::{Device, Result, Shape, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Values drawn from one stream; a tensor is filled in parallel in pieces of this size.
const PIECE: usize = 1 << 16;

/// Initialization of weights. In YAML: `init: msra` or `init: { gaussian: { std: 0.01 } }`. The fan-in is Caffe's:
/// elements / first dimension, which is KH·KW·I for a convolution `(O, KH, KW, I)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Initialization")]
pub enum Filler {
    /// Normal with mean 0 and this standard deviation.
    Gaussian {
        /// The standard deviation.
        std: crate::bounded::Positive,
    },
    /// Uniform in ±√(3 / fan-in).
    Xavier,
    /// Normal with standard deviation √(2 / fan-in).
    Msra,
    /// All elements have this value.
    Constant {
        /// The value.
        value: f64,
    },
    /// All elements are 0.
    Zero,
}

impl Filler {
    /// A filled f32 tensor. It depends only on the stream, not on the device or the number of threads.
    pub fn fill(&self, shape: impl Into<Shape>, rng: &Rng, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        let values = self.values(shape.elem_count(), fan_in(&shape), rng);
        Tensor::from_vec(values, shape, device)
    }

    fn values(&self, count: usize, fan_in: f64, rng: &Rng) -> Vec<f32> {
        match *self {
            Self::Gaussian { std } => normal(count, std.get() as f32, rng),
            Self::Msra => normal(count, (2.0 / fan_in).sqrt() as f32, rng),
            Self::Xavier => {
                let bound = (3.0 / fan_in).sqrt() as f32;
                draw(count, rng, move |r| bound * (2.0 * r.random::<f32>() - 1.0))
            }
            Self::Constant { value } => vec![value as f32; count],
            Self::Zero => vec![0.0; count],
        }
    }
}

fn fan_in(shape: &Shape) -> f64 {
    let outputs = shape.dims().first().copied().unwrap_or(1).max(1);
    (shape.elem_count() / outputs).max(1) as f64
}

fn normal(count: usize, std: f32, rng: &Rng) -> Vec<f32> {
    draw(count, rng, move |r| {
        let z: f32 = StandardNormal.sample(r);
        std * z
    })
}

fn draw(count: usize, rng: &Rng, sample: impl Fn(&mut ChaCha8Rng) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0.0; count];
    values.par_chunks_mut(PIECE).enumerate().for_each(|(piece, out)| {
        let mut stream = rng.at(0, piece as u64);
        out.iter_mut().for_each(|v| *v = sample(&mut stream));
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::Positive;

    fn filled(filler: Filler, shape: &[usize]) -> Vec<f32> {
        let tensor = filler.fill(shape, &Rng::new(3), &Device::Cpu).expect("a CPU tensor");
        tensor.flatten_all().and_then(|t| t.to_vec1()).expect("f32")
    }
    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    /// 200,000 draws: the mean is within 4 standard errors, the deviation within 1 %.
    #[test]
    fn spreads_are_those_of_caffe() {
        let shape = [100, 5, 5, 80]; // fan-in 2000
        let gaussian = Filler::Gaussian { std: Positive::of(0.005) };
        for (filler, std) in [
            (gaussian, 0.005),
            (Filler::Msra, (2f64 / 2000.0).sqrt()),
            (Filler::Xavier, (1f64 / 2000.0).sqrt()),
        ] {
            let (mean, spread) = moments(&filled(filler, &shape));
            assert!(mean.abs() < 4.0 * std / 200_000f64.sqrt(), "{filler:?}: mean {mean}");
            assert!((spread / std - 1.0).abs() < 0.01, "{filler:?}: {spread} is not {std}");
        }
        let bound = (3f32 / 2000.0).sqrt();
        let xavier = filled(Filler::Xavier, &shape);
        assert!(xavier.iter().all(|v| v.abs() <= bound) && xavier.iter().any(|v| v.abs() > 0.99 * bound));
    }

    #[test]
    fn constants_are_constant() {
        assert_eq!(filled(Filler::Constant { value: 1.0 }, &[3]), [1.0; 3]);
        assert_eq!(filled(Filler::Zero, &[2, 2]), [0.0; 4]);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        let shape = [3 * PIECE + 5];
        assert_eq!(alone.install(|| filled(Filler::Msra, &shape)), filled(Filler::Msra, &shape));
    }

    #[test]
    fn pieces_do_not_repeat_one_another() {
        let values = filled(Filler::Msra, &[2 * PIECE]);
        assert_ne!(values[..PIECE], values[PIECE..]);
    }
}
