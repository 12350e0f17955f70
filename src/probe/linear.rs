//! Linear probes on every chosen layer of a frozen backbone, trained jointly in one pass (Zhang et al. 2016, section 3.2;
//! the Split-Brain paper's table 7): features are brought to about 9,600 numbers, normalized without affine parameters, and
//! read by one linear classifier a layer. The classifiers share batches and nothing else.

use super::{
    downsample::{Protocol, downsample},
    feature_cache::FeatureCache,
};
use crate::{
    backbones::network::Network,
    bounded::Count,
    data::{Batch, loader::Loader},
    metrics::accuracy::TopK,
    nn::{
        Mode,
        init::Filler,
        layers::{BatchNorm, BatchNormOptions, Fillers, Linear},
        params::Params,
    },
    ops::losses::cross_entropy,
    pretext::supervised::labels,
    rng::Rng,
    train::task::{Better, Metric, Panel, Step, Task},
};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

/// Features remembered at most, in bytes.
const CACHE: usize = 4 << 30;

/// Which layers are probed, and how; the defaults are those of the released code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearProbeSpec {
    /// Taps of the backbone (after their ReLU or pooling), each with its own classifier, all trained in one pass.
    pub layers: Vec<String>,
    pub protocol: Protocol,
    /// Numbers that a layer's map is brought down to, at most.
    pub dimensions: Count,
    /// Random crops and flips in training. Without, each image is seen at its center crop only and its features are
    /// computed once.
    pub augment: bool,
    /// Whether the batch normalization in front of a classifier learns a scale and a shift.
    pub affine: bool,
}

impl Default for LinearProbeSpec {
    fn default() -> Self {
        Self {
            layers: (1..=5).map(|i| format!("conv{i}")).collect(),
            protocol: Protocol::default(),
            dimensions: Count::of(9600),
            augment: true,
            affine: false,
        }
    }
}

/// One layer's classifier.
struct Head {
    layer: String,
    norm: BatchNorm,
    linear: Linear,
}

impl Head {
    fn new(params: &mut Params, layer: &str, width: usize, classes: usize, affine: bool) -> Result<Self> {
        let options = BatchNormOptions { affine, ..BatchNormOptions::CAFFE };
        let norm = BatchNorm::new(params, &format!("{layer}.bn"), width, options)?;
        let zero = Fillers { weight: Filler::Zero, bias: Some(Filler::Zero) };
        // Zeros: nothing is drawn from the stream.
        let linear = Linear::new(params, layer, (width, classes), zero, &Rng::new(0))?;
        Ok(Self { layer: layer.into(), norm, linear })
    }

    /// Features `(B, D)` → logits `(B, classes)`.
    fn forward(&self, x: &Tensor, mode: &Mode) -> candle_core::Result<Tensor> {
        self.linear.forward(&self.norm.forward(x, mode)?, mode)
    }
}

/// All heads over one frozen backbone.
pub struct LinearProbe {
    backbone: Network,
    heads: Vec<Head>,
    params: Params,
    protocol: Protocol,
    dimensions: usize,
    cache: Option<FeatureCache>,
    last: Vec<LayerAccuracy>,
}

/// What one layer's probe reached on the validation set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerAccuracy {
    pub layer: String,
    pub top1: f64,
    pub top5: f64,
}

impl LinearProbe {
    /// Heads for `classes` over a loaded `backbone` whose input is `crop` pixels square; `images` is the size of the
    /// training set, for the feature cache.
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
        };
        let blank = Tensor::zeros((1, crop, crop, probe.backbone.input().channels()), DType::F32, device)?;
        let taps: Vec<&str> = spec.layers.iter().map(String::as_str).collect();
        let widths = probe
            .compute(&blank, &taps)?
            .iter()
            .map(|f| f.dim(1))
            .collect::<candle_core::Result<Vec<_>>>()?;
        for (layer, &width) in taps.iter().zip(&widths) {
            probe.heads.push(Head::new(&mut params, layer, width, classes, spec.affine)?);
        }
        probe.params = params;
        if !spec.augment {
            probe.cache = FeatureCache::new(images, widths, CACHE);
        }
        Ok(probe)
    }

    /// Frozen features `(B, D)` of each tap for network input `x` `(B, H, W, C)`; no graph is built.
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

    /// Features of a training batch, remembered when there is a cache.
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

    /// The metrics of a layer.
    pub fn metrics(layer: &str) -> [String; 2] {
        ["top1", "top5"].map(|name| format!("{layer}_{name}"))
    }

    /// What the last validation found.
    pub fn last(&self) -> &[LayerAccuracy] {
        &self.last
    }

    /// Top-1 and top-5 of every layer over one pass of `val`.
    ///
    /// # Errors
    /// Unlabeled or unreadable data.
    pub fn accuracies(&self, val: &mut Loader) -> Result<Vec<LayerAccuracy>> {
        let mut counts = self.counts();
        while let Some(batch) = val.next_batch()? {
            self.count(&batch, &mut counts)?;
        }
        self.shares(&counts)
    }

    /// The same over batches at hand.
    ///
    /// # Errors
    /// Unlabeled data.
    pub fn accuracies_on(&self, batches: &[Batch]) -> Result<Vec<LayerAccuracy>> {
        let mut counts = self.counts();
        batches.iter().try_for_each(|batch| self.count(batch, &mut counts))?;
        self.shares(&counts)
    }

    fn counts(&self) -> Vec<TopK> {
        self.heads.iter().map(|_| TopK::new(&[1, 5])).collect()
    }

    fn count(&self, batch: &Batch, counts: &mut [TopK]) -> Result<()> {
        let logits = self.logits(&self.features(batch)?, &Mode::Frozen)?;
        counts.iter_mut().zip(&logits).try_for_each(|(count, logits)| Ok(count.add(logits, labels(batch)?)?))
    }

    fn shares(&self, counts: &[TopK]) -> Result<Vec<LayerAccuracy>> {
        let row = |(head, count): (&Head, &TopK)| {
            let shares = count.values().context("there are no validation images")?;
            Ok(LayerAccuracy { layer: head.layer.clone(), top1: shares[0], top5: shares[1] })
        };
        self.heads.iter().zip(counts).map(row).collect()
    }
}

impl Task for LinearProbe {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, rng: &Rng) -> Result<Step> {
        let features = self.training_features(batch)?;
        let logits = self.logits(&features, &Mode::Train(rng.clone()))?;
        let losses =
            logits.iter().map(|l| Ok(cross_entropy(l, labels(batch)?, None)?)).collect::<Result<Vec<_>>>()?;
        let loss = Tensor::stack(&losses, 0)?.sum_all()?;
        let count = Tensor::full(losses.len() as f64, (), loss.device())?;
        let mean = (loss.detach().to_dtype(DType::F64)? / count)?;
        Ok(Step { loss, scalars: vec![("loss", mean)] })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        self.last = self.accuracies(val)?;
        let metric = |(name, value)| Metric { name, value, better: Better::Higher };
        let both = |r: &LayerAccuracy| Self::metrics(&r.layer).into_iter().zip([r.top1, r.top5]).map(metric);
        Ok(self.last.iter().flat_map(|r| both(r).collect::<Vec<_>>()).collect())
    }

    fn kept(&self) -> usize {
        self.cache.as_ref().map_or(0, FeatureCache::size)
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<Panel>> {
        Ok(None)
    }
}
