//! Hierarchical grouping (algorithm 1 of the paper): repeatedly merges the two most similar neighboring regions until
//! one is left.

use super::regions::{Bounds, Likeness, Regions};
use std::{cmp::Ordering, collections::BinaryHeap};

/// Two adjacent regions and their similarity.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RegionPair {
    likeness: f32,
    a: u32,
    b: u32,
}

impl Eq for RegionPair {}

impl Ord for RegionPair {
    /// Most similar first; ties by creation order, so that the result does not depend on the heap.
    fn cmp(&self, other: &Self) -> Ordering {
        let found = |pair: &Self| (pair.b.max(pair.a), pair.b.min(pair.a));
        self.likeness.total_cmp(&other.likeness).then_with(|| found(other).cmp(&found(self)))
    }
}

impl PartialOrd for RegionPair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Bounding boxes of every region of the hierarchy: the initial ones in order, then each merged one; the whole image
/// comes last.
pub(super) fn hierarchy(start: &Regions, of: Likeness) -> Vec<Bounds> {
    let Regions { regions, mut beside, area } = start.clone();
    let mut regions: Vec<_> = regions.into_iter().map(Some).collect();
    let mut bounds: Vec<Bounds> = regions.iter().flatten().map(|region| region.bounds).collect();
    let mut pairs = first_pairs(start, of);
    while let Some(RegionPair { a, b, .. }) = pairs.pop() {
        let (one, other) = (a as usize, b as usize);
        // Skip stale pairs instead of removing them from the heap.
        if regions[one].is_none() || regions[other].is_none() {
            continue;
        }
        let (Some(first), Some(second)) = (regions[one].take(), regions[other].take()) else { continue };
        let (joined, number) = (first.joined(&second), regions.len() as u32);
        let mut around = std::mem::take(&mut beside[one]);
        around.extend(std::mem::take(&mut beside[other]));
        around.remove(&a);
        around.remove(&b);
        for &neighbor in &around {
            let known = &mut beside[neighbor as usize];
            known.remove(&a);
            known.remove(&b);
            known.insert(number);
            if let Some(region) = &regions[neighbor as usize] {
                pairs.push(RegionPair {
                    likeness: joined.likeness(region, of, area),
                    a: number,
                    b: neighbor,
                });
            }
        }
        bounds.push(joined.bounds);
        regions.push(Some(joined));
        beside.push(around);
    }
    bounds
}

fn first_pairs(start: &Regions, of: Likeness) -> BinaryHeap<RegionPair> {
    let touching =
        start.beside.iter().zip(0u32..).flat_map(|(beside, a)| beside.range(a + 1..).map(move |&b| (a, b)));
    let pair = |(a, b): (u32, u32)| {
        let (one, other) = (&start.regions[a as usize], &start.regions[b as usize]);
        RegionPair { likeness: one.likeness(other, of, start.area), a, b }
    };
    touching.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{color::Planes, segmentation::Segments, texture},
        *,
    };

    #[test]
    fn the_most_alike_come_together_first() {
        // Columns of black, nearly black, white: black joins what is in its bin.
        let labels = vec![0, 1, 2, 0, 1, 2];
        let plane = vec![0.0, 3.0, 255.0, 0.0, 3.0, 255.0];
        let planes = Planes { width: 3, height: 2, channels: vec![plane] };
        let segments = Segments { width: 3, height: 2, labels, count: 3 };
        let start = Regions::of(&segments, &planes, &texture::bins(&planes));
        let of = Likeness { color: true, texture: false, size: true, fill: true };
        let bounds = hierarchy(&start, of);
        assert_eq!(bounds.len(), 5, "three regions make two more");
        assert_eq!((bounds[3].left, bounds[3].right), (0, 1));
        assert_eq!((bounds[4].width(), bounds[4].height()), (3, 2));
    }

    #[test]
    fn equals_go_by_their_number() {
        let pair = |likeness, a, b| RegionPair { likeness, a, b };
        let mut pairs =
            BinaryHeap::from([pair(1.0, 2, 3), pair(1.0, 1, 0), pair(1.0, 0, 3), pair(2.0, 8, 9)]);
        let order: Vec<(u32, u32)> = std::iter::from_fn(|| pairs.pop().map(|p| (p.a, p.b))).collect();
        assert_eq!(order, [(8, 9), (1, 0), (0, 3), (2, 3)]);
    }
}
