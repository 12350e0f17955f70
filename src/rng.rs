//! Named, splittable random streams. All randomness in the crate (initialization, shuffling, crops, flips, dropout,
//! synthetic scenes) comes from ChaCha8 streams that are pure functions of (seed, name, epoch, index). The same seed
//! gives the same bits on the same machine for any number of threads, and a checkpoint stores only the position.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A family of random streams. Cheap to clone and split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    key: [u8; 32],
}

impl Rng {
    /// The root stream of an experiment.
    pub fn new(seed: u64) -> Self {
        Self { key: Sha256::digest(seed.to_le_bytes()).into() }
    }

    /// Derives the child family `name`: `rng.split("dropout").split("fc6")`.
    pub fn split(&self, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        Self { key: hash.finalize().into() }
    }

    /// The generator at `(epoch, index)`, independent of every other position and of the call order.
    pub fn at(&self, epoch: u64, index: u64) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(epoch.to_le_bytes());
        hash.update(index.to_le_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn first(rng: &Rng, epoch: u64, index: u64) -> u64 {
        rng.at(epoch, index).random()
    }

    #[test]
    fn streams_repeat_and_differ() {
        let rng = Rng::new(7).split("shuffle");
        assert_eq!(first(&rng, 1, 2), first(&Rng::new(7).split("shuffle"), 1, 2));
        let others = [first(&rng, 2, 1), first(&rng, 1, 3), first(&Rng::new(8).split("shuffle"), 1, 2)];
        assert!(others.iter().all(|o| *o != first(&rng, 1, 2)));
    }

    #[test]
    fn names_do_not_run_together() {
        let root = Rng::new(0);
        assert_ne!(root.split("a").split("bc"), root.split("ab").split("c"));
    }
}
