//! Inverted dropout from a seeded stream (Srivastava et al., JMLR 2014). The mask is a function of the stream alone:
//! element i reads the i-th 32-bit word after the generator's position, wherever it is computed; the backward pass
//! reads the same words again and keeps no mask.

use super::cpu::{BLOCK, Float, by_dtype, fill_blocks, view};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType, bail};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Zeroes each element with probability `p` and scales the rest by 1/(1−p); any shape, f32 or f64.
/// Errors: p outside [0, 1).
pub fn dropout(x: &Tensor, p: f64, rng: ChaCha8Rng) -> Result<Tensor> {
    if !(0.0..1.0).contains(&p) {
        bail!("dropout: p must lie in [0, 1), got {p} for x {:?}", x.dims());
    }
    if p == 0.0 {
        return Ok(x.clone());
    }
    x.contiguous()?.apply_op1(Dropout { p, rng })
}

#[derive(Clone)]
struct Dropout {
    p: f64,
    rng: ChaCha8Rng,
}

impl Dropout {
    fn apply<T: Float>(&self, x: &[T]) -> Vec<T> {
        let scale = T::from_f64(1.0 / (1.0 - self.p));
        let threshold = (self.p * 2f64.powi(32)).round() as u64;
        let start = self.rng.get_word_pos();
        fill_blocks(1, x.len(), BLOCK, |_, offset, out| {
            let mut rng = self.rng.clone();
            rng.set_word_pos(start + offset as u128);
            for (o, &x) in out.iter_mut().zip(&x[offset..]) {
                let kept = u64::from(rng.next_u32()) >= threshold;
                *o = if kept { x * scale } else { T::ZERO };
            }
        })
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = by_dtype!(self.name(), s, T => {
            T::to_cpu_storage_owned(self.apply(view::<T>(self.name(), s, l)?))
        });
        Ok((y, l.shape().clone()))
    }

    /// Dropout is linear and its own transpose.
    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(dy.contiguous()?.apply_op1_no_bwd(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use rand::SeedableRng;

    fn mask(n: usize, p: f64, rng: ChaCha8Rng) -> Vec<f32> {
        let x = Tensor::ones(n, candle_core::DType::F32, &Device::Cpu).unwrap();
        dropout(&x, p, rng).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_mask_is_the_sequential_stream() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        rng.next_u32();
        let got = mask(3 * BLOCK + 5, 0.3, rng.clone());
        let threshold = (0.3 * 2f64.powi(32)) as u32;
        for (i, got) in got.into_iter().enumerate() {
            let want = if rng.next_u32() >= threshold { 1.0 / 0.7 } else { 0.0 };
            assert_eq!(got, want as f32, "element {i}");
        }
    }

    #[test]
    fn keeps_the_mean_and_drops_the_share() {
        let n = 200_000;
        let got = mask(n, 0.25, ChaCha8Rng::seed_from_u64(1));
        let dropped = got.iter().filter(|&&v| v == 0.0).count() as f64 / n as f64;
        let mean = got.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        // five standard deviations of a binomial share
        assert!((dropped - 0.25).abs() < 5.0 * (0.25f64 * 0.75 / n as f64).sqrt(), "{dropped}");
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| mask(100_000, 0.5, ChaCha8Rng::seed_from_u64(9)))
        };
        assert_eq!(with(1), with(5));
    }

    #[test]
    fn p_of_one_is_refused_and_p_of_zero_is_the_identity() {
        let x = Tensor::ones((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
        let message = dropout(&x, 1.0, ChaCha8Rng::seed_from_u64(0)).unwrap_err().to_string();
        assert!(message.contains("dropout") && message.contains("[2, 3]"), "{message}");
        assert_eq!(mask(7, 0.0, ChaCha8Rng::seed_from_u64(0)), vec![1.0; 7]);
    }
}
