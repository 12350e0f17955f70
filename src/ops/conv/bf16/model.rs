//! The arithmetic of the bf16 instructions of x86-64 in portable code, bit for bit: the reference of every bf16 kernel.
//!
//! `tdpbf16ps`, `vdpbf16ps` and `vcvtneps2bf16` ignore the rounding mode and never trap. They treat denormals as zero,
//! flush tiny results to zero and round to nearest even (Intel, "Intel 64 and IA-32 Architectures Software Developer's
//! Manual", volume 2). The manual leaves open when a result counts as tiny, whose NaN `tdpbf16ps` returns and the sign
//! of the default NaN; these follow the hardware.
//!
//! bf16 values are stored as their bits.

use super::product::COLUMNS;
#[cfg(test)]
use super::product::{LEFT, Product, RIGHT, SUMS};

/// The bit of an f32 NaN that makes it quiet.
const QUIET: u32 = 1 << 22;
/// The NaN of an invalid operation without a NaN operand.
const DEFAULT_NAN: f32 = f32::from_bits(0xffc0_0000);
/// 2^64, which lifts sums around the smallest normal number far above it.
const LIFT: f32 = (1u128 << 64) as f32;

/// The f32 of the same value.
pub(super) fn widen(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The nearest bf16, ties to even, as `vcvtneps2bf16` rounds: denormals become zero and NaNs quiet. Without branches, for
/// loops over vectors.
#[inline(always)]
pub(super) fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    let upper = (bits >> 16) as u16;
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    let finite = if bits & 0x7f80_0000 == 0 { upper & 0x8000 } else { rounded };
    if x.is_nan() { upper | (QUIET >> 16) as u16 } else { finite }
}

/// `a · b + c`, rounded once. Denormal operands and tiny results become zero of their sign; of several NaNs, the first
/// is returned.
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if let Some(nan) = [a, b, c].into_iter().find(|x| x.is_nan()) {
        return f32::from_bits(nan.to_bits() | QUIET);
    }
    let (a, b, c) = (flush(a), flush(b), flush(c));
    let sum = a.mul_add(b, c);
    if sum.is_nan() {
        DEFAULT_NAN
    } else if sum.abs() == f32::MIN_POSITIVE && rounds_below_normal(a, b, c) {
        0f32.copysign(sum)
    } else {
        flush(sum)
    }
}

/// `a + b` by the rules of [`fma`].
pub(super) fn add(a: f32, b: f32) -> f32 {
    fma(a, 1.0, b)
}

/// Zero of the same sign for a denormal.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// Whether `a · b + c` stays below the normal range when it is rounded to 24 bits with an unbounded exponent. Rounding
/// to a denormal hides this: it has fewer bits, and more sums reach the smallest normal number.
fn rounds_below_normal(a: f32, b: f32, c: f32) -> bool {
    let (small, large) = if a.abs() < b.abs() { (a, b) } else { (b, a) };
    (small * LIFT).mul_add(large, c * LIFT).abs() < f32::MIN_POSITIVE * LIFT
}

/// `c` plus the products of pairs as `tdpbf16ps` adds them: the first and the second elements of the pairs in two
/// chains from zero, which are added to each other before `c`.
pub(super) fn accumulate(c: f32, pairs: impl Iterator<Item = ([u16; 2], [u16; 2])>) -> f32 {
    let (mut even, mut odd) = (0.0, 0.0);
    for (a, b) in pairs {
        even = fma(widen(a[0]), widen(b[0]), even);
        odd = fma(widen(a[1]), widen(b[1]), odd);
    }
    add(c, add(even, odd))
}

/// The pairs of a row and of column n of a panel.
pub(super) fn pairs(row: &[u16], panel: &[u16], n: usize) -> impl Iterator<Item = ([u16; 2], [u16; 2])> {
    let rows = row.chunks_exact(2).zip(panel.chunks_exact(2 * COLUMNS));
    rows.map(move |(a, b)| ([a[0], a[1]], [b[2 * n], b[2 * n + 1]]))
}

/// `c += a · b` as one `tdpbf16ps` of full tiles: c `[16 rows][16 columns]`, a `[16 rows][32]`, b
/// `[16 pairs][16 columns][2]`.
#[cfg(test)]
pub(super) fn multiply_tile(c: &mut [f32; 256], a: &[u16; 512], b: &[u16; 512]) {
    for (row, sums) in a.chunks_exact(32).zip(c.chunks_exact_mut(16)) {
        for (column, sum) in sums.iter_mut().enumerate() {
            *sum = accumulate(*sum, pairs(row, b, column));
        }
    }
}

/// One lane of `vdpbf16ps`: the second elements of the pairs first, and the sum between is rounded.
#[cfg(test)]
pub(super) fn lane(c: f32, a: [u16; 2], b: [u16; 2]) -> f32 {
    fma(widen(a[0]), widen(b[0]), fma(widen(a[1]), widen(b[1]), c))
}

/// Computes a product, block by block.
#[cfg(test)]
pub(super) fn multiply(product: &mut Product<u16>) {
    let panels = product.panels;
    for (i, j) in (0..product.row_blocks).flat_map(|i| (0..panels).map(move |j| (i, j))) {
        for k in 0..product.depth {
            if !product.has_left(i, k) || !product.has_right(j, k) {
                continue;
            }
            let mut panel = [0; RIGHT];
            panel.copy_from_slice(product.right_block(j, k));
            let mut rows = [0; LEFT];
            rows.copy_from_slice(product.left_block(i, k));
            let sums = product.sums[(i * panels + j) * SUMS..][..SUMS].as_chunks_mut().0;
            let rows = rows.as_chunks().0;
            rows.iter().zip(sums).for_each(|(rows, sums)| multiply_tile(sums, rows, &panel));
        }
    }
}

#[cfg(test)]
mod tests;
