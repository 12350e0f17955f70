//! The step that training takes: bytes of pictures, Lab, labels, network, loss, backward, Adam, through the same calls as
//! `train::update`. The pictures are noise and are on the device from the start; nothing is read back but at the end of
//! a round.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use hueristic::{
    backbones::BackboneSpec,
    data::Batch,
    nn::{
        TrainingPass,
        optim::{Optimizer, OptimizerSpec},
    },
    pretext::colorization::{Colorization, ColorizationSpec},
    rng::Rng,
    train::task::Task,
};
use rand::RngExt;

/// Batches that take turns.
const BATCHES: usize = 3;

pub struct Whole {
    task: Colorization,
    optimizer: Optimizer,
    batches: Vec<Batch>,
    loss: Option<Tensor>,
}

fn noise(batch: usize, size: usize, number: usize, device: &Device) -> Result<Batch> {
    let mut rng = Rng::new(0).split("bench").at(0, number as u64);
    let mut bytes = vec![0u8; batch * size * size * 3];
    rng.fill(&mut bytes[..]);
    let pixels = Tensor::from_vec(bytes, (batch, size, size, 3), device)?;
    Ok(Batch { pixels, labels: None, indices: (0..batch).collect(), frames: vec![] })
}

impl Whole {
    pub fn new(
        backbone: &BackboneSpec,
        adam: &OptimizerSpec,
        (batch, size): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        let spec = ColorizationSpec::default();
        let bins = spec.bins().len();
        // Some colors are rarer than others, so that weights differ.
        let prior: Vec<f64> = (1..=bins).map(|q| 2.0 * q as f64 / (bins * (bins + 1)) as f64).collect();
        let task = Colorization::new(&spec, backbone, Some(&prior), &Rng::new(0), device)?;
        let optimizer = Optimizer::new(adam, task.params())?;
        let batches = (0..BATCHES).map(|n| noise(batch, size, n, device)).collect::<Result<_>>()?;
        Ok(Self { task, optimizer, batches, loss: None })
    }

    /// Multiply-adds of a picture's forward pass, those on padding included.
    pub fn macs(&self, size: usize) -> Result<usize> {
        Ok(self.task.colorizer().network().summary((size, size))?.macs())
    }

    /// One update.
    pub fn step(&mut self, index: u64) -> Result<()> {
        let batch = &self.batches[index as usize % BATCHES];
        let mut gradients = self.optimizer.gradients(self.task.params());
        let training = TrainingPass::new(Rng::new(index));
        let loss = self.task.step(batch, &training)?.loss;
        let (lr, value) = (self.optimizer.base_lr(), loss.detach());
        if value.device().is_cpu() {
            training.tape.backward(loss, &mut self.optimizer.begin(self.task.params(), lr)?)?;
        } else {
            gradients.add(&training.tape, loss)?;
            gradients.measure(None, &value)?;
            self.optimizer.step(self.task.params(), &gradients, lr)?;
        }
        self.loss = Some(value);
        Ok(())
    }

    /// Waits for the device; the last update's loss.
    pub fn loss(&self) -> Result<f64> {
        let loss = self.loss.as_ref().context("no step was taken")?;
        Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
    }
}
