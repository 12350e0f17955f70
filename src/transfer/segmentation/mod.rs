//! PASCAL VOC segmentation with fully convolutional networks (Long, Shelhamer and Darrell, CVPR 2015), following Zhang
//! et al. (2016, table 2): whole pictures, one at a time, 21 classes per pixel, predicted from the last layer at
//! stride 32, or with finer maps of earlier layers at strides 16 and 8.

mod head;

use super::{Frozen, drawing};
use crate::{
    backbones::{network::Network, table::Layer},
    data::{
        Batch,
        annotated::{Annotated, Mask, VOID},
        loader::Loader,
        source::RgbImage,
    },
    metrics::segmentation::{ConfusionMatrix, SegmentationScores},
    nn::{Mode, TrainingPass, init::Filler, layers::Fillers, params::Params},
    ops::losses::cross_entropy,
    rng::Rng,
    train::{
        panel::panel,
        task::{Better, ImagePanel, Metric, StepOutput, Task},
    },
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use head::SegmentationHead;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Pictures in the panel.
const PANEL_PICTURES: usize = 4;

/// Resolution of the score map of a segmentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Stride of a segmentation")]
pub enum Stride {
    /// FCN-32s: only the last layer.
    #[default]
    Coarse,
    /// FCN-16s: plus the map at half its stride.
    Middle,
    /// FCN-8s: plus the maps at half and a quarter of its stride.
    Fine,
}

/// Fine-tuning of a fully convolutional network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SegmentationSpec {
    /// Frozen layers of the backbone; absent: none.
    pub frozen: Option<Frozen>,
    /// Resolution of the score map.
    pub stride: Stride,
    /// Mirror half of the training pictures; the published recipe does not.
    pub flip: bool,
}

impl SegmentationSpec {
    /// Names of the classifiers on finer maps that it adds to a network of these layers.
    ///
    /// # Errors
    /// A network without maps at the finer strides.
    pub fn scores(&self, layers: &[Layer]) -> Result<Vec<String>> {
        head::scores(layers, self.stride)
    }

    /// Initialization of the new layer: zero, so that all classes are equally likely.
    pub fn head() -> Fillers {
        Fillers { weight: Filler::Zero, bias: Some(Filler::Zero) }
    }
}

/// A semantic segmentation network.
pub struct Segmentation {
    head: SegmentationHead,
    params: Params,
    train_set: Arc<dyn Annotated>,
    val_set: Arc<dyn Annotated>,
    last: Option<SegmentationScores>,
}

impl Segmentation {
    /// Names of the metrics.
    pub const METRICS: [&str; 4] = ["mean_iu", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iu"];

    /// Wraps a network of the dense variant whose head has one output per class and one for the background.
    ///
    /// # Errors
    /// A different number of outputs; a network without maps at the finer strides; a training set without masks.
    pub fn new(
        spec: &SegmentationSpec,
        (net, mut params): (Network, Params),
        (train_set, val_set): (Arc<dyn Annotated>, Arc<dyn Annotated>),
        rng: &Rng,
    ) -> Result<Self> {
        let classes = train_set.classes().len() + 1;
        ensure!(
            net.head().outputs == classes,
            "the network's {} has {} outputs for {classes} classes with the background",
            net.head().label(),
            net.head().outputs
        );
        for (set, which) in [(&train_set, "training"), (&val_set, "validation")] {
            let first = set.mask(0).with_context(|| format!("the mask of {}", set.id(0)))?;
            ensure!(
                first.is_some(),
                "{} has no mask: {which} pictures of a segmentation need them",
                set.id(0)
            );
        }
        let head = SegmentationHead::new(net, spec.stride, &mut params, &rng.split("segmentation"))?;
        Ok(Self { head, params, train_set, val_set, last: None })
    }

    /// Results of the last evaluation.
    pub fn last(&self) -> Option<&SegmentationScores> {
        self.last.as_ref()
    }

    /// Predicts the class of every pixel of a stored picture.
    ///
    /// # Errors
    /// A picture too small for the network.
    pub fn predict(&self, image: &RgbImage) -> Result<Mask> {
        let (width, height) = (image.width, image.height);
        self.predict_tensor(&Tensor::from_slice(&image.pixels, (1, height, width, 3), self.params.device())?)
    }

    /// As [`Segmentation::predict`], from u8 RGB `(1, H, W, 3)`.
    fn predict_tensor(&self, pixels: &Tensor) -> Result<Mask> {
        let logits = self.head.forward(pixels, &Mode::Frozen)?;
        let (_, height, width, classes) = logits.dims4()?;
        super::ensure_finite(&logits)?;
        let answers = logits.reshape((height * width, classes))?.argmax(1)?.to_vec1::<u32>()?;
        Ok(Mask { width, height, labels: answers.into_iter().map(|class| class as u8).collect() })
    }

    /// Ground-truth class of every pixel of a batch, `(B·H·W)`. Padding is void.
    fn labels(&self, batch: &Batch) -> Result<Tensor> {
        let (_, height, width, _) = batch.pixels.dims4()?;
        let mut labels = Vec::with_capacity(batch.indices.len() * height * width);
        for (&index, frame) in batch.indices.iter().zip(&batch.frames) {
            let mask = self.train_set.mask(index)?;
            let mask = mask.with_context(|| format!("{} has no mask", self.train_set.id(index)))?;
            for y in 0..height {
                labels.extend((0..width).map(|x| {
                    if x >= mask.width || y >= mask.height {
                        return u32::from(VOID);
                    }
                    let x = if frame.mirror { mask.width - 1 - x } else { x };
                    u32::from(mask.labels[y * mask.width + x])
                }));
            }
        }
        let count = labels.len();
        Ok(Tensor::from_vec(labels, count, self.params.device())?)
    }

    /// Picture, ground truth and prediction in columns.
    fn panel(&self, indices: &[usize]) -> Result<ImagePanel> {
        let row = |&index: &usize| -> Result<_> {
            let image = self.val_set.image(index)?;
            let truth = self
                .val_set
                .mask(index)?
                .with_context(|| format!("{} has no mask", self.val_set.id(index)))?;
            let predict_tensor = self.predict(&image)?;
            Ok(vec![
                drawing::tile(&image),
                drawing::overlay_mask(&image, &truth),
                drawing::overlay_mask(&image, &predict_tensor),
            ])
        };
        let rows = indices.iter().map(row).collect::<Result<Vec<_>>>()?;
        let (width, height, rgb) = panel(&rows, &["picture", "truth", "answer"], 1)?;
        Ok(ImagePanel { name: "segmentation".into(), width, height, rgb })
    }
}

impl Task for Segmentation {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let logits = self.head.forward(&batch.pixels, &Mode::Train(training.clone()))?;
        let (b, height, width, classes) = logits.dims4()?;
        let logits = logits.reshape((b * height * width, classes))?;
        // Mean over the labeled pixels of each picture. The training loop averages over the pictures of an update.
        let loss = cross_entropy(&logits, &self.labels(batch)?, Some(u32::from(VOID)))?;
        Ok(StepOutput { loss, scalars: vec![] })
    }

    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut confusion = ConfusionMatrix::new(self.val_set.classes().len() + 1)?;
        let measure = |batch: &Batch, _| {
            let mut confusion = ConfusionMatrix::new(self.val_set.classes().len() + 1)?;
            for (at, &index) in batch.indices.iter().enumerate() {
                let name = || format!("validation picture {}", self.val_set.id(index));
                let Some(truth) = self.val_set.mask(index).with_context(name)? else { continue };
                let (width, height) = batch.frames[at].size;
                let pixels = batch.pixels.narrow(0, at, 1)?.narrow(1, 0, height)?.narrow(2, 0, width)?;
                let predict_tensor = self.predict_tensor(&pixels.contiguous()?)?;
                confusion.add(&truth.labels, &predict_tensor.labels).with_context(name)?;
            }
            Ok(confusion)
        };
        val.fold(measure, |batch| Ok(confusion.merge(&batch)?))?;
        let scores = confusion.scores();
        let values =
            [scores.mean_iu, scores.pixel_accuracy, scores.mean_accuracy, scores.frequency_weighted_iu];
        self.last = Some(scores);
        let metric = |(name, value): (&str, Option<f64>)| {
            Some(Metric { name: name.into(), value: value?, better: Better::Higher })
        };
        Ok(Self::METRICS.into_iter().zip(values).filter_map(metric).collect())
    }

    fn picture(&mut self, _: &mut Loader) -> Result<Option<ImagePanel>> {
        let step = (self.val_set.len() / PANEL_PICTURES).max(1);
        let indices: Vec<usize> = (0..self.val_set.len()).step_by(step).take(PANEL_PICTURES).collect();
        let readable = |index: &usize| self.val_set.image(*index).is_ok();
        let indices: Vec<usize> = indices.into_iter().filter(readable).collect();
        if indices.is_empty() { Ok(None) } else { self.panel(&indices).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbones::{
            BackboneSpec, Build, Variant,
            alexnet::{AlexNetSpec, Stem},
        },
        bounded::Positive,
        data::{crop_policy::Frame, scenes::composite::Composite, source::Split},
    };
    use candle_core::{DType, Device};

    #[test]
    fn masks_are_mirrored_with_their_pictures_and_what_fills_up_is_void() -> Result<()> {
        let set: Arc<dyn Annotated> = Arc::new(Composite::new(1, 48, 0, Split::Train)?);
        let spec = AlexNetSpec { stem: Stem::Small, width: Positive::of(0.1), ..Default::default() };
        let outputs = Some(set.classes().len() + 1);
        let build = Build { variant: Variant::Dense, batch_norm: false, input_channels: 1, outputs };
        let mut params = Params::new(&Device::Cpu);
        let net = BackboneSpec::Alexnet(spec).build(&build, &mut params, &Rng::new(1))?;
        let both = (set.clone(), set.clone());
        let task = Segmentation::new(&SegmentationSpec::default(), (net, params), both, &Rng::new(0))?;
        let labels = |mirror: bool, width: usize| -> Result<Vec<Vec<u32>>> {
            let frame = Frame { source: (48, 48), size: (48, 48), origin: (0., 0.), scale: (1., 1.), mirror };
            let pixels = Tensor::zeros((1, 48, width, 3), DType::U8, &Device::Cpu)?;
            let batch = Batch { pixels, labels: None, indices: vec![0], frames: vec![frame] };
            Ok(task.labels(&batch)?.reshape((48, width))?.to_vec2::<u32>()?)
        };
        let (plain, mirrored, wide) = (labels(false, 48)?, labels(true, 48)?, labels(false, 50)?);
        assert_ne!(plain, mirrored, "the scene is not its own mirror image");
        for ((plain, mirrored), wide) in plain.iter().zip(&mirrored).zip(&wide) {
            assert!(plain.iter().eq(mirrored.iter().rev()));
            assert_eq!((&wide[..48], &wide[48..]), (&plain[..], &[u32::from(VOID); 2][..]));
        }
        Ok(())
    }
}
