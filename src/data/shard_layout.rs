//! The order of an epoch over a set whose pictures are stored in shards of which only few can be kept at hand.

use rand::{Rng, seq::SliceRandom};
use std::ops::Range;

/// Which images are in which shard, and how many shards are mixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLayout {
    /// Of each shard, the number of the image behind its last one.
    ends: Vec<usize>,
    mix: usize,
}

impl ShardLayout {
    /// Shards that end before these images, of which `mix` are shuffled together.
    pub fn new(ends: Vec<usize>, mix: usize) -> Self {
        Self { ends, mix: mix.max(1) }
    }

    /// The layout of the images at `chosen`, in ascending order, numbered anew.
    pub fn of(&self, chosen: &[usize]) -> Self {
        let ends = self.ends.iter().map(|end| chosen.partition_point(|image| image < end)).collect();
        Self { ends, ..self.clone() }
    }

    /// Every image once: the shards in random order, the images of each `mix` shards in random order.
    pub fn order(&self, rng: &mut impl Rng) -> Vec<usize> {
        let mut shards: Vec<usize> = (0..self.ends.len()).collect();
        shards.shuffle(rng);
        let mut order = Vec::with_capacity(self.ends.last().copied().unwrap_or_default());
        for mixed in shards.chunks(self.mix) {
            let start = order.len();
            order.extend(mixed.iter().flat_map(|shard| self.images(*shard)));
            order[start..].shuffle(rng);
        }
        order
    }

    fn images(&self, shard: usize) -> Range<usize> {
        shard.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[shard]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng as Streams;

    /// Ten shards of 1 to 10 images.
    fn layout(mix: usize) -> ShardLayout {
        let ends = (1..=10).scan(0, |end, images| {
            *end += images;
            Some(*end)
        });
        ShardLayout::new(ends.collect(), mix)
    }

    fn shard_of(layout: &ShardLayout, image: usize) -> usize {
        layout.ends.partition_point(|end| *end <= image)
    }

    #[test]
    fn an_order_has_every_image_once_and_few_shards_at_a_time() {
        for mix in [1, 3, 10, 99] {
            let layout = layout(mix);
            let order = layout.order(&mut Streams::new(1).at(0, 0));
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..55).collect::<Vec<_>>());
            assert_ne!(order, sorted);
            // a shard is met within one group of `mix` shards
            let mut met: Vec<usize> = vec![];
            for shard in order.iter().map(|image| shard_of(&layout, *image)) {
                if !met.contains(&shard) {
                    met.push(shard);
                }
                let group = met.iter().position(|known| *known == shard).unwrap() / mix;
                assert!(group + 1 >= met.len().div_ceil(mix), "mix {mix}: shard {shard} again");
            }
        }
        let order = |epoch| layout(3).order(&mut Streams::new(1).at(epoch, 0));
        assert!(order(0) == order(0) && order(0) != order(1));
    }

    #[test]
    fn chosen_images_keep_their_shards() {
        let chosen = [0, 2, 3, 9, 54];
        let part = layout(2).of(&chosen);
        let shards: Vec<usize> = (0..5).map(|image| shard_of(&part, image)).collect();
        assert_eq!(shards, chosen.map(|image| shard_of(&layout(2), image)));
        let mut order = part.order(&mut Streams::new(0).at(0, 0));
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }
}
