//! The product of two packed operands, and the instruction sets that compute it.
//!
//! All but [`Kernel::Dot`] give the bits of the tile instruction `tdpbf16ps`: over each block of 32 along the summation index, two
//! chains of fused multiply-adds start at zero, one over its even and one over its odd elements, their sum is added to the result,
//! and numbers below the normal range are zero throughout.

use super::super::simd::{Element, Simd, is_requested};
use super::model;
#[cfg(target_arch = "x86_64")]
use super::{amx, dot, fma};
use crate::device;
use std::sync::LazyLock;

/// Rows of a block of the left operand.
pub(super) const ROWS: usize = 32;
/// Columns of a panel of the right operand.
pub(super) const COLUMNS: usize = 16;
/// Length of a block of the summation index.
pub(super) const DEPTH: usize = 32;
/// Elements of a block of the left operand, of the right one, and of the result.
pub(super) const LEFT: usize = ROWS * DEPTH;
pub(super) const RIGHT: usize = COLUMNS * DEPTH;
pub(super) const SUMS: usize = ROWS * COLUMNS;

/// A packed operand: blocks of the summation index, one after another, of each block of rows or panel.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, T> {
    pub data: &'a [T],
    /// Which blocks are other than zero; the others are not multiplied.
    pub present: &'a [bool],
    /// Blocks of the summation index from one block of rows, or panel, to the next.
    pub pitch: usize,
}

/// `sums[i][j] += Σ_k left[i][k] · right[j][k]`.
pub(super) struct Product<'a, T> {
    /// `[i][k][32 rows][32]`.
    pub left: Operand<'a, T>,
    /// `[j][k][16 pairs][16 columns][2]`; widened `[j][k][32][16 columns]`.
    pub right: Operand<'a, T>,
    /// `[i][j][32 rows][16 columns]`.
    pub sums: &'a mut [f32],
    pub row_blocks: usize,
    pub panels: usize,
    /// Blocks of the summation index.
    pub depth: usize,
}

/// What multiplies.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// The scalar model.
    Model,
    /// Fused multiply-adds of operands widened to f32.
    Avx2,
    Avx512,
    /// `tdpbf16ps`.
    Amx,
    /// `vdpbf16ps`: other bits, since it has one chain of sums.
    Dot,
}

impl Kernel {
    /// The fastest with the bits of tiles, or, if they may differ, the fastest of all. As with f32, `HUERISTIC_SIMD` can ask for
    /// less.
    pub fn chosen() -> Kernel {
        static SAME_BITS: LazyLock<Kernel> = LazyLock::new(Kernel::with_bits_of_tiles);
        static FASTEST: LazyLock<Kernel> = LazyLock::new(Kernel::fastest);
        if device::deterministic() { *SAME_BITS } else { *FASTEST }
    }

    fn with_bits_of_tiles() -> Kernel {
        let simd = f32::simd();
        #[cfg(target_arch = "x86_64")]
        if !is_requested() && amx::available() {
            return Kernel::Amx;
        }
        match simd {
            Simd::Plain => Kernel::Model,
            Simd::Avx2 => Kernel::Avx2,
            Simd::Avx512 => Kernel::Avx512,
        }
    }

    /// `vdpbf16ps` runs at half the rate of f32 multiply-adds on some processors and at twice that on others: it is timed.
    fn fastest() -> Kernel {
        let same_bits = Kernel::with_bits_of_tiles();
        #[cfg(target_arch = "x86_64")]
        if same_bits == Kernel::Avx512 && dot::available() && dot::is_faster_than(same_bits) {
            return Kernel::Dot;
        }
        same_bits
    }

    /// Those that this processor has, those with the bits of tiles first.
    #[cfg(test)]
    pub fn available() -> Vec<Kernel> {
        let mut all = vec![Kernel::Model];
        #[cfg(target_arch = "x86_64")]
        {
            let simd = Simd::available();
            all.extend(simd.contains(&Simd::Avx2).then_some(Kernel::Avx2));
            all.extend(simd.contains(&Simd::Avx512).then_some(Kernel::Avx512));
            #[cfg(target_os = "linux")] // emulated where the processor has no tiles
            all.extend(amx::emulator::install_if_needed().then_some(Kernel::Amx));
            all.extend(dot::available().then_some(Kernel::Dot));
        }
        all
    }

    /// Blocks of the summation index that are packed and multiplied together: what fits in the L2 cache, widened or not. Tiles
    /// are so fast that reading and writing their sums more often would cost a third.
    pub fn depth(self) -> usize {
        if self == Kernel::Amx { 64 } else { 16 }
    }

    /// Whether it multiplies operands that were widened to f32.
    pub fn widens(self) -> bool {
        matches!(self, Kernel::Avx2 | Kernel::Avx512)
    }
}

impl Product<'_, u16> {
    /// Computes the product with a kernel that does not widen.
    ///
    /// # Panics
    /// Slices that are too short.
    pub fn run(&mut self, kernel: Kernel) {
        self.check();
        match kernel {
            // SAFETY: the kernel is available, and the slices are long enough.
            #[cfg(target_arch = "x86_64")]
            Kernel::Dot => unsafe { dot::multiply(self) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kernel::Amx => unsafe { amx::multiply(self) },
            _ => model::multiply(self),
        }
    }
}

impl Product<'_, f32> {
    /// Computes the product with a kernel that widens.
    ///
    /// # Panics
    /// Slices that are too short; another kernel.
    pub fn run(&mut self, kernel: Kernel) {
        self.check();
        match kernel {
            // SAFETY: the kernel is available, and the slices are long enough.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { fma::avx2(self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { fma::avx512(self) },
            other => panic!("{other:?} does not multiply widened operands"),
        }
    }
}

impl<T> Product<'_, T> {
    fn check(&self) {
        let last = |blocks: usize, operand: &Operand<T>| (blocks - 1) * operand.pitch + self.depth;
        let (left, right) = (last(self.row_blocks, &self.left), last(self.panels, &self.right));
        assert!(self.left.data.len() >= left * LEFT && self.left.present.len() >= left);
        assert!(self.right.data.len() >= right * RIGHT && self.right.present.len() >= right);
        assert!(self.sums.len() >= self.row_blocks * self.panels * SUMS);
    }

    pub fn has_left(&self, i: usize, k: usize) -> bool {
        self.left.present[i * self.left.pitch + k]
    }

    pub fn has_right(&self, j: usize, k: usize) -> bool {
        self.right.present[j * self.right.pitch + k]
    }

    /// The block of the left operand.
    pub fn left_block(&self, i: usize, k: usize) -> &[T] {
        &self.left.data[(i * self.left.pitch + k) * LEFT..][..LEFT]
    }

    /// The block of the right operand.
    pub fn right_block(&self, j: usize, k: usize) -> &[T] {
        &self.right.data[(j * self.right.pitch + k) * RIGHT..][..RIGHT]
    }
}
