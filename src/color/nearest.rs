//! The nearest bin of every colour of a batch: [`Bins::nearest`] on the device where the colours are.

use super::bins::Bins;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use {
    crate::device::cuda::{Arg, Grid, address, empty, held, launch, modules},
    candle_core::CudaStorage,
};

/// ab f32 `(…, 2)` → the index of each colour's nearest bin, u32 `(N)`; ties go to the lower index, and a colour that is
/// not finite gets 0. No gradient.
///
/// # Errors
/// Another element type, or a last axis that is not 2.
pub fn nearest_bins(ab: &Tensor, bins: &Bins) -> Result<Tensor> {
    if ab.dtype() != DType::F32 || ab.dims().last() != Some(&2) {
        bail!("{NAME}: expected f32 ab (…, 2), got {:?} {:?}", ab.dtype(), ab.shape())
    }
    ab.detach().contiguous()?.apply_op1_no_bwd(&NearestBins { bins })
}

const NAME: &str = "nearest_bins";

struct NearestBins<'a> {
    bins: &'a Bins,
}

impl CustomOp1 for NearestBins<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let CpuStorage::F32(values) = storage else { bail!("{NAME}: expected f32 colours") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("{NAME}: expected a contiguous {:?}", layout.shape())
        };
        let (colours, _) = values[start..end].as_chunks::<2>();
        let nearest: Vec<u32> = colours.iter().map(|ab| self.bins.nearest(*ab) as u32).collect();
        Ok((CpuStorage::U32(nearest), colours.len().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, s: &CudaStorage, l: &Layout) -> Result<(CudaStorage, Shape)> {
        let (device, n) = (&s.device, l.shape().elem_count() / 2);
        let centers = self.bins.centers_on(&candle_core::Device::Cuda(device.clone()))?;
        let (out, y) = empty(device, n, DType::U32)?;
        let args = [
            Arg::Pointer(address(NAME, s, l)?),
            Arg::Pointer(held(NAME, &centers)?),
            Arg::Pointer(y),
            Arg::count(n),
            Arg::length(self.bins.len()),
        ];
        launch(device, modules::COLOR, NAME, Grid::warps(n), &args)?;
        Ok((out, n.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn as_one_by_one() -> Result<()> {
        let bins = Bins::new(10.0);
        let colours = [[0f32, 0.0], [5.0, 5.0], [-63.2, 41.7], [900.0, -900.0], [f32::NAN, 1.0]];
        let ab = Tensor::from_slice(colours.as_flattened(), (1, 5, 1, 2), &Device::Cpu)?;
        let alone: Vec<u32> = colours.iter().map(|ab| bins.nearest(*ab) as u32).collect();
        assert_eq!(nearest_bins(&ab, &bins)?.to_vec1::<u32>()?, alone);
        assert!(nearest_bins(&ab.narrow(3, 0, 1)?, &bins).is_err());
        Ok(())
    }
}
