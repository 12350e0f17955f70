//! Linear probes on several layers of a frozen backbone, trained jointly in one pass (Zhang et al. 2016, section 3.2;
//! table 7 of the Split-Brain paper): features are downsampled to about 9,600 values, batch-normalized without affine
//! parameters, and classified by one linear layer per tap. The classifiers share only the batches.

use super::{
    downsample::{Protocol, downsample},
    feature_cache::FeatureCache,
};
use crate::{
    backbones::{alexnet::CONVOLUTIONS, network::Network},
    bounded::Count,
    data::{Batch, loader::Loader},
    metrics::{accuracy::TopK, confusion::Confusion},
    nn::{
        Mode, TrainingPass,
        init::Filler,
        layers::{BatchNorm, BatchNormOptions, Fillers, Linear},
        params::Params,
    },
    ops::losses::cross_entropy,
    pretext::supervised::labels,
    rng::Rng,
    train::task::{Better, ImagePanel, Metric, StepOutput, Task},
};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Maximum size of the feature cache, in bytes.
const MAX_CACHE_BYTES: usize = 4 << 30;

/// Options of linear classifiers on frozen layers. The defaults are those of the released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinearProbeSpec {
    /// Layers of the backbone (after their ReLU or pooling), each with its own classifier, trained jointly.
    pub layers: Vec<String>,
    /// How maps are reduced to features.
    pub protocol: Protocol,
    /// Maximum number of features per layer after downsampling.
    pub dimensions: Count,
    /// Random crops and flips in training. If false, only the center crop is used, and features are computed once per
    /// image.
    pub augment: bool,
    /// Whether the batch normalization before each classifier has a learned scale and shift.
    pub affine: bool,
}

impl Default for LinearProbeSpec {
    fn default() -> Self {
        Self {
            layers: CONVOLUTIONS.map(String::from).to_vec(),
            protocol: Protocol::default(),
            dimensions: Count::of(9600),
            augment: true,
            affine: false,
        }
    }
}

impl LinearProbeSpec {
    /// Names of the parameters of the classifiers of `layers`.
    pub fn parameters(&self, layers: &[String]) -> Vec<String> {
        let scale_and_shift = if self.affine { [".bn.weight", ".bn.bias"].as_slice() } else { &[] };
        let names = [".weight", ".bias"].iter().chain(scale_and_shift);
        layers.iter().flat_map(|layer| names.clone().map(move |name| format!("{layer}{name}"))).collect()
    }
}

/// The classifier of one layer.
struct LayerClassifier {
    layer: String,
    norm: BatchNorm,
    linear: Linear,
}

impl LayerClassifier {
    fn new(params: &mut Params, layer: &str, width: usize, classes: usize, affine: bool) -> Result<Self> {
        let options = BatchNormOptions { affine, ..BatchNormOptions::CAFFE };
        let norm = BatchNorm::new(params, &format!("{layer}.bn"), width, options)?;
        let zero = Fillers { weight: Filler::Zero, bias: Some(Filler::Zero) };
        // Zero initialization does not draw from the stream.
        let linear = Linear::new(params, layer, (width, classes), zero, &Rng::new(0))?;
        Ok(Self { layer: layer.into(), norm, linear })
    }

    /// Features `(B, D)` → logits `(B, classes)`.
    fn forward(&self, x: &Tensor, mode: &Mode) -> candle_core::Result<Tensor> {
        self.linear.forward(&self.norm.forward(x, mode)?, mode)
    }
}

/// Linear classifiers on the layers of one frozen backbone.
pub struct LinearProbe {
    backbone: Network,
    heads: Vec<LayerClassifier>,
    params: Params,
    protocol: Protocol,
    dimensions: usize,
    cache: Option<FeatureCache>,
    last: Vec<LayerAccuracy>,
    confusions: Vec<Confusion>,
}

/// What is counted of one layer's probe.
#[derive(Serialize, Deserialize)]
struct LayerCounts {
    accuracy: TopK,
    confusion: Confusion,
}

impl LayerCounts {
    /// Adds the counts of other images.
    fn merge(&mut self, other: &Self) -> Result<()> {
        self.accuracy.merge(&other.accuracy);
        Ok(self.confusion.merge(&other.confusion)?)
    }
}

/// Validation accuracy of one layer's probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerAccuracy {
    pub layer: String,
    pub top1: f64,
    pub top5: f64,
}

impl LinearProbe {
    /// Classifiers for `classes` classes on a loaded `backbone` whose input is `crop` pixels square; `images` is the
    /// size of the training set, for the feature cache.
    ///
    /// # Errors
    /// An unknown layer.
    pub fn new(
        spec: &LinearProbeSpec,
        backbone: Network,
        classes: usize,
        crop: usize,
        images: usize,
        device: &Device,
    ) -> Result<Self> {
        let mut params = Params::new(device);
        let (protocol, dimensions) = (spec.protocol, spec.dimensions.get());
        let mut probe = Self {
            backbone,
            heads: vec![],
            params: Params::new(device),
            protocol,
            dimensions,
            cache: None,
            last: vec![],
            confusions: vec![],
        };
        let blank = Tensor::zeros((1, crop, crop, probe.backbone.input().channels()), DType::F32, device)?;
        let taps: Vec<&str> = spec.layers.iter().map(String::as_str).collect();
        let widths = probe
            .compute(&blank, &taps)?
            .iter()
            .map(|f| f.dim(1))
            .collect::<candle_core::Result<Vec<_>>>()?;
        for (layer, &width) in taps.iter().zip(&widths) {
            probe.heads.push(LayerClassifier::new(&mut params, layer, width, classes, spec.affine)?);
        }
        probe.params = params;
        if !spec.augment {
            probe.cache = FeatureCache::new(images, widths, MAX_CACHE_BYTES);
        }
        Ok(probe)
    }

    /// Frozen features `(B, D)` of each tap for network input `x` `(B, H, W, C)`, without gradient.
    fn compute(&self, x: &Tensor, taps: &[&str]) -> Result<Vec<Tensor>> {
        let maps = self.backbone.forward(x, taps, &Mode::Frozen)?;
        Ok(maps
            .iter()
            .map(|m| downsample(m, self.dimensions, self.protocol))
            .collect::<candle_core::Result<_>>()?)
    }

    fn features(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let taps: Vec<&str> = self.heads.iter().map(|h| h.layer.as_str()).collect();
        self.compute(&self.backbone.input().read(&batch.pixels)?, &taps)
    }

    /// Features of a training batch, from the cache if there is one.
    fn training_features(&mut self, batch: &Batch) -> Result<Vec<Tensor>> {
        let known = self.cache.as_ref().and_then(|c| c.get(&batch.indices, self.params.device()));
        if let Some(known) = known {
            return Ok(known?);
        }
        let features = self.features(batch)?;
        if let Some(cache) = &mut self.cache {
            cache.put(&batch.indices, &features)?;
        }
        Ok(features)
    }

    fn logits(&self, features: &[Tensor], mode: &Mode) -> Result<Vec<Tensor>> {
        let logits = self.heads.iter().zip(features).map(|(head, x)| head.forward(x, mode));
        Ok(logits.collect::<candle_core::Result<_>>()?)
    }

    /// Names of a layer's metrics.
    pub fn metrics(layer: &str) -> [String; 2] {
        ["top1", "top5"].map(|name| format!("{layer}_{name}"))
    }

    /// Accuracies of the last validation.
    pub fn last(&self) -> &[LayerAccuracy] {
        &self.last
    }

    /// Confusions of the last validation, in the order of the layers.
    pub fn confusions(&self) -> &[Confusion] {
        &self.confusions
    }

    /// Top-1 and top-5 accuracy of every layer over one pass of `val`.
    ///
    /// # Errors
    /// Unlabeled or unreadable data.
    pub fn accuracies(&self, val: &mut Loader) -> Result<Vec<LayerAccuracy>> {
        self.shares(&self.counted(val)?)
    }

    /// As [`LinearProbe::accuracies`], over batches in memory.
    ///
    /// # Errors
    /// Unlabeled data.
    pub fn accuracies_on(&self, batches: &[Batch]) -> Result<Vec<LayerAccuracy>> {
        let mut counts = self.counts();
        batches.iter().try_for_each(|batch| self.count(batch, &mut counts))?;
        self.shares(&counts)
    }

    fn counts(&self) -> Vec<LayerCounts> {
        let counts = |_: &LayerClassifier| LayerCounts {
            accuracy: TopK::new(&[1, 5]),
            confusion: Confusion::default(),
        };
        self.heads.iter().map(counts).collect()
    }

    /// The counts of one pass of `val`.
    fn counted(&self, val: &mut Loader) -> Result<Vec<LayerCounts>> {
        let mut counts = self.counts();
        let measure = |batch: &Batch, _| {
            let mut counts = self.counts();
            self.count(batch, &mut counts)?;
            Ok(counts)
        };
        val.fold(measure, |batch: Vec<LayerCounts>| {
            counts.iter_mut().zip(&batch).try_for_each(|(sum, counts)| sum.merge(counts))
        })?;
        Ok(counts)
    }

    fn count(&self, batch: &Batch, counts: &mut [LayerCounts]) -> Result<()> {
        let logits = self.logits(&self.features(batch)?, &Mode::Frozen)?;
        for (LayerCounts { accuracy, confusion }, logits) in counts.iter_mut().zip(&logits) {
            accuracy.add(logits, labels(batch)?)?;
            confusion.add(logits, labels(batch)?)?;
        }
        Ok(())
    }

    fn shares(&self, counts: &[LayerCounts]) -> Result<Vec<LayerAccuracy>> {
        let row = |(head, count): (&LayerClassifier, &LayerCounts)| {
            let shares = count.accuracy.values().context("there are no validation images")?;
            Ok(LayerAccuracy { layer: head.layer.clone(), top1: shares[0], top5: shares[1] })
        };
        self.heads.iter().zip(counts).map(row).collect()
    }
}

impl Task for LinearProbe {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let features = self.training_features(batch)?;
        let logits = self.logits(&features, &Mode::Train(training.clone()))?;
        let losses =
            logits.iter().map(|l| Ok(cross_entropy(l, labels(batch)?, None)?)).collect::<Result<Vec<_>>>()?;
        let loss = Tensor::stack(&losses, 0)?.sum_all()?;
        let count = Tensor::full(losses.len() as f64, (), loss.device())?;
        let mean = (loss.detach().to_dtype(DType::F64)? / count)?;
        Ok(StepOutput { loss, scalars: vec![("loss", mean)] })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let counts = self.counted(val)?;
        self.last = self.shares(&counts)?;
        self.confusions = counts.into_iter().map(|counts| counts.confusion).collect();
        let metric = |(name, value)| Metric { name, value, better: Better::Higher };
        let both = |r: &LayerAccuracy| Self::metrics(&r.layer).into_iter().zip([r.top1, r.top5]).map(metric);
        Ok(self.last.iter().flat_map(|r| both(r).collect::<Vec<_>>()).collect())
    }

    fn cached_bytes(&self) -> usize {
        self.cache.as_ref().map_or(0, FeatureCache::size)
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<ImagePanel>> {
        Ok(None)
    }
}
