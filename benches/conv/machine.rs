//! What the machine can do at most, measured: multiply-adds in registers, and bytes copied.

use rayon::prelude::*;
use std::{hint::black_box, time::Instant};

/// Accumulators of a thread. A multiply-add has a latency of four cycles and two units, so eight are the least.
const ACCUMULATORS: usize = 12;
/// Rounds, of which the best counts.
const ROUNDS: usize = 5;
/// Size of the copied array: beyond every cache.
const COPIED: usize = 128 << 20;

/// Measured limits of all threads together.
pub struct Machine {
    pub gflops: f64,
    /// Bytes read and written, in GB/s.
    pub copy: f64,
    /// Instructions of the multiply-adds.
    pub instructions: &'static str,
}

impl Machine {
    /// Of multiply-adds in f32 or, if `pairs`, of those of pairs of bf16 where the processor has them.
    pub fn measure(pairs: bool) -> Self {
        let (instructions, lanes, run) = loops_of_pairs().filter(|_| pairs).unwrap_or_else(loops);
        let seconds = best(|| drop(rayon::broadcast(|_| run(1 << 22))));
        let flops = 2.0 * (lanes * ACCUMULATORS * rayon::current_num_threads()) as f64 * (1u64 << 22) as f64;
        Self { gflops: flops / seconds / 1e9, copy: copy(), instructions }
    }
}

fn best(mut run: impl FnMut()) -> f64 {
    run();
    let timed = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(timed).fold(f64::INFINITY, f64::min)
}

fn copy() -> f64 {
    let from = vec![1u8; COPIED];
    let mut to = vec![2u8; COPIED];
    let piece = COPIED.div_ceil(rayon::current_num_threads());
    let seconds = best(|| {
        let pieces = to.par_chunks_mut(piece).zip(from.par_chunks(piece));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&to);
    });
    2.0 * COPIED as f64 / seconds / 1e9
}

/// Name, lanes, and a loop of so many rounds.
type Loops = (&'static str, usize, fn(u32));

/// Multiply-adds of pairs of bf16, if this processor has them.
fn loops_of_pairs() -> Option<Loops> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the processor has the instructions.
        return Some(("vdpbf16ps", 32, |rounds| unsafe { x86::vdpbf16ps(rounds) }));
    }
    None
}

/// The widest multiply-adds of this processor in f32.
fn loops() -> Loops {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: each is called only where the processor has its instructions.
        if is_x86_feature_detected!("avx512f") {
            return ("AVX-512", 16, |rounds| unsafe { x86::avx512(rounds) });
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return ("AVX2", 8, |rounds| unsafe { x86::avx2(rounds) });
        }
    }
    ("no SIMD beyond the target's", 8, plain)
}

/// Multiplications and additions that the compiler vectorizes for the target.
fn plain(rounds: u32) {
    let mut sums = [[1f32; 8]; ACCUMULATORS];
    let (factor, term) = (black_box(0.999f32), black_box(0.001f32));
    for _ in 0..rounds {
        sums.iter_mut().flatten().for_each(|sum| *sum = *sum * factor + term);
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::ACCUMULATORS;
    use std::{arch::x86_64::*, hint::black_box};

    #[target_feature(enable = "avx512f")]
    pub fn avx512(rounds: u32) {
        let (factor, term) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [_mm512_set1_ps(1.0); ACCUMULATORS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, term);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn vdpbf16ps(rounds: u32) {
        let half = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.5)));
        let mut sums = [_mm512_set1_ps(1.0); ACCUMULATORS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, half, half);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(rounds: u32) {
        let (factor, term) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [_mm256_set1_ps(1.0); ACCUMULATORS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, term);
            }
        }
        black_box(sums);
    }
}
