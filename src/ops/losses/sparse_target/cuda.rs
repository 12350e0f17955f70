//! Cross entropy with sparse targets on an NVIDIA GPU: one warp per row of logits. Nothing is read back.

use super::{RowEntropies, SparseTarget};
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, element, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{CudaDevice, DType, Device, Result, Shape, Tensor, bail};

const NAME: &str = "cross entropy";

/// An uninitialized tensor.
///
/// # Safety
/// A kernel launched before any other use must write every element.
pub(in super::super) unsafe fn uninit(shape: impl Into<Shape>, dtype: DType, on: &Device) -> Result<Tensor> {
    // SAFETY: guaranteed by the caller.
    unsafe { Tensor::empty(shape, dtype, on) }
}

/// The GPU of a CUDA tensor.
pub(in super::super) fn gpu(tensor: &Tensor) -> Result<&CudaDevice> {
    match tensor.device() {
        Device::Cuda(device) => Ok(device),
        other => bail!("{NAME}: a tensor on the GPU wanted, got one on {:?}", other.location()),
    }
}

impl SparseTarget {
    /// (N, Q, K) for logits of that shape.
    fn lengths(&self, logits: &Shape) -> Result<[Arg<'static>; 3]> {
        let (n, q) = logits.dims2()?;
        Ok([Arg::count(n), Arg::length(q), Arg::length(self.classes.dim(1)?)])
    }

    /// Targets from u32 labels `(N)` for `q` logits; labels equal to `ignore` are excluded. A label of `q` or more
    /// gives a NaN loss and gradient row, since labels are not read back for validation.
    pub fn of_labels(labels: &Tensor, ignore: Option<u32>, q: usize) -> Result<Self> {
        let (labels, n, device) = (labels.contiguous()?, labels.elem_count(), labels.device());
        let count = Tensor::zeros((), DType::U32, device)?;
        // SAFETY: `label_targets` writes them.
        let target = unsafe {
            Self {
                classes: uninit((n, 1), DType::U32, device)?,
                shares: uninit((n, 1), DType::F64, device)?,
                row_weights: uninit(n, DType::F64, device)?,
            }
        };
        let [labels_at, count_at] = [device_ptr(NAME, &labels)?, device_ptr(NAME, &count)?].map(Arg::Pointer);
        let ignore = Arg::Long(ignore.map_or(-1, i64::from));
        let args = [labels_at, count_at, ignore, Arg::count(n)];
        launch(gpu(&labels)?, modules::SPARSE_TARGET, "count_labels", Grid::sums(n), &args)?;
        let pointers =
            [device_ptr(NAME, &target.classes)?, device_ptr(NAME, &target.shares)?].map(Arg::Pointer);
        let weights = Arg::Pointer(device_ptr(NAME, &target.row_weights)?);
        let rest = [weights, ignore, Arg::count(n), Arg::length(q)];
        let args = [&[labels_at, count_at], &pointers[..], &rest].concat();
        launch(gpu(&labels)?, modules::SPARSE_TARGET, "label_targets", Grid::over(n), &args)?;
        Ok(target)
    }

    pub(super) fn rows_cuda(&self, x: CudaInput) -> Result<CudaOutput> {
        let (device, n) = (x.device(), x.shape().dims2()?.0);
        let (out, rows) = alloc_uninit(device, (n, 2), DType::F64)?;
        let pointers =
            [x.address()?, device_ptr(NAME, &self.classes)?, device_ptr(NAME, &self.shares)?, rows]
                .map(Arg::Pointer);
        let kernel = format!("row_entropies_{}", element(NAME, x.dtype())?);
        let args = [&pointers[..], &self.lengths(x.shape())?].concat();
        launch(device, modules::SPARSE_TARGET, &kernel, Grid::warps(n), &args)?;
        Ok((out, (n, 2).into()))
    }

    pub(super) fn gradient_cuda(&self, rows: &Tensor, x: CudaInput, dloss: CudaInput) -> Result<CudaOutput> {
        let (device, n) = (x.device(), x.shape().dims2()?.0);
        let (out, dx) = alloc_uninit(device, x.shape(), x.dtype())?;
        let pointers = [
            x.address()?,
            device_ptr(NAME, rows)?,
            device_ptr(NAME, &self.row_weights)?,
            device_ptr(NAME, &self.classes)?,
            device_ptr(NAME, &self.shares)?,
            dloss.address()?,
            dx,
        ];
        let args = [&pointers.map(Arg::Pointer)[..], &self.lengths(x.shape())?].concat();
        let kernel = format!("row_gradients_{}", element(NAME, x.dtype())?);
        launch(device, modules::SPARSE_TARGET, &kernel, Grid::warps(n), &args)?;
        Ok((out, x.shape().clone()))
    }
}

impl RowEntropies {
    /// f64 `(3)`: Σ weight·CE over rows whose weight is not 0, `scale`·Σ CE, and `scale`·Σ of `entropies` `(N)`, those of
    /// the targets.
    pub fn sums_cuda(&self, entropies: Option<&Tensor>, scale: f64) -> Result<Tensor> {
        let (device, n) = (gpu(&self.rows)?, self.rows.dim(0)?);
        let grid = Grid::sums(n);
        let blocks = grid.blocks.0 as usize;
        let (_sums, sums) = alloc_uninit(device, (blocks, 3), DType::F64)?;
        let entropies = entropies.map_or(Ok(0), |e| device_ptr(NAME, e))?;
        let weights = device_ptr(NAME, &self.target.row_weights)?;
        let pointers = [device_ptr(NAME, &self.rows)?, weights, entropies, sums].map(Arg::Pointer);
        let args = [&pointers[..], &[Arg::count(n)]].concat();
        launch(device, modules::SPARSE_TARGET, "row_sums", grid, &args)?;
        // SAFETY: `row_totals` writes all three.
        let totals = unsafe { uninit(3, DType::F64, self.rows.device())? };
        let args = [
            Arg::Pointer(sums),
            Arg::Pointer(device_ptr(NAME, &totals)?),
            Arg::Double(scale),
            Arg::length(blocks),
        ];
        launch(device, modules::SPARSE_TARGET, "row_totals", Grid::blocks(1, 256), &args)?;
        Ok(totals)
    }
}

/// Converts an f64 scalar to the logits' dtype.
pub(super) fn value(value: &Tensor, logits: CudaInput) -> Result<CudaOutput> {
    let (device, dtype) = (logits.device(), logits.dtype());
    let (out, y) = alloc_uninit(device, (), dtype)?;
    let args = [device_ptr(NAME, value)?, y].map(Arg::Pointer);
    let kernel = format!("loss_value_{}", element(NAME, dtype)?);
    launch(device, modules::SPARSE_TARGET, &kernel, Grid::blocks(1, 1), &args)?;
    Ok((out, ().into()))
}
