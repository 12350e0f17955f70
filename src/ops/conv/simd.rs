//! One loop for every instruction set: a `Job` is written for any `Lanes` and dispatched to those of a CPU.

use super::lanes::{Lanes, Plain};
use std::{env, ffi::OsString, sync::LazyLock};

/// An instruction set.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Simd {
    Plain,
    Avx2,
    Avx512,
}

impl Simd {
    /// Rows of a tile of the product.
    pub fn rows(self) -> usize {
        match self {
            Simd::Plain => 4,
            Simd::Avx2 => 6,
            Simd::Avx512 => 8,
        }
    }

    /// Most vectors of columns of a tile of the product.
    pub fn vectors(self) -> usize {
        if self == Simd::Avx2 { 2 } else { 3 }
    }

    /// f32 or f64 elements of one vector.
    pub fn lanes(self) -> usize {
        if self == Simd::Avx512 { 16 } else { 8 }
    }

    /// The one that the variable `HUERISTIC_SIMD` names, else the fastest that this CPU has. Results differ in their last
    /// bits between instruction sets, so that a machine can repeat another one's.
    fn chosen() -> Simd {
        static CHOSEN: LazyLock<Simd> = LazyLock::new(|| {
            let fastest = Simd::available().pop().unwrap_or(Simd::Plain);
            requested().ok().flatten().unwrap_or(fastest)
        });
        *CHOSEN
    }

    fn word(self) -> &'static str {
        match self {
            Simd::Plain => "plain",
            Simd::Avx2 => "avx2",
            Simd::Avx512 => "avx512",
        }
    }

    /// Those that this CPU has, the fastest last; f64 has only the first.
    pub fn available() -> Vec<Simd> {
        let mut all = vec![Simd::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Simd::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(Simd::Avx512);
            }
        }
        all
    }
}

fn variable() -> Option<OsString> {
    env::var_os("HUERISTIC_SIMD").filter(|word| !word.is_empty())
}

/// The instruction set that `HUERISTIC_SIMD` names, if it is set.
fn requested() -> Result<Option<Simd>, String> {
    let Some(word) = variable() else { return Ok(None) };
    let available = Simd::available();
    let found = available.iter().copied().find(|simd| word.to_str() == Some(simd.word()));
    let words: Vec<&str> = available.iter().map(|simd| simd.word()).collect();
    match found {
        Some(simd) => Ok(Some(simd)),
        None => Err(format!(
            "HUERISTIC_SIMD is {}; this processor has {}",
            word.to_string_lossy(),
            words.join(", ")
        )),
    }
}

/// Whether `HUERISTIC_SIMD` limits the instructions.
pub(super) fn is_requested() -> bool {
    variable().is_some()
}

/// The vector instructions of products in f32: `plain`, `avx2` or `avx512`.
pub fn instructions() -> &'static str {
    f32::simd().word()
}

/// Checks the variable `HUERISTIC_SIMD`.
///
/// # Errors
/// An instruction set that this processor does not have, or none at all.
pub fn check_simd() -> Result<(), String> {
    requested().map(drop)
}

/// A loop over vectors. `run` must be `#[inline(always)]`, so that it is compiled with the instructions of its caller.
pub(super) trait Job<T> {
    /// # Safety
    /// The CPU must support `L`; what else must hold is said by the job's constructor.
    unsafe fn run<L: Lanes<Scalar = T>>(&self);
}

/// An element type with constants and instruction sets; part of `tile::Real`.
pub(super) trait Element: Copy + Default + Send + Sync + 'static {
    /// The nearest value.
    fn of(x: f64) -> Self;
    /// The fastest instruction set of this CPU.
    fn simd() -> Simd;
    /// Runs a job with one instruction set.
    ///
    /// # Safety
    /// `simd` must be available; the job's own contract holds.
    unsafe fn dispatch(simd: Simd, job: &impl Job<Self>);
}

impl Element for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn simd() -> Simd {
        Simd::Plain
    }
    unsafe fn dispatch(_: Simd, job: &impl Job<f64>) {
        // SAFETY: plain code runs everywhere; the rest is the caller's promise.
        unsafe { job.run::<Plain<f64>>() }
    }
}

impl Element for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn simd() -> Simd {
        Simd::chosen()
    }
    #[inline]
    unsafe fn dispatch(simd: Simd, job: &impl Job<f32>) {
        // SAFETY: the caller promises that the CPU has the instructions, and the job's contract.
        unsafe {
            match simd {
                #[cfg(target_arch = "x86_64")]
                Simd::Avx512 => x86::avx512(job),
                #[cfg(target_arch = "x86_64")]
                Simd::Avx2 => x86::avx2(job),
                _ => job.run::<Plain<f32>>(),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Job;
    use core::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(job: &impl Job<f32>) {
        // SAFETY: this function has the features; the rest is the job's contract.
        unsafe { job.run::<__m512>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2(job: &impl Job<f32>) {
        // SAFETY: as above.
        unsafe { job.run::<__m256>() }
    }
}
