//! Vectors of one element type: what the tile kernel needs of AVX-512, AVX2 with FMA, and any processor.
//!
//! The methods are always inlined, so that inside a function with the right `#[target_feature]` each is one instruction.

use std::ops::{Add, Mul};

/// A SIMD register, or what stands for one.
///
/// # Safety
/// Every method may be called only where the processor has the implementor's instructions; loads and stores only on
/// memory that holds `WIDTH` (or the first `n`) elements. No alignment is asked for.
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
}

/// Eight elements in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Plain<T>([T; 8]);

impl<T: Copy + Default + Add<Output = T> + Mul<Output = T>> Lanes for Plain<T> {
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
            unsafe { _mm256_maskload_ps(from, first_8(n)) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
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
    }

    #[inline(always)]
    unsafe fn first_8(n: usize) -> __m256i {
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }
}
