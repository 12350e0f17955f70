//! Deferred scalars. On a GPU the loop runs ahead of the device, and reading a scalar synchronizes with it. Losses,
//! metrics and norms therefore stay on the device until a log line or a checkpoint needs them, and are then read in
//! one copy.

use super::{divergence::loss_of, interval_means::IntervalMeans};
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

/// One scalar of one pass, on its device.
struct DeferredScalar {
    step: usize,
    name: &'static str,
    /// A loss or a norm: a non-finite value ends training.
    must_be_finite: bool,
    /// Whether its mean is logged.
    logged: bool,
    value: Tensor,
}

/// A non-finite loss or norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NonFinite {
    /// The update it belongs to, from 1.
    pub step: usize,
    pub name: &'static str,
    pub value: f64,
}

/// Name of the gradient norm in the log.
pub const NORM: &str = "gradient_norm";

/// Scalars in the order in which they were added.
#[derive(Default)]
pub struct DeferredScalars {
    numbers: Vec<DeferredScalar>,
    zero_gradient: Option<usize>,
    first_loss: Option<f64>,
}

impl DeferredScalars {
    /// Adds the loss of a pass of update `step` (from 1). It is logged only if the task has no scalars.
    pub fn loss(&mut self, step: usize, value: &Tensor, logged: bool) {
        self.numbers.push(DeferredScalar {
            step,
            name: "loss",
            must_be_finite: true,
            logged,
            value: value.detach(),
        });
    }

    /// Adds a scalar that a task logs.
    pub fn scalar(&mut self, step: usize, name: &'static str, value: &Tensor) {
        self.numbers.push(DeferredScalar {
            step,
            name,
            must_be_finite: false,
            logged: true,
            value: value.detach(),
        });
    }

    /// Adds the gradient norm of an update.
    pub fn norm(&mut self, step: usize, value: Tensor) {
        self.numbers.push(DeferredScalar { step, name: NORM, must_be_finite: true, logged: true, value });
    }

    /// Reads all scalars, synchronizing with the device, and adds them to `window` up to the first non-finite loss or
    /// norm, which is returned.
    ///
    /// # Errors
    /// A value that is not a scalar; a device failure.
    pub fn flush(&mut self, window: &mut IntervalMeans) -> Result<Option<NonFinite>> {
        let numbers = std::mem::take(&mut self.numbers);
        let values = read(&numbers)?;
        let mut first = IntervalMeans::default();
        for (DeferredScalar { step, name, must_be_finite, logged, .. }, value) in
            numbers.into_iter().zip(values)
        {
            if must_be_finite && !value.is_finite() {
                return Ok(Some(NonFinite { step, name, value }));
            }
            if logged {
                window.add(name, value);
            }
            if logged && step == 1 {
                first.add(name, value);
            }
            if name == NORM && value == 0.0 {
                self.zero_gradient.get_or_insert(step);
            }
        }
        self.first_loss = self.first_loss.or(loss_of(&first));
        Ok(None)
    }

    /// The loss of the run's first update, once it was read.
    pub fn first_loss(&self) -> Option<f64> {
        self.first_loss
    }

    /// The first update with a zero gradient among those read since the last call.
    pub fn take_zero_gradient(&mut self) -> Option<usize> {
        self.zero_gradient.take()
    }
}

/// Reads all values of a device in one copy. Of several ranks, losses are on the host and norms on the device.
fn read(numbers: &[DeferredScalar]) -> Result<Vec<f64>> {
    let flat = |n: &DeferredScalar| n.value.to_dtype(DType::F64).and_then(|v| v.reshape(1));
    let one = |n: &DeferredScalar| {
        flat(n)
            .with_context(|| format!("`{}` of a step must be one number, not {:?}", n.name, n.value.dims()))
    };
    let all = numbers.iter().map(one).collect::<Result<Vec<_>>>()?;
    let (host, device): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|value: &Tensor| value.device().is_cpu());
    let (mut host, mut device) = (copied(&host)?.into_iter(), copied(&device)?.into_iter());
    let next = |value: &Tensor| if value.device().is_cpu() { host.next() } else { device.next() };
    all.iter().map(next).collect::<Option<_>>().context("a number is missing")
}

/// The numbers of tensors of one value, on one device.
fn copied(values: &[Tensor]) -> Result<Vec<f64>> {
    if values.is_empty() { Ok(vec![]) } else { Ok(Tensor::cat(values, 0)?.to_vec1()?) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn number(value: f64) -> Tensor {
        Tensor::new(value, &Device::Cpu).expect("a CPU tensor")
    }

    #[test]
    fn numbers_are_counted_in_order_up_to_a_broken_one() -> Result<()> {
        let (mut pending, mut window) = (DeferredScalars::default(), IntervalMeans::default());
        for (step, loss, norm) in [(1, 3.0, 0.0), (2, 1.0, 2.0), (3, f64::NAN, 5.0)] {
            pending.loss(step, &number(loss), false);
            pending.scalar(step, "accuracy", &number(loss / 2.0));
            pending.norm(step, number(norm));
        }
        let broken = pending.flush(&mut window)?;
        assert!(matches!(broken, Some(NonFinite { step: 3, name: "loss", value }) if value.is_nan()));
        assert_eq!((pending.take_zero_gradient(), pending.take_zero_gradient()), (Some(1), None));
        assert_eq!(window.means(), [("accuracy".to_string(), 1.0), (NORM.to_string(), 1.0)]);
        assert_eq!(pending.flush(&mut window)?, None, "read once");
        Ok(())
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        let mut pending = DeferredScalars::default();
        pending.scalar(1, "accuracy", &Tensor::zeros(2, DType::F32, &Device::Cpu).expect("a CPU tensor"));
        let error = pending.flush(&mut IntervalMeans::default()).expect_err("two numbers").to_string();
        assert!(error.contains("`accuracy`") && error.contains("[2]"), "{error}");
    }
}
