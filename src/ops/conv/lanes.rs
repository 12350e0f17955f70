//! SIMD vectors of one element type for the tile kernel: AVX-512, AVX2 with FMA, and portable.
//!
//! The methods are always inlined, so that in a function with the right `#[target_feature]` each compiles to one
//! instruction.

use std::ops::{Add, Mul};

/// A SIMD register, or an array that emulates one.
///
/// # Safety
/// The CPU must support the implementor's instructions; loads and stores need memory for `WIDTH` (or the
/// first `n`) elements. No alignment is required.
pub(super) trait Lanes: Copy {
    type Scalar: Copy;
    /// Elements in one register.
    const WIDTH: usize;
    unsafe fn splat(x: Self::Scalar) -> Self;
    unsafe fn zero() -> Self;
    unsafe fn load(from: *const Self::Scalar) -> Self;
    /// The first `n` ≤ `WIDTH` elements, the rest zero.
    unsafe fn load_first(from: *const Self::Scalar, n: usize) -> Self;
    /// Writes the first `n` ≤ `WIDTH` elements and touches nothing beyond.
    unsafe fn store_first(self, to: *mut Self::Scalar, n: usize);
    /// `self · by + plus`.
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    /// max(·, 0) of each element; NaN propagates.
    unsafe fn rectify(self) -> Self;
    /// Hints that the cache line at `at`, any address, is wanted soon.
    unsafe fn prefetch(at: *const Self::Scalar);
    /// Transposes a `WIDTH` × `WIDTH` block between two matrices with these row pitches.
    unsafe fn transpose(from: *const Self::Scalar, from_pitch: usize, to: *mut Self::Scalar, to_pitch: usize);
}

/// Eight elements in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Plain<T>([T; 8]);

impl<T: Copy + Default + PartialOrd + Add<Output = T> + Mul<Output = T>> Lanes for Plain<T> {
    type Scalar = T;
    const WIDTH: usize = 8;
    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([T::default(); 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller gives eight readable elements; an array of T has T's alignment.
        Self(unsafe { from.cast::<[T; 8]>().read() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const T, n: usize) -> Self {
        let mut lanes = [T::default(); 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: i < n, and the caller gives n readable elements.
            *lane = unsafe { from.add(i).read() };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut T, n: usize) {
        for (i, lane) in self.0.iter().enumerate().take(n) {
            // SAFETY: i < n, and the caller gives room for n elements.
            unsafe { to.add(i).write(*lane) };
        }
    }
    #[inline(always)]
    unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
        let mut out = plus.0;
        for (i, o) in out.iter_mut().enumerate() {
            *o = *o + self.0[i] * by.0[i];
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        let mut out = self.0;
        for (i, o) in out.iter_mut().enumerate() {
            *o = *o + other.0[i];
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn rectify(self) -> Self {
        Self(self.0.map(|v| if v <= T::default() { T::default() } else { v }))
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const T) {}
    #[inline(always)]
    unsafe fn transpose(from: *const T, from_pitch: usize, to: *mut T, to_pitch: usize) {
        for row in 0..Self::WIDTH {
            for col in 0..Self::WIDTH {
                // SAFETY: both blocks are the caller's promise.
                unsafe { to.add(col * to_pitch + row).write(from.add(row * from_pitch + col).read()) };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use core::arch::x86_64::*;

    // SAFETY of every block below: the trait's contract (processor features, readable and writable memory).
    impl Lanes for __m512 {
        type Scalar = f32;
        const WIDTH: usize = 16;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            unsafe { _mm512_maskz_loadu_ps(first_16(n), from) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            unsafe { _mm512_mask_storeu_ps(to, first_16(n), self) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, by, plus) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn rectify(self) -> Self {
            // `max` returns the second operand if one is NaN.
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), self) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
            unsafe {
                let mut row = [_mm512_setzero_ps(); 16];
                for (i, row) in row.iter_mut().enumerate() {
                    *row = Self::load(from.add(i * from_pitch));
                }
                // Quarter l of quad[4i + j]: column 4l + j of rows 4i to 4i + 3.
                let mut quad = row;
                for i in [0, 4, 8, 12] {
                    let low = _mm512_castps_pd(_mm512_unpacklo_ps(row[i], row[i + 1]));
                    let high = _mm512_castps_pd(_mm512_unpackhi_ps(row[i], row[i + 1]));
                    let low2 = _mm512_castps_pd(_mm512_unpacklo_ps(row[i + 2], row[i + 3]));
                    let high2 = _mm512_castps_pd(_mm512_unpackhi_ps(row[i + 2], row[i + 3]));
                    quad[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low2));
                    quad[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low2));
                    quad[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high2));
                    quad[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high2));
                }
                const EVEN: i32 = 0x88;
                const ODD: i32 = 0xdd;
                for j in 0..4 {
                    let even = (
                        _mm512_shuffle_f32x4::<EVEN>(quad[j], quad[j + 4]),
                        _mm512_shuffle_f32x4::<EVEN>(quad[j + 8], quad[j + 12]),
                    );
                    let odd = (
                        _mm512_shuffle_f32x4::<ODD>(quad[j], quad[j + 4]),
                        _mm512_shuffle_f32x4::<ODD>(quad[j + 8], quad[j + 12]),
                    );
                    let to = to.add(j * to_pitch);
                    _mm512_storeu_ps(to, _mm512_shuffle_f32x4::<EVEN>(even.0, even.1));
                    _mm512_storeu_ps(to.add(4 * to_pitch), _mm512_shuffle_f32x4::<EVEN>(odd.0, odd.1));
                    _mm512_storeu_ps(to.add(8 * to_pitch), _mm512_shuffle_f32x4::<ODD>(even.0, even.1));
                    _mm512_storeu_ps(to.add(12 * to_pitch), _mm512_shuffle_f32x4::<ODD>(odd.0, odd.1));
                }
            }
        }
    }

    fn first_16(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }

    impl Lanes for __m256 {
        type Scalar = f32;
        const WIDTH: usize = 8;
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            if n == Self::WIDTH {
                return unsafe { Self::load(from) };
            }
            unsafe { _mm256_maskload_ps(from, first_8(n)) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            // On CPUs with microcoded masked stores, they would cost up to 5 % of a tile.
            if n == Self::WIDTH {
                return unsafe { _mm256_storeu_ps(to, self) };
            }
            unsafe { _mm256_maskstore_ps(to, first_8(n), self) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, by: Self, plus: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, by, plus) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn rectify(self) -> Self {
            // `max` returns the second operand if one is NaN.
            unsafe { _mm256_max_ps(_mm256_setzero_ps(), self) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const f32) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
            unsafe {
                let mut row = [_mm256_setzero_ps(); 8];
                for (i, row) in row.iter_mut().enumerate() {
                    *row = Self::load(from.add(i * from_pitch));
                }
                // Half l of quad[4i + j]: column 4l + j of rows 4i to 4i + 3.
                let mut quad = row;
                for i in [0, 4] {
                    let low = _mm256_castps_pd(_mm256_unpacklo_ps(row[i], row[i + 1]));
                    let high = _mm256_castps_pd(_mm256_unpackhi_ps(row[i], row[i + 1]));
                    let low2 = _mm256_castps_pd(_mm256_unpacklo_ps(row[i + 2], row[i + 3]));
                    let high2 = _mm256_castps_pd(_mm256_unpackhi_ps(row[i + 2], row[i + 3]));
                    quad[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, low2));
                    quad[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, low2));
                    quad[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, high2));
                    quad[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, high2));
                }
                for j in 0..4 {
                    let to = to.add(j * to_pitch);
                    _mm256_storeu_ps(to, _mm256_permute2f128_ps::<0x20>(quad[j], quad[j + 4]));
                    _mm256_storeu_ps(
                        to.add(4 * to_pitch),
                        _mm256_permute2f128_ps::<0x31>(quad[j], quad[j + 4]),
                    );
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn first_8(n: usize) -> __m256i {
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }
}
