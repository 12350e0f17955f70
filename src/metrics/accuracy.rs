//! Top-k accuracy, and mean ± standard deviation over seeds.

use candle_core::{DType, Result, Tensor, bail};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Top-k accuracy for several k at once, counted over batches.
///
/// Ties count as errors: an image is correct at k if fewer than k other classes score at least as high as its own. So
/// a network with constant or NaN scores has accuracy 0, not 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopK {
    ks: Vec<usize>,
    hits: Vec<u64>,
    seen: u64,
}

impl TopK {
    pub fn new(ks: &[usize]) -> Self {
        Self { ks: ks.to_vec(), hits: vec![0; ks.len()], seen: 0 }
    }

    /// Adds one batch: logits `(N, K)` of any floating type, labels u32 `(N)`. Errors, without counting anything:
    /// mismatched shapes, a label that is not below K.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let ranks = ranks(logits, labels)?;
        self.seen += ranks.len() as u64;
        for (k, hits) in self.ks.iter().zip(&mut self.hits) {
            *hits += ranks.iter().filter(|rank| *rank < k).count() as u64;
        }
        Ok(())
    }

    /// Adds the counts of another part of the images, for the same ks.
    pub fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.hits.iter_mut().zip(&other.hits).for_each(|(sum, hits)| *sum += hits);
    }

    /// Accuracies in [0, 1], in the order of the ks; None before the first image.
    pub fn values(&self) -> Option<Vec<f64>> {
        (self.seen > 0).then(|| self.hits.iter().map(|hits| *hits as f64 / self.seen as f64).collect())
    }

    /// Number of images counted.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

/// For each image, the number of other classes that score at least as high as its own.
fn ranks(logits: &Tensor, labels: &Tensor) -> Result<Vec<usize>> {
    let (n, k) = logits.dims2()?;
    if labels.dims() != [n] {
        bail!("top-k accuracy: logits ({n}, {k}) need labels ({n}), not {:?}", labels.dims());
    }
    let scores = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    scores.iter().zip(labels).map(|(scores, label)| rank(scores, label as usize)).collect()
}

/// The number of other classes that score at least as high as the image's own; an own score of NaN ranks last.
pub(super) fn rank(scores: &[f32], label: usize) -> Result<usize> {
    let Some(own) = scores.get(label).copied() else {
        bail!("top-k accuracy: label {label} with logits for {} classes", scores.len());
    };
    if own.is_nan() {
        return Ok(usize::MAX);
    }
    // Other NaN scores count as higher. The own score is counted too, hence −1.
    let not_below = scores.iter().filter(|other| other.is_nan() || **other >= own).count();
    Ok(not_below - 1)
}

/// Share of the examples of each class below `classes` that were predicted right; None for a class without examples.
/// Examples of other classes are left out.
pub fn by_class(predicted: &[u32], truth: &[u32], classes: usize) -> Vec<Option<f64>> {
    let (mut hits, mut seen) = (vec![0u64; classes], vec![0u64; classes]);
    for (predicted, truth) in predicted.iter().zip(truth).filter(|(_, truth)| (**truth as usize) < classes) {
        seen[*truth as usize] += 1;
        hits[*truth as usize] += u64::from(predicted == truth);
    }
    hits.iter().zip(seen).map(|(hits, seen)| (seen > 0).then(|| *hits as f64 / seen as f64)).collect()
}

/// Mean and sample standard deviation (n − 1 in the denominator) over seeds.
///
/// Displays as `45.3 ± 0.6`, or `45.3` for a single seed; `{:.2}` sets the decimals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanStd {
    pub n: usize,
    pub mean: f64,
    /// None for a single value, whose spread is unknown.
    pub std: Option<f64>,
}

impl MeanStd {
    /// None for no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        Some(Self { n, mean, std: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
    }

    /// The same as a percentage.
    pub fn percent(self) -> Self {
        Self { mean: 100.0 * self.mean, std: self.std.map(|std| 100.0 * std), ..self }
    }
}

impl fmt::Display for MeanStd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(1);
        match self.std {
            Some(std) => write!(f, "{:.decimals$} ± {std:.decimals$}", self.mean),
            None => write!(f, "{:.decimals$}", self.mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn count(scores: &[[f32; 3]], labels: &[u32]) -> Result<Vec<f64>> {
        let mut top = TopK::new(&[1, 2, 3]);
        top.add(
            &Tensor::from_slice(scores.as_flattened(), (scores.len(), 3), &Device::Cpu)?,
            &Tensor::new(labels, &Device::Cpu)?,
        )?;
        Ok(top.values().unwrap())
    }

    #[test]
    fn counts_by_rank() {
        // Ranks of the labels: 0, 1, 2, 0.
        let scores = [[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [-1.0, -3.0, -2.0]];
        assert_eq!(count(&scores, &[0, 1, 2, 0]).unwrap(), [0.5, 0.75, 1.0]);
    }

    #[test]
    fn ties_and_nan_count_against_us() {
        assert_eq!(count(&[[0.0; 3]], &[0]).unwrap(), [0.0, 0.0, 1.0]);
        assert_eq!(count(&[[1.0, 1.0, 0.0]], &[1]).unwrap(), [0.0, 1.0, 1.0]);
        assert_eq!(count(&[[f32::NAN, 1.0, 2.0]], &[0]).unwrap(), [0.0, 0.0, 0.0]);
        assert_eq!(count(&[[f32::NAN, 1.0, 2.0]], &[2]).unwrap(), [0.0, 1.0, 1.0]);
    }

    #[test]
    fn batches_add_up_and_wrong_ones_are_refused() {
        let mut top = TopK::new(&[1]);
        assert!(top.values().is_none());
        let device = &Device::Cpu;
        let logits = Tensor::new(&[[1f32, 0.0], [1.0, 0.0]], device).unwrap();
        top.add(&logits, &Tensor::new(&[0u32, 1], device).unwrap()).unwrap();
        top.add(&logits.narrow(0, 0, 1).unwrap(), &Tensor::new(&[0u32], device).unwrap()).unwrap();
        assert_eq!((top.values().unwrap()[0], top.seen()), (2.0 / 3.0, 3));
        let wrong = top.add(&logits, &Tensor::new(&[0u32, 2], device).unwrap()).unwrap_err();
        assert!(wrong.to_string().contains("label 2 with logits for 2 classes"), "{wrong}");
        let wrong = top.add(&logits, &Tensor::new(&[0u32], device).unwrap()).unwrap_err();
        assert!(wrong.to_string().contains("need labels (2), not [1]"), "{wrong}");
        assert_eq!(top.seen(), 3);
    }

    #[test]
    fn classes_are_counted_apart() {
        let found = by_class(&[0, 1, 1, 0, 2], &[0, 1, 0, 0, 5], 3);
        assert_eq!(found, [Some(2.0 / 3.0), Some(1.0), None]);
    }

    #[test]
    fn mean_and_sample_deviation() {
        let seeds = MeanStd::of(&[0.2, 0.4, 0.6]).unwrap();
        assert!((seeds.mean - 0.4).abs() < 1e-12 && (seeds.std.unwrap() - 0.2).abs() < 1e-12);
        assert_eq!(seeds.percent().to_string(), "40.0 ± 20.0");
        assert_eq!(format!("{seeds:.2}"), "0.40 ± 0.20");
        let one = MeanStd::of(&[45.25]).unwrap();
        assert_eq!((one.n, one.std, format!("{one:.2}")), (1, None, "45.25".to_string()));
        assert!(MeanStd::of(&[]).is_none());
    }
}
