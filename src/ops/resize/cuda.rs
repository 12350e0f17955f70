//! Resizing on an NVIDIA GPU. Sample indices and weights per axis are computed on the host and uploaded as two small
//! tables.

use super::{NAME, ResizeOp};
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{CudaDevice, DType, Device, Result, Tensor};

impl ResizeOp {
    pub(super) fn forward_cuda(&self, x: CudaInput) -> Result<CudaOutput> {
        let (batch, _, _, c) = x.shape().dims4()?;
        let (h, w) = (self.rows.taps.len(), self.cols.taps.len());
        let taps = || self.rows.taps.iter().chain(&self.cols.taps);
        let lower = taps().map(|tap| tap.0 as u32).collect();
        let weights = taps().map(|tap| tap.2).collect();
        self.launch("resize", x, (lower, weights), (batch, h, w, c))
    }

    pub(super) fn backward_cuda(&self, dy: CudaInput) -> Result<CudaOutput> {
        let (batch, _, _, c) = dy.shape().dims4()?;
        let (mut begins, mut outputs, mut weights) = (vec![], vec![], vec![]);
        for axis in [&self.rows, &self.cols] {
            for readers in axis.readers() {
                begins.push(outputs.len() as u32);
                for (output, weight) in readers {
                    outputs.push(output as u32);
                    weights.push(weight);
                }
            }
            begins.push(outputs.len() as u32);
        }
        begins.extend(outputs);
        let dims = (batch, self.rows.from, self.cols.from, c);
        self.launch("resize_gradient", dy, (begins, weights), dims)
    }

    /// Both kernels take the same arguments.
    fn launch(
        &self,
        kernel: &str,
        input: CudaInput,
        (table, weights): (Vec<u32>, Vec<f64>),
        dims: (usize, usize, usize, usize),
    ) -> Result<CudaOutput> {
        let (device, (batch, h, w, c)) = (input.device(), dims);
        let (table, weights) = (uploaded(table, device)?, weights_of(weights, input.dtype(), device)?);
        let (out, to) = alloc_uninit(device, dims, input.dtype())?;
        let args = [
            Arg::Pointer(input.address()?),
            Arg::Pointer(to),
            Arg::Pointer(device_ptr(NAME, &table)?),
            Arg::Pointer(device_ptr(NAME, &weights)?),
            Arg::length(self.rows.from),
            Arg::length(self.cols.from),
            Arg::length(self.rows.taps.len()),
            Arg::length(self.cols.taps.len()),
            Arg::length(c),
        ];
        let kernel = format!("{kernel}_{}", input.element()?);
        launch(device, modules::RESIZE, &kernel, Grid::rows(batch * h, w * c), &args)?;
        Ok((out, dims.into()))
    }
}

fn uploaded(numbers: Vec<u32>, device: &CudaDevice) -> Result<Tensor> {
    let count = numbers.len();
    Tensor::from_vec(numbers, count, &Device::Cuda(device.clone()))
}

/// Uploads the weights in the kernel's compute dtype.
fn weights_of(weights: Vec<f64>, dtype: DType, device: &CudaDevice) -> Result<Tensor> {
    let (count, device) = (weights.len(), Device::Cuda(device.clone()));
    if dtype == DType::F64 {
        return Tensor::from_vec(weights, count, &device);
    }
    Tensor::from_vec(weights.into_iter().map(|w| w as f32).collect(), count, &device)
}
