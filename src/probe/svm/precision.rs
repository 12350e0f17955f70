//! The two average precisions of FAIR's VOC07 protocol: scikit-learn's, without interpolation, chooses the cost; the area
//! under the monotone envelope of precision over recall (PASCAL's from 2010 on) is what is reported.

/// Scores in falling order with whether they are positive; a NaN counts as the lowest, and of equal scores the negatives
/// come first.
fn ranked(scores: &[f64], positive: &[bool]) -> Vec<(f64, bool)> {
    let number = |score: &f64| if score.is_nan() { f64::NEG_INFINITY } else { *score };
    let mut ranked: Vec<(f64, bool)> = scores.iter().map(number).zip(positive.iter().copied()).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked
}

/// Mean of the precision at every threshold, weighted by the recall gained there: scikit-learn's
/// `average_precision_score`. Equal scores are one threshold. None without positives.
pub fn stepwise(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let (mut sum, mut found, mut seen) = (0.0, 0, 0);
    for tie in ranked(scores, positive).chunk_by(|a, b| a.0 == b.0) {
        let hits = tie.iter().filter(|(_, positive)| *positive).count();
        (found, seen) = (found + hits, seen + tie.len());
        sum += hits as f64 * found as f64 / seen as f64;
    }
    (found > 0).then(|| sum / found as f64)
}

/// The same with each precision raised to the best at any higher recall. Equal scores count against us: the negatives
/// among them rank first. None without positives.
pub fn envelope(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let mut found = 0;
    let mut precisions = vec![];
    for (place, (_, positive)) in ranked(scores, positive).iter().enumerate() {
        if *positive {
            found += 1;
            precisions.push(f64::from(found) / (place + 1) as f64);
        }
    }
    let (mut best, mut sum) = (0f64, 0.0);
    for precision in precisions.iter().rev() {
        best = best.max(*precision);
        sum += best;
    }
    (found > 0).then(|| sum / f64::from(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Precisions at the three hits: 1, 2/4, 3/5; the envelope lifts 2/4 to 3/5.
        let scores = [0.9, 0.8, 0.7, 0.6, 0.5];
        let positive = [true, false, false, true, true];
        let close = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() < 1e-12);
        assert!(close(stepwise(&scores, &positive), (1.0 + 0.5 + 0.6) / 3.0));
        assert!(close(envelope(&scores, &positive), (1.0 + 0.6 + 0.6) / 3.0));
    }

    #[test]
    fn ties_nan_and_no_positives() {
        for mean in [stepwise, envelope] {
            assert_eq!(mean(&[1.0; 4], &[true, false, false, false]), Some(0.25));
            assert_eq!(mean(&[1.0; 4], &[true; 4]), Some(1.0));
            assert_eq!(mean(&[1.0; 4], &[false, false, false, true]), Some(0.25));
            assert_eq!(mean(&[f64::NAN, -1e9], &[true, false]), Some(0.5));
            assert_eq!(mean(&[1.0, 2.0], &[false, false]), None);
            assert_eq!(mean(&[], &[]), None);
        }
    }
}
