//! candle's backward pass, without what it costs the weights of convolutions: for every gradient candle makes a tensor of
//! zeros and adds, two passes and two copies that for fc6 alone are 300 MB. Within [`backward`] a convolution hands the
//! gradient of a weight that is a variable straight to the result.
//!
//! Does not: change any gradient, or reach gradients of activations, which stay with candle.

use candle_core::{Result, Tensor, TensorId, backprop::GradStore};
use std::{cell::RefCell, collections::HashMap};

thread_local! {
    /// Gradients handed over by the pass that runs on this thread, if one does.
    static HANDED: RefCell<Option<HashMap<TensorId, Tensor>>> = const { RefCell::new(None) };
}

/// Ends the pass on this thread, however it ends.
struct BackwardScope;

impl BackwardScope {
    fn begin() -> Self {
        HANDED.set(Some(HashMap::new()));
        Self
    }
}

impl Drop for BackwardScope {
    fn drop(&mut self) {
        HANDED.set(None);
    }
}

/// The gradients of the scalar `loss` with respect to every variable: what `loss.backward()` gives.
///
/// # Errors
/// Those of the operations' backward passes.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let pass = BackwardScope::begin();
    let mut store = loss.backward()?;
    let handed = HANDED.take().unwrap_or_default();
    drop(pass);
    for (id, grad) in handed {
        // A weight may also stand in an operation of candle's own.
        let sum = match store.get_id(id) {
            Some(other) => (other + &grad)?,
            None => grad,
        };
        store.insert_id(id, sum);
    }
    Ok(store)
}

/// Takes the gradient of `weight`, or gives it back for candle to place: outside [`backward`], and where `weight` is no
/// variable but something computed, which candle must have a gradient for.
pub(super) fn hand_over(weight: &Tensor, grad: Tensor) -> Result<Option<Tensor>> {
    if !weight.is_variable() {
        return Ok(Some(grad));
    }
    HANDED.with_borrow_mut(|handed| {
        let Some(handed) = handed else { return Ok(Some(grad)) };
        let sum = match handed.remove(&weight.id()) {
            Some(other) => (other + grad)?,
            None => grad,
        };
        handed.insert(weight.id(), sum);
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
        assert!(HANDED.with_borrow(Option::is_none));
        assert!(loss(&w, &x)?.backward()?.get(&w).is_some(), "candle's own pass still finds the gradient");
        Ok(())
    }
}
