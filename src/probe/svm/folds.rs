//! Stratified folds without shuffling, as scikit-learn's `StratifiedKFold(shuffle=False)` assigns them: examples go to the
//! folds in their order, and every fold gets its share of both sides to within one example.

/// The fold of each example, 0 to `folds` − 1.
///
/// The shares: the labels are lined up, those of the first example's side before the others, and dealt to the folds in
/// turn; the examples of a side then fill the folds one after another.
pub fn stratified(positive: &[bool], folds: usize) -> Vec<usize> {
    let Some(&first) = positive.first() else { return vec![] };
    let leading = positive.iter().filter(|p| **p == first).count();
    let mut leaders = fill(0..leading, folds);
    let mut others = fill(leading..positive.len(), folds);
    let next = |p: &bool| if *p == first { leaders.next() } else { others.next() };
    positive.iter().filter_map(next).collect()
}

/// The folds of one side's examples in their order: place p of the line is dealt to fold p modulo `folds`.
fn fill(places: std::ops::Range<usize>, folds: usize) -> impl Iterator<Item = usize> {
    (0..folds).flat_map(move |fold| {
        let share = places.clone().filter(|p| p % folds == fold).count();
        std::iter::repeat_n(fold, share)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_fold_gets_its_share(positive in proptest::collection::vec(any::<bool>(), 0..60), folds in 2usize..6) {
            let assigned = stratified(&positive, folds);
            prop_assert_eq!(assigned.len(), positive.len());
            for side in [true, false] {
                let all = positive.iter().filter(|p| **p == side).count();
                for fold in 0..folds {
                    let share = assigned.iter().zip(&positive).filter(|(f, p)| **f == fold && **p == side).count();
                    prop_assert!(share == all / folds || share == all.div_ceil(folds), "{} of {}", share, all);
                }
            }
        }
    }
}
