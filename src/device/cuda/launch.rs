//! Launches of the project's own kernels. Each file of `kernels` is compiled to PTX when the project is built and
//! loaded when a kernel of it is first called.

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg},
    },
};

/// A file of kernels.
#[derive(Clone, Copy)]
pub(crate) struct KernelModule {
    name: &'static str,
    ptx: &'static str,
}

/// Names the files of kernels as constants.
macro_rules! modules {
    ($($constant:ident = $file:literal;)*) => {
        $(pub(crate) const $constant: super::KernelModule = super::KernelModule {
            name: $file,
            ptx: include_str!(concat!(env!("OUT_DIR"), "/", $file, ".ptx")),
        };)*
    };
}

/// The files of `kernels`.
pub(crate) mod modules {
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

/// An argument of a kernel, of the type that its source declares: pointer, `long long`, `int`, `float`, `double`, or a struct
/// of nine doubles.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    Pointer(u64),
    Long(i64),
    Int(i32),
    Float(f32),
    Double(f64),
    Geometry(Geometry),
    Parts(&'a Parts),
    Scaling(Scaling),
    /// 3 × 3, by rows.
    Matrix([f64; 9]),
}

/// The kernels' `Geometry` of a convolution: of each axis input, output, kernel, stride, pad and dilation; then the first
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

/// The kernels' `Part`: where a parameter, its gradient and its moments lie, how many they are, its own rate and decay.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Part {
    pub w: u64,
    pub g: u64,
    pub first: u64,
    pub second: u64,
    pub n: i64,
    pub rate: f32,
    pub decay: f32,
}

/// A table of parts, by value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Parts([Part; Parts::MOST]);

impl Parts {
    /// So many that the table fits into the 4 KiB of a kernel's arguments.
    pub const MOST: usize = 64;

    /// The first [`Self::MOST`] of `parts`; the rest of the table is empty parts.
    pub fn new(parts: &[Part]) -> Self {
        Self(std::array::from_fn(|i| parts.get(i).copied().unwrap_or_default()))
    }
}

/// The kernels' `Scaling` of a gradient: where its norm lies, passes in the sum, norm to clip to (0: none).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Scaling {
    pub norm: u64,
    pub passes: f64,
    pub clip: f64,
}

// SAFETY: numbers only, laid out as C does.
unsafe impl DeviceRepr for Parts {}
// SAFETY: likewise.
unsafe impl DeviceRepr for Scaling {}

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

/// Blocks of a launch and threads of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub blocks: (u32, u32, u32),
    pub threads: (u32, u32, u32),
}

/// Blocks at most of a kernel that makes a table in each.
const TABLES: usize = 1024;
/// Blocks at most of a kernel that leaves a sum for each of its blocks.
const PARTIAL_SUMS: usize = 256;
/// Elements of a block of such a kernel, while there are few.
const RUN: usize = 1024;

/// Threads of a block of kernels that go over elements.
const THREADS: usize = 256;
/// Blocks at most of such kernels, whose threads then take several elements each, a grid apart.
const BLOCKS: usize = 1 << 16;

impl Grid {
    /// For a kernel whose threads go over `n` elements, each taking every (blocks · threads)-th.
    pub fn over(n: usize) -> Self {
        Self { blocks: (n.div_ceil(THREADS).clamp(1, BLOCKS) as u32, 1, 1), threads: (THREADS as u32, 1, 1) }
    }

    /// As [`Grid::over`], for a kernel whose blocks each make a table first: few blocks.
    pub fn tabled(n: usize) -> Self {
        Self { blocks: (n.div_ceil(THREADS).clamp(1, TABLES) as u32, 1, 1), ..Self::over(n) }
    }

    /// For a kernel that adds up `n` elements, each block a run of them; how many blocks there are depends on `n` alone.
    pub fn sums(n: usize) -> Self {
        Self::blocks(n.div_ceil(RUN).clamp(1, PARTIAL_SUMS), THREADS as u32)
    }

    /// For a kernel that takes a warp of 32 threads for each of `n` rows.
    pub fn warps(n: usize) -> Self {
        Self::blocks(n.div_ceil(THREADS / 32).max(1), THREADS as u32)
    }

    /// For a kernel whose blocks (x, y) share the `length` elements of row x.
    pub fn rows(n: usize, length: usize) -> Self {
        let parts = length.div_ceil(THREADS).clamp(1, BLOCKS - 1);
        Self { blocks: (n as u32, parts as u32, 1), threads: (THREADS as u32, 1, 1) }
    }

    /// For a kernel that takes a block for each of `n` places and a thread for each of their channels.
    pub fn channels(n: usize, channels: usize) -> Self {
        Self::blocks(n, channels.next_multiple_of(32).clamp(32, THREADS) as u32)
    }

    /// One block of that many threads for each of `n` pieces.
    pub fn blocks(n: usize, threads: u32) -> Self {
        Self { blocks: (n as u32, 1, 1), threads: (threads, 1, 1) }
    }
}

/// Enqueues a kernel on the device's stream.
///
/// # Errors
/// A kernel that the module lacks, a grid that the GPU refuses.
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
            Arg::Scaling(v) => builder.arg(v),
            Arg::Matrix(v) => builder.arg(v),
        };
    }
    let config = LaunchConfig { grid_dim: grid.blocks, block_dim: grid.threads, shared_mem_bytes: 0 };
    // SAFETY: each caller hands over what its kernel's source declares, with memory for all that the kernel reaches.
    unsafe { builder.launch(config) }.w()?;
    Ok(())
}
