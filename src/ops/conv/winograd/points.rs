//! The one-dimensional transforms of Cook–Toom filtering F(m, r), of α = m + r − 1 multiplications, at the points 0, ±p
//! for each pair p, and ∞ (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016).
//!
//! y = Aᵀ[(G g) ⊙ (Bᵀ x)]: G and A evaluate polynomials at the points (G divided by the points' denominators), Bᵀ holds
//! the coefficients of Π(z − other points). So three functions serve all products: `Interpolate` is Bᵀ, `Evaluate` is G
//! or A, `Collect` is their transposes Gᵀ or Aᵀ. By pairs, even and odd powers are summed once for both signs.

use super::super::lanes::Lanes;
use super::super::simd::Element;

/// The pairs of points ±p for α = 4, 6, 8: exact in binary, so that Bᵀ has small exact entries. For α = 6, ¾ and 3/2
/// halve the error of the customary 1 and 2.
const fn pairs(alpha: usize) -> &'static [f64] {
    match alpha {
        4 => &[1.0],
        6 => &[0.75, 1.5],
        8 => &[1.0, 2.0, 0.5],
        _ => panic!("4, 6 or 8 points"),
    }
}

/// 1 / Π(p − q) over the other finite points q; the same for p and −p.
const fn weight(alpha: usize, p: f64) -> f64 {
    let pairs = pairs(alpha);
    // Between p and −p, and between p and 0.
    let mut product = if p == 0.0 { 1.0 } else { 2.0 * p * p };
    let mut i = 0;
    while i < pairs.len() {
        if pairs[i] != p {
            product *= p * p - pairs[i] * pairs[i];
        }
        i += 1;
    }
    1.0 / product
}

/// The weight of 0, and those of the pairs.
const fn weights(alpha: usize) -> (f64, [f64; 3]) {
    let pairs = pairs(alpha);
    let mut weights = [0.0; 3];
    let mut i = 0;
    while i < pairs.len() {
        weights[i] = weight(alpha, pairs[i]);
        i += 1;
    }
    (weight(alpha, 0.0), weights)
}

/// A linear map of vectors, lane by lane.
pub(super) trait Transform<const IN: usize, const OUT: usize> {
    /// # Safety
    /// The CPU must support `L`.
    unsafe fn apply<L: Lanes<Scalar: Element>>(x: &[L; IN]) -> [L; OUT];
}

/// Bᵀ, α → α.
pub(super) struct Interpolate;
/// G (`SCALED`, r → α) or A (m → α).
pub(super) struct Evaluate<const SCALED: bool>;
/// Gᵀ (`SCALED`, α → r) or Aᵀ (α → m).
pub(super) struct Collect<const SCALED: bool>;

/// x·c + y.
#[inline(always)]
unsafe fn fma<L: Lanes<Scalar: Element>>(x: L, c: f64, y: L) -> L {
    // SAFETY: the caller's CPU supports `L`.
    unsafe { x.mul_add(L::splat(L::Scalar::of(c)), y) }
}

/// The sequence times (z² − p²): `out[i] = x[i + 2] − p² x[i]` for the first `n`.
#[inline(always)]
unsafe fn filtered<L: Lanes<Scalar: Element>, const N: usize>(x: &[L; N], p: f64) -> [L; N] {
    let mut out = *x;
    for i in 0..N - 2 {
        // SAFETY: the caller's CPU supports `L`.
        out[i] = unsafe { fma(x[i], -p * p, x[i + 2]) };
    }
    out
}

impl<const A: usize> Transform<A, A> for Interpolate {
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    unsafe fn apply<L: Lanes<Scalar: Element>>(x: &[L; A]) -> [L; A] {
        // SAFETY: the caller's CPU supports `L`.
        unsafe {
            let pairs = const { pairs(A) };
            let mut out = *x;
            for i in 0..pairs.len() {
                // What other pairs leave: four terms, of which ±p needs the middle two. The compiler drops the rest.
                let mut rest = *x;
                for j in 0..pairs.len() {
                    if j != i {
                        rest = filtered(&rest, pairs[j]);
                    }
                }
                out[1 + 2 * i] = fma(rest[1], pairs[i], rest[2]);
                out[2 + 2 * i] = fma(rest[1], -pairs[i], rest[2]);
                if i == 0 {
                    out[0] = fma(rest[0], -pairs[0] * pairs[0], rest[2]);
                    out[A - 1] = fma(rest[1], -pairs[0] * pairs[0], rest[3]);
                }
            }
            out
        }
    }
}

impl<const N: usize, const A: usize, const SCALED: bool> Transform<N, A> for Evaluate<SCALED> {
    // Loops over indices: a loop over an iterator's adaptors is not always unrolled, and its constants then are computed.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    unsafe fn apply<L: Lanes<Scalar: Element>>(x: &[L; N]) -> [L; A] {
        // SAFETY: the caller's CPU supports `L`.
        unsafe {
            let (pairs, (of_zero, weights)) = const { (pairs(A), weights(A)) };
            let mut out = [x[N - 1]; A];
            out[0] = scaled(x[0], if SCALED { of_zero } else { 1.0 });
            for i in 0..pairs.len() {
                let p = pairs[i];
                let (mut even, mut odd, mut power) = (x[0], x[1], p * p);
                for k in 2..N {
                    if k % 2 == 0 {
                        even = fma(x[k], power, even);
                    } else {
                        odd = fma(x[k], power, odd);
                        power *= p * p;
                    }
                }
                let weight = if SCALED { weights[i] } else { 1.0 };
                even = scaled(even, weight);
                out[1 + 2 * i] = fma(odd, p * weight, even);
                out[2 + 2 * i] = fma(odd, -p * weight, even);
            }
            out
        }
    }
}

impl<const N: usize, const A: usize, const SCALED: bool> Transform<A, N> for Collect<SCALED> {
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    unsafe fn apply<L: Lanes<Scalar: Element>>(x: &[L; A]) -> [L; N] {
        // SAFETY: the caller's CPU supports `L`.
        unsafe {
            let (pairs, (of_zero, weights)) = const { (pairs(A), weights(A)) };
            let mut out = [L::zero(); N];
            out[0] = scaled(x[0], if SCALED { of_zero } else { 1.0 });
            for i in 0..pairs.len() {
                let p = pairs[i];
                let (plus, minus) = (x[1 + 2 * i], x[2 + 2 * i]);
                let (sum, difference) = (plus.add(minus), fma(minus, -1.0, plus));
                let mut power = if SCALED { weights[i] } else { 1.0 };
                for k in 0..N {
                    let term = if k % 2 == 0 { sum } else { difference };
                    out[k] = if i == 0 && k > 0 { scaled(term, power) } else { fma(term, power, out[k]) };
                    power *= p;
                }
            }
            out[N - 1] = out[N - 1].add(x[A - 1]);
            out
        }
    }
}

/// x·c, without the product for c = 1.
#[inline(always)]
unsafe fn scaled<L: Lanes<Scalar: Element>>(x: L, c: f64) -> L {
    // SAFETY: the caller's CPU supports `L`.
    if c == 1.0 { x } else { unsafe { fma(x, c, L::zero()) } }
}
