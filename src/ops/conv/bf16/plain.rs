//! Portable products: both chains of a tile by fused multiply-adds in f32, for processors without AVX2, whatever they are.
//!
//! f32 has numbers below the normal range where tiles have zeros. A row of sums that meets one is computed by the scalar
//! model instead.

use super::model;
use super::product::{COLUMNS, DEPTH, Product, RIGHT, SUMS};

/// Lines of one panel.
type Lines = [[f32; COLUMNS]; DEPTH];

/// Computes a product, block by block.
pub(super) fn multiply(product: &mut Product<u16>) {
    let panels = product.panels;
    for (i, j) in (0..product.row_blocks).flat_map(|i| (0..panels).map(move |j| (i, j))) {
        for k in 0..product.depth {
            if !product.has_left(i, k) || !product.has_right(j, k) {
                continue;
            }
            let mut panel = [0; RIGHT];
            panel.copy_from_slice(product.right_block(j, k));
            let lines = widened(&panel);
            for row in 0..SUMS / COLUMNS {
                let mut left = [0; DEPTH];
                left.copy_from_slice(&product.left_block(i, k)[row * DEPTH..][..DEPTH]);
                let at = (i * panels + j) * SUMS + row * COLUMNS;
                add_row(&left, &lines, &panel, &mut product.sums[at..at + COLUMNS]);
            }
        }
    }
}

fn widened(panel: &[u16; RIGHT]) -> Lines {
    let mut lines = [[0.0; COLUMNS]; DEPTH];
    for (pair, lines) in panel.chunks_exact(2 * COLUMNS).zip(lines.chunks_exact_mut(2)) {
        for (n, elements) in pair.chunks_exact(2).enumerate() {
            (lines[0][n], lines[1][n]) = (normal(elements[0]), normal(elements[1]));
        }
    }
    lines
}

/// The f32 of the same value; zero below the normal range.
fn normal(x: u16) -> f32 {
    model::widen(if x & 0x7f80 == 0 { x & 0x8000 } else { x })
}

/// Adds the products of a row with 16 columns.
fn add_row(left: &[u16; DEPTH], lines: &Lines, panel: &[u16; RIGHT], sums: &mut [f32]) {
    let (mut even, mut odd, mut tiny) = ([0.0; COLUMNS], [0.0; COLUMNS], false);
    for (pair, lines) in left.chunks_exact(2).zip(lines.chunks_exact(2)) {
        let (low, high) = (normal(pair[0]), normal(pair[1]));
        for n in 0..COLUMNS {
            even[n] = low.mul_add(lines[0][n], even[n]);
            odd[n] = high.mul_add(lines[1][n], odd[n]);
            tiny |= is_tiny(even[n]) | is_tiny(odd[n]);
        }
    }
    let mut added = [0.0; COLUMNS];
    for n in 0..COLUMNS {
        let both = even[n] + odd[n];
        added[n] = sums[n] + both;
        tiny |= is_tiny(both) | is_tiny(added[n]);
    }
    if tiny {
        for (n, sum) in added.iter_mut().enumerate() {
            *sum = model::accumulate(sums[n], model::pairs(left, panel, n));
        }
    }
    sums.copy_from_slice(&added);
}

/// Whether tiles may have zero for it, or a neighbor.
fn is_tiny(x: f32) -> bool {
    x.abs() <= f32::MIN_POSITIVE && x != 0.0
}
