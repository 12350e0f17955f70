//! The supervised baseline: the same backbone trained on labels. The network sees its spec's `input`, by default the
//! same lightness as the colorizer, so that only the training signal differs.

use crate::{
    backbones::{BackboneSpec, Build, Variant, network::Network},
    data::{Batch, loader::Loader},
    metrics::{accuracy::TopK, confusion::Confusion},
    nn::{Mode, TrainingPass, params::Params},
    ops::losses::cross_entropy,
    rng::Rng,
    train::task::{Better, ImagePanel, Metric, StepOutput, Task},
};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

/// A classifier with batch normalization.
pub struct Supervised {
    net: Network,
    params: Params,
    /// Of the last validation.
    confusion: Confusion,
}

impl Supervised {
    /// Names of the metrics.
    pub const METRICS: [&str; 2] = ["top1", "top5"];

    /// A new network with `classes` outputs on `device`. The transfer variant is AlexNet itself and needs the crop it
    /// was designed for (227, small stem 29); the pretext variant accepts any crop.
    ///
    /// # Errors
    /// The backbone cannot be built.
    pub fn new(
        backbone: &BackboneSpec,
        variant: Variant,
        classes: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let input_channels = backbone.input().channels();
        let build = Build { variant, batch_norm: true, input_channels, outputs: Some(classes) };
        let mut params = Params::new(device);
        let net = backbone.build(&build, &mut params, &rng.split("init"))?;
        Ok(Self::of(net, params))
    }

    /// Wraps an existing network, whose last layer gives the logits, and its parameters.
    pub fn of(net: Network, params: Params) -> Self {
        Self { net, params, confusion: Confusion::default() }
    }

    /// Confusion of the last validation.
    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    /// Logits `(B, classes)`.
    fn logits(&self, pixels: &Tensor, mode: &Mode) -> Result<Tensor> {
        let x = self.net.input().read(pixels)?;
        let logits = self.net.forward(&x, &[self.net.head().label()], mode)?.remove(0);
        let (b, h, w, classes) = logits.dims4()?;
        // One position in the transfer variant; in the pretext variant, the mean over the map of logits.
        Ok(logits.reshape((b, h * w, classes))?.mean(1)?)
    }
}

impl Task for Supervised {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let logits = self.logits(&batch.pixels, &Mode::Train(training.clone()))?;
        let loss = cross_entropy(&logits, labels(batch)?, None)?;
        Ok(StepOutput { loss, scalars: vec![] })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let (mut accuracy, mut confusion) = (TopK::new(&[1, 5]), Confusion::default());
        let measure = |batch: &Batch, _| {
            let (mut accuracy, mut confusion) = (TopK::new(&[1, 5]), Confusion::default());
            let logits = self.logits(&batch.pixels, &Mode::Frozen)?;
            accuracy.add(&logits, labels(batch)?)?;
            confusion.add(&logits, labels(batch)?)?;
            Ok((accuracy, confusion))
        };
        val.fold(measure, |(of_batch, confused)| {
            accuracy.merge(&of_batch);
            Ok(confusion.merge(&confused)?)
        })?;
        self.confusion = confusion;
        let shares = accuracy.values().context("there are no validation images")?;
        let metric = |(name, value): (&str, f64)| Metric { name: name.into(), value, better: Better::Higher };
        Ok(Self::METRICS.into_iter().zip(shares).map(metric).collect())
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<ImagePanel>> {
        Ok(None)
    }

    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        Ok(self.net.forward(&self.net.input().read(pixels)?, layers, &Mode::Frozen)?)
    }
}

/// The labels of a batch.
///
/// # Errors
/// Unlabeled data.
pub fn labels(batch: &Batch) -> Result<&Tensor> {
    batch
        .labels
        .as_ref()
        .context("this stage needs labels, and the data set has none; use class folders or a label column")
}
