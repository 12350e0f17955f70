//! PASCAL VOC classification by fine-tuning, following Krähenbühl et al. (ICLR 2016) and Zhang et al. (2016, table 2,
//! columns fc8, fc6-8 and all): twenty binary classifiers on crops of random scale. In the test, the logits of ten
//! random crops are summed. Average precision is step-wise, with ties counted as false positives first.

use crate::{
    backbones::{BackboneSpec, network::Network},
    bounded::{BatchSize, Count, Pixels},
    data::{
        Batch,
        annotated::{Annotated, Presence},
        loader::{Loader, Position},
    },
    metrics::average_precision::{Relevance, stepwise},
    nn::{Mode, TrainingPass, layers::Fillers, params::Params},
    ops::losses::bce_with_logits,
    train::task::{Better, ImagePanel, Metric, StepOutput, Task},
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Fine-tuning for the classes of whole pictures: layers, views and test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassificationSpec {
    /// First trainable layers, one fit each: all earlier layers are frozen. The last layer is always new. The aliases
    /// `head`, `reader` (fc6 of AlexNet) and `all` work for every backbone.
    pub train_from: Vec<String>,
    /// Side of the crops, in pixels; absent: what the backbone is made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Pixels>,
    /// Random crops whose answers are summed in the test.
    pub draws: BatchSize,
}

impl Default for ClassificationSpec {
    fn default() -> Self {
        let train_from = ["head", "reader", "all"].map(String::from).to_vec();
        Self { train_from, crop: None, draws: Count::of(10) }
    }
}

impl ClassificationSpec {
    /// Initialization of the new layer: N(0, 0.01²), biases 0.1.
    pub fn head() -> Fillers {
        super::gaussian(0.01, 0.1)
    }

    /// Table column for training from layer `first` on: `fc8`, `fc6-8`, `all`, `conv3-fc8`, `layer4.0-fc`.
    pub fn column(first: &str, backbone: &BackboneSpec) -> String {
        let head = backbone.layer("head");
        // fc6 to fc8 is written fc6-8.
        let stem = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let same = first[..stem(first)] == head[..stem(&head)];
        match first {
            _ if first == backbone.layer("all") => "all".into(),
            _ if first == head => head,
            _ if same => format!("{first}-{}", &head[stem(&head)..]),
            _ => format!("{first}-{head}"),
        }
    }
}

/// A multi-label classifier of pictures.
pub struct Classification {
    net: Network,
    params: Params,
    draws: usize,
    train_set: Arc<dyn Annotated>,
    val_set: Arc<dyn Annotated>,
    last: Vec<ClassAveragePrecision>,
}

/// Average precision of one class; `None` if the validation set does not contain it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassAveragePrecision {
    pub class: String,
    pub average_precision: Option<f64>,
}

impl Classification {
    /// Wraps a network whose head has one output per class.
    ///
    /// # Errors
    /// A different number of outputs; a training set without any class.
    pub fn new(
        spec: &ClassificationSpec,
        (net, params): (Network, Params),
        (train_set, val_set): (Arc<dyn Annotated>, Arc<dyn Annotated>),
    ) -> Result<Self> {
        let classes = train_set.classes().len();
        ensure!(
            net.head().outputs == classes,
            "the network's {} has {} outputs for {classes} classes",
            net.head().label(),
            net.head().outputs
        );
        let shown = (0..train_set.len()).any(|i| train_set.presence(i).contains(&Presence::Present));
        ensure!(shown, "no training picture shows any of the classes: there is nothing to learn");
        Ok(Self { net, params, draws: spec.draws.get(), train_set, val_set, last: vec![] })
    }

    /// Results of the last evaluation by class.
    pub fn last(&self) -> &[ClassAveragePrecision] {
        &self.last
    }

    /// Mean over the classes that have an average precision.
    pub fn mean(&self) -> Option<f64> {
        let known: Vec<f64> = self.last.iter().filter_map(|c| c.average_precision).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// Logits `(B, classes)`.
    fn logits(&self, pixels: &Tensor, mode: &Mode) -> Result<Tensor> {
        let x = self.net.input().read(pixels)?;
        let logits = self.net.forward(&x, &[self.net.head().label()], mode)?.remove(0);
        let (batch, height, width, classes) = logits.dims4()?;
        ensure!(
            (height, width) == (1, 1),
            "the crop gives a map of {height}×{width} answers; give the crop that the network is made for \
             (AlexNet 227, small stem 29, VGG-16 224)"
        );
        Ok(logits.reshape((batch, classes))?)
    }

    /// Targets (1 = present) and mask (0 = ignored), `(B, classes)`.
    fn targets(&self, indices: &[usize], logits: &Tensor) -> Result<(Tensor, Tensor)> {
        let presence: Vec<Presence> = indices.iter().flat_map(|&i| self.train_set.presence(i)).collect();
        let tensor = |is: &dyn Fn(Presence) -> bool| {
            let values: Vec<f32> = presence.iter().map(|&p| f32::from(u8::from(is(p)))).collect();
            Tensor::from_vec(values, logits.dims(), logits.device())
        };
        Ok((tensor(&|p| p == Presence::Present)?, tensor(&|p| p != Presence::Ignored)?))
    }

    /// Logits summed over the draws: `[image][class]`.
    fn scores(&self, val: &mut Loader) -> Result<Vec<Vec<f64>>> {
        let mut sums = vec![vec![]; self.val_set.len()];
        for draw in 0..self.draws {
            val.seek(Position { epoch: draw as u64, batch: 0 });
            let measure = |batch: &Batch, _| {
                let logits = self.logits(&batch.pixels, &Mode::Frozen)?.to_vec2::<f32>()?;
                Ok(batch.indices.iter().copied().zip(logits).collect::<Vec<_>>())
            };
            val.fold(measure, |pictures| {
                for (index, logits) in pictures {
                    let sum: &mut Vec<f64> = &mut sums[index];
                    sum.resize(logits.len(), 0.0);
                    sum.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += f64::from(logit));
                }
                Ok(())
            })?;
        }
        Ok(sums)
    }

    /// Average precision of `class` over the readable pictures.
    fn average_precision(&self, class: usize, scores: &[Vec<f64>]) -> Option<f64> {
        let read = scores.iter().enumerate().filter(|(_, scores)| !scores.is_empty());
        stepwise(read.map(|(image, scores)| {
            let relevance = match self.val_set.presence(image)[class] {
                Presence::Present => Relevance::Relevant,
                Presence::Absent => Relevance::Irrelevant,
                Presence::Ignored => Relevance::Ignored,
            };
            (scores[class], relevance)
        }))
    }
}

impl Task for Classification {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let logits = self.logits(&batch.pixels, &Mode::Train(training.clone()))?;
        let (targets, mask) = self.targets(&batch.indices, &logits)?;
        // Caffe normalizes by the batch size, not by the number of classes.
        let loss = bce_with_logits(&logits, &targets, Some(&mask), batch.indices.len() as f64)?;
        Ok(StepOutput { loss, scalars: vec![] })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let scores = self.scores(val)?;
        let classes = self.val_set.classes().iter().enumerate();
        self.last = classes
            .map(|(class, name)| ClassAveragePrecision {
                class: name.clone(),
                average_precision: self.average_precision(class, &scores),
            })
            .collect();
        let mean = self.mean().context("no validation picture shows any of the classes")?;
        let metric = |name: String, value| Metric { name, value, better: Better::Higher };
        let known = self.last.iter().filter_map(|c| Some((&c.class, c.average_precision?)));
        let classes = known.map(|(class, value)| metric(format!("ap_{class}"), value));
        Ok(std::iter::once(metric("map".into(), mean)).chain(classes).collect())
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<ImagePanel>> {
        Ok(None)
    }
}
