//! Training the same backbone on labels: the ceiling that a pretext task is compared with. The network sees the same
//! lightness as the colorizer, so that only the training signal differs.

use super::colorization::lightness;
use crate::{
    backbones::{BackboneSpec, alexnet::{AlexNet, Build, Graph}},
    color::lab,
    data::{Batch, loader::Loader},
    metrics::accuracy::Accuracy,
    nn::{Mode, params::Params},
    ops::losses::cross_entropy,
    rng::Rng,
    train::task::{Better, Metric, Panel, Step, Task},
};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

/// A classifier on the transfer graph with batch normalisation.
pub struct Supervised {
    net: AlexNet,
    params: Params,
}

impl Supervised {
    /// A fresh network with `classes` outputs on `device`.
    ///
    /// # Errors
    /// When the backbone cannot be built.
    pub fn new(backbone: &BackboneSpec, classes: usize, rng: &Rng, device: &Device) -> Result<Self> {
        let build =
            Build { graph: Graph::Transfer, batch_norm: true, input_channels: 1, outputs: Some(classes) };
        let mut params = Params::new(device);
        let net = backbone.build(&build, &mut params, &rng.split("init"))?;
        Ok(Self { net, params })
    }

    /// Logits `(B, classes)`.
    fn logits(&self, pixels: &Tensor, mode: &Mode) -> Result<Tensor> {
        let x = lightness(&lab::rgb_to_lab(pixels)?)?;
        let logits = self.net.forward(&x, &["fc8"], mode)?.remove(0);
        let (b, h, w, classes) = logits.dims4()?;
        // More than one position when the crop is larger than the classifier needs: their mean is the answer.
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
        let scalar = f64::from(loss.to_scalar::<f32>()?);
        Ok(Step { loss, scalars: vec![("loss", scalar)] })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let (mut top1, mut top5) = (Accuracy::new(1), Accuracy::new(5));
        while let Some(batch) = val.next_batch()? {
            let logits = self.logits(&batch.pixels, &Mode::Frozen)?;
            top1.add(&logits, labels(&batch)?)?;
            top5.add(&logits, labels(&batch)?)?;
        }
        let metric = |name: &str, value| Metric { name: name.into(), value, better: Better::Higher };
        Ok(vec![metric("top1", top1.share()), metric("top5", top5.share())])
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<Panel>> {
        Ok(None)
    }
}

/// The labels of a batch.
///
/// # Errors
/// Unlabelled data.
pub fn labels(batch: &Batch) -> Result<&Tensor> {
    batch.labels.as_ref().context("this stage needs labels, and the data set has none; use class folders or a label column")
}
