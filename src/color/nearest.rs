//! [`Bins::nearest`] for a batch, on the colors' device.

use super::bins::Bins;
use crate::op::{compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Tensor, bail};

/// ab f32 `(…, 2)` → index of each color's nearest bin, u32 `(N)`; ties resolve to the lower index, and a non-finite
/// color gives 0. No gradient.
///
/// # Errors
/// A dtype other than f32, or a last axis that is not 2.
pub fn nearest_bins(ab: &Tensor, bins: &Bins) -> Result<Tensor> {
    if ab.dtype() != DType::F32 || ab.dims().last() != Some(&2) {
        bail!("{NAME}: expected f32 ab (…, 2), got {:?} {:?}", ab.dtype(), ab.shape())
    }
    compute(
        NAME,
        [&ab.detach()],
        |[ab]| {
            let (colors, _) = ab.elements::<f32>()?.as_chunks::<2>();
            let nearest: Vec<u32> = colors.iter().map(|ab| bins.nearest(*ab) as u32).collect();
            Ok(output(nearest, colors.len()))
        },
        #[cfg(feature = "cuda")]
        |[ab]| nearest_on_gpu(ab, bins),
    )
}

const NAME: &str = "nearest_bins";

#[cfg(feature = "cuda")]
fn nearest_on_gpu(ab: CudaInput, bins: &Bins) -> Result<CudaOutput> {
    let (device, n) = (ab.device(), ab.shape().elem_count() / 2);
    let centers = bins.centers_on(&candle_core::Device::Cuda(device.clone()))?;
    let (out, y) = alloc_uninit(device, n, DType::U32)?;
    let pointers = [ab.address()?, device_ptr(NAME, &centers)?, y].map(Arg::Pointer);
    let args = [&pointers[..], &[Arg::count(n), Arg::length(bins.len())]].concat();
    launch(device, modules::COLOR, NAME, Grid::warps(n), &args)?;
    Ok((out, n.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn as_one_by_one() -> Result<()> {
        let bins = Bins::new(10.0);
        let colors = [[0f32, 0.0], [5.0, 5.0], [-63.2, 41.7], [900.0, -900.0], [f32::NAN, 1.0]];
        let ab = Tensor::from_slice(colors.as_flattened(), (1, 5, 1, 2), &Device::Cpu)?;
        let alone: Vec<u32> = colors.iter().map(|ab| bins.nearest(*ab) as u32).collect();
        assert_eq!(nearest_bins(&ab, &bins)?.to_vec1::<u32>()?, alone);
        assert!(nearest_bins(&ab.narrow(3, 0, 1)?, &bins).is_err());
        Ok(())
    }
}
