//! Measures of a representation that need no labels: effective rank, spread, alignment and uniformity. All take feature
//! matrices `(n, d)` row by row. A value that is not finite in them makes the measure NaN.

use candle_core::{Device, Result, Tensor, bail};
use faer::{MatRef, Side};

/// Rows of a block of inner products.
const BLOCK: usize = 256;
/// t of the Gaussian potential (Wang and Isola 2020).
const POTENTIAL: f64 = 2.0;

/// RankMe, the effective rank of `rows` `(n, d)`, 1 to min(n, d) (Garrido, Balestriero, Najman and LeCun 2023): exp of the
/// entropy of p, the singular values divided by their sum. Rows are neither centered nor normalized, nothing is added to
/// p, and 0 · ln 0 = 0. Singular values are roots of the eigenvalues of the smaller Gram matrix in f64; eigenvalues
/// within its rounding error count as 0. NaN if all rows are 0.
///
/// # Errors
/// An incomplete row; a decomposition that fails.
pub fn rank_me(rows: &[f32], width: usize) -> Result<f64> {
    let count = check(rows, width)?;
    if rows.iter().any(|value| !value.is_finite()) {
        return Ok(f64::NAN);
    }
    let values: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
    let x = Tensor::from_vec(values, (count, width), &Device::Cpu)?;
    let (gram, side) = if width < count { (x.t()?.matmul(&x)?, width) } else { (x.matmul(&x.t()?)?, count) };
    let gram = gram.flatten_all()?.to_vec1::<f64>()?;
    let Ok(eigenvalues) =
        MatRef::from_row_major_slice(&gram, side, side).self_adjoint_eigenvalues(Side::Lower)
    else {
        bail!("RankMe: the eigenvalues of the Gram matrix of {count} × {width} features did not converge")
    };
    Ok(effective_rank(&eigenvalues, count.max(width)))
}

/// exp of the entropy of the roots of eigenvalues.
fn effective_rank(eigenvalues: &[f64], terms: usize) -> f64 {
    let largest = eigenvalues.iter().copied().fold(0.0, f64::max);
    let noise = largest * f64::EPSILON * terms as f64;
    let roots: Vec<f64> =
        eigenvalues.iter().filter(|value| **value > noise).map(|value| value.sqrt()).collect();
    let sum: f64 = roots.iter().sum();
    let entropy: f64 = roots.iter().map(|root| root / sum).map(|p| -p * p.ln()).sum();
    if roots.is_empty() { f64::NAN } else { entropy.exp() }
}

/// Standard deviation of each column of `unit` `(n, d)`, averaged over the columns. Rows have length 1: 1/√d if they are
/// spread evenly, 0 if all are the same.
///
/// # Errors
/// An incomplete row.
pub fn mean_deviation(unit: &[f32], width: usize) -> Result<f64> {
    let count = check(unit, width)? as f64;
    let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
    for row in unit.chunks_exact(width) {
        for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(row) {
            *sum += f64::from(*value);
            *square += f64::from(*value).powi(2);
        }
    }
    let deviation = |(sum, square): (&f64, &f64)| {
        let variance = square / count - (sum / count).powi(2);
        if variance < 0.0 { 0.0 } else { variance.sqrt() } // NaN stays
    };
    Ok(sums.iter().zip(&squares).map(deviation).sum::<f64>() / width as f64)
}

/// Alignment: mean squared distance between rows of two views of the same pictures, both `(n, d)` with rows of length 1
/// (Wang and Isola 2020, α = 2). 0 if the views give the same features, 2 if they have nothing in common.
///
/// # Errors
/// Incomplete rows; views of different numbers of pictures.
pub fn alignment(one: &[f32], other: &[f32], width: usize) -> Result<f64> {
    let count = check(one, width)?;
    if one.len() != other.len() {
        bail!("alignment: views of {count} and of {} pictures", other.len() / width)
    }
    let squares = one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    Ok(squares.sum::<f64>() / count as f64)
}

/// Uniformity: ln of the mean of exp(−2 ‖x − y‖²) over all pairs of rows of `unit` `(n, d)`, which have length 1 (Wang
/// and Isola 2020, t = 2). 0 if all are the same; about −4 + 8/d where they are uniform on the sphere. NaN for one row.
///
/// # Errors
/// An incomplete row.
pub fn uniformity(unit: &[f32], width: usize) -> Result<f64> {
    let count = check(unit, width)?;
    let all = Tensor::from_slice(unit, (count, width), &Device::Cpu)?.t()?;
    let lengths: Vec<f64> =
        unit.chunks_exact(width).map(|row| row.iter().map(|v| f64::from(*v).powi(2)).sum()).collect();
    let mut sum = 0.0;
    for (block, rows) in unit.chunks(BLOCK * width).enumerate() {
        let products = Tensor::from_slice(rows, (rows.len() / width, width), &Device::Cpu)?.matmul(&all)?;
        for (row, products) in (block * BLOCK..).zip(products.to_vec2::<f32>()?) {
            let later = products.iter().zip(&lengths).skip(row + 1);
            let squared = later.map(|(product, length)| lengths[row] + length - 2.0 * f64::from(*product));
            sum += squared.map(|squared| (-POTENTIAL * squared).exp()).sum::<f64>();
        }
    }
    Ok((sum / (count * (count - 1) / 2) as f64).ln())
}

/// Number of rows.
fn check(rows: &[f32], width: usize) -> Result<usize> {
    if width == 0 || rows.is_empty() || !rows.len().is_multiple_of(width) {
        bail!("{} numbers are no rows of {width} features", rows.len())
    }
    Ok(rows.len() / width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use rand_distr::{Distribution, StandardNormal};

    fn normal(count: usize) -> Vec<f32> {
        let mut stream = Rng::new(5).at(0, 0);
        (0..count).map(|_| Distribution::<f32>::sample(&StandardNormal, &mut stream)).collect()
    }

    fn unit(mut rows: Vec<f32>, width: usize) -> Vec<f32> {
        for row in rows.chunks_exact_mut(width) {
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|v| *v /= length);
        }
        rows
    }

    #[test]
    fn the_rank_of_known_matrices() -> Result<()> {
        let identity: Vec<f32> = (0..64).map(|i| if i % 9 == 0 { 3.0 } else { 0.0 }).collect();
        assert!((rank_me(&identity, 8)? - 8.0).abs() < 1e-12);
        let one: Vec<f32> = (0..300).map(|i| (i / 30 + 1) as f32 * (i % 30) as f32).collect();
        assert!((rank_me(&one, 30)? - 1.0).abs() < 1e-6);
        // singular values 3 and 1: p is (3/4, 1/4), so exp(−¾ ln ¾ − ¼ ln ¼) = 4 / 3^¾
        let two = [3.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        for width in [2, 3] {
            let rows = if width == 2 { two } else { [3.0, 0.0, 0.0, 0.0, 1.0, 0.0] };
            assert!((rank_me(&rows, width)? - 4.0 / 3f64.powf(0.75)).abs() < 1e-12);
        }
        // two equal singular values among 2048 columns: nothing is added for the 2046 others
        let mut wide = vec![0.0; 2 * 2048];
        (wide[0], wide[2048 + 7]) = (2.0, 2.0);
        assert!((rank_me(&wide, 2048)? - 2.0).abs() < 1e-12);
        assert!(rank_me(&[0.0; 6], 3)?.is_nan() && rank_me(&[1.0, f32::NAN], 2)?.is_nan());
        assert!(rank_me(&[1.0; 5], 2).is_err() && rank_me(&[], 2).is_err());
        Ok(())
    }

    /// Not centered: a common mean is a direction of its own.
    #[test]
    fn a_mean_counts_as_a_direction() -> Result<()> {
        let shifted: Vec<f32> = [1.0, -1.0].into_iter().flat_map(|v| [v, 1.0]).collect();
        assert!((rank_me(&shifted, 2)? - 2.0).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn points_spread_over_the_sphere_have_the_published_values() -> Result<()> {
        let d = 32;
        let points = unit(normal(2000 * d), d);
        let wanted = -4.0 + 8.0 / d as f64;
        assert!((uniformity(&points, d)? - wanted).abs() < 0.02, "{}", uniformity(&points, d)?);
        assert!((mean_deviation(&points, d)? * (d as f64).sqrt() - 1.0).abs() < 0.01);
        assert!((rank_me(&points, d)? - 32.0).abs() < 0.1);
        let (one, other) = points.split_at(1000 * d);
        assert!((alignment(one, other, d)? - 2.0).abs() < 0.05, "unrelated directions are orthogonal");
        Ok(())
    }

    #[test]
    fn views_and_points_that_are_the_same() -> Result<()> {
        let same = unit([1.0, 2.0, 3.0].repeat(300), 3);
        assert!(uniformity(&same, 3)?.abs() < 1e-6 && mean_deviation(&same, 3)? < 1e-6);
        assert_eq!(alignment(&same, &same, 3)?, 0.0);
        // by hand: distances² 2, 4, 2 between (1, 0), (0, 1), (−1, 0)
        let three = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
        let wanted = ((2.0 * (-4f64).exp() + (-8f64).exp()) / 3.0).ln();
        assert!((uniformity(&three, 2)? - wanted).abs() < 1e-6);
        assert_eq!(alignment(&three[..4], &three[2..], 2)?, 2.0);
        assert!(alignment(&three, &three[2..], 2).is_err());
        assert!(uniformity(&[1.0, 0.0], 2)?.is_nan(), "there is no pair");
        Ok(())
    }

    /// Blocks are joined without losing or repeating a pair.
    #[test]
    fn uniformity_counts_every_pair_once() -> Result<()> {
        let (d, n) = (3, 2 * BLOCK + 5);
        let points = unit(normal(n * d), d);
        let row = |i: usize| &points[i * d..(i + 1) * d];
        let (mut sum, mut pairs) = (0.0, 0.0);
        for i in 0..n {
            for j in 0..i {
                let squared: f64 = row(i).iter().zip(row(j)).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                sum += (-2.0 * squared).exp();
                pairs += 1.0;
            }
        }
        assert!((uniformity(&points, d)? - f64::ln(sum / pairs)).abs() < 1e-6);
        Ok(())
    }
}
