//! In which order a loader takes pictures, and whether it draws crops at random.

/// Shuffled random crops without end, or one pass of center crops in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// shuffled, augmented, epoch after epoch; the last short batch of an epoch is dropped
    Train,
    /// shuffled like `Train`, but center crops without flips: what a probe of remembered features sees
    Shuffled,
    /// in order, center crop, no flip, once; the last batch may be short
    Once,
    /// in order, once, augmented: what a test over several random draws sees; seeking to epoch d gives draw d
    Draw,
}

impl Pass {
    /// Whether it is over after each image was seen once.
    pub(super) fn ends(self) -> bool {
        matches!(self, Self::Once | Self::Draw)
    }

    /// Whether crops, scales and mirrors are drawn at random.
    pub(super) fn augments(self) -> bool {
        matches!(self, Self::Train | Self::Draw)
    }
}
