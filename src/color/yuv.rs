//! U and V of YUV, the chroma of analog video, as fractions of their ranges (Dahl 2016):
//! U = 0.492 (B − Y) in ±0.435912, V = 0.877 (R − Y) in ±0.614777, with Y = 0.299 R + 0.587 G + 0.114 B.

use super::{gray::LUMA, srgb::ab_of};
use crate::device::{keep_layouts, table};
use candle_core::{DType, Result, Tensor};

/// Weights of B − Y and R − Y.
const U_WEIGHT: f64 = 0.492;
const V_WEIGHT: f64 = 0.877;
/// Largest U and V.
const U_RANGE: f64 = 0.435912;
const V_RANGE: f64 = 0.614777;

/// U and V from 0 to 1, gray ½: pictures u8 RGB `(B, H, W, 3)` → f32 `(B, H, W, 2)`. No gradient.
///
/// # Errors
/// Those of the device.
pub fn unit_uv(rgb: &Tensor) -> Result<Tensor> {
    let _layouts = keep_layouts(rgb.device());
    let rgb = (rgb.to_dtype(DType::F32)? / 255.0)?;
    let luma = rgb.broadcast_mul(&table(&LUMA, rgb.device())?)?.sum_keepdim(3)?;
    let part = |channel: usize, weight: f64, range: f64| {
        (rgb.narrow(3, channel, 1)?.contiguous()? - &luma)?.affine(weight / (2.0 * range), 0.5)
    };
    Tensor::cat(&[part(2, U_WEIGHT, U_RANGE)?, part(0, V_WEIGHT, V_RANGE)?], 3)
}

/// a and b `(B, H, W, 2)` of the color with U and V from 0 to 1 `(B, H, W, 2)` and luma from 0 to 1 `(B, H, W, 1)`, clipped
/// to the gamut. No gradient.
///
/// # Errors
/// Those of the device.
pub fn ab_of_uv(uv: &Tensor, luma: &Tensor) -> Result<Tensor> {
    let _layouts = keep_layouts(uv.device());
    let part = |channel: usize, weight: f64, range: f64| {
        let scale = 2.0 * range / weight;
        uv.narrow(3, channel, 1)?.contiguous()?.affine(scale, -0.5 * scale)? + luma
    };
    let (blue, red) = (part(0, U_WEIGHT, U_RANGE)?, part(1, V_WEIGHT, V_RANGE)?);
    let [r, g, b] = LUMA.map(f64::from);
    let green = (luma.affine(1.0 / g, 0.0)? - (&red * (r / g))?)?;
    ab_of(&Tensor::cat(&[&red, &(green - (&blue * (b / g))?)?, &blue], 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::lab::rgb_to_lab;
    use candle_core::Device;

    /// By hand: red has Y = 0.299, U = −0.147108, V = 0.614777; blue Y = 0.114, U = 0.435912, V = −0.099978.
    #[test]
    fn corners_and_gray_by_hand() -> Result<()> {
        let rgb = Tensor::new(&[[[[255u8, 0, 0], [0, 0, 255], [90, 90, 90]]]], &Device::Cpu)?;
        let wanted = [0.331264, 1.0, 1.0, 0.418688, 0.5, 0.5];
        for (got, wanted) in unit_uv(&rgb)?.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(wanted) {
            assert!((got - wanted).abs() < 1e-4, "{got} and {wanted}");
        }
        Ok(())
    }

    #[test]
    fn colors_come_back() -> Result<()> {
        let bytes: Vec<u8> = (0..300u32).map(|i| (i * 7919 % 256) as u8).collect();
        let rgb = Tensor::from_vec(bytes, (1, 10, 10, 3), &Device::Cpu)?;
        let luma = (rgb.to_dtype(DType::F32)? / 255.0)?;
        let luma = luma.broadcast_mul(&Tensor::new(&LUMA, &Device::Cpu)?)?.sum_keepdim(3)?;
        let (ours, truth) = (ab_of_uv(&unit_uv(&rgb)?, &luma)?, rgb_to_lab(&rgb)?.narrow(3, 1, 2)?);
        let apart = (ours - truth)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(apart < 1e-3, "{apart}");
        Ok(())
    }
}
