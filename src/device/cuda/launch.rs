//! Launches this crate's CUDA kernels. Each file in `kernels` is compiled to PTX at build time and loaded on first
//! use.

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg},
    },
};

/// A PTX module.
#[derive(Clone, Copy)]
pub(crate) struct KernelModule {
    name: &'static str,
    ptx: &'static str,
}

/// Defines a constant per kernel file.
macro_rules! modules {
    ($($constant:ident = $file:literal;)*) => {
        $(pub(crate) const $constant: KernelModule = KernelModule {
            name: $file,
            ptx: include_str!(concat!(env!("OUT_DIR"), "/", $file, ".ptx")),
        };)*
    };
}

/// The files of `kernels`.
pub(crate) mod modules {
    use crate::device::cuda::launch::KernelModule;
    modules! {
        BATCH_NORM = "batch_norm";
        COLOR = "color";
        DROPOUT = "dropout";
        ELEMENTWISE = "elementwise";
        FRAMES = "frames";
        LOSSES = "losses";
        LRN = "lrn";
        PATCHES = "patches";
        POOL = "pool";
        RESIZE = "resize";
        ROI_POOL = "roi_pool";
        ROWS = "rows";
        SPARSE_TARGET = "sparse_target";
        UPDATE = "update";
    }
}

/// A kernel argument with its CUDA type: pointer, `long long`, `int`, `float`, `double`, or a struct.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    Pointer(u64),
    Long(i64),
    Int(i32),
    Float(f32),
    Double(f64),
    Geometry(Geometry),
    Parts(&'a Parts),
    /// 3 × 3, row-major.
    Matrix([f64; 9]),
}

/// The kernels' `Geometry` of a convolution: per axis input, output, kernel, stride, pad and dilation; then the first
/// image, the number of images, channels, groups, pitch.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Geometry {
    pub rows: [i32; 6],
    pub cols: [i32; 6],
    pub rest: [i32; 5],
}

// SAFETY: integers only, laid out as C does.
unsafe impl DeviceRepr for Geometry {}

/// The kernels' `Part`: addresses of a parameter, its gradient and its moments, their length, multiplier of the learning
/// rate, decay, and trust coefficient (0: the rate is not adapted).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Part {
    pub w: u64,
    pub g: u64,
    pub first: u64,
    pub second: u64,
    pub n: i64,
    pub multiplier: f64,
    pub decay: f32,
    pub trust_coefficient: f32,
}

/// A table of parts, passed by value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Parts([Part; Parts::MOST]);

impl Parts {
    /// Limited by the 4 KiB of kernel arguments.
    pub const MOST: usize = 64;

    /// The first [`Self::MOST`] of `parts`, padded with empty parts.
    pub fn new(parts: &[Part]) -> Self {
        Self(std::array::from_fn(|i| parts.get(i).copied().unwrap_or_default()))
    }
}

// SAFETY: numbers only, laid out as C does.
unsafe impl DeviceRepr for Parts {}

impl Arg<'_> {
    /// A number of elements.
    pub fn count(n: usize) -> Self {
        Self::Long(n as i64)
    }

    /// A length of an axis, which a tensor's shape keeps below 2³¹.
    pub fn length(n: usize) -> Self {
        Self::Int(n as i32)
    }
}

/// Grid and block dimensions of a launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: (u32, u32, u32),
}

/// Most blocks of a kernel that builds a table per block.
const TABLES: usize = 1024;
/// Most blocks of a kernel that writes one partial sum per block.
const PARTIAL_SUMS: usize = 256;
/// Elements per block of such a kernel, for small inputs.
const RUN: usize = 1024;

/// Threads per block of elementwise kernels.
const THREADS: usize = 256;
/// Most blocks of elementwise kernels; beyond this, threads process several elements (grid-stride loop).
const BLOCKS: usize = 1 << 16;

impl Grid {
    /// For a grid-stride loop over `n` elements.
    pub fn over(n: usize) -> Self {
        Self { blocks: (n.div_ceil(THREADS).clamp(1, BLOCKS) as u32, 1, 1), threads: (THREADS as u32, 1, 1) }
    }

    /// As [`Grid::over`] with few blocks, for kernels that first build a table per block.
    pub fn tabled(n: usize) -> Self {
        Self { blocks: (n.div_ceil(THREADS).clamp(1, TABLES) as u32, 1, 1), ..Self::over(n) }
    }

    /// For a sum of `n` elements, one contiguous run per block; the number of blocks depends only on `n`.
    pub fn sums(n: usize) -> Self {
        Self::blocks(n.div_ceil(RUN).clamp(1, PARTIAL_SUMS), THREADS as u32)
    }

    /// For a kernel with one warp of 32 threads per row.
    pub fn warps(n: usize) -> Self {
        Self::blocks(n.div_ceil(THREADS / 32).max(1), THREADS as u32)
    }

    /// For a kernel in which blocks (x, y) process the `length` elements of row x.
    pub fn rows(n: usize, length: usize) -> Self {
        let parts = length.div_ceil(THREADS).clamp(1, BLOCKS - 1);
        Self { blocks: (n as u32, parts as u32, 1), threads: (THREADS as u32, 1, 1) }
    }

    /// For a kernel with one block per position and one thread per channel.
    pub fn channels(n: usize, channels: usize) -> Self {
        Self::blocks(n, channels.next_multiple_of(32).clamp(32, THREADS) as u32)
    }

    /// `n` blocks of `threads` threads.
    pub fn blocks(n: usize, threads: u32) -> Self {
        Self { blocks: (n as u32, 1, 1), threads: (threads, 1, 1) }
    }
}

/// Enqueues a kernel on the device's stream.
///
/// # Errors
/// A kernel missing from the module, an invalid grid.
pub(crate) fn launch(
    device: &CudaDevice,
    module: KernelModule,
    kernel: &str,
    grid: Grid,
    args: &[Arg],
) -> Result<()> {
    let function = device.get_or_load_custom_func(kernel, module.name, module.ptx)?;
    let mut builder = function.builder();
    for arg in args {
        match arg {
            Arg::Pointer(v) => builder.arg(v),
            Arg::Long(v) => builder.arg(v),
            Arg::Int(v) => builder.arg(v),
            Arg::Float(v) => builder.arg(v),
            Arg::Double(v) => builder.arg(v),
            Arg::Geometry(v) => builder.arg(v),
            Arg::Parts(v) => builder.arg(*v),
            Arg::Matrix(v) => builder.arg(v),
        };
    }
    let config = LaunchConfig { grid_dim: grid.blocks, block_dim: grid.threads, shared_mem_bytes: 0 };
    // SAFETY: each caller passes the arguments that its kernel declares, with memory for everything it accesses.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}
