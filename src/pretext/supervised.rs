//! Training the same backbone on labels: the ceiling that a pretext task is compared with. The network sees what
//! its spec's `input` says, by default the same lightness as the colorizer, so that only the training signal differs.

use crate::{
    backbones::{BackboneSpec, Build, Variant, network::Network},
    data::{Batch, loader::Loader},
    metrics::accuracy::TopK,
    nn::{Mode, params::Params},
    ops::losses::cross_entropy,
    rng::Rng,
    train::task::{Better, Metric, Panel, Step, Task},
};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

/// A classifier with batch normalization.
pub struct Supervised {
    net: Network,
    params: Params,
}

impl Supervised {
    /// The names of what it measures.
    pub const METRICS: [&str; 2] = ["top1", "top5"];

    /// A fresh network with `classes` outputs on `device`. The transfer graph is AlexNet itself and needs the crop it was
    /// made for (227, small stem 29); the pretext graph takes any.
    ///
    /// # Errors
    /// When the backbone cannot be built.
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

    /// A network at hand, whose last row answers and whose parameters are `params`.
    pub fn of(net: Network, params: Params) -> Self {
        Self { net, params }
    }

    /// Logits `(B, classes)`.
    fn logits(&self, pixels: &Tensor, mode: &Mode) -> Result<Tensor> {
        let x = self.net.input().read(pixels)?;
        let logits = self.net.forward(&x, &[self.net.head().label()], mode)?.remove(0);
        let (b, h, w, classes) = logits.dims4()?;
        // One position on the transfer graph; on the pretext graph, a map of answers, whose mean is the answer.
        Ok(logits.reshape((b, h * w, classes))?.mean(1)?)
    }
}

impl Task for Supervised {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, rng: &Rng) -> Result<Step> {
        let logits = self.logits(&batch.pixels, &Mode::Train(rng.clone()))?;
        let loss = cross_entropy(&logits, labels(batch)?, None)?;
        Ok(Step { loss, scalars: vec![] })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut accuracy = TopK::new(&[1, 5]);
        while let Some(batch) = val.next_batch()? {
            accuracy.add(&self.logits(&batch.pixels, &Mode::Frozen)?, labels(&batch)?)?;
        }
        let shares = accuracy.values().context("there are no validation images")?;
        let metric = |(name, value): (&str, f64)| Metric { name: name.into(), value, better: Better::Higher };
        Ok(Self::METRICS.into_iter().zip(shares).map(metric).collect())
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<Panel>> {
        Ok(None)
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
