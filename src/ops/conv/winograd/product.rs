//! The product of one component: a register tile of full rows and vectors, stored densely.
//!
//! `tile.rs` without what only a destination in a picture needs (masks, bias, ReLU), since here depths are short.

use super::super::lanes::Lanes;
use super::super::simd::{Element, Job, Simd};

/// Most rows of a tile.
pub(super) const MAX_ROWS: usize = 8;

/// A range of the summation index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Elements from each row's start to its first factor.
    pub offset: usize,
    /// The line of the panel that it multiplies.
    pub line: usize,
    pub len: usize,
}

/// `dst[r] (+)= Σ_runs Σ_k rows[r][offset + k·step] · panel[line + k]`, dst dense, `simd.rows()` × `vectors` vectors.
pub(super) struct Product<'a, T> {
    pub rows: [*const T; MAX_ROWS],
    pub step: usize,
    pub runs: &'a [Run],
    pub vectors: usize,
    pub panel: *const T,
    pub dst: *mut T,
    pub add: bool,
    /// Rows of the tile that will be multiplied next, any addresses.
    pub next: Option<&'a [*const T; MAX_ROWS]>,
    /// Memory, any, that is prefetched: so many cache lines every `BETWEEN_PREFETCHES` steps.
    pub ahead: *const T,
    pub ahead_lines: usize,
}

/// Steps between two prefetches of a row: a cache line of f32.
pub(super) const BETWEEN_PREFETCHES: usize = 16;

/// Multiplies one tile.
///
/// # Safety
/// `simd.rows()` rows readable over all runs, the panel over their lines, dst writable; `simd` available.
#[inline]
pub(super) unsafe fn multiply<T: Element>(simd: Simd, product: &Product<T>) {
    // SAFETY: the caller's promise.
    unsafe {
        match (simd.rows(), product.vectors) {
            (8, 3) => T::dispatch(simd, &TileJob::<T, 8, 3>(product)),
            (8, 2) => T::dispatch(simd, &TileJob::<T, 8, 2>(product)),
            (8, 1) => T::dispatch(simd, &TileJob::<T, 8, 1>(product)),
            (6, 2) => T::dispatch(simd, &TileJob::<T, 6, 2>(product)),
            (6, 1) => T::dispatch(simd, &TileJob::<T, 6, 1>(product)),
            (4, 3) => T::dispatch(simd, &TileJob::<T, 4, 3>(product)),
            (4, 2) => T::dispatch(simd, &TileJob::<T, 4, 2>(product)),
            _ => T::dispatch(simd, &TileJob::<T, 4, 1>(product)),
        }
    }
}

struct TileJob<'a, T, const R: usize, const V: usize>(&'a Product<'a, T>);

impl<T: Element, const R: usize, const V: usize> Job<T> for TileJob<'_, T, R, V> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    unsafe fn run<L: Lanes<Scalar = T>>(&self) {
        let p = self.0;
        // SAFETY: `multiply`'s contract covers every address formed here.
        unsafe {
            let mut sums = [[L::zero(); V]; R];
            if p.add {
                for i in 0..R * V {
                    L::prefetch(p.dst.wrapping_add(i * L::WIDTH));
                }
            }
            let (rows, mut ahead) = (p.rows, p.ahead);
            for run in p.runs {
                let mut line = p.panel.wrapping_add(run.line.wrapping_mul(V * L::WIDTH));
                let mut at = run.offset;
                let mut left = run.len;
                while left > 0 {
                    // What comes next is announced to the cache.
                    if let Some(next) = p.next {
                        if p.step == 1 {
                            for r in 0..R {
                                L::prefetch(next[r].wrapping_add(at));
                            }
                        } else {
                            // Rows are interleaved: each step is a cache line.
                            for i in 0..BETWEEN_PREFETCHES {
                                L::prefetch(next[0].wrapping_add(at).wrapping_add(p.step.wrapping_mul(i)));
                            }
                        }
                    }
                    for _ in 0..p.ahead_lines {
                        L::prefetch(ahead);
                        ahead = ahead.wrapping_add(64 / size_of::<T>());
                    }
                    let steps = left.min(BETWEEN_PREFETCHES);
                    left -= steps;
                    for _ in 0..steps {
                        let mut columns = [L::zero(); V];
                        for v in 0..V {
                            columns[v] = L::load(line.wrapping_add(v * L::WIDTH));
                        }
                        for r in 0..R {
                            let row = L::splat(*rows[r].wrapping_add(at));
                            for v in 0..V {
                                sums[r][v] = row.mul_add(columns[v], sums[r][v]);
                            }
                        }
                        line = line.wrapping_add(V * L::WIDTH);
                        at = at.wrapping_add(p.step);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    let to = p.dst.wrapping_add((r * V + v) * L::WIDTH);
                    let sum = if p.add { sums[r][v].add(L::load(to)) } else { sums[r][v] };
                    sum.store_first(to, L::WIDTH);
                }
            }
        }
    }
}
