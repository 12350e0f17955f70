//! Mean and standard deviation of every channel over batches and positions.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

/// Positions per partial sum. Partial sums are added in order, so the result does not depend on the number of threads.
const PIECE: usize = 1024;

/// Sums over all positions of the maps added so far.
pub(super) struct Moments {
    count: usize,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    pub fn new(channels: usize) -> Self {
        Self { count: 0, sums: vec![0.0; channels], squares: vec![0.0; channels] }
    }

    /// Adds a map `(B, H, W, C)`.
    pub fn add(&mut self, map: &Tensor) -> Result<()> {
        let channels = self.sums.len();
        let values = map.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        let pieces: Vec<_> =
            values.par_chunks(PIECE * channels).map(|piece| added_up(piece, channels)).collect();
        for (sums, squares) in pieces {
            self.sums.iter_mut().zip(sums).for_each(|(total, more)| *total += more);
            self.squares.iter_mut().zip(squares).for_each(|(total, more)| *total += more);
        }
        self.count += values.len() / channels;
        Ok(())
    }

    pub fn means(&self) -> Vec<f64> {
        self.sums.iter().map(|sum| sum / self.count as f64).collect()
    }

    /// Square roots of the biased variances; 0 if rounding makes a variance negative.
    pub fn deviations(&self) -> Vec<f64> {
        let channel = |(mean, squares): (f64, &f64)| {
            let square = squares / self.count as f64;
            let variance = square - mean * mean;
            if variance > 1e-12 * square { variance.sqrt() } else { 0.0 }
        };
        self.means().into_iter().zip(&self.squares).map(channel).collect()
    }
}

fn added_up(piece: &[f32], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut sums, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
    for position in piece.chunks_exact(channels) {
        for ((sum, square), &value) in sums.iter_mut().zip(&mut squares).zip(position) {
            let value = f64::from(value);
            *sum += value;
            *square += value * value;
        }
    }
    (sums, squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_add_up() -> Result<()> {
        let mut moments = Moments::new(2);
        moments.add(&Tensor::new(&[[[[1f32, 5.0], [2.0, 5.0]]]], &Device::Cpu)?)?;
        moments.add(&Tensor::new(&[[[[6f32, 5.0]]]], &Device::Cpu)?)?;
        assert_eq!(moments.means(), [3.0, 5.0]);
        let deviations = moments.deviations();
        assert!(
            (deviations[0] - (14f64 / 3.0).sqrt()).abs() < 1e-12 && deviations[1] == 0.0,
            "{deviations:?}"
        );
        Ok(())
    }
}
