//! The instructions that compute a product.
//!
//! All but [`Kernel::Dot`] give the bits of the tile instruction `tdpbf16ps`: over each block of 32 along the summation
//! index, two chains of fused multiply-adds start at zero, one over its even and one over its odd elements, their sum is
//! added to the result, and numbers below the normal range are zero throughout.

use super::super::simd::{Element, Simd, is_requested};
#[cfg(test)]
use super::model;
use super::plain;
use super::product::{LEFT, Operand, Product, RIGHT, SUMS};
#[cfg(target_arch = "x86_64")]
use super::{amx, dot, fma};
use crate::device;
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

/// What multiplies.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// The scalar model, the reference of the others.
    #[cfg(test)]
    Model,
    /// Fused multiply-adds in portable code.
    Plain,
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
            Simd::Plain => Kernel::Plain,
            Simd::Avx2 => Kernel::Avx2,
            Simd::Avx512 => Kernel::Avx512,
        }
    }

    /// `vdpbf16ps` runs at half the rate of f32 multiply-adds on some processors and at twice that on others: it is timed.
    fn fastest() -> Kernel {
        let same_bits = Kernel::with_bits_of_tiles();
        #[cfg(target_arch = "x86_64")]
        if same_bits == Kernel::Avx512 && !is_requested() && dot::available() && dot_is_faster_than(same_bits)
        {
            return Kernel::Dot;
        }
        same_bits
    }

    /// Those that this processor has, those with the bits of tiles first.
    #[cfg(test)]
    pub fn available() -> Vec<Kernel> {
        let mut all = vec![Kernel::Model, Kernel::Plain];
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

    /// What it is, for logs.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(test)]
            Kernel::Model => "the scalar model",
            Kernel::Plain => "portable multiply-adds",
            Kernel::Avx2 => "AVX2",
            Kernel::Avx512 => "AVX-512",
            Kernel::Amx => "AMX tiles",
            Kernel::Dot => "`vdpbf16ps`",
        }
    }

    /// Computes a product of operands as they are packed.
    ///
    /// # Panics
    /// Slices that are too short; a kernel that widens.
    pub fn multiply(self, product: &mut Product<u16>) {
        product.check();
        match self {
            // SAFETY: the kernel is available, and the slices are long enough.
            #[cfg(target_arch = "x86_64")]
            Kernel::Dot => unsafe { dot::multiply(product) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Amx => unsafe { amx::multiply(product) },
            #[cfg(test)]
            Kernel::Model => model::multiply(product),
            Kernel::Plain => plain::multiply(product),
            other => panic!("{other:?} multiplies widened operands"),
        }
    }

    /// Computes a product of operands that were widened.
    ///
    /// # Panics
    /// Slices that are too short; a kernel that does not widen.
    pub fn multiply_widened(self, product: &mut Product<f32>) {
        product.check();
        match self {
            // SAFETY: the kernel is available, and the slices are long enough.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { fma::avx2(product) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { fma::avx512(product) },
            other => panic!("{other:?} does not multiply widened operands"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
/// Whether `vdpbf16ps` takes less time than another kernel here, on operands in the cache.
fn dot_is_faster_than(other: Kernel) -> bool {
    let time = |kernel: Kernel| (0..5).map(|_| timed(kernel)).min();
    time(Kernel::Dot) < time(other)
}

#[cfg(target_arch = "x86_64")]
fn timed(kernel: Kernel) -> Duration {
    const BLOCKS: usize = 8;
    let present = [true; 3 * BLOCKS];
    let mut sums = [0.0; 3 * SUMS];
    if kernel.widens() {
        let (left, right) = ([0.5; BLOCKS * LEFT], [0.5; 3 * BLOCKS * RIGHT]);
        return time_product(&left, &right, &present, &mut sums, |product| {
            kernel.multiply_widened(product);
        });
    }
    const HALF: u16 = 0x3f00;
    let (left, right) = ([HALF; BLOCKS * LEFT], [HALF; 3 * BLOCKS * RIGHT]);
    time_product(&left, &right, &present, &mut sums, |product| kernel.multiply(product))
}

#[cfg(target_arch = "x86_64")]
fn time_product<T>(
    left: &[T],
    right: &[T],
    present: &[bool],
    sums: &mut [f32],
    run: impl Fn(&mut Product<T>),
) -> Duration {
    let depth = left.len() / LEFT;
    let mut product = Product {
        left: Operand { data: left, present, pitch: depth },
        right: Operand { data: right, present, pitch: depth },
        sums,
        row_blocks: 1,
        panels: 3,
        depth,
    };
    run(&mut product);
    let start = Instant::now();
    (0..20).for_each(|_| run(&mut product));
    start.elapsed()
}
