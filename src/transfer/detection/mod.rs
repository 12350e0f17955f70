//! PASCAL VOC detection with Fast R-CNN (Girshick, ICCV 2015), as Krähenbühl et al. (2016) and Zhang et al. (2016, table 2)
//! measure features: the last convolutional map of a picture, pooled inside proposed boxes, read by fc6 and fc7 and by two
//! new layers, one for the class and one for where the box should have been.

mod minibatch; // boxes that a step learns from
mod network; // scores and offsets of boxes
mod outcome; // from scores to detections
mod targets; // what the offsets should be

use super::{Frozen, drawing};
use crate::{
    backbones::network::Network,
    bounded::{BatchSize, Count, Fraction, NonNegative, Pixels},
    boxes::Rect,
    data::{
        Batch, annotated::Annotated, crop_policy::CropPolicy, loader::Loader, proposals::spec::ProposalSpec,
    },
    metrics::{
        average_precision::ApInterpolation,
        detection::{Class, Detection as Found, DetectionScores, Truth, evaluate},
    },
    nn::{Mode, params::Params},
    ops::{
        losses::{cross_entropy, smooth_l1},
        roi_pool::Roi,
    },
    rng::Rng,
    train::{
        panel::{Tile, panel},
        task::{Better, Metric, Panel, Step, Task},
    },
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use minibatch::{Example, Sampler};
use network::RegionNetwork;
use outcome::{Best, PictureDetections};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use targets::Spread;

/// Pictures in the panel for people, and the score above which a detection is drawn.
const SHOWN: usize = 6;
const DRAWN: f64 = 0.3;

/// What is fine-tuned, and how it is tested; the defaults are those of the released recipes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionSpec {
    /// Where boxes are proposed.
    #[serde(default)]
    pub proposals: ProposalSpec,
    /// Rows that do not learn.
    #[serde(default)]
    pub frozen: Option<Frozen>,
    /// Short sides that a training picture is scaled to, one drawn for each.
    #[serde(default = "train_scales")]
    pub scales: Vec<Pixels>,
    /// Long side that no scaling exceeds in training.
    #[serde(default = "train_longest")]
    pub longest: Pixels,
    #[serde(default = "test_scale")]
    pub test_scale: Pixels,
    #[serde(default = "test_longest")]
    pub test_longest: Pixels,
    /// Boxes of each picture that a step learns from.
    #[serde(default = "rois")]
    pub rois: BatchSize,
    /// Share of them that show objects, at most.
    #[serde(default = "quarter")]
    pub foreground: Fraction,
    /// Overlap with an object from which a box shows it.
    #[serde(default = "half")]
    pub foreground_iou: Fraction,
    /// Overlap from which (and up to `foreground_iou`) a box shows background.
    #[serde(default = "tenth")]
    pub background_iou: NonNegative,
    /// Overlap above which the worse of two detections goes.
    #[serde(default = "nms")]
    pub nms: Fraction,
    /// Detections of a class that are kept for each picture on average, and at most.
    #[serde(default = "average_kept")]
    pub kept: Count,
    #[serde(default = "most_kept")]
    pub most: Count,
    /// Overlap from which a detection is right.
    #[serde(default = "half")]
    pub iou: Fraction,
    /// `voc07` (eleven points) or `area` (VOC2010 and later)
    #[serde(default = "voc07")]
    pub rule: ApInterpolation,
}

fn train_scales() -> Vec<Pixels> {
    [480, 576, 688, 864, 1200].map(Count::of).to_vec()
}
fn train_longest() -> Pixels {
    Count::of(2000)
}
fn test_scale() -> Pixels {
    Count::of(600)
}
fn test_longest() -> Pixels {
    Count::of(1000)
}
fn rois() -> BatchSize {
    Count::of(64)
}
fn quarter() -> Fraction {
    Fraction::of(0.25)
}
fn half() -> Fraction {
    Fraction::of(0.5)
}
fn tenth() -> NonNegative {
    NonNegative::of(0.1)
}
fn nms() -> Fraction {
    Fraction::of(0.3)
}
fn average_kept() -> Count {
    Count::of(40)
}
fn most_kept() -> Count {
    Count::of(100)
}
fn voc07() -> ApInterpolation {
    ApInterpolation::Voc07
}

impl Default for DetectionSpec {
    fn default() -> Self {
        Self {
            proposals: ProposalSpec::default(),
            frozen: None,
            scales: train_scales(),
            longest: train_longest(),
            test_scale: test_scale(),
            test_longest: test_longest(),
            rois: rois(),
            foreground: quarter(),
            foreground_iou: half(),
            background_iou: tenth(),
            nms: nms(),
            kept: average_kept(),
            most: most_kept(),
            iou: half(),
            rule: voc07(),
        }
    }
}

impl DetectionSpec {
    /// How training pictures are framed.
    pub fn training(&self) -> CropPolicy {
        CropPolicy::Whole { scales: self.scales.clone(), longest: Some(self.longest.get()) }
    }

    /// Whether a detector of so many classes can be made of a network.
    ///
    /// # Errors
    /// A network without fully connected layers.
    pub fn check_network((net, mut params): (Network, Params), classes: usize) -> Result<()> {
        RegionNetwork::new(net, classes, &mut params, &Rng::new(0)).map(drop)
    }

    /// How pictures are framed in the test.
    pub fn test(&self) -> CropPolicy {
        CropPolicy::Whole { scales: vec![self.test_scale], longest: Some(self.test_longest.get()) }
    }
}

/// A set with the boxes proposed on each of its pictures, on the stored picture.
#[derive(Clone)]
pub struct ProposedSet {
    pub set: Arc<dyn Annotated>,
    pub proposals: Arc<Vec<Vec<Rect>>>,
}

/// A network that finds objects.
pub struct Detection {
    net: RegionNetwork,
    params: Params,
    spec: DetectionSpec,
    sampler: Sampler,
    spread: Spread,
    val: ProposedSet,
    last: Option<Outcome>,
}

/// What the last evaluation found.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub scores: DetectionScores,
    /// For each class, over all pictures.
    pub detections: Vec<Vec<Found>>,
}

impl Detection {
    /// Of a network on the regions graph without a head: the two new layers are added here.
    ///
    /// # Errors
    /// A training set without an object that a box shows.
    pub fn new(
        spec: &DetectionSpec,
        (net, mut params): (Network, Params),
        (train, val): (ProposedSet, ProposedSet),
        rng: &Rng,
    ) -> Result<Self> {
        let classes = train.set.classes().len();
        let net = RegionNetwork::new(net, classes, &mut params, &rng.split("detection"))?;
        let sampler = Sampler::new(spec, &train)?;
        let spread = Spread::of(sampler.regressed(), classes).with_context(|| {
            let iou = spec.foreground_iou;
            format!(
                "no proposed box of the training set overlaps an object by {iou}: there is nothing to learn"
            )
        })?;
        Ok(Self { net, params, spec: spec.clone(), sampler, spread, val, last: None })
    }

    /// What the last evaluation found.
    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// Scores and decoded boxes of every proposal of one framed picture.
    fn picture_detections(&self, batch: &Batch, at: usize) -> Result<PictureDetections> {
        let (index, frame) = (batch.indices[at], &batch.frames[at]);
        let proposals = &self.val.proposals[index];
        if proposals.is_empty() {
            return Ok(PictureDetections::default());
        }
        let pixels = batch.pixels.narrow(0, at, 1)?.narrow(1, 0, frame.size.1)?.narrow(2, 0, frame.size.0)?;
        let rois = outcome::distinct(proposals, frame, self.net.stride());
        let bounds: Vec<Roi> = rois.iter().map(|roi| Roi { image: 0, bounds: frame.place(roi) }).collect();
        let (scores, offsets) = self.net.forward(&pixels.contiguous()?, &bounds, &Mode::Frozen)?;
        outcome::decode(&rois, &scores, &offsets, &self.spread, self.val.set.size(index))
    }

    /// A box with the name of its class.
    fn draw(&self, tile: &mut Tile, bounds: &Rect, class: usize) -> Result<()> {
        let color = drawing::class_color(class);
        drawing::outline(tile, bounds, color);
        let name = self.val.set.classes().get(class).map_or("", String::as_str);
        drawing::name(tile, bounds, name, color)
    }

    fn detect(&self, val: &mut Loader) -> Result<Vec<Vec<Found>>> {
        let classes = self.val.set.classes().len();
        let mut best = Best::new(classes, self.val.set.len(), &self.spec);
        while let Some(batch) = val.next_batch()? {
            for at in 0..batch.indices.len() {
                best.add(batch.indices[at], self.picture_detections(&batch, at)?);
            }
        }
        Ok(best.suppressed())
    }

    fn score(&self, detections: &[Vec<Found>]) -> Result<DetectionScores> {
        let set = &self.val.set;
        let truth = |class: usize| {
            let of = |image| set.objects(image).iter().filter(|o| o.class == class);
            let truth =
                |image| of(image).map(|o| Truth { bounds: o.bounds, difficult: o.difficult }).collect();
            (0..set.len()).map(truth).collect()
        };
        let class = |(class, name): (usize, &String)| Class {
            name: name.clone(),
            detections: detections[class].clone(),
            truth: truth(class),
        };
        let classes: Vec<Class> = set.classes().iter().enumerate().map(class).collect();
        Ok(evaluate(&classes, self.spec.iou.get(), self.spec.rule)?)
    }
}

impl Task for Detection {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, rng: &Rng) -> Result<Step> {
        let examples = self.sampler.draw(batch, &rng.split("boxes"));
        ensure!(!examples.is_empty(), "no proposed box of these pictures shows an object or background");
        let rois: Vec<Roi> = examples.iter().map(|e| e.roi).collect();
        let (scores, offsets) = self.net.forward(&batch.pixels, &rois, &Mode::Train(rng.clone()))?;
        let labels: Vec<u32> = examples.iter().map(Example::label).collect();
        let labels = Tensor::from_vec(labels, examples.len(), scores.device())?;
        let class_loss = cross_entropy(&scores, &labels, None)?;
        let (wanted, weights) = self.spread.targets(&examples, offsets.dims(), offsets.device())?;
        let box_loss = smooth_l1(&offsets, &wanted, &weights, examples.len() as f64)?;
        let loss = (&class_loss + &box_loss)?;
        let scalars = vec![
            ("loss", loss.detach()),
            ("class_loss", class_loss.detach()),
            ("box_loss", box_loss.detach()),
        ];
        Ok(Step { loss, scalars })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let detections = self.detect(val)?;
        let scores = self.score(&detections)?;
        let mean = scores.mean.context("no validation picture shows an object that is not difficult")?;
        let metric = |name: String, value| Metric { name, value, better: Better::Higher };
        let known = scores.classes.iter().filter_map(|c| Some((&c.class, c.average_precision?)));
        let classes: Vec<Metric> = known.map(|(class, ap)| metric(format!("ap_{class}"), ap)).collect();
        self.last = Some(Outcome { scores, detections });
        Ok(std::iter::once(metric("map".into(), mean)).chain(classes).collect())
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<Panel>> {
        let Some(outcome) = &self.last else { return Ok(None) };
        let step = (self.val.set.len() / SHOWN).max(1);
        let mut tiles = vec![];
        for index in (0..self.val.set.len()).step_by(step).take(SHOWN) {
            // A picture that cannot be read was counted by the loader; there is nothing of it to draw.
            let Ok(image) = self.val.set.image(index) else { continue };
            let (mut truth, mut found) = (drawing::tile(&image), drawing::tile(&image));
            for object in self.val.set.objects(index) {
                self.draw(&mut truth, &object.bounds, object.class)?;
            }
            for (class, detections) in outcome.detections.iter().enumerate() {
                for detection in detections.iter().filter(|d| d.image == index && d.score >= DRAWN) {
                    self.draw(&mut found, &detection.bounds, class)?;
                }
            }
            tiles.push(vec![truth, found]);
        }
        if tiles.is_empty() {
            return Ok(None);
        }
        let (width, height, rgb) = panel(&tiles, &["truth", "detected"], 1)?;
        Ok(Some(Panel { name: "detections".into(), width, height, rgb }))
    }
}
