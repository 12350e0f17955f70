//! Numbers of steps that were not read yet. On a GPU the loop runs ahead of the device, and reading a number waits for
//! it; so losses, scalars and norms stay there until a line of the log or a checkpoint wants them, and then all come in
//! one copy.

use super::{divergence::loss_of, window::Window};
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};

/// The numbers of one pass of one step, on their device, in the order in which they are counted.
struct Number {
    step: usize,
    name: &'static str,
    /// A loss or a norm: one that is not finite ends the training.
    vital: bool,
    /// Whether the window takes its mean.
    counted: bool,
    value: Tensor,
}

/// A loss or norm that is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Broken {
    /// The update it belongs to, from 1.
    pub step: usize,
    pub name: &'static str,
    pub value: f64,
}

/// What the gradient's norm is called in the log.
pub const NORM: &str = "gradient_norm";

/// Numbers in the order in which they came.
#[derive(Default)]
pub struct Pending {
    numbers: Vec<Number>,
    motionless: Option<usize>,
    first_loss: Option<f64>,
}

impl Pending {
    /// The loss of a pass of update `step` (from 1); counted where the task names no scalars.
    pub fn loss(&mut self, step: usize, value: &Tensor, counted: bool) {
        self.numbers.push(Number { step, name: "loss", vital: true, counted, value: value.detach() });
    }

    /// What a task logs of a pass.
    pub fn scalar(&mut self, step: usize, name: &'static str, value: &Tensor) {
        self.numbers.push(Number { step, name, vital: false, counted: true, value: value.detach() });
    }

    /// The norm of an update's gradient.
    pub fn norm(&mut self, step: usize, value: Tensor) {
        self.numbers.push(Number { step, name: NORM, vital: true, counted: true, value });
    }

    /// Reads everything, waiting for the device, and counts it in `window` up to the first number that is broken, which
    /// is returned.
    ///
    /// # Errors
    /// A value that is not one number, a device that fails.
    pub fn settle(&mut self, window: &mut Window) -> Result<Option<Broken>> {
        let numbers = std::mem::take(&mut self.numbers);
        let values = read(&numbers)?;
        let mut first = Window::default();
        for (Number { step, name, vital, counted, .. }, value) in numbers.into_iter().zip(values) {
            if vital && !value.is_finite() {
                return Ok(Some(Broken { step, name, value }));
            }
            if counted {
                window.add(name, value);
            }
            if counted && step == 1 {
                first.add(name, value);
            }
            if name == NORM && value == 0.0 {
                self.motionless.get_or_insert(step);
            }
        }
        self.first_loss = self.first_loss.or(loss_of(&first));
        Ok(None)
    }

    /// The loss of the run's first update, once it was read.
    pub fn first_loss(&self) -> Option<f64> {
        self.first_loss
    }

    /// The first update whose gradient was 0, of those read since the last call.
    pub fn take_motionless(&mut self) -> Option<usize> {
        self.motionless.take()
    }
}

/// All values, in one copy.
fn read(numbers: &[Number]) -> Result<Vec<f64>> {
    let flat = |n: &Number| n.value.to_dtype(DType::F64).and_then(|v| v.reshape(1));
    let one = |n: &Number| {
        flat(n)
            .with_context(|| format!("`{}` of a step must be one number, not {:?}", n.name, n.value.dims()))
    };
    let all = numbers.iter().map(one).collect::<Result<Vec<_>>>()?;
    if all.is_empty() { Ok(vec![]) } else { Ok(Tensor::cat(&all, 0)?.to_vec1()?) }
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
        let (mut pending, mut window) = (Pending::default(), Window::default());
        for (step, loss, norm) in [(1, 3.0, 0.0), (2, 1.0, 2.0), (3, f64::NAN, 5.0)] {
            pending.loss(step, &number(loss), false);
            pending.scalar(step, "accuracy", &number(loss / 2.0));
            pending.norm(step, number(norm));
        }
        let broken = pending.settle(&mut window)?;
        assert!(matches!(broken, Some(Broken { step: 3, name: "loss", value }) if value.is_nan()));
        assert_eq!((pending.take_motionless(), pending.take_motionless()), (Some(1), None));
        assert_eq!(window.means(), [("accuracy".to_string(), 1.0), (NORM.to_string(), 1.0)]);
        assert_eq!(pending.settle(&mut window)?, None, "read once");
        Ok(())
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        let mut pending = Pending::default();
        pending.scalar(1, "accuracy", &Tensor::zeros(2, DType::F32, &Device::Cpu).expect("a CPU tensor"));
        let error = pending.settle(&mut Window::default()).expect_err("two numbers").to_string();
        assert!(error.contains("`accuracy`") && error.contains("[2]"), "{error}");
    }
}
