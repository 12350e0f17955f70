//! Mini-batch k-means (Sculley, "Web-Scale K-Means Clustering", 2010) from k-means++ seeds (Arthur and Vassilvitskii,
//! 2007). A cluster that no batch visits keeps its seed, which is a point of the data.

use crate::rng::Rng;
use candle_core::{Result, Tensor};
use rand::{RngExt, seq::index};
use rayon::prelude::*;

/// Points per cluster in a mini-batch.
const BATCH: usize = 10;
/// Number of mini-batches.
const STEPS: u64 = 100;
/// Number of mini-batches whose points are candidates for seeds.
const SEEDED: usize = 3;

/// Centers of `clusters` clusters of points f32 `(n, d)` on the CPU, n ≥ clusters.
pub(super) fn centroids(points: &Tensor, clusters: usize, rng: &Rng) -> Result<Vec<Vec<f64>>> {
    let (count, size) = points.dims2()?;
    let mut centers = seeds(points, clusters, &rng.split("seeds"))?;
    let mut members = vec![0usize; clusters];
    let draws = rng.split("mini-batches");
    for step in 0..STEPS {
        let mut stream = draws.at(0, step);
        let chosen = (0..BATCH * clusters).map(|_| stream.random_range(0..count as u32));
        let batch = points.index_select(&Tensor::from_iter(chosen, points.device())?, 0)?;
        let nearest = nearest(&batch, &centers)?;
        let batch = batch.flatten_all()?.to_vec1::<f32>()?;
        for (point, cluster) in batch.chunks_exact(size).zip(nearest) {
            members[cluster] += 1;
            let rate = 1.0 / members[cluster] as f64;
            let moved = centers[cluster].iter_mut().zip(point);
            moved.for_each(|(center, value)| *center += rate * (f64::from(*value) - *center));
        }
    }
    Ok(centers)
}

/// The cluster of every point: argmin |x − c|² = argmax x·c − |c|²/2.
fn nearest(points: &Tensor, centers: &[Vec<f64>]) -> Result<Vec<usize>> {
    let size = points.dim(1)?;
    let flat: Vec<f32> = centers.iter().flatten().map(|v| *v as f32).collect();
    let matrix = Tensor::from_vec(flat, (centers.len(), size), points.device())?;
    let halves = (matrix.sqr()?.sum(1)? / 2.0)?;
    let nearest = points.matmul(&matrix.t()?)?.broadcast_sub(&halves)?.argmax(1)?;
    Ok(nearest.to_vec1::<u32>()?.into_iter().map(|i| i as usize).collect())
}

/// Greedy k-means++: each seed is the best of a few candidates, drawn with probability proportional to their squared
/// distance from the earlier seeds. The best candidate gives the smallest total distance of the other points. As in
/// scikit-learn, 2 + ln k candidates are drawn.
fn seeds(points: &Tensor, clusters: usize, rng: &Rng) -> Result<Vec<Vec<f64>>> {
    let (count, size) = points.dims2()?;
    let mut stream = rng.at(0, 0);
    let pool = index::sample(&mut stream, count, count.min(SEEDED * BATCH * clusters));
    let pool: Vec<u32> = pool.into_iter().map(|i| i as u32).collect();
    let pool =
        points.index_select(&Tensor::new(pool, points.device())?, 0)?.flatten_all()?.to_vec1::<f32>()?;
    let pool: Vec<&[f32]> = pool.chunks_exact(size).collect();
    let mut gaps = vec![f64::INFINITY; pool.len()];
    let left = |gaps: &[f64], seed: usize| -> Vec<f64> {
        gaps.par_iter().zip(&pool).map(|(gap, point)| gap.min(distance(point, pool[seed]))).collect()
    };
    let candidates = 2 + (clusters as f64).ln() as usize;
    let mut chosen = stream.random_range(0..pool.len());
    let mut seeds: Vec<Vec<f64>> = vec![];
    loop {
        seeds.push(pool[chosen].iter().map(|v| f64::from(*v)).collect());
        gaps = left(&gaps, chosen);
        if seeds.len() == clusters {
            return Ok(seeds);
        }
        let drawn = (0..candidates).map(|_| draw(&gaps, &mut stream));
        let sums = drawn.map(|seed| (left(&gaps, seed).iter().sum::<f64>(), seed)).collect::<Vec<_>>();
        chosen = sums.iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |best| best.1);
    }
}

/// Draws a point with probability proportional to its gap; uniformly if all gaps are 0, as with fewer distinct points
/// than clusters.
fn draw(gaps: &[f64], stream: &mut impl rand::Rng) -> usize {
    let mut rest = stream.random::<f64>() * gaps.iter().sum::<f64>();
    let reached = gaps.iter().position(|gap| {
        rest -= gap;
        rest < 0.0
    });
    reached.unwrap_or_else(|| stream.random_range(0..gaps.len()))
}

/// Squared distance.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    f64::from(a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extremes::largest;
    use candle_core::Device;
    use rand_distr::{Distribution, StandardNormal};

    /// Twelve clusters of deviation 0.05 at the corners of a simplex, 60 points each.
    #[test]
    fn planted_clusters_are_found() -> Result<()> {
        const CLUSTERS: usize = 12;
        let mut stream = Rng::new(5).at(0, 0);
        let point = |i: usize| -> Vec<f32> {
            let noise = |_| -> f32 { StandardNormal.sample(&mut stream) };
            let mut point: Vec<f32> = (0..CLUSTERS).map(noise).map(|z| 0.05 * z).collect();
            point[i % CLUSTERS] += 1.0;
            point
        };
        let points: Vec<f32> = (0..60 * CLUSTERS).flat_map(point).collect();
        let points = Tensor::from_vec(points, (60 * CLUSTERS, CLUSTERS), &Device::Cpu)?;
        let centers = centroids(&points, CLUSTERS, &Rng::new(1))?;
        let mut found: Vec<usize> = centers.iter().filter_map(|c| c.iter().position(|v| *v > 0.9)).collect();
        found.sort_unstable();
        assert_eq!(found, (0..CLUSTERS).collect::<Vec<_>>());
        for center in &centers {
            let rest = largest(center.iter().copied().filter(|v| v.is_nan() || *v < 0.9));
            assert!(rest < 0.05, "{center:?}: the mean of 60 lies within 0.05");
        }
        Ok(())
    }

    #[test]
    fn fewer_points_than_clusters_differ() -> Result<()> {
        let points = Tensor::new(&[[1f32, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], &Device::Cpu)?;
        let centers = centroids(&points, 4, &Rng::new(2))?;
        assert!(centers.iter().all(|c| *c == [1.0, 0.0] || *c == [0.0, 1.0]), "{centers:?}");
        Ok(())
    }
}
