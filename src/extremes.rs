//! Largest absolute values and differences that propagate NaN. `f64::max` and candle's `max` ignore NaN, so a check
//! built on them would pass for a network whose output is all NaN.

use candle_core::{DType, Result, Tensor, bail};

/// The largest |x|; 0 for no values, NaN if any x is NaN.
pub fn largest<T: Into<f64>>(values: impl IntoIterator<Item = T>) -> f64 {
    values
        .into_iter()
        .map(|x| x.into().abs())
        .fold(0.0, |most, x| if x > most || x.is_nan() { x } else { most })
}

/// The largest |a − b|; NaN if any difference is NaN, infinite for slices of different lengths.
pub fn apart<T: Into<f64> + Copy>(a: &[T], b: &[T]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    largest(a.iter().zip(b).map(|(a, b)| (*a).into() - (*b).into()))
}

/// The largest |x| of a tensor of any shape and floating type, as [`largest`].
///
/// # Errors
/// When it cannot be read.
pub fn largest_of(x: &Tensor) -> Result<f64> {
    Ok(largest(x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?))
}

/// The largest |a − b| of two tensors of one shape, as [`largest`].
///
/// # Errors
/// Tensors of different shapes.
pub fn between(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.dims() != b.dims() {
        bail!("tensors of {:?} and {:?} cannot be compared", a.dims(), b.dims())
    }
    largest_of(&(a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_is_not_a_number_is_seen_wherever_it_stands() -> Result<()> {
        for at in 0..3 {
            let mut values = [1.0, -3.0, 2.0];
            assert_eq!(largest(values), 3.0);
            values[at] = f64::NAN;
            let tensor = Tensor::new(&values, &Device::Cpu)?;
            assert!(largest(values).is_nan() && largest_of(&tensor)?.is_nan(), "{at}");
            assert!(apart(&values, &[0.0; 3]).is_nan() && between(&tensor, &tensor)?.is_nan(), "{at}");
        }
        Ok(())
    }

    #[test]
    fn differences_want_one_shape() -> Result<()> {
        assert_eq!(apart(&[1f32, 2.0], &[1.0, 5.0]), 3.0);
        assert_eq!(apart(&[1f32], &[]), f64::INFINITY);
        let (a, b) = (Tensor::new(&[1f32, 2.0], &Device::Cpu)?, Tensor::new(&[1f32], &Device::Cpu)?);
        assert!(between(&a, &b).is_err());
        assert_eq!(largest::<f64>([]), 0.0);
        Ok(())
    }
}
