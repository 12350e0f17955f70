//! Resizing on an NVIDIA GPU. Sample indices and weights per axis are computed on the host and uploaded as two small
//! tables, once for each pair of sizes.

use super::{NAME, ResizeOp};
use crate::{
    device::{
        cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
        table,
    },
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Device, Result, Tensor};

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
        (indices, weights): (Vec<u32>, Vec<f64>),
        dims: (usize, usize, usize, usize),
    ) -> Result<CudaOutput> {
        let (device, (batch, h, w, c)) = (input.device(), dims);
        let on = Device::Cuda(device.clone());
        let (indices, weights) = (table(&indices, &on)?, weights_of(weights, input.dtype(), &on)?);
        let (out, to) = alloc_uninit(device, dims, input.dtype())?;
        let args = [
            Arg::Pointer(input.address()?),
            Arg::Pointer(to),
            Arg::Pointer(device_ptr(NAME, &indices)?),
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

/// The weights in the kernel's compute dtype.
fn weights_of(weights: Vec<f64>, dtype: DType, device: &Device) -> Result<Tensor> {
    if dtype == DType::F64 {
        return table(&weights, device);
    }
    table(&weights.into_iter().map(|w| w as f32).collect::<Vec<_>>(), device)
}
