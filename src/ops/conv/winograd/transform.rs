//! Two-dimensional transforms over vectors of channels: pixels to components (`Spread`) and components to pixels
//! (`Gather`).

use super::super::lanes::Lanes;
use super::super::simd::{Element, Job, Simd};
use super::points::{Collect, Evaluate, Interpolate, Transform};
use std::marker::PhantomData;

/// Most points of one axis.
pub(super) const MAX_ALPHA: usize = 8;

/// Which pixels are transformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// α × α inputs.
    Input,
    /// Of r × r taps.
    Filter(usize),
    /// Of m × m outputs.
    Output(usize),
}

/// The transform of one tile: `to[component] = F pixels Fᵀ` for every channel.
pub(super) struct Spread<'a, T> {
    /// First channel of each pixel, row by row, each readable over `len`.
    pub pixels: &'a [*const T],
    /// Channels.
    pub len: usize,
    pub to: *mut T,
    /// From one component to the next.
    pub component: usize,
    /// From one vector of channels to the next; the last vector is stored whole, padded by zeros.
    pub vector: usize,
}

/// The transform of many lines of a filter, `to[component][line] = G taps Gᵀ`, for the components of one part: two rows
/// of the α × α components, so that the packed lines of a deep filter stay in cache.
pub(super) struct FilterLines<'a, T> {
    /// First line of each tap, row by row, and the step from line to line.
    pub taps: &'a [(*const T, usize)],
    pub lines: usize,
    /// Columns of a line, each tap readable over them.
    pub len: usize,
    pub to: *mut T,
    /// From one component of the part to the next; lines are as long as whole vectors.
    pub component: usize,
    /// Lines by which reads are announced; 0 for none.
    pub ahead: usize,
}

/// Rows of components of a part: points 0 and ∞, or ±p.
pub(super) const fn part_rows(alpha: usize, part: usize) -> [usize; 2] {
    if part == 0 { [0, alpha - 1] } else { [2 * part - 1, 2 * part] }
}

/// The transform back: `pixels = Fᵀ components F`, with bias and ReLU.
pub(super) struct Gather<'a, T> {
    pub from: *const T,
    /// From one component to the next.
    pub component: usize,
    /// First channel of each pixel, row by row, writable over `len`; null for those that are not stored.
    pub pixels: &'a [*mut T],
    pub len: usize,
    /// `len` elements; null for none.
    pub bias: *const T,
    pub relu: bool,
}

struct SpreadJob<'a, T, F, const IN: usize, const A: usize>(&'a Spread<'a, T>, PhantomData<F>);
struct FilterJob<'a, T, const R: usize, const A: usize, const PART: usize>(&'a FilterLines<'a, T>);
struct GatherJob<'a, T, F, const A: usize, const OUT: usize>(&'a Gather<'a, T>, PhantomData<F>);

impl<T: Element, F: Transform<IN, A>, const IN: usize, const A: usize> Job<T> for SpreadJob<'_, T, F, IN, A> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    unsafe fn run<L: Lanes<Scalar = T>>(&self) {
        let s = self.0;
        let pixels = &s.pixels[..IN * IN];
        let (mut at, mut to) = (0, s.to);
        while at < s.len {
            // SAFETY: pixels are readable over `len`, components writable over whole vectors.
            unsafe {
                let n = (s.len - at).min(L::WIDTH);
                let mut half = [[L::zero(); IN]; A];
                for col in 0..IN {
                    let mut x = [L::zero(); IN];
                    for row in 0..IN {
                        let from = pixels[row * IN + col].wrapping_add(at);
                        x[row] = if n == L::WIDTH { L::load(from) } else { L::load_first(from, n) };
                    }
                    let x = F::apply(&x);
                    for row in 0..A {
                        half[row][col] = x[row];
                    }
                }
                for row in 0..A {
                    let x = F::apply(&half[row]);
                    for col in 0..A {
                        x[col].store_first(
                            to.wrapping_add((row * A + col).wrapping_mul(s.component)),
                            L::WIDTH,
                        );
                    }
                }
            }
            at += L::WIDTH;
            to = to.wrapping_add(s.vector);
        }
    }
}

impl<T: Element, const R: usize, const A: usize, const PART: usize> Job<T> for FilterJob<'_, T, R, A, PART> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    unsafe fn run<L: Lanes<Scalar = T>>(&self) {
        let f = self.0;
        let taps = &f.taps[..R * R];
        let (mut to, rows) = (f.to, const { part_rows(A, PART) });
        for line in 0..f.lines {
            let mut at = 0;
            while at < f.len {
                // SAFETY: taps are readable over all lines, components writable over whole vectors.
                unsafe {
                    let n = (f.len - at).min(L::WIDTH);
                    let mut half = [[L::zero(); R]; 2];
                    for col in 0..R {
                        let mut x = [L::zero(); R];
                        for row in 0..R {
                            let (first, step) = taps[row * R + col];
                            let from = first.wrapping_add(line.wrapping_mul(step)).wrapping_add(at);
                            x[row] = if n == L::WIDTH { L::load(from) } else { L::load_first(from, n) };
                            if PART == 0 && f.ahead > 0 {
                                L::prefetch(from.wrapping_add(f.ahead.wrapping_mul(step)));
                            }
                        }
                        let x: [L; A] = Evaluate::<true>::apply(&x);
                        half[0][col] = x[rows[0]];
                        half[1][col] = x[rows[1]];
                    }
                    for row in 0..2 {
                        let x: [L; A] = Evaluate::<true>::apply(&half[row]);
                        for col in 0..A {
                            x[col].store_first(
                                to.wrapping_add((row * A + col).wrapping_mul(f.component)),
                                L::WIDTH,
                            );
                        }
                    }
                }
                at += L::WIDTH;
                to = to.wrapping_add(L::WIDTH);
            }
        }
    }
}

impl<T: Element, F: Transform<A, OUT>, const A: usize, const OUT: usize> Job<T>
    for GatherJob<'_, T, F, A, OUT>
{
    #[inline(always)]
    #[allow(clippy::needless_range_loop)]
    unsafe fn run<L: Lanes<Scalar = T>>(&self) {
        let g = self.0;
        let pixels = &g.pixels[..OUT * OUT];
        let mut at = 0;
        while at < g.len {
            // SAFETY: components are readable over whole vectors, pixels writable over `len`.
            unsafe {
                let n = (g.len - at).min(L::WIDTH);
                let mut half = [[L::zero(); A]; OUT];
                for col in 0..A {
                    let mut x = [L::zero(); A];
                    for row in 0..A {
                        x[row] = L::load(
                            g.from.wrapping_add((row * A + col).wrapping_mul(g.component)).wrapping_add(at),
                        );
                    }
                    let x = F::apply(&x);
                    for row in 0..OUT {
                        half[row][col] = x[row];
                    }
                }
                let bias = if g.bias.is_null() { L::zero() } else { L::load_first(g.bias.add(at), n) };
                for row in 0..OUT {
                    let x = F::apply(&half[row]);
                    for col in 0..OUT {
                        let to = pixels[row * OUT + col];
                        if to.is_null() {
                            continue;
                        }
                        let y = x[col].add(bias);
                        let y = if g.relu { y.rectify() } else { y };
                        y.store_first(to.add(at), n);
                    }
                }
            }
            at += L::WIDTH;
        }
    }
}

/// Spreads one tile to α × α components.
///
/// # Safety
/// The pointers must be valid as `Spread` says, unshared; `simd` available.
pub(super) unsafe fn spread<T: Element>(simd: Simd, alpha: usize, kind: Kind, s: &Spread<T>) {
    macro_rules! run {
        ($f:ty, $n:literal, $a:literal) => {
            // SAFETY: the caller's promise.
            unsafe { T::dispatch(simd, &SpreadJob::<T, $f, $n, $a>(s, PhantomData)) }
        };
    }
    match (alpha, kind) {
        (4, Kind::Input) => run!(Interpolate, 4, 4),
        (6, Kind::Input) => run!(Interpolate, 6, 6),
        (8, Kind::Input) => run!(Interpolate, 8, 8),
        (4, Kind::Output(2)) => run!(Evaluate<false>, 2, 4),
        (4, Kind::Output(3)) => run!(Evaluate<false>, 3, 4),
        (6, Kind::Output(4)) => run!(Evaluate<false>, 4, 6),
        (8, Kind::Output(4)) => run!(Evaluate<false>, 4, 8),
        (8, Kind::Output(6)) => run!(Evaluate<false>, 6, 8),
        _ => unreachable!("no transform {kind:?} at {alpha} points"),
    }
}

/// Transforms lines of a filter of r × r taps.
///
/// # Safety
/// The pointers must be valid as `FilterLines` says, unshared; `simd` available.
pub(super) unsafe fn filter_lines<T: Element>(
    simd: Simd,
    (alpha, r): (usize, usize),
    part: usize,
    f: &FilterLines<T>,
) {
    macro_rules! run {
        ($r:literal, $a:literal, $part:literal) => {
            // SAFETY: the caller's promise.
            unsafe { T::dispatch(simd, &FilterJob::<T, $r, $a, $part>(f)) }
        };
    }
    match (alpha, r, part) {
        (4, 2, 0) => run!(2, 4, 0),
        (4, 2, 1) => run!(2, 4, 1),
        (4, 3, 0) => run!(3, 4, 0),
        (4, 3, 1) => run!(3, 4, 1),
        (6, 3, 0) => run!(3, 6, 0),
        (6, 3, 1) => run!(3, 6, 1),
        (6, 3, 2) => run!(3, 6, 2),
        (8, 3, 0) => run!(3, 8, 0),
        (8, 3, 1) => run!(3, 8, 1),
        (8, 3, 2) => run!(3, 8, 2),
        (8, 3, 3) => run!(3, 8, 3),
        (8, 5, 0) => run!(5, 8, 0),
        (8, 5, 1) => run!(5, 8, 1),
        (8, 5, 2) => run!(5, 8, 2),
        (8, 5, 3) => run!(5, 8, 3),
        _ => unreachable!("no part {part} of {r} taps at {alpha} points"),
    }
}

/// Gathers one tile of outputs (`Kind::Output`) or taps (`Kind::Filter`) from α × α components.
///
/// # Safety
/// The pointers must be valid as `Gather` says, unshared; `simd` available.
pub(super) unsafe fn gather<T: Element>(simd: Simd, alpha: usize, kind: Kind, g: &Gather<T>) {
    macro_rules! run {
        ($f:ty, $a:literal, $n:literal) => {
            // SAFETY: the caller's promise.
            unsafe { T::dispatch(simd, &GatherJob::<T, $f, $a, $n>(g, PhantomData)) }
        };
    }
    match (alpha, kind) {
        (4, Kind::Filter(2)) => run!(Collect<true>, 4, 2),
        (4, Kind::Filter(3)) => run!(Collect<true>, 4, 3),
        (6, Kind::Filter(3)) => run!(Collect<true>, 6, 3),
        (8, Kind::Filter(3)) => run!(Collect<true>, 8, 3),
        (8, Kind::Filter(5)) => run!(Collect<true>, 8, 5),
        (4, Kind::Output(2)) => run!(Collect<false>, 4, 2),
        (4, Kind::Output(3)) => run!(Collect<false>, 4, 3),
        (6, Kind::Output(4)) => run!(Collect<false>, 6, 4),
        (8, Kind::Output(4)) => run!(Collect<false>, 8, 4),
        (8, Kind::Output(6)) => run!(Collect<false>, 8, 6),
        _ => unreachable!("no transform {kind:?} at {alpha} points"),
    }
}
