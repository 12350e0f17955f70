//! A task that makes views of each picture and classifies them, alone or in groups: by the turn of a view, the order of
//! tiles, the position of one patch seen from another. A task's own file says which views; everything else is here.

use super::{
    headed::{HeadedTask, HeadedTaskSpec},
    mean_meter::MeanMeter,
    views::{Normalization, Picture, Pictures, read, view_panel},
};
use crate::{
    backbones::{BackboneSpec, network::Network, task_head::TaskHead, view_head::ViewHead},
    data::{Batch, loader::Loader},
    metrics::accuracy::TopK,
    nn::{Mode, TrainingPass, params::Params},
    ops::losses::cross_entropy,
    rng::Rng,
    train::task::{Better, ImagePanel, Metric, StepOutput, Task},
};
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::fmt::Debug;

/// Share of the way from chance to certainty below which a network has learned nothing.
const LEARNED: f64 = 0.02;

/// What a task's section of the YAML says about its views.
pub trait ViewTaskSpec {
    /// Name in a spec.
    fn name(&self) -> &'static str;

    /// Keys of the size of the views.
    fn size_keys(&self) -> &'static [&'static str] {
        &["data", "crop"]
    }

    /// The views of a square picture of `crop` pixels, and the head that classifies them.
    ///
    /// # Errors
    /// A picture too small for the views; options that contradict one another.
    fn head(&self, crop: usize) -> Result<ViewHead>;

    /// Makes the views of such pictures.
    ///
    /// # Errors
    /// As [`Self::head`].
    fn maker(&self, crop: usize) -> Result<Box<dyn ViewMaker>>;

    /// Normalization of each view.
    fn normalization(&self) -> Normalization;
}

impl<S: ViewTaskSpec> HeadedTaskSpec for S {
    fn key(&self) -> &'static str {
        self.name()
    }

    fn size_keys(&self) -> &'static [&'static str] {
        ViewTaskSpec::size_keys(self)
    }

    fn task_head(&self, crop: usize) -> Result<TaskHead> {
        Ok(self.head(crop)?.into())
    }

    fn metrics(&self) -> &'static [&'static str] {
        &ViewClassifier::METRICS
    }

    fn task(
        &self,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Box<dyn HeadedTask>> {
        Ok(Box::new(ViewClassifier::new(self, backbone, crop, rng, device)?))
    }
}

/// Makes the views of pictures.
pub trait ViewMaker: Debug + Send + Sync {
    /// Writes the views of a picture, each `(side, side, 3)`, and returns the class of each group.
    ///
    /// # Errors
    /// A picture of another size.
    fn make(&self, picture: Picture, rng: &mut ChaCha8Rng, views: &mut [&mut [u8]]) -> Result<Vec<u32>>;

    /// Titles of the views in a panel.
    fn titles(&self) -> Vec<String> {
        vec![]
    }
}

/// Views of a batch, in the order of [`crate::backbones::kinds::GroupViewsRow`].
#[derive(Clone, Debug)]
pub struct ViewBatch {
    /// u8 RGB `(V·B, side, side, 3)`, by view
    pub pixels: Tensor,
    /// u32 `(G·B)`, by group
    pub labels: Tensor,
}

/// A network that classifies views, and its training state.
pub struct ViewClassifier {
    name: &'static str,
    head: ViewHead,
    maker: Box<dyn ViewMaker>,
    normalization: Normalization,
    net: Network,
    params: Params,
    /// Views in validation are the same every time.
    validation: Rng,
    /// Whether the newest validation was no better than chance.
    at_chance: bool,
}

impl ViewClassifier {
    /// Names of the metrics.
    pub const METRICS: [&str; 2] = ["accuracy", "loss"];

    /// A new network for pictures of `crop` pixels on `device`.
    ///
    /// # Errors
    /// Views that do not fit the pictures or the backbone.
    pub fn new(
        spec: &dyn ViewTaskSpec,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let (head, mut params) = (spec.head(crop)?, Params::new(device));
        let net = TaskHead::from(head.clone()).network(backbone, &mut params, &rng.split("init"))?;
        Ok(Self {
            name: spec.name(),
            maker: spec.maker(crop)?,
            normalization: spec.normalization(),
            head,
            net,
            params,
            validation: rng.split("validation"),
            at_chance: false,
        })
    }

    /// The views of a batch; those of picture i depend on `rng` at `(0, first + i)`.
    ///
    /// # Errors
    /// Pictures of another size.
    pub fn views(&self, batch: &Batch, rng: &Rng, first: usize) -> Result<ViewBatch> {
        let pictures = Pictures::read(&batch.pixels)?;
        let pictures = pictures.each();
        let ViewHead { side, views, groups, .. } = &self.head;
        let (count, size) = (pictures.len(), 3 * side * side);
        let mut pixels = vec![0; count * views * size];
        let mut slots: Vec<Vec<&mut [u8]>> = pictures.iter().map(|_| Vec::with_capacity(*views)).collect();
        for (slot, view) in pixels.chunks_exact_mut(size).enumerate() {
            slots[slot % count].push(view);
        }
        let make = |(i, (picture, views)): (usize, (Picture, &mut Vec<&mut [u8]>))| {
            self.maker.make(picture, &mut rng.at(0, (first + i) as u64), views)
        };
        let classes = pictures.into_par_iter().zip(slots.par_iter_mut()).enumerate().map(make);
        let classes = classes.collect::<Result<Vec<Vec<u32>>>>()?;
        let labels = (0..groups.len()).flat_map(|group| classes.iter().map(move |of| of[group])).collect();
        let device = batch.pixels.device();
        Ok(ViewBatch {
            pixels: Tensor::from_vec(pixels, (count * views, *side, *side, 3), device)?,
            labels: Tensor::from_vec::<_, u32>(labels, count * groups.len(), device)?,
        })
    }

    /// Logits `(G·B, classes)`.
    fn logits(&self, views: &ViewBatch, mode: &Mode) -> Result<Tensor> {
        let x = read(&views.pixels, self.net.input(), self.normalization)?;
        let logits = self.net.forward(&x, &[self.net.head().label()], mode)?.remove(0);
        Ok(logits.flatten_from(1)?)
    }
}

/// Share of examples whose largest logit is that of their class.
fn accuracy(logits: &Tensor, labels: &Tensor) -> candle_core::Result<Tensor> {
    logits.argmax(1)?.eq(labels)?.to_dtype(DType::F32)?.mean_all()
}

impl HeadedTask for ViewClassifier {
    fn network(&self) -> &Network {
        &self.net
    }
}

impl Task for ViewClassifier {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let views = self.views(batch, &training.rng.split("views"), 0)?;
        let logits = self.logits(&views, &Mode::Train(training.clone()))?;
        let loss = cross_entropy(&logits, &views.labels, None)?;
        let accuracy = accuracy(&logits.detach(), &views.labels)?;
        let scalars = vec![("loss", loss.detach()), ("accuracy", accuracy)];
        Ok(StepOutput { loss, scalars })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let (mut accuracy, mut meter, size) = (TopK::new(&[1]), MeanMeter::default(), val.batch());
        let measure = |batch: &Batch, number: usize| {
            let mut accuracy = TopK::new(&[1]);
            let views = self.views(batch, &self.validation, number * size)?;
            let logits = self.logits(&views, &Mode::Frozen)?;
            accuracy.add(&logits, &views.labels)?;
            let loss = cross_entropy(&logits, &views.labels, None)?.to_dtype(DType::F64)?.to_scalar()?;
            Ok((accuracy, MeanMeter::of_batch(batch.indices.len() as f64, &[("loss", loss)])))
        };
        val.fold(measure, |(right, means)| {
            accuracy.merge(&right);
            meter.merge(&means);
            Ok(())
        })?;
        let shares = accuracy.values().context("there are no validation images")?;
        let chance = self.head.chance;
        self.at_chance = shares[0] < chance + LEARNED * (1.0 - chance);
        let values = [(shares[0], Better::Higher), (meter.mean("loss"), Better::Lower)];
        let named = Self::METRICS.into_iter().zip(values);
        Ok(named.map(|(name, (value, better))| Metric { name: name.into(), value, better }).collect())
    }

    /// The first pictures, each followed by its views.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let views = self.views(&batch, &self.validation, 0)?.pixels;
        let pictures = Pictures::read(&batch.pixels)?;
        view_panel(self.name, &pictures, (&views, self.head.views), &self.maker.titles()).map(Some)
    }

    /// Of whole pictures, read as later stages read them: not cut into views, not normalized.
    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        Ok(self.net.forward(&self.net.input().read(pixels)?, layers, &Mode::Frozen)?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        if !self.at_chance {
            return vec![];
        }
        vec![(
            format!("the views are classified no better than by chance ({:.1} %)", 100.0 * self.head.chance),
            "train longer, change the learning rate, or give the task fewer classes".into(),
        )]
    }
}
