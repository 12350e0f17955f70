//! Numbers of 8-bit pictures, looked up by channel and value: scaled, centered, in any order of channels, in one pass.

use crate::op::{compute, output};
#[cfg(feature = "cuda")]
use crate::{
    device::{
        cuda::{Arg, Grid, alloc_uninit, device_ptr, launch, modules},
        table,
    },
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

/// Values of a channel.
const VALUES: usize = 256;
/// Pixels that a thread takes at once.
const BLOCK: usize = 1 << 13;

/// The order of the channels that are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    Rgb,
    Bgr,
}

/// Pictures u8 RGB `(B, H, W, 3)` as f32 `(B, H, W, 3)` on the same device: `number` of the position in the new order and
/// the value. No gradient.
///
/// # Errors
/// Other dtypes and shapes.
pub fn look_up(rgb: &Tensor, order: ChannelOrder, number: impl Fn(usize, f32) -> f32) -> Result<Tensor> {
    if rgb.dtype() != DType::U8 || rgb.dims4()?.3 != 3 {
        bail!("{NAME}: expected u8 RGB (B, H, W, 3), got {:?} {:?}", rgb.dtype(), rgb.dims())
    }
    let numbers: Vec<f32> = (0..3 * VALUES).map(|i| number(i / VALUES, (i % VALUES) as f32)).collect();
    compute(
        NAME,
        [rgb],
        |[rgb]| Ok(output(on_cpu(rgb.elements::<u8>()?, order, &numbers), rgb.shape())),
        #[cfg(feature = "cuda")]
        |[rgb]| on_cuda(rgb, order, &numbers),
    )
}

/// Pictures u8 RGB as f32 RGB from −1 to 1, shapes as for [`look_up`].
///
/// # Errors
/// As [`look_up`].
pub fn signed(rgb: &Tensor) -> Result<Tensor> {
    look_up(rgb, ChannelOrder::Rgb, |_, value| value * SIGNED_STEP - 1.0)
}

/// From one 8-bit value to the next, from −1 to 1.
pub const SIGNED_STEP: f32 = 1.0 / 127.5;

const NAME: &str = "look_up";

fn on_cpu(rgb: &[u8], order: ChannelOrder, numbers: &[f32]) -> Vec<f32> {
    let of_pixel = |&[r, g, b]: &[u8; 3]| {
        let values = if order == ChannelOrder::Rgb { [r, g, b] } else { [b, g, r] };
        std::array::from_fn(|channel| numbers[channel * VALUES + usize::from(values[channel])])
    };
    let mut out = vec![[0f32; 3]; rgb.len() / 3];
    let blocks = out.par_chunks_mut(BLOCK).zip(rgb.as_chunks::<3>().0.par_chunks(BLOCK));
    blocks.for_each(|(out, rgb)| out.iter_mut().zip(rgb).for_each(|(out, rgb)| *out = of_pixel(rgb)));
    out.into_flattened()
}

#[cfg(feature = "cuda")]
fn on_cuda(rgb: CudaInput, order: ChannelOrder, numbers: &[f32]) -> Result<CudaOutput> {
    let (device, n) = (rgb.device(), rgb.shape().elem_count());
    let numbers = table(numbers, &candle_core::Device::Cuda(device.clone()))?;
    let (out, y) = alloc_uninit(device, rgb.shape(), DType::F32)?;
    let args = [
        Arg::Pointer(rgb.address()?),
        Arg::Pointer(device_ptr(NAME, &numbers)?),
        Arg::Int(i32::from(order == ChannelOrder::Bgr)),
        Arg::Pointer(y),
        Arg::count(n),
    ];
    launch(device, modules::COLOR, NAME, Grid::over(n), &args)?;
    Ok((out, rgb.shape().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn channels_are_looked_up_in_either_order() -> Result<()> {
        let rgb = Tensor::from_vec(vec![0u8, 1, 255, 7, 8, 9], (1, 1, 2, 3), &Device::Cpu)?;
        let of = |order| {
            let number = |channel: usize, value: f32| 1000.0 * channel as f32 + value;
            look_up(&rgb, order, number)?.flatten_all()?.to_vec1::<f32>()
        };
        assert_eq!(of(ChannelOrder::Rgb)?, [0.0, 1001.0, 2255.0, 7.0, 1008.0, 2009.0]);
        assert_eq!(of(ChannelOrder::Bgr)?, [255.0, 1001.0, 2000.0, 9.0, 1008.0, 2007.0]);
        let ends = signed(&rgb)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!([ends[0], ends[2]], [-1.0, 1.0]);
        assert!(look_up(&rgb.to_dtype(DType::F32)?, ChannelOrder::Rgb, |_, v| v).is_err());
        Ok(())
    }
}
