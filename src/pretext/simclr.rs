//! Contrastive learning as in SimCLR (Chen, Kornblith, Norouzi and Hinton 2020): of two random views of each picture of a
//! batch, each is to be recognized among the views of all other pictures. The loss is
//! [`crate::ops::losses::nt_xent`]; the views are made by [`super::augment`] on the pictures' device.
//!
//! The other pictures are those of the same pass: `iter_size` does not add to them.

use super::{
    augment::AugmentSpec,
    headed::{HeadedTask, HeadedTaskSpec},
    mean_meter::MeanMeter,
    views::{Pictures, view_panel},
};
use crate::{
    backbones::{
        BackboneSpec,
        network::Network,
        projection_head::{PROJECTION, ProjectionHead, ProjectionSpec},
        task_head::TaskHead,
    },
    bounded::{Pixels, Temperature},
    data::{Batch, loader::Loader},
    key_error::KeyError,
    nn::{Mode, TrainingPass, params::Params},
    ops::losses::{NtXent, nt_xent},
    rng::Rng,
    train::task::{Better, ImagePanel, Metric, StepOutput, Task},
};
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Share of the way from chance to certainty below which a network has learned nothing.
const LEARNED: f64 = 0.02;

/// Two views of a picture among those of others (Chen et al. 2020). In YAML: `simclr: { temperature: 0.5, augment: {
/// color: 0.5 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "SimCLR")]
pub struct SimclrSpec {
    /// Divisor of the cosines in the softmax.
    pub temperature: Temperature,
    /// Side of the views in pixels; absent: that of the pictures, from which they are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Pixels>,
    /// Random changes that make the views.
    pub augment: AugmentSpec,
    /// The projection, whose outputs are compared.
    pub head: ProjectionSpec,
}

impl Default for SimclrSpec {
    fn default() -> Self {
        Self {
            temperature: Temperature::of(0.5),
            side: None,
            augment: AugmentSpec::default(),
            head: ProjectionSpec::default(),
        }
    }
}

impl SimclrSpec {
    fn projection(&self, crop: usize) -> ProjectionHead {
        ProjectionHead { side: self.side.map_or(crop, |side| side.get()), spec: self.head.clone() }
    }
}

impl HeadedTaskSpec for SimclrSpec {
    fn key(&self) -> &'static str {
        "simclr"
    }

    fn fewest_pictures(&self) -> usize {
        2
    }

    fn size_keys(&self) -> &'static [&'static str] {
        if self.side.is_some() { &["task", "simclr", "side"] } else { &["data", "crop"] }
    }

    fn task_head(&self, crop: usize) -> Result<TaskHead> {
        let head = self.projection(crop);
        ensure!(
            head.side <= crop,
            KeyError::new(
                ["task", "simclr", "side"],
                format!("views of {} pixels cannot be cut from pictures of {crop}", head.side)
            )
            .advice("use a larger `crop` or a smaller `side`")
        );
        Ok(head.into())
    }

    fn metrics(&self) -> &'static [&'static str] {
        &Simclr::METRICS
    }

    fn task(
        &self,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Box<dyn HeadedTask>> {
        Ok(Box::new(Simclr::new(self, backbone, crop, rng, device)?))
    }
}

/// A network with a projection, and its training state.
pub struct Simclr {
    spec: SimclrSpec,
    side: usize,
    net: Network,
    params: Params,
    /// Views in validation are the same every time.
    validation: Rng,
    /// Accuracy of guessing in the newest validation, if the network was no better.
    at_chance: Option<f64>,
}

impl Simclr {
    /// Names of the metrics.
    pub const METRICS: [&str; 2] = ["accuracy", "loss"];

    /// A new network for pictures of `crop` pixels on `device`.
    ///
    /// # Errors
    /// A backbone that the head does not fit.
    pub fn new(
        spec: &SimclrSpec,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let (head, mut params) = (spec.projection(crop), Params::new(device));
        let net = TaskHead::from(head.clone()).network(backbone, &mut params, &rng.split("init"))?;
        let validation = rng.split("validation");
        Ok(Self { spec: spec.clone(), side: head.side, net, params, validation, at_chance: None })
    }

    /// Two views of each picture of a batch, u8 RGB `(2B, side, side, 3)`, by view.
    ///
    /// # Errors
    /// Other dtypes and shapes.
    pub fn views(&self, batch: &Batch, rng: &Rng, first: usize) -> Result<Tensor> {
        self.spec.augment.views(&batch.pixels, (2, self.side), rng, first)
    }

    fn compare(&self, views: &Tensor, mode: &Mode) -> Result<NtXent> {
        let x = self.net.input().read(views)?;
        let z = self.net.forward(&x, &[PROJECTION], mode)?.remove(0).flatten_from(1)?;
        Ok(nt_xent(&z, self.spec.temperature.get())?)
    }
}

/// Share of the views whose partner is the most similar of all.
fn accuracy(compared: &NtXent) -> candle_core::Result<Tensor> {
    compared.similarities.argmax(1)?.eq(&compared.partners)?.to_dtype(DType::F32)?.mean_all()
}

impl HeadedTask for Simclr {
    fn network(&self) -> &Network {
        &self.net
    }
}

impl Task for Simclr {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let views = self.views(batch, &training.rng.split("views"), 0)?;
        let compared = self.compare(&views, &Mode::Train(training.clone()))?;
        let scalars = vec![("loss", compared.loss.detach()), ("accuracy", accuracy(&compared)?)];
        Ok(StepOutput { loss: compared.loss, scalars })
    }

    /// Means over validation batches, in which there are fewer views to tell apart than in a large training batch. A batch
    /// of one picture, which has nothing to tell it from, is left out.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let (mut meter, size) = (MeanMeter::default(), val.batch());
        let measure = |batch: &Batch, number: usize| {
            let images = batch.indices.len() as f64;
            if images < 2.0 {
                return Ok(MeanMeter::default());
            }
            let views = self.views(batch, &self.validation, number * size)?;
            let compared = self.compare(&views, &Mode::Frozen)?;
            let scalar = |x: &Tensor| x.to_dtype(DType::F64)?.to_scalar::<f64>();
            let chance = 1.0 / (2.0 * images - 1.0);
            let means = [
                ("accuracy", scalar(&accuracy(&compared)?)?),
                ("loss", scalar(&compared.loss)?),
                ("chance", chance),
            ];
            Ok(MeanMeter::of_batch(images, &means))
        };
        val.fold(measure, |batch| {
            meter.merge(&batch);
            Ok(())
        })?;
        ensure!(meter.images > 0.0, "one validation picture has no others to be told from: use at least 2");
        let (accuracy, chance) = (meter.mean("accuracy"), meter.mean("chance"));
        self.at_chance = (accuracy < chance + LEARNED * (1.0 - chance)).then_some(chance);
        let values = [(accuracy, Better::Higher), (meter.mean("loss"), Better::Lower)];
        let named = Self::METRICS.into_iter().zip(values);
        Ok(named.map(|(name, (value, better))| Metric { name: name.into(), value, better }).collect())
    }

    /// The first pictures, each followed by its views.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let views = self.views(&batch, &self.validation, 0)?;
        let titles = ["view 1", "view 2"].map(String::from);
        view_panel("simclr", &Pictures::read(&batch.pixels)?, (&views, 2), &titles).map(Some)
    }

    /// Of whole pictures.
    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        Ok(self.net.forward(&self.net.input().read(pixels)?, layers, &Mode::Frozen)?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        let warning = |chance: f64| {
            let chance = 100.0 * chance;
            (
                format!("views are told apart no better than by chance ({chance:.1} %)"),
                "train longer, change the learning rate, or weaken the changes of `augment`".into(),
            )
        };
        self.at_chance.map(warning).into_iter().collect()
    }
}
