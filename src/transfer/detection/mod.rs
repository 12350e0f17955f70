//! PASCAL VOC detection with Fast R-CNN (Girshick, ICCV 2015), following Krähenbühl et al. (2016) and Zhang et al.
//! (2016, table 2): the last convolutional map is pooled inside proposed boxes and processed by fc6, fc7 and two new
//! layers, for the class and for the box offsets.

mod minibatch; // sampling of training boxes
mod network; // class scores and offsets
mod outcome; // scores to detections
mod targets; // regression targets

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
        detection::{Class, Detection, DetectionScores, Truth, evaluate},
    },
    nn::{Mode, TrainingPass, params::Params},
    ops::{
        losses::{cross_entropy, smooth_l1},
        roi_pool::Roi,
    },
    rng::Rng,
    train::{
        panel::{RgbTile, panel},
        task::{Better, ImagePanel, Metric, StepOutput, Task},
    },
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use minibatch::{RoiTarget, Sampler};
use network::RegionNetwork;
use outcome::{PictureDetections, TopDetections};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use targets::OffsetStatistics;

/// Pictures in the panel, and the score above which a detection is drawn.
const PANEL_PICTURES: usize = 6;
const MIN_DRAWN_SCORE: f64 = 0.3;

/// Fine-tuning of Fast R-CNN. The defaults are those of the released recipes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectionSpec {
    /// Source of the box proposals.
    #[serde(default)]
    pub proposals: ProposalSpec,
    /// Frozen layers of the backbone; absent: none.
    #[serde(default)]
    pub frozen: Option<Frozen>,
    /// Short sides of training pictures in pixels, one drawn for each picture.
    #[serde(default = "train_scales")]
    pub scales: Vec<Pixels>,
    /// Longest long side in training, in pixels.
    #[serde(default = "train_longest")]
    pub longest: Pixels,
    /// Short side in the test, in pixels.
    #[serde(default = "test_scale")]
    pub test_scale: Pixels,
    /// Longest long side in the test, in pixels.
    #[serde(default = "test_longest")]
    pub test_longest: Pixels,
    /// Boxes per picture in a step.
    #[serde(default = "rois")]
    pub rois: BatchSize,
    /// Maximum share of foreground boxes.
    #[serde(default = "quarter")]
    pub foreground: Fraction,
    /// Minimum overlap with an object for a foreground box.
    #[serde(default = "half")]
    pub foreground_iou: Fraction,
    /// Minimum overlap for a background box (the maximum is `foreground_iou`).
    #[serde(default = "tenth")]
    pub background_iou: NonNegative,
    /// Overlap above which non-maximum suppression removes the lower-scored detection.
    #[serde(default = "nms")]
    pub nms: Fraction,
    /// Average number of detections kept per class and picture.
    #[serde(default = "average_kept")]
    pub kept: Count,
    /// Most detections kept per class and picture.
    #[serde(default = "most_kept")]
    pub most: Count,
    /// Minimum overlap of a correct detection.
    #[serde(default = "half")]
    pub iou: Fraction,
    /// How a precision-recall curve becomes a number.
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
    /// Names of the layers that it adds to a network.
    pub const HEADS: [&str; 2] = RegionNetwork::HEADS;

    /// Scaling of training pictures.
    pub fn training(&self) -> CropPolicy {
        CropPolicy::Whole { scales: self.scales.clone(), longest: Some(self.longest.get()) }
    }

    /// Checks that a detector with `classes` classes can be built on a network.
    ///
    /// # Errors
    /// A network without fully connected layers.
    pub fn check_network((net, mut params): (Network, Params), classes: usize) -> Result<()> {
        RegionNetwork::new(net, classes, &mut params, &Rng::new(0)).map(drop)
    }

    /// Scaling of test pictures.
    pub fn test(&self) -> CropPolicy {
        CropPolicy::Whole { scales: vec![self.test_scale], longest: Some(self.test_longest.get()) }
    }
}

/// A data set with the proposals of each picture, in stored-picture coordinates.
#[derive(Clone)]
pub struct ProposedSet {
    pub set: Arc<dyn Annotated>,
    pub proposals: Arc<Vec<Vec<Rect>>>,
}

/// A Fast R-CNN detector.
pub struct DetectionTask {
    net: RegionNetwork,
    params: Params,
    spec: DetectionSpec,
    sampler: Sampler,
    spread: OffsetStatistics,
    val: ProposedSet,
    last: Option<DetectionResults>,
}

/// Results of the last evaluation.
#[derive(Clone, Debug)]
pub struct DetectionResults {
    pub scores: DetectionScores,
    /// For each class, over all pictures.
    pub detections: Vec<Vec<Detection>>,
}

impl DetectionTask {
    /// Builds the detector on a network of the regions variant without head, adding the two new layers.
    ///
    /// # Errors
    /// A training set without foreground boxes.
    pub fn new(
        spec: &DetectionSpec,
        (net, mut params): (Network, Params),
        (train, val): (ProposedSet, ProposedSet),
        rng: &Rng,
    ) -> Result<Self> {
        let classes = train.set.classes().len();
        let net = RegionNetwork::new(net, classes, &mut params, &rng.split("detection"))?;
        let sampler = Sampler::new(spec, &train)?;
        let spread = OffsetStatistics::of(sampler.foreground_pairs(), classes).with_context(|| {
            let iou = spec.foreground_iou;
            format!(
                "no proposed box of the training set overlaps an object by {iou}: there is nothing to learn"
            )
        })?;
        Ok(Self { net, params, spec: spec.clone(), sampler, spread, val, last: None })
    }

    /// Results of the last evaluation.
    pub fn last(&self) -> Option<&DetectionResults> {
        self.last.as_ref()
    }

    /// Scores and decoded boxes of every proposal of one picture of the batch.
    fn picture_detections(&self, batch: &Batch, at: usize) -> Result<PictureDetections> {
        let (index, frame) = (batch.indices[at], &batch.frames[at]);
        let proposals = &self.val.proposals[index];
        if proposals.is_empty() {
            return Ok(PictureDetections::default());
        }
        let pixels = batch.pixels.narrow(0, at, 1)?.narrow(1, 0, frame.size.1)?.narrow(2, 0, frame.size.0)?;
        let rois = outcome::distinct_on_map(proposals, frame, self.net.stride());
        let bounds: Vec<Roi> = rois.iter().map(|roi| Roi { image: 0, bounds: frame.place(roi) }).collect();
        let (scores, offsets) = self.net.forward(&pixels.contiguous()?, &bounds, &Mode::Frozen)?;
        outcome::decode(&rois, &scores, &offsets, &self.spread, self.val.set.size(index))
    }

    /// Draws a box with its class name.
    fn draw(&self, tile: &mut RgbTile, bounds: &Rect, class: usize) -> Result<()> {
        let color = drawing::class_color(class);
        drawing::outline(tile, bounds, color);
        let name = self.val.set.classes().get(class).map_or("", String::as_str);
        drawing::label(tile, bounds, name, color)
    }

    fn detect(&self, val: &mut Loader) -> Result<Vec<Vec<Detection>>> {
        let classes = self.val.set.classes().len();
        let mut best = TopDetections::new(classes, self.val.set.len(), &self.spec);
        let measure = |batch: &Batch, _| {
            let of_picture = |at: usize| Ok((batch.indices[at], self.picture_detections(batch, at)?));
            (0..batch.indices.len()).map(of_picture).collect::<Result<Vec<_>>>()
        };
        val.fold(measure, |pictures| {
            pictures.into_iter().for_each(|(index, found)| best.add(index, found));
            Ok(())
        })?;
        Ok(best.after_nms())
    }

    fn score(&self, detections: &[Vec<Detection>]) -> Result<DetectionScores> {
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

impl Task for DetectionTask {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let examples = self.sampler.draw(batch, &training.rng.split("boxes"));
        ensure!(!examples.is_empty(), "no proposed box of these pictures shows an object or background");
        let rois: Vec<Roi> = examples.iter().map(|e| e.roi).collect();
        let (scores, offsets) = self.net.forward(&batch.pixels, &rois, &Mode::Train(training.clone()))?;
        let labels: Vec<u32> = examples.iter().map(RoiTarget::label).collect();
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
        Ok(StepOutput { loss, scalars })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let detections = self.detect(val)?;
        let scores = self.score(&detections)?;
        let mean = scores.mean.context("no validation picture shows an object that is not difficult")?;
        let metric = |name: String, value| Metric { name, value, better: Better::Higher };
        let known = scores.classes.iter().filter_map(|c| Some((&c.class, c.average_precision?)));
        let classes: Vec<Metric> = known.map(|(class, ap)| metric(format!("ap_{class}"), ap)).collect();
        self.last = Some(DetectionResults { scores, detections });
        Ok(std::iter::once(metric("map".into(), mean)).chain(classes).collect())
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(outcome) = &self.last else { return Ok(None) };
        let step = (self.val.set.len() / PANEL_PICTURES).max(1);
        let mut tiles = vec![];
        for index in (0..self.val.set.len()).step_by(step).take(PANEL_PICTURES) {
            // The loader has already counted unreadable pictures.
            let Ok(image) = self.val.set.image(index) else { continue };
            let (mut truth, mut found) = (drawing::tile(&image), drawing::tile(&image));
            for object in self.val.set.objects(index) {
                self.draw(&mut truth, &object.bounds, object.class)?;
            }
            for (class, detections) in outcome.detections.iter().enumerate() {
                for detection in detections.iter().filter(|d| d.image == index && d.score >= MIN_DRAWN_SCORE)
                {
                    self.draw(&mut found, &detection.bounds, class)?;
                }
            }
            tiles.push(vec![truth, found]);
        }
        if tiles.is_empty() {
            return Ok(None);
        }
        let (width, height, rgb) = panel(&tiles, &["truth", "detected"], 1)?;
        Ok(Some(ImagePanel { name: "detections".into(), width, height, rgb }))
    }
}
