//! Batch normalization on a GPU: two launches for sums over rows (partial sums, then totals), one that computes the
//! tables and updates the running statistics, and one per elementwise pass. No data are copied to the host.
//!
//! x is f32, f64 or bf16; γ, β and their gradients f32 (f64 where x is); statistics, sums and tables f64.

use super::{Backward, Momentum, Normalize, Running};
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, element, launch, modules::BATCH_NORM},
    op::{CudaInput, CudaOutput},
};
use candle_core::{CudaDevice, DType, Device, Result, Shape, Tensor, Var, bail};

const OP: &str = "batch_norm";

/// Threads per block of row reductions; `THREADS` in `batch_norm.cu`.
const THREADS: usize = 256;
/// Most blocks of an elementwise pass; beyond this, threads process several rows.
const BLOCKS: usize = 2048;
/// Most blocks, and fewest rows per thread, of row reductions.
const SUM_BLOCKS: usize = 512;
const SUM_ROWS: usize = 4;
/// Edge of the thread square that adds partial sums; `JOIN` in `batch_norm.cu`.
const JOIN: usize = 32;

/// Tiling of an `(m, C)` matrix by blocks of lanes × rows of threads; depends only on shape and dtype.
struct Tiling {
    m: usize,
    channels: usize,
    /// kernel-name suffix for the vector width
    suffix: String,
    lanes: usize,
    tiles: usize,
}

impl Tiling {
    /// The tiling for x's shape and these addresses.
    fn new(x: CudaInput, addresses: &[u64]) -> Result<Self> {
        let (dtype, channels) = (x.dtype(), super::last_dim(x.shape()));
        let wide = 16 / dtype.size_in_bytes();
        let packed = channels.is_multiple_of(wide) && addresses.iter().all(|a| a.is_multiple_of(16));
        let packs = if packed { channels / wide } else { channels };
        let lanes = packs.next_power_of_two().min(32);
        let suffix = format!("{}{}", if packed { "packs_" } else { "" }, element(OP, dtype)?);
        let m = x.shape().elem_count() / channels;
        Ok(Self { m, channels, suffix, lanes, tiles: packs.div_ceil(lanes) })
    }

    fn rows(&self) -> usize {
        THREADS / self.lanes
    }

    /// `parts` vertically stacked blocks per channel tile.
    fn grid(&self, parts: usize) -> Grid {
        let threads = (self.lanes as u32, self.rows() as u32, 1);
        Grid { blocks: ((self.tiles * parts) as u32, 1, 1), threads }
    }

    /// Grid of an elementwise pass.
    fn pass(&self) -> Grid {
        self.grid(self.m.div_ceil(self.rows()).clamp(1, (BLOCKS / self.tiles).max(1)))
    }

    /// Number of partial sums and rows per part.
    fn parts(&self) -> (usize, usize) {
        let parts = self.m.div_ceil(self.rows() * SUM_ROWS).clamp(1, (SUM_BLOCKS / self.tiles).max(1));
        let rows = self.m.div_ceil(parts);
        (self.m.div_ceil(rows), rows)
    }

    /// Kernel arguments m, C, tiles.
    fn extents(&self) -> [Arg<'static>; 3] {
        [Arg::length(self.m), Arg::length(self.channels), Arg::length(self.tiles)]
    }

    /// One block of JOIN × JOIN threads per JOIN channels.
    fn joining(&self) -> Grid {
        let blocks = (self.channels.div_ceil(JOIN) as u32, 1, 1);
        Grid { blocks, threads: (JOIN as u32, JOIN as u32, 1) }
    }

    fn launch(&self, device: &CudaDevice, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        launch(device, BATCH_NORM, &format!("batch_norm_{kernel}_{}", self.suffix), grid, args)
    }
}

/// x → f64 `(2, C)`: mean and biased variance.
pub(super) fn statistics(input: CudaInput) -> Result<CudaOutput> {
    let (device, x) = (input.device(), input.address()?);
    let tiling = Tiling::new(input, &[x])?;
    let (parts, rows) = tiling.parts();
    let shape = Shape::from((2, tiling.channels));
    let (_partial, partial) = alloc_uninit(device, (parts, 2, tiling.channels), DType::F64)?;
    let (statistics, result) = alloc_uninit(device, shape.clone(), DType::F64)?;
    let args = [&[Arg::Pointer(x), Arg::Pointer(partial)], &tiling.extents()[..], &[Arg::length(rows)]];
    tiling.launch(device, "moments", tiling.grid(parts), &args.concat())?;
    let args = [
        Arg::Pointer(partial),
        Arg::Pointer(x),
        Arg::Pointer(result),
        Arg::length(parts),
        Arg::length(tiling.m),
        Arg::length(tiling.channels),
    ];
    let kernel = format!("batch_norm_statistics_{}", element(OP, input.dtype())?);
    launch(device, BATCH_NORM, &kernel, tiling.joining(), &args)?;
    Ok((statistics, shape))
}

/// Updates the running statistics with a batch of `m` samples per channel and returns the normalization tables: f64
/// `(2, C)`, mean and 1/σ.
///
/// The variables are updated in place. All work is on the device's single stream, so earlier kernels have already
/// read the old values and later ones see the new values.
pub(super) fn update_running(
    statistics: &Tensor,
    running: &Running,
    m: usize,
    momentum: Momentum,
    eps: f64,
) -> Result<Tensor> {
    let unbiased = if m > 1 { m as f64 / (m - 1) as f64 } else { 1.0 };
    let (keep, take, caffe) = match momentum {
        Momentum::PyTorch(m) => (1.0 - m, m, 0),
        Momentum::Caffe(fraction) => (fraction, 0.0, 1),
    };
    let [mean, var, weight] = [&running.mean, &running.var, &running.weight].map(|v| in_place(v, running));
    // SAFETY: the kernel writes every element.
    let tables = unsafe { Tensor::empty(statistics.dims(), DType::F64, statistics.device())? };
    let args = [
        Arg::Pointer(device_ptr(OP, statistics)?),
        mean?,
        var?,
        weight?,
        Arg::Pointer(device_ptr(OP, &tables)?),
        Arg::length(running.mean.elem_count()),
        Arg::Double(keep),
        Arg::Double(take),
        Arg::Double(unbiased),
        Arg::Double(eps),
        Arg::Int(caffe),
    ];
    let kernel = format!("batch_norm_moved_{}", running_element(running)?);
    launch(statistics.device().as_cuda_device()?, BATCH_NORM, &kernel, Grid::blocks(1, 1024), &args)?;
    Ok(tables)
}

/// The tables from the running statistics, unchanged: f64 `(2, C)`, mean and 1/σ.
pub(super) fn running_tables(running: &Running, eps: f64) -> Result<Tensor> {
    let [mean, var] = [in_place(&running.mean, running)?, in_place(&running.var, running)?];
    tables(running.mean.device(), running_element(running)?, [mean, var], running.mean.elem_count(), eps)
}

/// The tables from the statistics of a batch, f64 `(2, C)`, which the running ones do not learn yet.
pub(super) fn batch_tables(statistics: &Tensor, eps: f64) -> Result<Tensor> {
    let (at, channels) = (device_ptr(OP, statistics)?, super::last_dim(statistics.shape()));
    let var = at + (channels * size_of::<f64>()) as u64;
    tables(statistics.device(), "f64", [Arg::Pointer(at), Arg::Pointer(var)], channels, eps)
}

fn tables(
    device: &Device,
    element: &str,
    [mean, var]: [Arg<'static>; 2],
    channels: usize,
    eps: f64,
) -> Result<Tensor> {
    // SAFETY: the kernel writes every element.
    let tables = unsafe { Tensor::empty((2, channels), DType::F64, device)? };
    let args = [mean, var, Arg::Pointer(device_ptr(OP, &tables)?), Arg::length(channels), Arg::Double(eps)];
    let kernel = format!("batch_norm_fixed_{element}");
    launch(device.as_cuda_device()?, BATCH_NORM, &kernel, Grid::over(channels), &args)?;
    Ok(tables)
}

/// The address of one of the running statistics.
fn in_place(var: &Var, running: &Running) -> Result<Arg<'static>> {
    if var.dtype() != running.mean.dtype() {
        bail!(
            "{OP}: running statistics of {:?} and {:?}: one type wanted",
            running.mean.dtype(),
            var.dtype()
        );
    }
    Ok(Arg::Pointer(device_ptr(OP, var)?))
}

fn running_element(running: &Running) -> Result<&'static str> {
    match running.mean.dtype() {
        dtype @ (DType::F32 | DType::F64) => element(OP, dtype),
        other => bail!("{OP}: running statistics must be f32 or f64, got {other:?}"),
    }
}

/// The addresses of γ and β, 0 if absent; their dtype must be the compute dtype of x.
fn affine_addresses(affine: Option<[(DType, u64); 2]>, x: DType) -> Result<[Arg<'static>; 2]> {
    let Some(affine) = affine else {
        return Ok([Arg::Pointer(0); 2]);
    };
    let wanted = if x == DType::F64 { DType::F64 } else { DType::F32 };
    if let Some((other, _)) = affine.iter().find(|(dtype, _)| *dtype != wanted) {
        bail!("{OP}: gamma and beta must be {wanted:?} for x of {x:?}, got {other:?}");
    }
    Ok(affine.map(|(_, address)| Arg::Pointer(address)))
}

impl Normalize {
    /// Creates the op from tables f64 `(2, C)`: mean and 1/σ.
    pub(super) fn of_tables(tables: &Tensor, relu: bool, of_batch: bool) -> Result<Self> {
        Ok(Self { mean: tables.get(0)?, inv_std: tables.get(1)?, relu, of_batch })
    }

    pub(super) fn forward_cuda(&self, x: CudaInput, affine: Option<[CudaInput; 2]>) -> Result<CudaOutput> {
        let (device, dtype, at) = (x.device(), x.dtype(), x.address()?);
        let tiling = Tiling::new(x, &[at])?;
        let (storage, y) = alloc_uninit(device, x.shape(), dtype)?;
        let affine = match affine {
            Some([g, b]) => Some([(g.dtype(), g.address()?), (b.dtype(), b.address()?)]),
            None => None,
        };
        let args = [
            &[Arg::Pointer(at)],
            &self.tables()?[..],
            &affine_addresses(affine, dtype)?[..],
            &[Arg::Pointer(y)],
            &tiling.extents(),
            &[Arg::Int(self.relu.into())],
        ];
        tiling.launch(device, "normalize", tiling.pass(), &args.concat())?;
        Ok((storage, x.shape().clone()))
    }

    fn tables(&self) -> Result<[Arg<'static>; 2]> {
        Ok([Arg::Pointer(device_ptr(OP, &self.mean)?), Arg::Pointer(device_ptr(OP, &self.inv_std)?)])
    }
}

impl Backward<'_> {
    /// Kernel arguments: x, dy, and the per-channel constants.
    fn arguments(&self, x: u64, dy: u64, dtype: DType) -> Result<Vec<Arg<'static>>> {
        let affine = match self.affine {
            Some((g, b)) => Some([(g.dtype(), device_ptr(OP, g)?), (b.dtype(), device_ptr(OP, b)?)]),
            None => None,
        };
        let affine = affine_addresses(affine, dtype)?;
        Ok([&[Arg::Pointer(x), Arg::Pointer(dy)], &self.op.tables()?[..], &affine].concat())
    }

    pub(super) fn sums_cuda(&self, input: CudaInput, gradient: CudaInput) -> Result<CudaOutput> {
        let device = input.device();
        let (x, dy) = addresses(input, gradient)?;
        let tiling = Tiling::new(input, &[x, dy])?;
        let (parts, rows) = tiling.parts();
        let shape = Shape::from((2, tiling.channels));
        let (_partial, partial) = alloc_uninit(device, (parts, 2, tiling.channels), DType::F64)?;
        let (sums, result) = alloc_uninit(device, &shape, DType::F64)?;
        let mut args = self.arguments(x, dy, input.dtype())?;
        args.push(Arg::Pointer(partial));
        args.extend(tiling.extents());
        args.extend([Arg::length(rows), Arg::Int(self.op.relu.into())]);
        tiling.launch(device, "gradient_sums", tiling.grid(parts), &args)?;
        let args =
            [Arg::Pointer(partial), Arg::Pointer(result), Arg::length(parts), Arg::length(tiling.channels)];
        launch(device, BATCH_NORM, "batch_norm_join_sums", tiling.joining(), &args)?;
        Ok((sums, shape))
    }

    pub(super) fn input_gradient_cuda(
        &self,
        input: CudaInput,
        gradient: CudaInput,
        sums: Option<&Tensor>,
    ) -> Result<CudaOutput> {
        let (x, dy) = addresses(input, gradient)?;
        let tiling = Tiling::new(input, &[x, dy])?;
        let (storage, dx) = alloc_uninit(input.device(), input.shape(), input.dtype())?;
        let sums = sums.map_or(Ok(0), |sums| device_ptr(OP, sums))?;
        let mut args = self.arguments(x, dy, input.dtype())?;
        args.extend([Arg::Pointer(sums), Arg::Pointer(dx)]);
        args.extend(tiling.extents());
        args.push(Arg::Int(self.op.relu.into()));
        tiling.launch(input.device(), "input_gradient", tiling.pass(), &args)?;
        Ok((storage, input.shape().clone()))
    }
}

/// Addresses of x and dy, which must have the same dtype.
fn addresses(x: CudaInput, dy: CudaInput) -> Result<(u64, u64)> {
    if x.dtype() != dy.dtype() {
        bail!("{OP}: x is {:?} and its gradient {:?}: one type wanted", x.dtype(), dy.dtype());
    }
    Ok((x.address()?, dy.address()?))
}
