//! The two average precisions of FAIR's VOC07 protocol: scikit-learn's, without interpolation, chooses the cost; the area
//! under the monotone envelope of precision over recall (PASCAL's from 2010 on) is what is reported.
//!
//! Pictures of equal score are one threshold in both, so that their order does not matter.

/// True and false positives at every threshold, the highest score first; a NaN counts as the lowest.
fn thresholds(scores: &[f64], positive: &[bool]) -> Vec<(f64, f64)> {
    let value = |i: &usize| if scores[*i].is_nan() { f64::NEG_INFINITY } else { scores[*i] };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    let (mut hits, mut misses) = (0.0, 0.0);
    let tally = |tie: &[usize]| {
        let right = tie.iter().filter(|i| positive[**i]).count() as f64;
        (hits, misses) = (hits + right, misses + tie.len() as f64 - right);
        (hits, misses)
    };
    order.chunk_by(|a, b| value(a) == value(b)).map(tally).collect()
}

/// Mean of the precision at every threshold, weighted by the recall gained there; None without positives.
pub fn stepwise(scores: &[f64], positive: &[bool]) -> Option<f64> {
    area(scores, positive, |_| {})
}

/// The same with each precision raised to the best at any higher recall.
pub fn envelope(scores: &[f64], positive: &[bool]) -> Option<f64> {
    area(scores, positive, |precisions| {
        let mut best = 0f64;
        for precision in precisions.iter_mut().rev() {
            best = best.max(*precision);
            *precision = best;
        }
    })
}

fn area(scores: &[f64], positive: &[bool], interpolate: impl Fn(&mut [f64])) -> Option<f64> {
    let steps = thresholds(scores, positive);
    let all = steps.last().map(|(hits, _)| *hits).filter(|hits| *hits > 0.0)?;
    let mut precisions: Vec<f64> = steps.iter().map(|(hits, misses)| hits / (hits + misses)).collect();
    interpolate(&mut precisions);
    let before = std::iter::once(0.0).chain(steps.iter().map(|(hits, _)| *hits));
    let gained = steps.iter().zip(before).map(|((hits, _), before)| hits - before);
    Some(gained.zip(precisions).map(|(gained, precision)| gained / all * precision).sum())
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
            assert_eq!(mean(&[1.0; 4], &[false, false, false, true]), Some(0.25));
            assert_eq!(mean(&[f64::NAN, -1e9], &[true, false]), Some(0.5));
            assert_eq!(mean(&[1.0, 2.0], &[false, false]), None);
            assert_eq!(mean(&[], &[]), None);
        }
    }
}
