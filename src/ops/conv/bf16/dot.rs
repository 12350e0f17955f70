//! `vdpbf16ps` of AVX512_BF16: two products a lane, added to one chain of sums.

use super::product::{COLUMNS, DEPTH, LEFT, Product, RIGHT, ROWS, SUMS};
use core::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_storeu_ps,
};
use core::mem::transmute;

/// Rows whose sums are in registers together.
const R: usize = 8;

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// # Safety
/// The processor has AVX512_BF16; the slices of the product are long enough.
pub(super) unsafe fn multiply(product: &mut Product<u16>) {
    for first in (0..product.panels).step_by(3) {
        // SAFETY: the caller's promise.
        unsafe {
            match product.panels - first {
                1 => multiply_panels::<1>(product, first),
                2 => multiply_panels::<2>(product, first),
                _ => multiply_panels::<3>(product, first),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_panels<const V: usize>(product: &mut Product<u16>, first: usize) {
    for i in 0..product.row_blocks {
        for row in (0..ROWS).step_by(R) {
            // SAFETY: the same contract.
            unsafe { multiply_rows::<V>(product, first, (i, row)) };
        }
    }
}

/// Adds the product of R rows of a block with V panels, over the whole depth.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(clippy::needless_range_loop)]
unsafe fn multiply_rows<const V: usize>(product: &mut Product<u16>, first: usize, (i, row): (usize, usize)) {
    let at = (i * product.panels + first) * SUMS + row * COLUMNS;
    let to = product.sums.as_mut_ptr().wrapping_add(at);
    // SAFETY: every address is inside the slices, which are long enough.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = _mm512_loadu_ps(to.wrapping_add(v * SUMS + r * COLUMNS));
            }
        }
        for k in 0..product.depth {
            if !product.has_left(i, k) || !(first..first + V).any(|j| product.has_right(j, k)) {
                continue;
            }
            let left =
                product.left.data.as_ptr().wrapping_add((i * product.left.pitch + k) * LEFT + row * DEPTH);
            let right = product.right.data.as_ptr().wrapping_add((first * product.right.pitch + k) * RIGHT);
            add_block::<V>(left, right, product.right.pitch * RIGHT, &mut sums);
        }
        for r in 0..R {
            for v in 0..V {
                _mm512_storeu_ps(to.wrapping_add(v * SUMS + r * COLUMNS), sums[r][v]);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(clippy::needless_range_loop)]
unsafe fn add_block<const V: usize>(
    left: *const u16,
    right: *const u16,
    panel: usize,
    sums: &mut [[__m512; V]; R],
) {
    // SAFETY: whole blocks; a vector of pairs is read as what it is.
    unsafe {
        for pair in 0..DEPTH / 2 {
            let mut line = [transmute::<__m512, __m512bh>(_mm512_setzero_ps()); V];
            for v in 0..V {
                let from = right.wrapping_add(v * panel + pair * 2 * COLUMNS);
                line[v] = transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast()));
            }
            for r in 0..R {
                let pair = left.wrapping_add(r * DEPTH + 2 * pair).cast::<i32>().read_unaligned();
                let row = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(pair));
                for v in 0..V {
                    sums[r][v] = _mm512_dpbf16_ps(sums[r][v], row, line[v]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::product::Operand;
    use super::*;
    use crate::ops::conv::bf16::model::{lane, narrow};

    /// bf16 that are no fractions of powers of two.
    fn numbers(len: usize, seed: f32) -> Vec<u16> {
        (0..len).map(|i| narrow(((i as f32 + seed) * 0.618_034).fract() - 0.5)).collect()
    }

    #[test]
    fn sums_are_chains_of_lanes() {
        if !available() {
            return crate::skipping::skipped("no AVX512_BF16", "products by `vdpbf16ps`");
        }
        let (panels, depth) = (4, 3);
        let (left, right) = (numbers(depth * LEFT, 1.0), numbers(panels * depth * RIGHT, 2.0));
        let present = vec![true; panels * depth];
        let mut sums = vec![0.25; panels * SUMS];
        let left = Operand { data: &left, present: &present, pitch: depth };
        let right = Operand { data: &right, present: &present, pitch: depth };
        let mut product = Product { left, right, sums: &mut sums, row_blocks: 1, panels, depth };
        // SAFETY: the instruction is available, and the slices have these sizes.
        unsafe { multiply(&mut product) };
        for (at, &sum) in product.sums.iter().enumerate() {
            let (panel, row, column) = (at / SUMS, at % SUMS / COLUMNS, at % COLUMNS);
            let pairs = (0..depth).flat_map(|k| (0..DEPTH / 2).map(move |pair| (k, pair)));
            let chain = pairs.fold(0.25, |sum, (k, pair)| {
                let a = &product.left_block(0, k)[row * DEPTH + 2 * pair..];
                let b = &product.right_block(panel, k)[(pair * COLUMNS + column) * 2..];
                lane(sum, [a[0], a[1]], [b[0], b[1]])
            });
            assert_eq!(sum.to_bits(), chain.to_bits(), "panel {panel}, row {row}, column {column}");
        }
    }
}
