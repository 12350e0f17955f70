//! Evaluation of colorizations against the ground truth: a trained network, the baselines Gray and Random, or finished
//! pictures of any other method. Each is scored in ab at every pixel of the validation images (paper section 3.1,
//! items 1 and 3).
//!
//! A method maps a validation batch to ab and 8-bit pictures. Baselines and finished pictures are read from a second
//! data set, paired with the first image by image, so that both are resized and cropped identically.

use super::interpretability::{Classifier, classify_renderings};
use crate::{
    backbones::vgg16::Vgg16Spec,
    bounded::{Count, Positive},
    color::{bins::Bins, decode::Decode, gray::Gray, lab},
    data::{Batch, loader::Loader},
    metrics::{
        color::{ColorScores, ImageScores},
        interpretability::{Record, Renderings},
    },
    pretext::{color_prior::PriorSpec, colorizer::Colorizer, supervised::labels},
    spec_path::SpecPath,
    train::panel::RgbTile,
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a color evaluation measures and shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Color measures")]
pub struct ColorEvaluationSpec {
    /// How predicted distributions become colors; absent: by the annealed mean with the temperature in the network's
    /// spec.
    pub decode: Option<DecodeSpec>,
    /// Gray picture that networks see and results keep; absent: that which each network was made for, mostly `lightness`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gray: Option<GraySpec>,
    /// Color prior whose inverse weighs the pixels of the second rebalanced metric.
    pub prior: PriorSpec,
    /// Resamples of the pictures for the confidence intervals.
    pub bootstrap: Count<1_000_000>,
    /// Number of example pictures, evenly spaced over the validation set.
    pub pictures: Count,
    /// Classifier of the original, gray and recolored pictures; needs labels.
    pub classifier: Option<ClassifierSpec>,
}

impl Default for ColorEvaluationSpec {
    fn default() -> Self {
        Self {
            decode: None,
            gray: None,
            prior: PriorSpec::default(),
            bootstrap: Count::of(1000),
            pictures: Count::of(8),
            classifier: None,
        }
    }
}

/// A VGG-16 that classifies recolored pictures (paper section 3.1, item 2). In YAML: `classifier: { weights:
/// vgg16.pth, classes: [0, 217, 482] }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Classifier of recolored pictures")]
pub struct ClassifierSpec {
    /// A weight file, or a file on the hub (`hf://…`).
    pub weights: SpecPath,
    /// The architecture, if the weight file does not state it.
    #[serde(default)]
    pub vgg16: Option<Vgg16Spec>,
    /// Class of the classifier for each class of the data set; absent: the numberings are the same.
    #[serde(default)]
    pub classes: Option<Vec<u32>>,
}

/// A classifier with a mapping from the data set's classes.
pub struct LabeledClassifier {
    pub vgg: Classifier,
    /// See [`ClassifierSpec::classes`].
    pub classes: Option<Vec<u32>>,
}

impl LabeledClassifier {
    /// Classifies a batch's pictures in all renderings.
    fn classify(&self, truth: &TrueBatch, colored: &ColorizedBatch) -> Result<Vec<Record>> {
        let batch = truth.batch;
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
        classify_renderings(
            &self.vgg,
            &Renderings { original, gray: truth.gray_pictures()?, recolored },
            &images,
            &classes,
        )
    }
}

/// How a predicted distribution becomes a color. In YAML: `decode: mean` or `decode: { annealed: 0.38 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Decoding")]
pub enum DecodeSpec {
    /// The mean.
    Mean,
    /// The most probable color.
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

/// Gray value of a color picture. In YAML: `gray: average`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Gray")]
pub enum GraySpec {
    /// L of Lab.
    Lightness,
    /// (R + G + B) / 3, as in comparisons on SUN.
    Average,
    /// Y of YUV.
    Luma,
}

impl GraySpec {
    /// How tables call it.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Lightness => "L",
            Self::Average => "(R+G+B)/3",
            Self::Luma => "luma",
        }
    }
}

impl From<GraySpec> for Gray {
    fn from(spec: GraySpec) -> Self {
        match spec {
            GraySpec::Lightness => Self::Lightness,
            GraySpec::Average => Self::Average,
            GraySpec::Luma => Self::Luma,
        }
    }
}

/// A colorization method.
pub enum ColorizationMethod {
    Network {
        colorizer: Box<Colorizer>,
        decode: Decode,
    },
    /// ab = 0 everywhere.
    Gray,
    /// The colors of the loader's pictures on the true lightness.
    Colors(Loader),
    /// The loader's pictures, unchanged.
    Pictures(Loader),
}

/// A batch of true pictures, and what methods see and keep of it.
struct TrueBatch<'a> {
    batch: &'a Batch,
    /// Lab `(B, H, W, 3)`.
    lab: Tensor,
    /// What all networks see, if not what each was made for.
    gray: Option<Gray>,
    /// Lightness that results keep, `(B, H, W, 1)`.
    light: Tensor,
}

impl<'a> TrueBatch<'a> {
    fn of(batch: &'a Batch, gray: Option<Gray>) -> Result<Self> {
        let lab = lab::rgb_to_lab(&batch.pixels)?;
        let light = match gray {
            None => lab.narrow(3, 0, 1)?.contiguous()?,
            Some(gray) => gray.of_pictures(&batch.pixels)?.affine(1.0, 50.0)?,
        };
        Ok(Self { batch, lab, gray, light })
    }

    /// ab `(B, H, W, 2)`.
    fn ab(&self) -> Result<Tensor> {
        Ok(self.lab.narrow(3, 1, 2)?.contiguous()?)
    }

    /// u8 RGB without color `(B, H, W, 3)`.
    fn gray_pictures(&self) -> Result<Tensor> {
        Ok(lab::lab_to_rgb(&Tensor::cat(&[&self.light, &self.ab()?.zeros_like()?], 3)?)?)
    }
}

/// A colorized batch.
struct ColorizedBatch {
    /// `(B, H, W, 2)`; a network's output is not clipped to the gamut.
    ab: Tensor,
    /// u8 RGB `(B, H, W, 3)`.
    rgb: Tensor,
}

impl ColorizationMethod {
    /// Rewinds to the first batch.
    pub fn rewind(&mut self) {
        if let Self::Colors(loader) | Self::Pictures(loader) = self {
            loader.rewind();
        }
    }

    /// Lets its loader, if it has one, go through the batches of this process's share of `val`.
    fn take_share_of(&mut self, val: &Loader) {
        if let (Self::Colors(loader) | Self::Pictures(loader), Some(peers)) = (self, val.peers()) {
            loader.take_share(peers.rank(), peers.size());
        }
    }

    /// Lets its loader go through all batches again.
    fn take_all(&mut self) {
        if let Self::Colors(loader) | Self::Pictures(loader) = self {
            loader.take_share(0, 1);
        }
    }

    fn color(&mut self, truth: &TrueBatch) -> Result<ColorizedBatch> {
        let ab = match self {
            Self::Network { colorizer, decode } => {
                let gray = truth.gray.unwrap_or(colorizer.gray());
                colorizer.color(&gray.of_pictures(&truth.batch.pixels)?, *decode)?
            }
            Self::Gray => truth.ab()?.zeros_like()?,
            Self::Colors(loader) => ab_of(&paired_batch(loader, truth.batch)?)?,
            Self::Pictures(loader) => {
                let rgb = paired_batch(loader, truth.batch)?;
                return Ok(ColorizedBatch { ab: ab_of(&rgb)?, rgb });
            }
        };
        let rgb = lab::lab_to_rgb(&Tensor::cat(&[&truth.light, &ab], 3)?)?;
        Ok(ColorizedBatch { ab, rgb })
    }
}

fn ab_of(rgb: &Tensor) -> Result<Tensor> {
    Ok(lab::rgb_to_lab(rgb)?.narrow(3, 1, 2)?.contiguous()?)
}

/// The batch of `loader` that pairs with `batch`.
fn paired_batch(loader: &mut Loader, batch: &Batch) -> Result<Tensor> {
    let other = loader.next_batch()?;
    let pixels = other.filter(|other| other.indices == batch.indices).map(|other| other.pixels);
    pixels.with_context(|| {
        let faults = loader.faults();
        let named = faults.iter().map(|(name, reason)| format!("{name}: {reason}")).collect::<Vec<_>>();
        format!(
            "each validation image must pair with one picture: repair or remove unreadable files on either side ({})",
            if named.is_empty() { "all paired pictures can be read".into() } else { named.join("; ") }
        )
    })
}

/// Results of one method.
pub struct Evaluation {
    pub scores: ColorScores,
    /// Histograms of the predicted and the true colors.
    pub histogram: AbHistogram,
    pub truth: AbHistogram,
    pub examples: Vec<ExampleImage>,
    /// Classifier predictions, if there is a classifier.
    pub records: Vec<Record>,
}

/// Evaluation inputs shared by all methods.
pub struct EvaluationContext<'a> {
    pub bins: &'a Bins,
    /// The probability of every bin.
    pub prior: &'a [f64],
    pub classifier: Option<LabeledClassifier>,
    /// Gray picture that networks see and results keep; None: that of each network.
    pub gray: Option<Gray>,
    /// Names of the validation images.
    pub names: &'a dyn Fn(usize) -> String,
}

/// One example image in all renderings.
#[derive(Serialize, Deserialize)]
pub struct ExampleImage {
    /// Index in the validation set.
    pub index: usize,
    pub truth: RgbTile,
    pub gray: RgbTile,
    pub result: RgbTile,
}

/// Scores `method` on one pass over `val`; both must be rewound. Every `every`-th image becomes an example, and
/// `progress` is called with the number of images done.
///
/// # Errors
/// Unreadable data; non-finite predictions; a classifier without labels.
pub fn evaluate(
    method: &mut ColorizationMethod,
    val: &mut Loader,
    context: &EvaluationContext,
    every: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let mut evaluation = Evaluation {
        scores: ColorScores::new(Some(context.prior)),
        histogram: AbHistogram::default(),
        truth: AbHistogram::default(),
        examples: vec![],
        records: vec![],
    };
    method.take_share_of(val);
    let measure = |batch: &Batch, _| {
        let truth = TrueBatch::of(batch, context.gray)?;
        let colored = method.color(&truth)?;
        MeasuredBatch::of(&truth, &colored, context, every)
    };
    let mut done = 0;
    val.fold(measure, |batch: MeasuredBatch| {
        done += batch.scores.len();
        evaluation.merge(batch);
        progress(done);
        Ok(())
    })?;
    method.take_all();
    ensure!(done > 0, "there are no validation images");
    Ok(evaluation)
}

/// Renders the given images of the set in one pass over `val`, as [`evaluate`] does with that `gray`; both must be rewound.
///
/// # Errors
/// Unreadable data.
pub fn render(
    method: &mut ColorizationMethod,
    val: &mut Loader,
    gray: Option<Gray>,
    images: &BTreeSet<usize>,
) -> Result<Vec<ExampleImage>> {
    let mut rendered = vec![];
    while let Some(batch) = val.next_batch()? {
        let truth = TrueBatch::of(&batch, gray)?;
        let wanted: BTreeSet<usize> = batch.indices.iter().copied().filter(|i| images.contains(i)).collect();
        // Methods with a loader of their own must advance with `val`.
        if !wanted.is_empty() || !matches!(method, ColorizationMethod::Network { .. }) {
            let colored = method.color(&truth)?;
            rendered.extend(examples(&truth, &colored, wanted)?);
        }
    }
    Ok(rendered)
}

/// Renders some images of a batch, given by their index in the set.
fn examples(
    truth: &TrueBatch,
    colored: &ColorizedBatch,
    images: BTreeSet<usize>,
) -> Result<Vec<ExampleImage>> {
    let (_, height, width, _) = truth.lab.dims4()?;
    let tile = |rgb: &Tensor| -> Result<RgbTile> { Ok((width, height, bytes(rgb)?)) };
    let (batch, gray) = (truth.batch, truth.gray_pictures()?);
    let wanted = batch.indices.iter().enumerate().filter(|(_, index)| images.contains(index));
    wanted
        .map(|(i, index)| {
            let [truth, gray, result] =
                [&batch.pixels, &gray, &colored.rgb].map(|pictures| tile(&pictures.get(i)?));
            let (truth, gray, result) = (truth?, gray?, result?);
            Ok(ExampleImage { index: *index, truth, gray, result })
        })
        .collect()
}

/// What is found in one batch.
#[derive(Serialize, Deserialize)]
struct MeasuredBatch {
    scores: Vec<ImageScores>,
    /// Predicted and true colors by occupied cell.
    histograms: [Vec<(usize, u64)>; 2],
    examples: Vec<ExampleImage>,
    records: Vec<Record>,
}

impl MeasuredBatch {
    fn of(
        truth: &TrueBatch,
        colored: &ColorizedBatch,
        context: &EvaluationContext,
        every: usize,
    ) -> Result<Self> {
        let batch = truth.batch;
        let names: Vec<String> = batch.indices.iter().map(|index| (context.names)(*index)).collect();
        let true_ab = truth.ab()?;
        let images = (0..names.len())
            .map(|i| Ok([pairs(&colored.ab.get(i)?)?, pairs(&true_ab.get(i)?)?]))
            .collect::<Result<Vec<_>>>()?;
        let pictures = (0..names.len())
            .map(|i| Ok([bytes(&colored.rgb.get(i)?)?, bytes(&batch.pixels.get(i)?)?]))
            .collect::<Result<Vec<_>>>()?;
        let scored =
            images.par_iter().zip(&pictures).zip(&names).map(|(([ab, truth], [rgb, true_rgb]), name)| {
                Ok(ImageScores::of(name, ab, truth, context.bins)?.with_pictures(rgb, true_rgb)?)
            });
        let histogram = |which: usize| {
            let mut histogram = AbHistogram::default();
            images.iter().for_each(|image| histogram.add(&image[which]));
            histogram.occupied().collect()
        };
        let kept = batch.indices.iter().filter(|index| index.is_multiple_of(every));
        let classify = |classifier: &LabeledClassifier| classifier.classify(truth, colored);
        Ok(Self {
            scores: scored.collect::<Result<_>>()?,
            histograms: [0, 1].map(histogram),
            examples: examples(truth, colored, kept.copied().collect())?,
            records: context.classifier.as_ref().map_or(Ok(vec![]), classify)?,
        })
    }
}

impl Evaluation {
    fn merge(&mut self, batch: MeasuredBatch) {
        batch.scores.into_iter().for_each(|image| self.scores.push(image));
        for (histogram, cells) in [&mut self.histogram, &mut self.truth].into_iter().zip(batch.histograms) {
            cells.into_iter().for_each(|(cell, count)| histogram.counts[cell] += count);
        }
        self.examples.extend(batch.examples);
        self.records.extend(batch.records);
    }
}

fn pairs(ab: &Tensor) -> Result<Vec<[f32; 2]>> {
    Ok(ab.flatten_all()?.to_vec1::<f32>()?.as_chunks::<2>().0.to_vec())
}

fn bytes(rgb: &Tensor) -> Result<Vec<u8>> {
    Ok(rgb.flatten_all()?.to_vec1::<u8>()?)
}

/// Histogram of ab colors with cells of [`AbHistogram::CELL`] ab units.
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
    /// Side of a cell in ab units.
    pub const CELL: f32 = 4.0;
    /// Cells per axis: ±110 ab units.
    pub const SIDE: usize = 55;

    /// Counts colors. Colors outside the range are counted in the outermost cells.
    pub fn add(&mut self, ab: &[[f32; 2]]) {
        let middle = (Self::SIDE / 2) as f32;
        let cell = |v: f32| (v / Self::CELL + middle).round().clamp(0.0, 2.0 * middle) as usize;
        ab.iter().for_each(|[a, b]| self.counts[cell(*a) * Self::SIDE + cell(*b)] += 1);
    }

    /// Cells with colors, and how many.
    fn occupied(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// The ab value at the center of a cell.
    pub fn color(index: usize) -> [f32; 2] {
        let middle = (Self::SIDE / 2) as f32;
        [index / Self::SIDE, index % Self::SIDE].map(|i| (i as f32 - middle) * Self::CELL)
    }
}
