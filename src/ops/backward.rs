//! candle's backward pass without its overhead for convolution weights: candle allocates a zero tensor for every
//! gradient and adds to it, which for fc6 alone costs two passes and 300 MB. Within [`backward`], a convolution
//! stores the gradient of a weight variable directly in the result.
//!
//! Gradient values are unchanged, and gradients of activations are still handled by candle.

use candle_core::{Result, Tensor, TensorId, backprop::GradStore};
use std::{cell::RefCell, collections::HashMap};

thread_local! {
    /// Weight gradients of the pass running on this thread, if any.
    static WEIGHT_GRADIENTS: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// Clears the thread's pass state on drop, including on errors and panics.
struct BackwardScope;

impl BackwardScope {
    fn begin() -> Self {
        WEIGHT_GRADIENTS.set(Some(HashMap::new()));
        Self
    }
}

impl Drop for BackwardScope {
    fn drop(&mut self) {
        WEIGHT_GRADIENTS.set(None);
    }
}

/// The gradients of the scalar `loss` with respect to every variable, as `loss.backward()`.
///
/// # Errors
/// Errors of the operations' backward passes.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let pass = BackwardScope::begin();
    let mut store = loss.backward()?;
    let stored = WEIGHT_GRADIENTS.take().unwrap_or_default();
    drop(pass);
    for (id, grad) in stored {
        // The weight may also be used by one of candle's own operations.
        let sum = match store.get_id(id) {
            Some(other) => (other + &grad)?,
            None => grad,
        };
        store.insert_id(id, sum);
    }
    Ok(store)
}

/// Stores the gradient of `weight`, or returns it for candle to handle: outside [`backward`], or if `weight` is not a
/// variable but a computed tensor.
pub(super) fn store_weight_gradient(weight: &Tensor, grad: Tensor) -> Result<Option<Tensor>> {
    if !weight.is_variable() {
        return Ok(Some(grad));
    }
    WEIGHT_GRADIENTS.with_borrow_mut(|stored| {
        let Some(stored) = stored else { return Ok(Some(grad)) };
        let sum = match stored.remove(&weight.id()) {
            Some(other) => (other + grad)?,
            None => grad,
        };
        stored.insert(weight.id(), sum);
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        extremes::between,
        ops::conv::{ConvGeometry, conv2d},
    };
    use candle_core::{DType, Device, Var};

    fn ramp(shape: &[usize]) -> Result<Tensor> {
        let n = shape.iter().product::<usize>() as f64;
        (Tensor::arange(0f64, n, &Device::Cpu)?.reshape(shape)? / n)?.to_dtype(DType::F64)
    }

    /// A weight used twice, once through a view, and once by an operation of candle's own.
    fn loss(w: &Var, x: &Tensor) -> Result<Tensor> {
        let g = ConvGeometry::default();
        let y = conv2d(&conv2d(x, w, None, g)?, w, None, g)?;
        let view = conv2d(x, &w.reshape((3, 1, 1, 3))?, None, g)?;
        (y.sqr()?.sum_all()? + view.sum_all()?)? + w.sqr()?.sum_all()?
    }

    #[test]
    fn gives_what_candle_gives() -> Result<()> {
        let w = Var::from_tensor(&ramp(&[3, 1, 1, 3])?)?;
        let x = ramp(&[2, 4, 5, 3])?;
        let (ours, theirs) = (backward(&loss(&w, &x)?)?, loss(&w, &x)?.backward()?);
        let [ours, theirs] = [ours, theirs].map(|store| store.get(&w).cloned());
        let (Some(ours), Some(theirs)) = (ours, theirs) else { panic!("no gradient") };
        let gap = between(&ours, &theirs)?;
        assert!(gap < 1e-12, "{gap}");
        Ok(())
    }

    #[test]
    fn a_pass_leaves_nothing_behind() -> Result<()> {
        let w = Var::from_tensor(&ramp(&[3, 1, 1, 3])?)?;
        let x = ramp(&[1, 2, 2, 3])?;
        backward(&loss(&w, &x)?)?;
        assert!(WEIGHT_GRADIENTS.with_borrow(Option::is_none));
        assert!(loss(&w, &x)?.backward()?.get(&w).is_some(), "candle's own pass still finds the gradient");
        Ok(())
    }
}
