//! Which algorithm a new participant judges: the one with the fewest participants, drawn among equals. As in the original
//! study, all algorithms are judged at the same time; unlike independent draws, numbers stay equal when participants drop
//! out, since those no longer count.

use super::design::StudyDesign;
use crate::rng::Rng;
use rand::seq::IndexedRandom;

/// The algorithm of session `session`, if `counted` participants judge or have judged each; None if every algorithm has
/// those that the design wants.
pub fn assign(design: &StudyDesign, counted: &[usize], session: u64) -> Option<usize> {
    let fewest = counted.iter().min().copied().filter(|fewest| *fewest < design.participants)?;
    let candidates: Vec<usize> = (0..counted.len()).filter(|a| counted[*a] == fewest).collect();
    let rng = &mut Rng::new(design.seed).split("study").split("assignment").at(0, session);
    candidates.choose(rng).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::design::sample_design;

    #[test]
    fn the_fewest_are_drawn_among_equals() {
        let design = sample_design(3, 50);
        assert_eq!(assign(&design, &[5, 4, 5], 0), Some(1));
        assert_eq!(assign(&design, &[40, 41, 39], 9), Some(2));
        assert_eq!(assign(&design, &[40, 41, 40], 9), None);
        let drawn: Vec<_> = (0..3000).filter_map(|session| assign(&design, &[2, 2, 3], session)).collect();
        let zeros = drawn.iter().filter(|a| **a == 0).count();
        assert!(drawn.len() == 3000 && drawn.iter().all(|a| *a < 2) && (1360..1640).contains(&zeros));
    }
}
