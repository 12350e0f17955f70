//! Inverted dropout from a seeded stream (Srivastava et al., JMLR 2014). The mask depends only on the stream: element
//! i uses the i-th 16 bits after the generator's position, on any device. The backward pass regenerates the bits
//! instead of storing the mask.

use super::{
    cpu::{BLOCK, Float, Stored, by_stored, fill_blocks},
    tape::Evaluated,
};
use crate::op::{CpuInput, CpuOutput, Op, apply, compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, launch, modules::DROPOUT},
    op::{CudaInput, CudaOutput},
};
use candle_core::{Result, Tensor, WithDType, bail};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Zeroes each element with probability `p`, rounded to a multiple of 2⁻¹⁶, and scales the rest by 1/(1−p); any shape,
/// f32, f64 or bf16. Errors: p outside [0, 1).
pub fn dropout(x: &Tensor, p: f64, rng: ChaCha8Rng) -> Result<Tensor> {
    if !(0.0..1.0).contains(&p) {
        bail!("dropout: p must lie in [0, 1), got {p} for x {:?}", x.dims());
    }
    if p == 0.0 {
        return Ok(x.clone());
    }
    apply(DropoutOp::new(p, rng), [x])
}

/// [`dropout`] outside of candle's graph.
pub fn dropout_recorded(x: &Tensor, p: f64, rng: ChaCha8Rng) -> Result<Evaluated> {
    let y = dropout(&x.detach(), p, rng.clone())?;
    // Linear and self-adjoint.
    Ok(Evaluated::of_input(y, move |dy| dy.map(|dy| dropout(dy, p, rng))))
}

struct DropoutOp {
    /// out of 65536: elements with smaller draws are dropped
    threshold: u16,
    rng: ChaCha8Rng,
}

/// Elements processed at a time; two share a 32-bit word of the stream.
const DRAWS: usize = 512;

impl DropoutOp {
    fn new(p: f64, rng: ChaCha8Rng) -> Self {
        Self { threshold: (p * 65536.0).round() as u16, rng }
    }

    fn scale(&self) -> f64 {
        65536.0 / (65536.0 - f64::from(self.threshold))
    }

    fn masked<T: Stored>(&self, x: &[T]) -> Vec<T> {
        let scale = T::Wide::from_f64(self.scale());
        let start = self.rng.get_word_pos();
        fill_blocks(1, x.len(), BLOCK, |_, offset, out| {
            let (mut rng, mut bytes) = (self.rng.clone(), [0; 2 * DRAWS]);
            rng.set_word_pos(start + offset as u128 / 2);
            for (out, x) in out.chunks_mut(DRAWS).zip(x[offset..].chunks(DRAWS)) {
                rng.fill_bytes(&mut bytes);
                keep(x, bytes.as_chunks().0, self.threshold, scale, out);
            }
        })
    }
}

/// State of the generator for the kernel, which generates blocks of 16 words.
#[cfg(feature = "cuda")]
struct Stream {
    /// the seed as four little-endian words
    key: [i64; 4],
    counter: i64,
    number: i64,
    /// draws of the first block before the first element
    skip: i32,
}

#[cfg(feature = "cuda")]
impl DropoutOp {
    fn stream(&self) -> Stream {
        let (seed, word) = (self.rng.get_seed(), self.rng.get_word_pos());
        let mut key = [0; 4];
        for (k, bytes) in key.iter_mut().zip(seed.as_chunks().0) {
            *k = i64::from_le_bytes(*bytes);
        }
        let counter = (word / 16) as u64 as i64; // the same bits
        Stream { key, counter, number: self.rng.get_stream() as i64, skip: (word % 16) as i32 * 2 }
    }
}

/// x·scale if the draw reaches the threshold, else x·0: branch-free, since the branch is unpredictable. A separate
/// function, so that the compiler can vectorize it.
#[inline(never)]
fn keep<T: Stored>(x: &[T], draws: &[[u8; 2]], threshold: u16, scale: T::Wide, out: &mut [T::Wide]) {
    for ((o, x), &draw) in out.iter_mut().zip(x).zip(draws) {
        *o = x.wide() * if u16::from_le_bytes(draw) >= threshold { scale } else { T::Wide::ZERO };
    }
}

impl Op<1> for DropoutOp {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu(&self, [x]: [CpuInput; 1]) -> Result<CpuOutput> {
        Ok(by_stored!(x, T => output(self.masked(x.elements::<T>()?), x.shape())))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, [x]: [CudaInput; 1]) -> Result<CudaOutput> {
        let n = x.shape().elem_count();
        let (storage, y) = alloc_uninit(x.device(), x.shape(), x.dtype())?;
        let stream = self.stream();
        let mut args = vec![Arg::Pointer(x.address()?), Arg::Pointer(y), Arg::count(n)];
        args.extend(stream.key.map(Arg::Long));
        args.extend([Arg::Long(stream.counter), Arg::Long(stream.number), Arg::Int(stream.skip)]);
        args.extend([Arg::Int(self.threshold.into()), Arg::Double(self.scale())]);
        let grid = Grid { threads: (256, 1, 1), ..Grid::over(n.div_ceil(32)) };
        launch(x.device(), DROPOUT, &format!("dropout_{}", x.element()?), grid, &args)?;
        Ok((storage, x.shape().clone()))
    }

    /// Dropout is linear and self-adjoint.
    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let dx = compute(
            "dropout",
            [dy],
            |input| self.cpu(input),
            #[cfg(feature = "cuda")]
            |input| self.cuda(input),
        )?;
        Ok([Some(dx)])
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
        // 0.3 is 19661 of 65536
        for (i, pair) in got.chunks(2).enumerate() {
            let word = rng.next_u32();
            for (got, draw) in pair.iter().zip([word & 0xffff, word >> 16]) {
                let want = if draw >= 19661 { 65536.0 / (65536.0 - 19661.0) } else { 0.0 };
                assert_eq!(*got, want, "pair {i}");
            }
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
