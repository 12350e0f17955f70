//! Image order and augmentation of a loader.

/// Iteration mode of a loader: endless shuffled random crops, or one sequential pass of center crops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// shuffled, augmented, epoch after epoch; the last short batch of an epoch is dropped
    Train,
    /// shuffled like `Train`, but center crops without flips: for probes of cached features
    Shuffled,
    /// in order, center crop, no flip, once; the last batch may be short
    Once,
    /// in order, once, augmented: for test-time averaging over random crops; seeking to epoch d gives draw d
    Draw,
}

impl Pass {
    /// Whether the pass ends after one epoch.
    pub(super) fn ends(self) -> bool {
        matches!(self, Self::Once | Self::Draw)
    }

    /// Whether crops, scales and flips are random.
    pub(super) fn augments(self) -> bool {
        matches!(self, Self::Train | Self::Draw)
    }
}
