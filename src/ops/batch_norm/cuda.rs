//! The same on a GPU: two launches for sums over rows (parts, then their sum), one that makes the tables of a pass and
//! moves the running statistics, one for each pass over elements. Nothing comes back to the processor.
//!
//! x is f32, f64 or bf16; γ, β and their gradients f32 (f64 where x is); statistics, sums and tables f64.

use super::{Backward, InputGradient, Momentum, Normalise, Running};
use crate::device::cuda::{Arg, Grid, address, element, empty, held, launch, modules::BATCH_NORM};
use candle_core::{
    CudaDevice, CudaStorage, DType, Layout, Result, Shape, Tensor, Var, backend::BackendStorage, bail,
};

type Argument<'a> = (&'a CudaStorage, &'a Layout);

const OP: &str = "batch_norm";

/// Threads of a block that goes down rows; `THREADS` in `batch_norm.cu`.
const THREADS: usize = 256;
/// Blocks at most of a pass over elements; their threads take several rows then.
const BLOCKS: usize = 2048;
/// Blocks at most, and rows of a thread at least, of sums over rows.
const SUM_BLOCKS: usize = 512;
const SUM_ROWS: usize = 4;
/// Edge of the square of threads that joins parts; `JOIN` in `batch_norm.cu`.
const JOIN: usize = 32;

/// How blocks of lanes × rows of threads lie on an `(m, C)` matrix: a function of its shape and element type alone.
struct Tiling {
    m: usize,
    channels: usize,
    /// what kernels for these packs of elements are called
    suffix: String,
    lanes: usize,
    tiles: usize,
}

impl Tiling {
    /// Of a matrix at these addresses.
    fn new(layout: &Layout, dtype: DType, addresses: &[u64]) -> Result<Self> {
        let channels = super::last_dim(layout);
        let wide = 16 / dtype.size_in_bytes();
        let packed = channels.is_multiple_of(wide) && addresses.iter().all(|a| a.is_multiple_of(16));
        let packs = if packed { channels / wide } else { channels };
        let lanes = packs.next_power_of_two().min(32);
        let suffix = format!("{}{}", if packed { "packs_" } else { "" }, element(OP, dtype)?);
        let m = layout.shape().elem_count() / channels;
        Ok(Self { m, channels, suffix, lanes, tiles: packs.div_ceil(lanes) })
    }

    fn rows(&self) -> usize {
        THREADS / self.lanes
    }

    /// `parts` blocks below each other for each tile of channels.
    fn grid(&self, parts: usize) -> Grid {
        let threads = (self.lanes as u32, self.rows() as u32, 1);
        Grid { blocks: ((self.tiles * parts) as u32, 1, 1), threads }
    }

    /// For a pass over all elements.
    fn pass(&self) -> Grid {
        self.grid(self.m.div_ceil(self.rows()).clamp(1, (BLOCKS / self.tiles).max(1)))
    }

    /// Parts that rows are summed in, and rows of each.
    fn parts(&self) -> (usize, usize) {
        let parts = self.m.div_ceil(self.rows() * SUM_ROWS).clamp(1, (SUM_BLOCKS / self.tiles).max(1));
        let rows = self.m.div_ceil(parts);
        (self.m.div_ceil(rows), rows)
    }

    /// What kernels want to know: m, C, tiles.
    fn extents(&self) -> [Arg<'static>; 3] {
        [Arg::length(self.m), Arg::length(self.channels), Arg::length(self.tiles)]
    }

    /// One block of JOIN × JOIN threads for each JOIN channels.
    fn joining(&self) -> Grid {
        let blocks = (self.channels.div_ceil(JOIN) as u32, 1, 1);
        Grid { blocks, threads: (JOIN as u32, JOIN as u32, 1) }
    }

    fn launch(&self, device: &CudaDevice, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        launch(device, BATCH_NORM, &format!("batch_norm_{kernel}_{}", self.suffix), grid, args)
    }
}

/// x → f64 `(2, C)`: mean and biased variance.
pub(super) fn statistics((s, l): Argument) -> Result<(CudaStorage, Shape)> {
    let (device, x) = (s.device(), address(OP, s, l)?);
    let tiling = Tiling::new(l, s.dtype(), &[x])?;
    let (parts, rows) = tiling.parts();
    let shape = Shape::from((2, tiling.channels));
    let (_partial, partial) = empty(device, (parts, 2, tiling.channels), DType::F64)?;
    let (statistics, result) = empty(device, shape.clone(), DType::F64)?;
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
    let kernel = format!("batch_norm_statistics_{}", element(OP, s.dtype())?);
    launch(device, BATCH_NORM, &kernel, tiling.joining(), &args)?;
    Ok((statistics, shape))
}

/// Moves the running statistics towards those of a batch of `m` samples per channel, and gives the tables that normalise
/// it: f64 `(2, C)`, mean and 1/σ.
///
/// The variables are written where they lie. All work is on the device's one stream, so a kernel that was launched before
/// has read them by then, and one that is launched later sees what stands there now.
pub(super) fn moved(
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
        Arg::Pointer(held(OP, statistics)?),
        mean?,
        var?,
        weight?,
        Arg::Pointer(held(OP, &tables)?),
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

/// The tables of running statistics, which stay: f64 `(2, C)`, mean and 1/σ.
pub(super) fn fixed(running: &Running, eps: f64) -> Result<Tensor> {
    let (device, channels) = (running.mean.device(), running.mean.elem_count());
    // SAFETY: the kernel writes every element.
    let tables = unsafe { Tensor::empty((2, channels), DType::F64, device)? };
    let args = [
        in_place(&running.mean, running)?,
        in_place(&running.var, running)?,
        Arg::Pointer(held(OP, &tables)?),
        Arg::length(channels),
        Arg::Double(eps),
    ];
    let kernel = format!("batch_norm_fixed_{}", running_element(running)?);
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
    Ok(Arg::Pointer(held(OP, var)?))
}

fn running_element(running: &Running) -> Result<&'static str> {
    match running.mean.dtype() {
        dtype @ (DType::F32 | DType::F64) => element(OP, dtype),
        other => bail!("{OP}: running statistics must be f32 or f64, got {other:?}"),
    }
}

/// The address of γ or β, 0 where there is none; they are of the type that x is computed in.
fn affine_address(affine: Option<Argument>, x: DType) -> Result<Arg<'static>> {
    let Some((s, l)) = affine else {
        return Ok(Arg::Pointer(0));
    };
    let wanted = if x == DType::F64 { DType::F64 } else { DType::F32 };
    if s.dtype() != wanted {
        bail!("{OP}: gamma and beta must be {wanted:?} for x of {x:?}, got {:?}", s.dtype());
    }
    Ok(Arg::Pointer(address(OP, s, l)?))
}

impl Normalise {
    /// From tables f64 `(2, C)`: mean and 1/σ.
    pub(super) fn of_tables(tables: &Tensor, relu: bool, of_batch: bool) -> Result<Self> {
        Ok(Self { mean: tables.get(0)?, inv_std: tables.get(1)?, relu, of_batch })
    }

    pub(super) fn forward_cuda(
        &self,
        (s, l): Argument,
        gamma: Option<Argument>,
        beta: Option<Argument>,
    ) -> Result<(CudaStorage, Shape)> {
        let (device, x) = (s.device(), address(OP, s, l)?);
        let tiling = Tiling::new(l, s.dtype(), &[x])?;
        let (storage, y) = empty(device, l.shape().clone(), s.dtype())?;
        let args = [
            &[Arg::Pointer(x)],
            &self.tables()?[..],
            &[affine_address(gamma, s.dtype())?, affine_address(beta, s.dtype())?, Arg::Pointer(y)],
            &tiling.extents(),
            &[Arg::Int(self.relu.into())],
        ];
        tiling.launch(device, "normalise", tiling.pass(), &args.concat())?;
        Ok((storage, l.shape().clone()))
    }

    fn tables(&self) -> Result<[Arg<'static>; 2]> {
        Ok([Arg::Pointer(held(OP, &self.mean)?), Arg::Pointer(held(OP, &self.inv_std)?)])
    }
}

impl Backward {
    /// x and dy, then the constants of their channels.
    fn arguments(&self, x: u64, dy: u64, dtype: DType) -> Result<Vec<Arg<'static>>> {
        let [mean, inv_std] = self.op.tables()?;
        let (gamma, beta) = self.affine.as_ref().map(|(g, b)| (g, b)).unzip();
        let of = |tensor: Option<&Tensor>| -> Result<Arg<'static>> {
            let Some(tensor) = tensor else { return affine_address(None, dtype) };
            let (storage, layout) = tensor.storage_and_layout();
            match &*storage {
                candle_core::Storage::Cuda(storage) => affine_address(Some((storage, layout)), dtype),
                _ => bail!("{OP}: gamma and beta must be on the GPU as x is"),
            }
        };
        Ok(vec![Arg::Pointer(x), Arg::Pointer(dy), mean, inv_std, of(gamma)?, of(beta)?])
    }

    /// f64 `(2, C)`: Σ dy and Σ dy·(x − mean).
    pub(super) fn sums_cuda(&self, (s, l): Argument, (sg, lg): Argument) -> Result<(CudaStorage, Shape)> {
        let device = s.device();
        let (x, dy) = addresses((s, l), (sg, lg))?;
        let tiling = Tiling::new(l, s.dtype(), &[x, dy])?;
        let (parts, rows) = tiling.parts();
        let shape = Shape::from((2, tiling.channels));
        let (_partial, partial) = empty(device, (parts, 2, tiling.channels), DType::F64)?;
        let (sums, result) = empty(device, shape.clone(), DType::F64)?;
        let mut args = self.arguments(x, dy, s.dtype())?;
        args.push(Arg::Pointer(partial));
        args.extend(tiling.extents());
        args.extend([Arg::length(rows), Arg::Int(self.op.relu.into())]);
        tiling.launch(device, "gradient_sums", tiling.grid(parts), &args)?;
        let args =
            [Arg::Pointer(partial), Arg::Pointer(result), Arg::length(parts), Arg::length(tiling.channels)];
        launch(device, BATCH_NORM, "batch_norm_join_sums", tiling.joining(), &args)?;
        Ok((sums, shape))
    }
}

impl InputGradient {
    pub(super) fn forward_cuda(&self, (s, l): Argument, (sg, lg): Argument) -> Result<(CudaStorage, Shape)> {
        let device = s.device();
        let (x, dy) = addresses((s, l), (sg, lg))?;
        let tiling = Tiling::new(l, s.dtype(), &[x, dy])?;
        let (storage, dx) = empty(device, l.shape().clone(), s.dtype())?;
        let sums = self.sums.as_ref().map_or(Ok(0), |sums| held(OP, sums))?;
        let mut args = self.backward.arguments(x, dy, s.dtype())?;
        args.extend([Arg::Pointer(sums), Arg::Pointer(dx)]);
        args.extend(tiling.extents());
        args.push(Arg::Int(self.backward.op.relu.into()));
        tiling.launch(device, "input_gradient", tiling.pass(), &args)?;
        Ok((storage, l.shape().clone()))
    }
}

/// Of x and dy, which are of one type.
fn addresses((s, l): Argument, (sg, lg): Argument) -> Result<(u64, u64)> {
    if s.dtype() != sg.dtype() {
        bail!("{OP}: x is {:?} and its gradient {:?}: one type wanted", s.dtype(), sg.dtype());
    }
    Ok((address(OP, s, l)?, address(OP, sg, lg)?))
}
