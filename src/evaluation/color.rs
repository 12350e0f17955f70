//! Colorizations beside the truth: a trained network, the baselines Gray and Random, or finished pictures of any other
//! method, each scored in ab at every pixel of the validation images (paper section 3.1, items 1 and 3).
//!
//! A method is a way from a validation batch to ab and to 8-bit pictures. Baselines and finished pictures come through a
//! second data set that stands beside the first image by image, so that all are resized and cropped alike.

use super::interpretability::{Classifier, judge};
use crate::{
    backbones::vgg16::Vgg16Spec,
    bounded::{Count, Positive},
    color::{bins::Bins, decode::Decode, lab},
    data::{Batch, loader::Loader},
    metrics::{
        color::{ColorScores, ImageScores},
        interpretability::{Record, Renderings},
    },
    pretext::{
        color_prior::PriorSpec,
        colorizer::{Colorizer, lightness},
        supervised::labels,
    },
    spec_path::SpecPath,
    train::panel::Tile,
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How methods are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorEvaluationSpec {
    /// How a predicted distribution becomes a color; absent: the annealed mean at the temperature that the network's
    /// own spec names.
    pub decode: Option<DecodeSpec>,
    /// The distribution of colors whose inverse weighs the pixels of the second rebalanced measure.
    pub prior: PriorSpec,
    /// Resamples of the images behind the intervals.
    pub bootstrap: Count<1_000_000>,
    /// Images that are kept as pictures, evenly spaced over the validation set.
    pub pictures: Count,
    /// Who is asked what the pictures show, in their true colors, gray and recolored; needs labels.
    pub classifier: Option<ClassifierSpec>,
}

impl Default for ColorEvaluationSpec {
    fn default() -> Self {
        Self {
            decode: None,
            prior: PriorSpec::default(),
            bootstrap: Count::of(1000),
            pictures: Count::of(8),
            classifier: None,
        }
    }
}

/// A VGG-16 (paper section 3.1, item 2). In YAML: `classifier: { weights: vgg16.pth, classes: [0, 217, 482] }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierSpec {
    /// A weight file, also on the hub (`hf://…`).
    pub weights: SpecPath,
    /// What network the file holds, where it does not say so itself.
    #[serde(default)]
    pub vgg16: Option<Vgg16Spec>,
    /// The classifier's class of each class of the data set; absent: both count alike.
    #[serde(default)]
    pub classes: Option<Vec<u32>>,
}

/// A classifier that knows the data set's classes.
pub struct Judge {
    pub classifier: Classifier,
    /// See [`ClassifierSpec::classes`].
    pub classes: Option<Vec<u32>>,
}

impl Judge {
    /// The answers to a batch's pictures.
    fn answers(&self, batch: &Batch, truth: &Tensor, colored: &Colored) -> Result<Vec<Record>> {
        let labels = labels(batch)?.to_vec1::<u32>()?;
        let class = |label: u32| match &self.classes {
            None => Ok(label),
            Some(classes) => classes.get(label as usize).copied().with_context(|| {
                format!("`classes` names {} classes, but there is a label {label}", classes.len())
            }),
        };
        let classes = labels.into_iter().map(class).collect::<Result<Vec<u32>>>()?;
        let images: Vec<u32> = batch.indices.iter().map(|index| *index as u32).collect();
        let (original, recolored) = (batch.pixels.clone(), colored.rgb.clone());
        judge(&self.classifier, &Renderings { original, gray: gray(truth)?, recolored }, &images, &classes)
    }
}

/// In YAML: `decode: mean`, `decode: mode` or `decode: { annealed: 0.38 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DecodeSpec {
    Mean,
    Mode,
    /// The annealed mean with this temperature.
    Annealed(Positive),
}

impl From<DecodeSpec> for Decode {
    fn from(spec: DecodeSpec) -> Self {
        match spec {
            DecodeSpec::Mean => Self::Mean,
            DecodeSpec::Mode => Self::Mode,
            DecodeSpec::Annealed(temperature) => Self::Annealed(temperature.get() as f32),
        }
    }
}

/// A way of coloring.
pub enum Method {
    Network {
        colorizer: Box<Colorizer>,
        decode: Decode,
    },
    /// ab = 0 everywhere.
    Gray,
    /// The colors of the pictures that this gives, on the true lightness.
    Colors(Loader),
    /// The pictures that this gives, as they are.
    Pictures(Loader),
}

/// A colored batch.
struct Colored {
    /// `(B, H, W, 2)`, not clipped to the gamut where a network made it.
    ab: Tensor,
    /// u8 RGB `(B, H, W, 3)`
    rgb: Tensor,
}

impl Method {
    /// Back to the first batch.
    pub fn rewind(&mut self) {
        if let Self::Colors(loader) | Self::Pictures(loader) = self {
            loader.rewind();
        }
    }

    /// Colors the truth's batch, given in Lab `(B, H, W, 3)`.
    fn color(&mut self, batch: &Batch, truth: &Tensor) -> Result<Colored> {
        let (light, true_ab) = (truth.narrow(3, 0, 1)?.contiguous()?, truth.narrow(3, 1, 2)?);
        let ab = match self {
            Self::Network { colorizer, decode } => colorizer.color(&lightness(truth)?, *decode)?,
            Self::Gray => true_ab.zeros_like()?,
            Self::Colors(loader) => ab_of(&beside(loader, batch)?)?,
            Self::Pictures(loader) => {
                let rgb = beside(loader, batch)?;
                return Ok(Colored { ab: ab_of(&rgb)?, rgb });
            }
        };
        let rgb = lab::lab_to_rgb(&Tensor::cat(&[&light, &ab], 3)?)?;
        Ok(Colored { ab, rgb })
    }
}

fn ab_of(rgb: &Tensor) -> Result<Tensor> {
    Ok(lab::rgb_to_lab(rgb)?.narrow(3, 1, 2)?.contiguous()?)
}

/// The batch of `loader` that stands beside `batch`.
fn beside(loader: &mut Loader, batch: &Batch) -> Result<Tensor> {
    let other = loader.next_batch()?;
    let pixels = other.filter(|other| other.indices == batch.indices).map(|other| other.pixels);
    pixels.with_context(|| {
        let faults = loader.faults();
        let named = faults.iter().map(|(name, reason)| format!("{name}: {reason}")).collect::<Vec<_>>();
        format!(
            "each validation image needs one picture beside it, and they do not pair: repair or remove what cannot be \
             read on one side or the other ({})",
            if named.is_empty() { "all pictures beside them can be read".into() } else { named.join("; ") }
        )
    })
}

/// What a method's pictures are worth.
pub struct Evaluation {
    pub scores: ColorScores,
    /// Of the predicted colors, and of the true ones.
    pub histogram: AbHistogram,
    pub truth: AbHistogram,
    pub examples: Vec<Example>,
    /// What the classifier answered, where there is one.
    pub records: Vec<Record>,
}

/// What every method is measured with.
pub struct Setting<'a> {
    pub bins: &'a Bins,
    /// The probability of every bin.
    pub prior: &'a [f64],
    pub judge: Option<Judge>,
    /// The names of the validation images.
    pub names: &'a dyn Fn(usize) -> String,
}

/// One validation image that is kept as pictures.
pub struct Example {
    /// Its number in the validation set.
    pub index: usize,
    pub truth: Tile,
    pub gray: Tile,
    pub result: Tile,
}

/// Scores `method` on one pass over `val`; both stand at their beginning. Every `every`-th image is kept as pictures, and
/// `progress` hears how many are done.
///
/// # Errors
/// Unreadable data; a network that predicts what is not finite; a classifier without labels.
pub fn evaluate(
    method: &mut Method,
    val: &mut Loader,
    setting: &Setting,
    every: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let mut evaluation = Evaluation {
        scores: ColorScores::new(Some(setting.prior)),
        histogram: AbHistogram::default(),
        truth: AbHistogram::default(),
        examples: vec![],
        records: vec![],
    };
    let mut done = 0;
    while let Some(batch) = val.next_batch()? {
        let truth = lab::rgb_to_lab(&batch.pixels)?;
        let colored = method.color(&batch, &truth)?;
        evaluation.add(&batch, &truth, &colored, setting)?;
        let kept = batch.indices.iter().filter(|index| index.is_multiple_of(every));
        evaluation.examples.extend(examples(&batch, &truth, &colored, kept.copied().collect())?);
        if let Some(judge) = &setting.judge {
            evaluation.records.extend(judge.answers(&batch, &truth, &colored)?);
        }
        done += batch.indices.len();
        progress(done);
    }
    ensure!(done > 0, "there are no validation images");
    Ok(evaluation)
}

/// The named images of the set as pictures, in one pass over `val`; both stand at their beginning.
///
/// # Errors
/// Unreadable data.
pub fn render(method: &mut Method, val: &mut Loader, images: &BTreeSet<usize>) -> Result<Vec<Example>> {
    let mut rendered = vec![];
    while let Some(batch) = val.next_batch()? {
        let truth = lab::rgb_to_lab(&batch.pixels)?;
        let wanted: BTreeSet<usize> = batch.indices.iter().copied().filter(|i| images.contains(i)).collect();
        // Methods that read pictures of their own must keep pace.
        if !wanted.is_empty() || !matches!(method, Method::Network { .. }) {
            let colored = method.color(&batch, &truth)?;
            rendered.extend(examples(&batch, &truth, &colored, wanted)?);
        }
    }
    Ok(rendered)
}

/// Some images of a batch, by their numbers in the set.
fn examples(
    batch: &Batch,
    truth: &Tensor,
    colored: &Colored,
    images: BTreeSet<usize>,
) -> Result<Vec<Example>> {
    let (_, height, width, _) = truth.dims4()?;
    let tile = |rgb: &Tensor| -> Result<Tile> { Ok((width, height, bytes(rgb)?)) };
    let wanted = batch.indices.iter().enumerate().filter(|(_, index)| images.contains(index));
    wanted
        .map(|(i, index)| {
            let gray = tile(&gray(&truth.narrow(0, i, 1)?)?)?;
            let (truth, result) = (tile(&batch.pixels.get(i)?)?, tile(&colored.rgb.get(i)?)?);
            Ok(Example { index: *index, truth, gray, result })
        })
        .collect()
}

impl Evaluation {
    fn add(&mut self, batch: &Batch, truth: &Tensor, colored: &Colored, setting: &Setting) -> Result<()> {
        let names: Vec<String> = batch.indices.iter().map(|index| (setting.names)(*index)).collect();
        let true_ab = truth.narrow(3, 1, 2)?.contiguous()?;
        let images = (0..names.len())
            .map(|i| Ok([pairs(&colored.ab.get(i)?)?, pairs(&true_ab.get(i)?)?]))
            .collect::<Result<Vec<_>>>()?;
        let pictures = (0..names.len())
            .map(|i| Ok([bytes(&colored.rgb.get(i)?)?, bytes(&batch.pixels.get(i)?)?]))
            .collect::<Result<Vec<_>>>()?;
        let scored =
            images.par_iter().zip(&pictures).zip(&names).map(|(([ab, truth], [rgb, true_rgb]), name)| {
                Ok(ImageScores::of(name, ab, truth, setting.bins)?.with_pictures(rgb, true_rgb)?)
            });
        for image in scored.collect::<Result<Vec<_>>>()? {
            self.scores.push(image);
        }
        for [ab, truth] in &images {
            self.histogram.add(ab);
            self.truth.add(truth);
        }
        Ok(())
    }
}

/// Lab pictures without their color, as u8 RGB.
fn gray(lab: &Tensor) -> candle_core::Result<Tensor> {
    let light = lab.narrow(3, 0, 1)?.contiguous()?;
    lab::lab_to_rgb(&Tensor::cat(&[&light, &light.zeros_like()?, &light.zeros_like()?], 3)?)
}

fn pairs(ab: &Tensor) -> Result<Vec<[f32; 2]>> {
    Ok(ab.flatten_all()?.to_vec1::<f32>()?.as_chunks::<2>().0.to_vec())
}

fn bytes(rgb: &Tensor) -> Result<Vec<u8>> {
    Ok(rgb.flatten_all()?.to_vec1::<u8>()?)
}

/// How often each color was predicted, in cells of [`AbHistogram::CELL`] ab units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AbHistogram {
    /// `(SIDE × SIDE)`, a by b, gray in the middle.
    pub counts: Vec<u64>,
}

impl Default for AbHistogram {
    fn default() -> Self {
        Self { counts: vec![0; Self::SIDE * Self::SIDE] }
    }
}

impl AbHistogram {
    /// Side of a cell, in ab units.
    pub const CELL: f32 = 4.0;
    /// Cells along an axis: ±110 ab units.
    pub const SIDE: usize = 55;

    /// Counts colors; those beyond the border count in the outermost cells.
    pub fn add(&mut self, ab: &[[f32; 2]]) {
        let middle = (Self::SIDE / 2) as f32;
        let cell = |v: f32| (v / Self::CELL + middle).round().clamp(0.0, 2.0 * middle) as usize;
        ab.iter().for_each(|[a, b]| self.counts[cell(*a) * Self::SIDE + cell(*b)] += 1);
    }

    /// The ab value at the middle of a cell.
    pub fn color(index: usize) -> [f32; 2] {
        let middle = (Self::SIDE / 2) as f32;
        [index / Self::SIDE, index % Self::SIDE].map(|i| (i as f32 - middle) * Self::CELL)
    }
}
