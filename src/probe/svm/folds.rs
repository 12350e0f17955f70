//! Stratified folds without shuffling, assigned as by scikit-learn's `StratifiedKFold(shuffle=False)`: examples are
//! assigned in their order, and the class counts of the folds differ by at most one.

/// The fold of each example, 0 to `folds` − 1.
///
/// Fold sizes: labels are sorted by first appearance and dealt to the folds round-robin; the examples of each class then
/// fill the folds in order.
pub fn stratified<L: Copy + PartialEq>(labels: &[L], folds: usize) -> Vec<usize> {
    let mut classes = vec![];
    let mut start = 0;
    for label in labels {
        if classes.iter().all(|(known, _)| known != label) {
            let count = labels.iter().filter(|other| *other == label).count();
            classes.push((*label, fold_sizes(start..start + count, folds)));
            start += count;
        }
    }
    let mut next = |label: &L| classes.iter_mut().find(|(known, _)| known == label)?.1.next();
    labels.iter().filter_map(&mut next).collect()
}

/// Folds of one class's examples in order: position p of the sorted labels counts towards fold p modulo `folds`.
fn fold_sizes(places: std::ops::Range<usize>, folds: usize) -> impl Iterator<Item = usize> {
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
            let assigned = stratified::<bool>(&positive, folds);
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
