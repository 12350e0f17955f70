//! Element types of stored tensors, shared by the safetensors, PyTorch and numpy readers. Types that candle lacks are
//! converted to one that represents every value exactly.
//!
//! Not supported: sub-byte types (F4, F6), complex and quantized numbers. Readers reject those by name.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};

/// The on-disk element type, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    /// A byte, 0 or 1.
    Bool,
    /// 4 bits of exponent, 3 of mantissa, no infinities.
    F8E4M3,
    /// The upper byte of an F16.
    F8E5M2,
    /// E4M3 without a negative zero, its exponent one higher.
    F8E4M3Fnuz,
    /// E5M2 without infinities and a negative zero, its exponent one higher.
    F8E5M2Fnuz,
    /// A power of two.
    F8E8M0,
}

impl Element {
    /// Size of one element in bytes.
    pub fn width(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            _ => 1,
        }
    }

    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::F8E4M3 => "float8 (E4M3)",
            Self::F8E5M2 => "float8 (E5M2)",
            Self::F8E4M3Fnuz => "float8 (E4M3FNUZ)",
            Self::F8E5M2Fnuz => "float8 (E5M2FNUZ)",
            Self::F8E8M0 => "float8 (E8M0)",
        }
    }

    /// The in-memory dtype.
    pub fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::I64 | Self::U64 => DType::I64,
            Self::I32 => DType::I32,
            Self::I16 | Self::I8 => DType::I16,
            Self::U32 | Self::U16 => DType::U32,
            Self::U8 | Self::Bool => DType::U8,
            // candle has some of the 8-bit floats without arithmetic: its E4M3 cannot be cast to f64.
            _ => DType::F32,
        }
    }

    /// Decodes `bytes` into a tensor of this shape, row-major.
    ///
    /// # Errors
    /// A byte count that does not match the shape; a u64 of 2⁶³ or more.
    pub fn tensor(self, bytes: &[u8], shape: &[usize]) -> Result<Tensor> {
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let wanted = count.and_then(|count| count.checked_mul(self.width()));
        ensure!(
            wanted == Some(bytes.len()),
            "a tensor of shape {shape:?} is made of {} bytes: it is corrupt",
            bytes.len()
        );
        if bytes.is_empty() {
            return Ok(Tensor::zeros(shape, self.dtype(), &Device::Cpu)?);
        }
        match self {
            Self::I8 => tensor(bytes.iter().map(|&byte| i16::from(byte.cast_signed())), shape),
            Self::U16 => tensor(wide(bytes).map(|two| u32::from(u16::from_le_bytes(two))), shape),
            Self::U64 => {
                let signed = |eight| i64::try_from(u64::from_le_bytes(eight));
                let numbers: Result<Vec<_>, _> = wide(bytes).map(signed).collect();
                tensor(numbers.context("it holds whole numbers beyond 63 bits")?, shape)
            }
            Self::F8E4M3 => tensor(bytes.iter().map(|&byte| e4m3(byte)), shape),
            Self::F8E5M2 => tensor(bytes.iter().map(|&byte| small(byte, 2, 15)), shape),
            Self::F8E4M3Fnuz => tensor(bytes.iter().map(|&byte| fnuz(byte, 3, 8)), shape),
            Self::F8E5M2Fnuz => tensor(bytes.iter().map(|&byte| fnuz(byte, 2, 16)), shape),
            Self::F8E8M0 => tensor(bytes.iter().map(|&byte| power(byte)), shape),
            _ => Ok(Tensor::from_raw_buffer(bytes, self.dtype(), shape, &Device::Cpu)?),
        }
    }
}

fn tensor<T: candle_core::WithDType>(
    numbers: impl IntoIterator<Item = T>,
    shape: &[usize],
) -> Result<Tensor> {
    Ok(Tensor::from_vec(numbers.into_iter().collect::<Vec<_>>(), shape, &Device::Cpu)?)
}

fn wide<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).map(|chunk| std::array::from_fn(|i| chunk[i]))
}

/// An 8-bit float with `mantissa` bits; infinities and NaN at the largest exponent, as in IEEE 754.
fn small(byte: u8, mantissa: u32, bias: i32) -> f32 {
    let top = 0x7f >> mantissa;
    if i32::from(byte & 0x7f) >> mantissa < top {
        return finite(byte, mantissa, bias);
    }
    let nothing = byte & ((1 << mantissa) - 1) == 0;
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    if nothing { sign * f32::INFINITY } else { f32::NAN }
}

/// An 8-bit float in which every exponent encodes finite values.
fn finite(byte: u8, mantissa: u32, bias: i32) -> f32 {
    let unit = f32::from(1u16 << mantissa);
    let (exponent, part) =
        (i32::from(byte & 0x7f) >> mantissa, f32::from(byte & ((1 << mantissa) - 1)) / unit);
    let size =
        if exponent == 0 { part * 2f32.powi(1 - bias) } else { (1.0 + part) * 2f32.powi(exponent - bias) };
    if byte & 0x80 == 0 { size } else { -size }
}

fn e4m3(byte: u8) -> f32 {
    if byte & 0x7f == 0x7f { f32::NAN } else { finite(byte, 3, 7) }
}

/// The encoding of negative zero is the only NaN.
fn fnuz(byte: u8, mantissa: u32, bias: i32) -> f32 {
    if byte == 0x80 { f32::NAN } else { finite(byte, mantissa, bias) }
}

fn power(byte: u8) -> f32 {
    if byte == 0xff { f32::NAN } else { 2f64.powi(i32::from(byte) - 127) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(element: Element, byte: u8) -> f32 {
        element.tensor(&[byte], &[1]).unwrap().to_vec1::<f32>().unwrap()[0]
    }

    /// Against the tables of the OCP specification: largest and smallest numbers, and what is none.
    #[test]
    fn floats_of_a_byte() {
        use Element::{F8E4M3, F8E4M3Fnuz, F8E5M2, F8E5M2Fnuz, F8E8M0};
        for (element, byte, value) in [
            (F8E4M3, 0x38, 1.0),
            (F8E4M3, 0xb8, -1.0),
            (F8E4M3, 0x7e, 448.0),
            (F8E4M3, 0x01, 2f32.powi(-9)),
            (F8E5M2, 0x3c, 1.0),
            (F8E5M2, 0x7b, 57344.0),
            (F8E5M2, 0x01, 2f32.powi(-16)),
            (F8E5M2, 0xfc, f32::NEG_INFINITY),
            (F8E4M3Fnuz, 0x40, 1.0),
            (F8E4M3Fnuz, 0x7f, 240.0),
            (F8E5M2Fnuz, 0x40, 1.0),
            (F8E5M2Fnuz, 0x7f, 57344.0),
            (F8E8M0, 127, 1.0),
            (F8E8M0, 0, 2f32.powi(-127)),
            (F8E8M0, 254, 2f32.powi(127)),
        ] {
            assert_eq!(one(element, byte), value, "{element:?} {byte:#x}");
        }
        for (element, byte) in [
            (F8E4M3, 0x7f),
            (F8E4M3, 0xff),
            (F8E5M2, 0x7d),
            (F8E4M3Fnuz, 0x80),
            (F8E5M2Fnuz, 0x80),
            (F8E8M0, 255),
        ] {
            assert!(one(element, byte).is_nan(), "{element:?} {byte:#x}");
        }
    }

    /// E5M2 is half an F16, of which candle knows every number.
    #[test]
    fn e5m2_is_the_upper_byte_of_f16() {
        for byte in 0..=255u8 {
            let half = Element::F16.tensor(&[0, byte], &[1]).unwrap().to_dtype(DType::F32).unwrap();
            let (half, ours) = (half.to_vec1::<f32>().unwrap()[0], one(Element::F8E5M2, byte));
            assert!(half == ours || (half.is_nan() && ours.is_nan()), "{byte:#x}: {half} {ours}");
        }
    }

    #[test]
    fn whole_numbers_keep_their_values() {
        let values = |element: Element, bytes: &[u8]| {
            let tensor = element.tensor(bytes, &[bytes.len() / element.width()]).unwrap();
            tensor.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
        };
        assert_eq!(values(Element::I8, &[0x80, 0xff, 0x7f]), [-128.0, -1.0, 127.0]);
        assert_eq!(values(Element::U16, &[0xff, 0xff, 1, 0]), [65535.0, 1.0]);
        assert_eq!(values(Element::U64, &[7, 0, 0, 0, 0, 0, 0, 0]), [7.0]);
        assert_eq!(values(Element::Bool, &[0, 1]), [0.0, 1.0]);
        assert!(Element::U64.tensor(&[0xff; 8], &[1]).is_err());
        assert!(Element::F32.tensor(&[0; 8], &[3]).is_err());
        assert!(Element::F32.tensor(&[], &[usize::MAX, usize::MAX]).is_err());
    }
}
