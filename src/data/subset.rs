//! Some pictures of a data set, drawn evenly over its classes.

use super::{
    dataset::{Dataset, RgbImage},
    error::DataError,
};
use crate::rng::Rng;
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};

/// Some pictures of another set, in its order.
pub struct Subset {
    set: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Subset {
    /// At most `count` pictures of `set`, drawn by `rng`: of each class the same number, as far as it has them. Without
    /// labels, any.
    pub fn draw(set: Arc<dyn Dataset>, count: usize, rng: &Rng) -> Self {
        let mut order: Vec<usize> = (0..set.len()).collect();
        order.shuffle(&mut rng.at(0, 0));
        let mut seen = BTreeMap::<Option<u32>, usize>::new();
        let mut turn = |index: &usize| {
            let of_class = seen.entry(set.label(*index)).or_default();
            *of_class += 1;
            *of_class
        };
        let turns: Vec<usize> = order.iter().map(&mut turn).collect();
        // The first picture of each class, then the second of each, and so on.
        let mut ranked: Vec<(usize, usize)> = turns.into_iter().zip(order).collect();
        ranked.sort_by_key(|(turn, _)| *turn);
        let mut indices: Vec<usize> = ranked.into_iter().take(count).map(|(_, index)| index).collect();
        indices.sort_unstable();
        Self { set, indices }
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }
    fn classes(&self) -> &[String] {
        self.set.classes()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.set.label(self.indices[index])
    }
    fn why_unlabeled(&self) -> Option<&str> {
        self.set.why_unlabeled()
    }
    fn name(&self, index: usize) -> String {
        self.set.name(self.indices[index])
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        self.set.image(self.indices[index])
    }
    fn fingerprint(&self) -> String {
        format!("{:x}", Sha256::digest(format!("{:?} of {}", self.indices, self.set.fingerprint())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures whose class is their number divided by ten: ten of each class but the last.
    struct Numbered(usize, bool);
    impl Dataset for Numbered {
        fn len(&self) -> usize {
            self.0
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn label(&self, index: usize) -> Option<u32> {
            self.1.then_some(index as u32 / 10)
        }
        fn name(&self, index: usize) -> String {
            index.to_string()
        }
        fn image(&self, index: usize) -> Result<RgbImage, DataError> {
            Ok(RgbImage { width: 1, height: 1, pixels: vec![index as u8; 3] })
        }
        fn fingerprint(&self) -> String {
            "numbered".into()
        }
    }

    fn drawn(pictures: usize, labeled: bool, count: usize, seed: u64) -> Subset {
        Subset::draw(Arc::new(Numbered(pictures, labeled)), count, &Rng::new(seed))
    }

    #[test]
    fn every_class_has_its_share() {
        let set = drawn(32, true, 11, 0);
        let of_class = |class| (0..set.len()).filter(|i| set.label(*i) == Some(class)).count();
        // four classes, the last with two pictures: 3 + 3 + 3 + 2
        assert_eq!((set.len(), of_class(0), of_class(1), of_class(2), of_class(3)), (11, 3, 3, 3, 2));
        assert!(set.indices.is_sorted() && set.indices.windows(2).all(|pair| pair[0] < pair[1]));
        for i in 0..set.len() {
            assert_eq!(set.image(i).unwrap().pixels[0] as usize, set.indices[i]);
            assert_eq!(set.name(i), set.indices[i].to_string());
        }
    }

    #[test]
    fn draws_repeat_by_seed_and_take_what_is_there() {
        assert_eq!(drawn(100, false, 20, 1).indices, drawn(100, false, 20, 1).indices);
        assert_ne!(drawn(100, false, 20, 1).indices, drawn(100, false, 20, 2).indices);
        assert_ne!(drawn(100, true, 20, 1).fingerprint(), drawn(100, true, 20, 2).fingerprint());
        assert_eq!(drawn(7, true, 20, 1).indices, (0..7).collect::<Vec<_>>());
    }
}
