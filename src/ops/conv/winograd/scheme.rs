//! Schemes of minimal filtering, and the sizes by which the work is split.

/// F(m × m, r × r): tiles of m × m outputs, blocks of r × r taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Scheme {
    pub m: usize,
    pub r: usize,
}

impl Scheme {
    /// Points of one axis: multiplications of one row of a tile.
    pub fn alpha(self) -> usize {
        self.m + self.r - 1
    }
}

/// Sizes in bytes that decide how the work is split. They determine the rounding, so they are constants but in tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The transformed source of the images (or channels) that are processed together: a part of a typical L3 cache.
    pub source: usize,
    /// A part of the packed filter of a task: most of a typical L2 cache.
    pub filter: usize,
    /// The sums of a task.
    pub sums: usize,
    /// Both transformed operands of grad-weight, if images are processed in parts.
    pub operands: usize,
    /// The transformed output channels of grad-weight that are processed together.
    pub outputs: usize,
    /// Sums that are kept from stage to stage.
    pub kept: usize,
}

pub(super) const LIMITS: Limits = Limits {
    source: 12 << 20,
    filter: 768 << 10,
    sums: 1 << 20,
    operands: 16 << 20,
    outputs: 8 << 20,
    kept: 32 << 20,
};
