//! Spearman's rank correlation.

/// Correlation of the ranks of `a` and `b`, −1 to 1; equal values share the mean of their ranks. Pairs with a value that is
/// not a number are left out. None for fewer than two pairs, or where all values of one side are equal.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let pairs = a.iter().copied().zip(b.iter().copied()).filter(|(a, b)| !a.is_nan() && !b.is_nan());
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
    pearson(&ranks(&a), &ranks(&b))
}

/// Ranks from 0, with the mean rank for equal values.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count() as f64;
    let equal = |value: f64| values.iter().filter(|other| **other == value).count() as f64;
    values.iter().map(|value| below(*value) + 0.5 * (equal(*value) - 1.0)).collect()
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let products = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>();
    let squares = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    let scale = (squares(a, mean_a) * squares(b, mean_b)).sqrt();
    (scale > 0.0).then(|| products / scale)
}

#[cfg(test)]
mod tests {
    use super::spearman;

    #[test]
    fn order_alone_counts() {
        let near =
            |found: Option<f64>, wanted: f64| found.is_some_and(|found| (found - wanted).abs() < 1e-12);
        assert!(near(spearman(&[1.0, 2.0, 30.0], &[-5.0, 0.0, 0.1]), 1.0));
        assert!(near(spearman(&[1.0, 2.0, 30.0], &[3.0, 2.0, 1.0]), -1.0));
        // 1 − 6 Σd² / (n (n² − 1)) with d = (0, 1, −1, 0): 1 − 12/60
        assert!(near(spearman(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]), 0.8));
        // scipy.stats.spearmanr([1, 2, 2, 3], [1, 2, 3, 4]).statistic
        assert!(near(spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]), 0.948_683_298_050_513_8));
        assert!(near(spearman(&[1.0, f64::NAN, 3.0], &[1.0, 9.0, 3.0]), 1.0), "NaN is left out");
    }

    #[test]
    fn what_has_no_order_has_no_correlation() {
        assert_eq!(spearman(&[], &[]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
    }
}
