//! Times of a network's rows, each alone, for benchmarks.

use super::{network::Network, plan::Step};
use crate::{
    nn::{Mode, TrainingPass, layers::LayerCall},
    ops::tape::{Backward, Evaluated, Gradient},
    rng::Rng,
};
use candle_core::{Result, Tensor};
use std::time::Instant;

/// Times of one row, with the ReLU that is computed with it.
#[derive(Clone, Debug)]
pub struct RowTimes {
    pub name: String,
    /// Shape of its output.
    pub shape: Vec<usize>,
    /// Seconds of a forward pass in training.
    pub forward: f64,
    /// Seconds of the gradients of inputs and parameters; that of the picture is not wanted.
    pub backward: f64,
}

impl Network {
    /// Times every row on the way from pictures `x` `(B, H, W, C)` to the head: the mean of `repeats` passes that are
    /// enqueued together, after one that is not counted. Activations of all passes are held at once. Updates running
    /// statistics.
    ///
    /// # Errors
    /// Maps too small for a window, memory.
    pub fn profile(&self, x: &Tensor, repeats: usize) -> Result<Vec<RowTimes>> {
        let (mut values, steps) = self.steps_to_head(x)?;
        let mut times = vec![];
        for step in steps {
            let inputs = values.take(&self.layers()[step.row].from)?;
            self.time_row(step, &inputs, 1)?;
            let (y, row) = self.time_row(step, &inputs, repeats)?;
            values.put(step.value(), y);
            times.push(row);
        }
        Ok(times)
    }

    /// One row's output and times.
    fn time_row(&self, step: Step, inputs: &[Tensor], repeats: usize) -> Result<(Tensor, RowTimes)> {
        let row = &self.layers()[step.row];
        let mode = Mode::Train(TrainingPass::new(Rng::new(0)));
        let wants: Vec<bool> = row.from.iter().map(|value| *value > 0).collect();
        let call = LayerCall { mode: &mode, relu: step.relu.is_some(), wants: &wants };
        let device = inputs[0].device();
        device.synchronize()?;
        let start = Instant::now();
        let passes = (0..repeats.max(1)).map(|_| self.evaluate_row(step.row, inputs, call));
        let passes = passes.collect::<Result<Vec<Evaluated>>>()?;
        device.synchronize()?;
        let forward = start.elapsed().as_secs_f64() / passes.len() as f64;
        let (y, count) = (passes[0].y.clone(), passes.len());
        let backward = passes.into_iter().map(|pass| pass.backward).collect();
        let backward = seconds_of(backward, &y)? / count as f64;
        let shape = y.dims().to_vec();
        Ok((y, RowTimes { name: row.name.clone(), shape, forward, backward }))
    }
}

/// Seconds of all these backward passes, each from `y` in place of the gradient, of which only shape and dtype matter.
fn seconds_of(passes: Vec<Backward>, y: &Tensor) -> Result<f64> {
    let start = Instant::now();
    for backward in passes {
        backward(Gradient::lent(y))?;
    }
    y.device().synchronize()?;
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use crate::{
        backbones::{BackboneSpec, Build, Variant, alexnet::AlexNetSpec},
        nn::params::Params,
        rng::Rng,
    };
    use candle_core::{DType, Device, Result, Tensor};

    #[test]
    fn every_row_but_fused_relus_is_timed() -> Result<()> {
        let spec = BackboneSpec::Alexnet(AlexNetSpec {
            width: crate::bounded::Positive::of(0.1),
            ..Default::default()
        });
        let build =
            Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(5) };
        let mut params = Params::new(&Device::Cpu);
        let net = spec.build(&build, &mut params, &Rng::new(0))?;
        let times = net.profile(&Tensor::zeros((1, 64, 64, 1), DType::F32, &Device::Cpu)?, 2)?;
        let names: Vec<&str> = times.iter().map(|row| row.name.as_str()).collect();
        assert!(names.starts_with(&["conv1"]) && names.ends_with(&[net.head().name.as_str()]), "{names:?}");
        assert!(times.iter().all(|row| row.forward > 0.0 && row.backward > 0.0));
        assert_eq!(times.last().map(|row| row.shape[3]), Some(5));
        Ok(())
    }
}
