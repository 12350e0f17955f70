//! Operands widened to f32, multiplied by fused multiply-adds: AVX-512 and AVX2.

use super::super::lanes::Lanes;
use super::product::{COLUMNS, DEPTH, LEFT, Product, RIGHT, ROWS, SUMS};
use core::arch::asm;
use core::arch::x86_64::{__m256, __m512};

/// # Safety
/// The processor has AVX-512F; the slices of the product are long enough.
pub(super) unsafe fn avx512(product: &mut Product<f32>) {
    let mode = FlushDenormals::on();
    let panels = product.panels;
    for first in (0..panels).step_by(3) {
        // SAFETY: the caller's promise.
        unsafe {
            match panels - first {
                1 => avx512_panels::<1>(product, first),
                2 => avx512_panels::<2>(product, first),
                _ => avx512_panels::<3>(product, first),
            }
        }
    }
    drop(mode);
}

/// # Safety
/// The processor has AVX2 and FMA; the slices of the product are long enough.
pub(super) unsafe fn avx2(product: &mut Product<f32>) {
    let mode = FlushDenormals::on();
    for first in 0..product.panels {
        // SAFETY: the caller's promise.
        unsafe { avx2_panel(product, first) };
    }
    drop(mode);
}

// Not inlined: what they compute must stay between the changes of the mode.
#[inline(never)]
#[target_feature(enable = "avx512f")]
unsafe fn avx512_panels<const V: usize>(product: &mut Product<f32>, first: usize) {
    // SAFETY: the same contract; this function has the features.
    unsafe { multiply::<__m512, 8, V>(product, first) }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_panel(product: &mut Product<f32>, first: usize) {
    // SAFETY: the same contract; this function has the features.
    unsafe { multiply::<__m256, 4, 2>(product, first) }
}

/// Multiplies all blocks of rows by V vectors of columns from panel `first` on.
#[inline(always)]
unsafe fn multiply<L: Lanes<Scalar = f32>, const R: usize, const V: usize>(
    product: &mut Product<f32>,
    first: usize,
) {
    let panels = first..first + V * L::WIDTH / COLUMNS;
    for k in 0..product.depth {
        // SAFETY: the caller's promise. What is not present is not multiplied, not even beside a panel that is.
        unsafe {
            if panels.clone().all(|j| product.has_right(j, k)) {
                multiply_panels::<L, R, V>(product, first, k);
                continue;
            }
            for j in panels.clone() {
                match COLUMNS / L::WIDTH {
                    _ if !product.has_right(j, k) => {}
                    1 => multiply_panels::<L, R, 1>(product, j, k),
                    _ => multiply_panels::<L, R, 2>(product, j, k),
                }
            }
        }
    }
}

/// Multiplies all blocks of rows by V vectors of columns, in one block of the summation index.
#[inline(always)]
unsafe fn multiply_panels<L: Lanes<Scalar = f32>, const R: usize, const V: usize>(
    product: &mut Product<f32>,
    first: usize,
    k: usize,
) {
    let per_panel = COLUMNS / L::WIDTH;
    let mut columns = [std::ptr::null(); V];
    for (v, column) in columns.iter_mut().enumerate() {
        let block = (first + v / per_panel) * product.right.pitch + k;
        *column = product.right.data.as_ptr().wrapping_add(block * RIGHT + v % per_panel * L::WIDTH);
    }
    for i in 0..product.row_blocks {
        if !product.has_left(i, k) {
            continue;
        }
        let rows = product.left.data.as_ptr().wrapping_add((i * product.left.pitch + k) * LEFT);
        let sums = product.sums.as_mut_ptr().wrapping_add((i * product.panels + first) * SUMS);
        for row in (0..ROWS).step_by(R) {
            let (rows, sums) = (rows.wrapping_add(row * DEPTH), sums.wrapping_add(row * COLUMNS));
            // SAFETY: these blocks are inside their slices.
            unsafe { add_block::<L, R, V>(rows, &columns, sums) };
        }
    }
}

/// Adds the product of R rows of a block with V vectors of columns. One chain of sums at a time is in registers.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn add_block<L: Lanes<Scalar = f32>, const R: usize, const V: usize>(
    rows: *const f32,
    columns: &[*const f32; V],
    sums: *mut f32,
) {
    let per_panel = COLUMNS / L::WIDTH;
    // SAFETY: `multiply` passes whole blocks.
    unsafe {
        let even = chain::<L, R, V>(rows, columns, 0);
        let odd = chain::<L, R, V>(rows, columns, 1);
        for r in 0..R {
            for v in 0..V {
                let to = sums.wrapping_add(v / per_panel * SUMS + v % per_panel * L::WIDTH + r * COLUMNS);
                L::load(to).add(even[r][v].add(odd[r][v])).store_first(to, L::WIDTH);
            }
        }
    }
}

/// The sums over every second element of a block.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
unsafe fn chain<L: Lanes<Scalar = f32>, const R: usize, const V: usize>(
    rows: *const f32,
    columns: &[*const f32; V],
    first: usize,
) -> [[L; V]; R] {
    // SAFETY: `multiply` passes whole blocks.
    unsafe {
        let mut sums = [[L::zero(); V]; R];
        for k in (first..DEPTH).step_by(2) {
            let mut line = [L::zero(); V];
            for v in 0..V {
                line[v] = L::load(columns[v].wrapping_add(k * COLUMNS));
            }
            for r in 0..R {
                let row = L::splat(*rows.wrapping_add(r * DEPTH + k));
                for v in 0..V {
                    sums[r][v] = row.mul_add(line[v], sums[r][v]);
                }
            }
        }
        sums
    }
}

/// While it lives, this thread takes numbers below the normal range for zero, as the tile instructions do.
struct FlushDenormals {
    before: u32,
}

impl FlushDenormals {
    /// Round to nearest, all exceptions masked, denormal operands and results are zero.
    const MODE: u32 = 0x9fc0;

    fn on() -> Self {
        let mut before = 0u32;
        // SAFETY: both read or write the four bytes of the operand. The mode is left only for calls that are not inlined, and set
        // back before anything else computes.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &mut before, options(nostack));
            asm!("ldmxcsr [{}]", in(reg) &Self::MODE, options(nostack));
        }
        Self { before }
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &self.before, options(nostack)) };
    }
}
