//! LARS, layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, arXiv:1708.03888), as in SimCLR
//! (google-research/simclr, `lars_optimizer.py`, class `LARSOptimizer` with `classic_momentum`): the learning rate of a
//! weight w with the gradient g is multiplied by its trust ratio
//!
//! η · ‖w‖ / ‖g + decay · w‖, or 1 if one of the two norms is 0.
//!
//! The paper's formula has ‖g‖ + decay · ‖w‖ below the line, which is never smaller. The norms are those of the whole
//! parameter and of its whole gradient after clipping and division by the number of passes. Hence, a gradient that
//! arrives in pieces is joined before the update. Norms are summed in double precision in fixed pieces, so that they are
//! bit-identical for any number of threads. On a GPU the kernels `trust_squares` and `trust_ratios` compute them.

use super::update::{PIECE, decayed, read_f32, square_norm};
use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

/// η · ‖w‖ / ‖scale · gradient + decay · w‖, or 1 if a norm is 0.
pub(super) fn ratio(coefficient: f64, var: &Var, gradient: &Tensor, scale: f64, decay: f64) -> Result<f64> {
    let weight = square_norm(var)?.sqrt();
    let fused = read_f32(var, |w| read_f32(gradient, |g| decayed_squares(w, g, scale as f32, decay as f32)));
    let step = match fused.flatten() {
        Some(squares) => squares.sqrt(),
        None => square_norm(&decayed(var, gradient, scale, decay)?)?.sqrt(),
    };
    Ok(if weight > 0.0 && step > 0.0 { coefficient * weight / step } else { 1.0 })
}

/// Σ (scale · g + decay · w)², the terms in single precision as in the update.
fn decayed_squares(w: &[f32], g: &[f32], scale: f32, decay: f32) -> f64 {
    let pieces = w.par_chunks(PIECE).zip(g.par_chunks(PIECE));
    let pieces: Vec<f64> = pieces.map(|(w, g)| piece_squares(w, g, scale, decay)).collect();
    pieces.iter().sum()
}

/// Eight running sums, which the compiler vectorizes.
fn piece_squares(w: &[f32], g: &[f32], scale: f32, decay: f32) -> f64 {
    let square = |w: f32, g: f32| f64::from(g * scale + decay * w).powi(2);
    let mut lanes = [0f64; 8];
    let ((eights, w), (gradients, g)) = (w.as_chunks::<8>(), g.as_chunks::<8>());
    for (w, g) in eights.iter().zip(gradients) {
        for ((lane, &w), &g) in lanes.iter_mut().zip(w).zip(g) {
            *lane += square(w, g);
        }
    }
    lanes.iter().sum::<f64>() + w.iter().zip(g).map(|(&w, &g)| square(w, g)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// w = (3, 4), ½ g + 2 w = (12, 5): norms 5 and 13. Repeated over three pieces the ratio is the same.
    #[test]
    fn the_ratio_by_hand() -> Result<()> {
        for (count, dtype) in [(1, DType::F32), (PIECE + 7, DType::F32), (PIECE + 7, DType::F64)] {
            let repeated = |pair: [f64; 2]| Tensor::new(&pair, &Device::Cpu)?.repeat(count)?.to_dtype(dtype);
            let (w, g) = (Var::from_tensor(&repeated([3.0, 4.0])?)?, repeated([12.0, -6.0])?);
            let ratio = ratio(0.02, &w, &g, 0.5, 2.0)?;
            assert!((ratio - 0.02 * 5.0 / 13.0).abs() < 1e-15, "{ratio}");
        }
        Ok(())
    }

    #[test]
    fn a_norm_of_zero_leaves_the_rate() -> Result<()> {
        let of = |value: f32| Tensor::full(value, 9, &Device::Cpu);
        for (w, g) in [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)] {
            assert_eq!(ratio(0.5, &Var::from_tensor(&of(w)?)?, &of(g)?, 1.0, 0.0)?, 1.0);
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_changes_nothing() -> Result<()> {
        let values = |seed: f32| (0..3 * PIECE + 5).map(move |i| (seed + i as f32).sin());
        let w = Var::from_vec(values(0.5).collect::<Vec<f32>>(), 3 * PIECE + 5, &Device::Cpu)?;
        let g = Tensor::from_iter(values(2.0), &Device::Cpu)?;
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| ratio(0.001, &w, &g, 0.25, 1e-4))
        };
        assert_eq!(on(1)?.to_bits(), on(5)?.to_bits());
        Ok(())
    }
}
