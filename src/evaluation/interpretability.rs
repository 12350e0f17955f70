//! The semantic interpretability test (Zhang, Isola and Efros 2016, section 3.1): a pretrained VGG-16 classifies
//! pictures in original colors, in gray and recolored, as 8-bit RGB. The metrics are in
//! [`crate::metrics::interpretability`].

use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        exchange::{self, WeightFile},
        network::Network,
        vgg16::Vgg16Spec,
    },
    color::{decode::Decode, lab},
    data::{
        source::RgbImage,
        transforms::{CropWindow, crop_into, resize},
    },
    metrics::interpretability::{Answer, Record, Renderings},
    nn::{Mode, params::Params, weights},
    pretext::colorizer::Colorizer,
    rng::Rng,
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use std::path::Path;

/// A VGG-16 classifier.
#[derive(Clone, Debug)]
pub struct Classifier {
    net: Network,
    spec: Vgg16Spec,
    classes: usize,
    device: Device,
}

impl Classifier {
    /// Opens a weight file. The architecture is that of the header's `backbone`, else `given`; else, if the tensors
    /// have the names of Caffe, torchvision or timm, that of their shapes, with the input convention of that release.
    /// The number of classes is taken from the last layer. Fully connected weights may be flattened, as PyTorch and
    /// Caffe store them.
    ///
    /// # Errors
    /// A file that cannot be read, does not state its architecture, is not a VGG-16, or whose tensors do not match the
    /// network exactly.
    pub fn open(path: &Path, given: Option<&Vgg16Spec>, device: &Device) -> Result<Self> {
        let file = exchange::open_finite(path)?;
        let spec =
            architecture(&file, given).with_context(|| format!("cannot classify with {}", path.display()))?;
        let backbone = BackboneSpec::Vgg16(spec.clone());
        let classes = file.tensors.get("fc8.bias").map(Tensor::elem_count).with_context(|| {
            format!(
                "{} holds no classifier: it has no fc8.bias (classifier.6.bias in torchvision's names)",
                path.display()
            )
        })?;
        let mut params = Params::with_own_values(device, file.tensors);
        let net = backbone.build(&build(classes), &mut params, &Rng::new(0))?;
        let report = weights::finish_load(&mut params)
            .with_context(|| format!("{} does not fit VGG-16", path.display()))?;
        ensure!(
            report.is_complete(),
            "{} does not fit VGG-16 at width {} on a crop of {}: {report}",
            path.display(),
            spec.width,
            spec.crop
        );
        tracing::info!("{}: {report}", path.display());
        Ok(Self { net, spec, classes, device: device.clone() })
    }

    /// Architecture of the network.
    pub fn spec(&self) -> &Vgg16Spec {
        &self.spec
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Logits `(B, classes)` for pictures u8 RGB `(B, H, W, 3)`. Pictures whose size is not that of the crop are
    /// scaled to a short side of 8/7 of the crop (256 for 224) and center-cropped.
    pub fn logits(&self, pictures: &Tensor) -> Result<Tensor> {
        let batch = pictures.dim(0)?;
        let center_crop = self.center_crop(pictures)?.to_device(&self.device)?;
        let input = self.spec.input.read(&center_crop)?;
        let logits = self.net.forward(&input, &["fc8"], &Mode::Frozen)?.remove(0);
        Ok(logits.reshape((batch, self.classes))?)
    }

    /// Classifies a batch u8 RGB `(B, H, W, 3)`, given the true classes in the classifier's numbering.
    ///
    /// # Errors
    /// A different number of classes than pictures; an unknown class; non-finite logits.
    pub fn classify(&self, pictures: &Tensor, classes: &[u32]) -> Result<Vec<Answer>> {
        let batch = pictures.dim(0)?;
        ensure!(batch == classes.len(), "{batch} pictures have {} classes", classes.len());
        if let Some(unknown) = classes.iter().find(|class| **class as usize >= self.classes) {
            bail!(
                "class {unknown} is none of the classifier's {}, 0 to {}: map the labels of the data set to them",
                self.classes,
                self.classes - 1
            )
        }
        let logits = self.logits(pictures)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        ensure!(
            logits.iter().flatten().all(|logit| logit.is_finite()),
            "the classifier's answers are not finite numbers: its weights are damaged, or of another input convention"
        );
        let answers = logits.iter().zip(classes).map(|(logits, class)| Answer::of(logits, *class));
        Ok(answers.collect::<candle_core::Result<_>>()?)
    }

    /// Center crops for the network, u8 `(B, crop, crop, 3)`.
    fn center_crop(&self, pictures: &Tensor) -> Result<Tensor> {
        let (batch, height, width, _) = pictures.dims4()?;
        let side = self.spec.crop.get();
        if (height, width) == (side, side) || pictures.elem_count() == 0 {
            return Ok(pictures.clone());
        }
        let bytes = pictures.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u8>()?;
        let mut squares = vec![0; batch * 3 * side * side];
        squares
            .par_chunks_exact_mut(3 * side * side)
            .zip(bytes.par_chunks_exact(3 * height * width))
            .try_for_each(|(square, pixels)| -> Result<()> {
                let image = RgbImage { width, height, pixels: pixels.to_vec() };
                let image = resize(image, (8 * side + 3) / 7)?;
                let window = CropWindow::center(image.width, image.height, side);
                crop_into(&image, window, side, square);
                Ok(())
            })?;
        Ok(Tensor::from_vec(squares, (batch, side, side, 3), &Device::Cpu)?)
    }
}

fn build(classes: usize) -> Build {
    Build { variant: Variant::Transfer, batch_norm: false, input_channels: 3, outputs: Some(classes) }
}

fn architecture(file: &WeightFile, given: Option<&Vgg16Spec>) -> Result<Vgg16Spec> {
    match file.backbone(given.cloned().map(BackboneSpec::Vgg16).as_ref())? {
        Some(BackboneSpec::Vgg16(spec)) => Ok(spec),
        Some(other) => bail!("it holds `{}`, not `vgg16`", other.name()),
        None => bail!(
            "it does not say which network it holds, nor what input that was trained on: give its spec, for the \
             authors' weights `vgg16: {{ input: bgr_mean }}`"
        ),
    }
}

/// Renders pictures u8 RGB `(B, H, W, 3)` in original colors, in gray (lightness only) and recolored from gray, as
/// they would be saved: 8-bit, clipped to the gamut.
pub fn renderings(colorizer: &Colorizer, pictures: &Tensor, how: Decode) -> Result<Renderings<Tensor>> {
    let lab = lab::rgb_to_lab(pictures)?;
    let ab = colorizer.color(&colorizer.gray().of_pictures(pictures)?, how)?;
    let light = lab.narrow(3, 0, 1)?.contiguous()?;
    let with = |ab: &Tensor| lab::lab_to_rgb(&Tensor::cat(&[&light, ab], 3)?);
    Ok(Renderings { original: pictures.clone(), gray: with(&ab.zeros_like()?)?, recolored: with(&ab)? })
}

/// Classifies each rendering of a batch. `images` are the pictures' indices in the data set, `classes` their true
/// classes in the classifier's numbering.
///
/// # Errors
/// As [`Classifier::classify`]; a different number of indices than pictures.
pub fn classify_renderings(
    classifier: &Classifier,
    pictures: &Renderings<Tensor>,
    images: &[u32],
    classes: &[u32],
) -> Result<Vec<Record>> {
    ensure!(images.len() == classes.len(), "{} places for {} classes", images.len(), classes.len());
    let Renderings { original, gray, recolored } =
        pictures.map(|rendering| classifier.classify(rendering, classes));
    let answers = original?.into_iter().zip(gray?).zip(recolored?);
    let places = images.iter().zip(classes);
    let record = |((&image, &class), ((original, gray), recolored))| Record {
        image,
        class,
        answers: Renderings { original, gray, recolored },
    };
    Ok(places.zip(answers).map(record).collect())
}
