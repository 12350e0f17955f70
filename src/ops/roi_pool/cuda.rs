//! RoI max pooling on an NVIDIA GPU. The bins of all boxes are computed on the host and uploaded as a table. The
//! backward pass gathers: each cell iterates over the boxes of its image in order, so sums are deterministic.

use super::{NAME, RoiPlan, RoiPool, Winners};
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

impl RoiPlan {
    /// Per box: image, then start and end of each bin row and column: u32 `(R, 1 + 2·ph + 2·pw)`.
    fn table(&self, device: &CudaDevice) -> Result<Tensor> {
        let mut table = vec![];
        for grid in &self.grids {
            table.push(grid.image as u32);
            for bin in grid.rows.iter().chain(&grid.cols) {
                table.extend([bin.start as u32, bin.end as u32]);
            }
        }
        let width = 1 + 2 * (self.bins.0 + self.bins.1);
        Tensor::from_vec(table, (self.grids.len(), width), &Device::Cuda(device.clone()))
    }

    /// The trailing arguments of both kernels.
    fn lengths(&self) -> [Arg<'static>; 5] {
        [self.bins.0, self.bins.1, self.height, self.width, self.channels].map(Arg::length)
    }
}

impl RoiPool {
    pub(super) fn forward_cuda(&self, x: CudaInput) -> Result<CudaOutput> {
        let (device, plan, count) = (x.device(), &self.plan, self.plan.grids.len());
        if count == 0 {
            bail!("{NAME}: no boxes; a GPU has no tensors without elements");
        }
        let dims = (count, plan.bins.0, plan.bins.1, plan.channels);
        let boxes = plan.table(device)?;
        let (out, y) = alloc_uninit(device, dims, x.dtype())?;
        let cells = match self.keep {
            // SAFETY: the kernel writes every element.
            true => Some(unsafe { Tensor::empty(dims, DType::U32, &Device::Cuda(device.clone()))? }),
            false => None,
        };
        let winners = cells.as_ref().map_or(Ok(0), |cells| device_ptr(NAME, cells))?;
        let pointers = [x.address()?, y, winners, device_ptr(NAME, &boxes)?].map(Arg::Pointer);
        let kernel = format!("roi_pool_{}", x.element()?);
        let grid = Grid::channels(count * plan.bins.0 * plan.bins.1, plan.channels);
        launch(device, modules::ROI_POOL, &kernel, grid, &[&pointers[..], &plan.lengths()].concat())?;
        if let Some(cells) = cells {
            // a repeated forward pass would find the same cells
            self.winners.get_or_init(|| Winners::Cuda { cells, boxes });
        }
        Ok((out, dims.into()))
    }

    /// dx; only the shape of x is used.
    pub(super) fn gradient_cuda(&self, x: CudaInput, dy: CudaInput) -> Result<CudaOutput> {
        let Some(Winners::Cuda { cells, boxes }) = self.winners.get() else {
            bail!("{NAME}: no forward pass came before on the GPU")
        };
        let (device, plan) = (x.device(), &self.plan);
        let (out, dx) = alloc_uninit(device, x.shape(), x.dtype())?;
        let pointers =
            [dy.address()?, dx, device_ptr(NAME, cells)?, device_ptr(NAME, boxes)?].map(Arg::Pointer);
        let args = [&pointers[..], &[Arg::length(plan.grids.len())], &plan.lengths()].concat();
        let kernel = format!("roi_pool_gradient_{}", x.element()?);
        let grid = Grid::channels(plan.batch * plan.height * plan.width, plan.channels);
        launch(device, modules::ROI_POOL, &kernel, grid, &args)?;
        Ok((out, x.shape().clone()))
    }
}
