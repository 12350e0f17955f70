//! Lazy loading of NVIDIA's libraries on first call, so that a program built for GPUs starts on any machine. candle's
//! bindings link to them; this module defines every referenced function as a trampoline to the real one, so that the
//! linker does not need the libraries.
//!
//! A function of a missing library returns an error code of its API; [`missing`] reports the library before any is
//! used.
//!
//! Why not cudarc's own loading (cudarc 0.19.10, candle 0.11.1): candle-core enables cudarc's `dynamic-linking`,
//! which no other crate can disable: adding `dynamic-loading` is a build error, and `fallback-dynamic-loading` has
//! lower priority (`findings/cudarc_linking_wins.sh`). Patching candle-core's manifest is not enough either:
//! candle-kernels' build script links `cudart` for kernels that candle-core's quantized products use and that
//! register themselves before `main`. The alternative is to maintain forks of two crates, 69,000 lines, through a
//! `[patch]` that `cargo publish` drops and `cargo install` ignores, instead of 230 lines here and a list generated
//! by `scripts/cuda_names.sh`. And cudarc panics if a library or function is missing; here that is an error code.
//! Revisit when candle's feature `cuda` loads libraries dynamically.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
};

/// The libraries, for the CUDA version of the bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SharedLibrary {
    Driver,
    Runtime,
    Blas,
    BlasLt,
    Random,
    Compiler,
    Dnn,
    Collective,
}

impl SharedLibrary {
    /// File name for `dlopen`.
    fn name(self) -> &'static CStr {
        match self {
            Self::Driver => c"libcuda.so.1",
            Self::Runtime => c"libcudart.so.13",
            Self::Blas => c"libcublas.so.13",
            Self::BlasLt => c"libcublasLt.so.13",
            Self::Random => c"libcurand.so.10",
            Self::Compiler => c"libnvrtc.so.13",
            Self::Dnn => c"libcudnn.so.9",
            Self::Collective => c"libnccl.so.2",
        }
    }

    fn open(self) -> Option<*mut c_void> {
        // SAFETY: the name is zero-terminated; the libraries' initializers may run on any thread.
        let handle = unsafe { dlopen(self.name().as_ptr(), LAZY_GLOBAL) };
        (!handle.is_null()).then_some(handle)
    }

    /// The stub for functions of a missing library.
    fn absent(self) -> *mut c_void {
        let answer: unsafe extern "C" fn() -> c_int = match self {
            Self::Driver | Self::Runtime => no_device,
            Self::Random => no_random,
            _ => not_initialized,
        };
        answer as *mut c_void
    }
}

/// CUDA_ERROR_NO_DEVICE, cudaErrorNoDevice.
unsafe extern "C" fn no_device() -> c_int {
    100
}
/// CURAND_STATUS_NOT_INITIALIZED.
unsafe extern "C" fn no_random() -> c_int {
    101
}
/// CUBLAS_STATUS_NOT_INITIALIZED; an error code in the other libraries too (ncclUnhandledCudaError).
unsafe extern "C" fn not_initialized() -> c_int {
    1
}

/// The first required library that cannot be loaded.
pub(super) fn missing() -> Option<String> {
    first_missing(&[
        SharedLibrary::Driver,
        SharedLibrary::Blas,
        SharedLibrary::BlasLt,
        SharedLibrary::Random,
        SharedLibrary::Dnn,
    ])
}

/// NCCL, which only several GPUs need, if it cannot be loaded.
#[cfg(feature = "nccl")]
pub(super) fn missing_nccl() -> Option<String> {
    first_missing(&[SharedLibrary::Collective])
}

fn first_missing(libraries: &[SharedLibrary]) -> Option<String> {
    let missing = libraries.iter().find(|library| library.open().is_none())?;
    Some(missing.name().to_string_lossy().into_owned())
}

unsafe extern "C" {
    fn dlopen(name: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// RTLD_LAZY | RTLD_GLOBAL
const LAZY_GLOBAL: c_int = 0x101;

/// A lazily resolved function. The assembly below reads the first field.
#[repr(C)]
struct Function {
    address: AtomicPtr<c_void>,
    library: SharedLibrary,
    name: &'static CStr,
}

impl Function {
    const fn new(library: SharedLibrary, name: &'static CStr) -> Self {
        Self { address: AtomicPtr::new(ptr::null_mut()), library, name }
    }
}

/// Resolves the function on its first call.
unsafe extern "C" fn find(function: &Function) -> *mut c_void {
    let found = function.library.open().map(|library| {
        // SAFETY: the library is open and is never closed.
        unsafe { dlsym(library, function.name.as_ptr()) }
    });
    let address = found.filter(|f| !f.is_null()).unwrap_or_else(|| function.library.absent());
    function.address.store(address, Relaxed);
    address
}

/// Jumps to the function whose record address is in r11, preserving all arguments.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    std::arch::naked_asm!(
        "mov r10, [r11]",
        "test r10, r10",
        "jz 2f",
        "jmp r10",
        "2:",
        "push rbp",
        "mov rbp, rsp",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push r8",
        "push r9",
        "sub rsp, 64",
        "movsd [rsp], xmm0",
        "movsd [rsp + 8], xmm1",
        "movsd [rsp + 16], xmm2",
        "movsd [rsp + 24], xmm3",
        "movsd [rsp + 32], xmm4",
        "movsd [rsp + 40], xmm5",
        "movsd [rsp + 48], xmm6",
        "movsd [rsp + 56], xmm7",
        "mov rdi, r11",
        "call {find}",
        "mov r10, rax",
        "movsd xmm0, [rsp]",
        "movsd xmm1, [rsp + 8]",
        "movsd xmm2, [rsp + 16]",
        "movsd xmm3, [rsp + 24]",
        "movsd xmm4, [rsp + 32]",
        "movsd xmm5, [rsp + 40]",
        "movsd xmm6, [rsp + 48]",
        "movsd xmm7, [rsp + 56]",
        "add rsp, 64",
        "pop r9",
        "pop r8",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "pop rbp",
        "jmp r10",
        find = sym find,
    )
}

/// Jumps to the function whose record address is in x16, preserving all arguments.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    std::arch::naked_asm!(
        "ldr x17, [x16]",
        "cbz x17, 2f",
        "br x17",
        "2:",
        "stp x29, x30, [sp, #-16]!",
        "stp x0, x1, [sp, #-16]!",
        "stp x2, x3, [sp, #-16]!",
        "stp x4, x5, [sp, #-16]!",
        "stp x6, x7, [sp, #-16]!",
        "stp d0, d1, [sp, #-16]!",
        "stp d2, d3, [sp, #-16]!",
        "stp d4, d5, [sp, #-16]!",
        "stp d6, d7, [sp, #-16]!",
        "mov x0, x16",
        "bl {find}",
        "mov x17, x0",
        "ldp d6, d7, [sp], #16",
        "ldp d4, d5, [sp], #16",
        "ldp d2, d3, [sp], #16",
        "ldp d0, d1, [sp], #16",
        "ldp x6, x7, [sp], #16",
        "ldp x4, x5, [sp], #16",
        "ldp x2, x3, [sp], #16",
        "ldp x0, x1, [sp], #16",
        "ldp x29, x30, [sp], #16",
        "br x17",
        find = sym find,
    )
}

/// Defines trampolines for library functions.
macro_rules! lazy {
    ($($library:ident: $($name:ident)*;)*) => {$($(
        const _: () = {
            static FUNCTION: Function = Function::new(SharedLibrary::$library, unsafe {
                CStr::from_bytes_with_nul_unchecked(concat!(stringify!($name), "\0").as_bytes())
            });

            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                std::arch::naked_asm!(
                    "lea r11, [rip + {function}]", "jmp {enter}", function = sym FUNCTION, enter = sym enter
                );
                #[cfg(target_arch = "aarch64")]
                std::arch::naked_asm!(
                    "adrp x16, {function}",
                    "add x16, x16, :lo12:{function}",
                    "b {enter}",
                    function = sym FUNCTION,
                    enter = sym enter
                );
            }
        };
    )*)*};
}

include!("names.rs");
