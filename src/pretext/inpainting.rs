//! Inpainting, the task of context encoders (Pathak, Krähenbühl, Donahue, Darrell and Efros 2016): a network sees a picture
//! of which a region is cut out and paints what is missing. The loss is the squared distance within the region (equation
//! 1), with which the paper's features were learned; for sharper pictures a discriminator can be trained against the
//! network (equation 2). As in the authors' code the discriminator sees the painting alone: the whole picture, or the
//! center.
//!
//! A region is drawn for each batch, of noise, since the paper's silhouettes of objects need annotated pictures. What
//! was cut out has the mean color of ImageNet. Both networks are updated in the same step, from the same painting.

use super::{
    headed::{HeadedTask, HeadedTaskSpec, NetworkBeside},
    masks::{central_region, random_region, square},
    mean_meter::MeanMeter,
};
use crate::{
    backbones::{
        BackboneSpec,
        decoder_head::{DecoderHead, DecoderSpec, RECONSTRUCTION},
        discriminator,
        network::Network,
        task_head::TaskHead,
    },
    bounded::{Fraction, Positive},
    color::{channels::signed, gray::gray_of},
    data::{Batch, loader::Loader},
    device::keep_layouts,
    key_error::KeyError,
    nn::{Mode, TrainingPass, params::Params},
    ops::{
        activation::tanh,
        losses::{bce_with_logits, squared_distance},
        resize::resize_bilinear,
    },
    rng::Rng,
    train::{
        panel,
        task::{Better, ImagePanel, Metric, StepOutput, Task},
    },
};
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Mean color of ImageNet: red, green, blue.
const MEAN: [u8; 3] = [124, 117, 104];
const CHANNELS: usize = 3;
/// Images in a panel.
const PANEL_IMAGES: usize = 8;
/// Mean squared distance from the visible mean, of colors from −1 to 1, below which pictures count as uniform.
const MIN_VARIATION: f64 = 1e-6;
/// Share of the missing variation below which a network has learned nothing.
const LEARNED: f64 = 0.02;
/// Weight of the visible border of the center, to which the painting must fit.
const BORDER_WEIGHT: f32 = 10.0;
/// That border as a share of the side: 4 pixels of 128.
const BORDER: usize = 32;

/// Key of the discriminator's width.
const WIDTH: &str = "discriminator_width";

/// What was cut out of a picture (Pathak et al. 2016). In YAML: `inpainting: { region: random, adversarial: 0.001 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InpaintingSpec {
    /// What is cut out.
    pub region: Region,
    /// Weight of the adversarial loss (0.001 in the authors' code); 0 for the squared distance alone. The parameters of the
    /// discriminator are `discriminator.*`.
    pub adversarial: Fraction,
    /// Factor on the channels of the discriminator.
    pub discriminator_width: Positive,
    /// The decoder, which paints what was cut out.
    pub head: DecoderSpec,
}

/// What is cut out of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Region of inpainting")]
pub enum Region {
    /// Blobs that cover 20 to 30 %, another for each batch.
    #[default]
    Random,
    /// The central square of half the side, but for a border of a 32nd of the picture, which is visible and has ten times
    /// the weight. Networks learn to look for its border: not for features.
    Center,
}

impl Region {
    /// Side of the square that the discriminator sees of a picture of `crop` pixels.
    fn shown(self, crop: usize) -> usize {
        match self {
            Self::Random => crop,
            Self::Center => crop - 2 * (crop / 4),
        }
    }
}

impl Default for InpaintingSpec {
    fn default() -> Self {
        Self {
            region: Region::Random,
            adversarial: Fraction::of(0.0),
            discriminator_width: Positive::of(1.0),
            head: DecoderSpec::default(),
        }
    }
}

impl InpaintingSpec {
    fn is_adversarial(&self) -> bool {
        self.adversarial.get() > 0.0
    }

    fn decoder(&self, crop: usize) -> DecoderHead {
        DecoderHead { side: crop, spec: self.head.clone() }
    }
}

impl HeadedTaskSpec for InpaintingSpec {
    fn key(&self) -> &'static str {
        "inpainting"
    }

    fn task_head(&self, crop: usize) -> Result<TaskHead> {
        ensure!(
            crop >= 16,
            KeyError::new(
                ["data", "crop"],
                format!("inpainting needs pictures of at least 16 pixels, not {crop}")
            )
            .advice("use a larger `crop`")
        );
        ensure!(
            self.is_adversarial() || self.discriminator_width == Self::default().discriminator_width,
            KeyError::new(["task", "inpainting", WIDTH], "without `adversarial` there is no discriminator")
                .advice("give `adversarial`, such as 0.001, or leave this out")
        );
        Ok(self.decoder(crop).into())
    }

    fn beside(&self, crop: usize) -> Result<Vec<NetworkBeside>> {
        if !self.is_adversarial() {
            return Ok(vec![]);
        }
        let side = self.region.shown(crop);
        let rows = discriminator::table(side, self.discriminator_width);
        let keys = ["task", "inpainting", WIDTH];
        Ok(vec![NetworkBeside::new("discriminator", rows, (side, side), keys)?])
    }

    fn metrics(&self) -> &'static [&'static str] {
        &Inpainting::METRICS
    }

    fn task(
        &self,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Box<dyn HeadedTask>> {
        Ok(Box::new(Inpainting::new(self, backbone, crop, rng, device)?))
    }
}

/// A painting network, its adversary if there is one, and their training state.
pub struct Inpainting {
    region: Region,
    side: usize,
    net: Network,
    adversary: Option<Adversary>,
    params: Params,
    /// Regions in validation are the same every time.
    validation: Rng,
    has_learned: bool,
    /// Whether the pictures of the newest validation were uniform.
    uniform: bool,
}

struct Adversary {
    net: Network,
    weight: f64,
}

/// A batch with a region cut out.
struct Masked {
    /// The network's input.
    x: Tensor,
    /// RGB from −1 to 1, `(B, S, S, 3)`
    truth: Tensor,
    /// 1 where pixels are cut out, else 0
    cut: Weights,
    /// Weight of each pixel in the loss, where it is another
    painted: Option<Weights>,
}

/// Weights of the pixels of a picture, `(1, S, S, 3)`: the same for all channels.
struct Weights {
    map: Tensor,
    /// Numbers of a picture whose weight is not 0.
    count: usize,
}

impl Weights {
    fn of(weights: impl Iterator<Item = f32>, side: usize, device: &Device) -> candle_core::Result<Self> {
        let map: Vec<f32> = weights.flat_map(|weight| [weight; CHANNELS]).collect();
        let count = map.iter().filter(|weight| **weight > 0.0).count();
        Ok(Self { map: Tensor::from_vec(map, (1, side, side, CHANNELS), device)?, count })
    }

    /// Weighted mean of the squared distance of pictures from the truth, over pixels and channels.
    fn distance(&self, painted: &Tensor, truth: &Tensor) -> candle_core::Result<Tensor> {
        squared_distance(painted, truth, Some(&self.map), (self.count * truth.dim(0)?) as f64)
    }
}

impl Inpainting {
    /// Names of the metrics.
    pub const METRICS: [&str; 3] = ["loss", "psnr", "explained"];

    /// A new network for pictures of `crop` pixels on `device`.
    ///
    /// # Errors
    /// A backbone that the head does not fit.
    pub fn new(
        spec: &InpaintingSpec,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let (init, mut params) = (rng.split("init"), Params::new(device));
        let net = TaskHead::from(spec.decoder(crop)).network(backbone, &mut params, &init)?;
        let mut adversary = None;
        if spec.is_adversarial() {
            let net = discriminator::network(
                spec.region.shown(crop),
                spec.discriminator_width,
                &mut params,
                &init,
            )?;
            adversary = Some(Adversary { net, weight: spec.adversarial.get() });
        }
        let (region, validation) = (spec.region, rng.split("validation"));
        Ok(Self { region, side: crop, net, adversary, params, validation, has_learned: true, uniform: false })
    }

    /// Cuts a region out of pictures u8 RGB `(B, S, S, 3)`, the `number`th of the stream.
    fn masked(&self, pixels: &Tensor, rng: &Rng, number: u64) -> Result<Masked> {
        let (side, device) = (self.side, pixels.device());
        let (hole, seen) = self.regions(rng, number);
        let cut = Weights::of(hole.iter().map(|cut| f32::from(u8::from(*cut))), side, device)?;
        let weight = |(hole, seen): (&bool, &bool)| match (hole, seen) {
            (true, _) => 1.0,
            (false, true) => BORDER_WEIGHT,
            (false, false) => 0.0,
        };
        let painted = (hole != seen).then(|| Weights::of(hole.iter().zip(&seen).map(weight), side, device));
        let x = self.net.input().read(&without(pixels, &hole)?)?;
        Ok(Masked { x, truth: signed(pixels)?, cut, painted: painted.transpose()? })
    }

    /// The pixels that are cut out, and those that the loss counts.
    fn regions(&self, rng: &Rng, number: u64) -> (Vec<bool>, Vec<bool>) {
        match self.region {
            Region::Random => {
                let region = random_region(self.side, &mut rng.at(0, number));
                (region.clone(), region)
            }
            Region::Center => {
                let border = (self.side / BORDER).max(1);
                (square(self.side, self.side / 4 + border), central_region(self.side))
            }
        }
    }

    /// The painted pictures, RGB from −1 to 1, `(B, S, S, 3)`.
    fn paint(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let map = self.net.forward(x, &[RECONSTRUCTION], mode)?.remove(0);
        Ok(tanh(&resize_bilinear(&map, (self.side, self.side), false)?)?)
    }

    /// What the network sees of pictures u8 RGB `(B, S, S, 3)`: gray ones if its input has no color.
    fn seen(&self, rgb: Tensor) -> candle_core::Result<Tensor> {
        let input = self.net.input();
        if input.has_color() {
            return Ok(rgb);
        }
        let gray = gray_of(&input.gray().of_pictures(&rgb)?)?.affine(255.0, 0.0)?;
        gray.round()?.to_dtype(DType::U8)?.broadcast_as(rgb.shape())?.contiguous()
    }

    /// What the discriminator sees of pictures `(B, S, S, 3)`.
    fn shown(&self, pictures: &Tensor) -> candle_core::Result<Tensor> {
        match self.region {
            Region::Random => Ok(pictures.clone()),
            Region::Center => {
                let (margin, side) = (self.side / 4, self.region.shown(self.side));
                pictures.narrow(1, margin, side)?.narrow(2, margin, side)?.contiguous()
            }
        }
    }

    /// The painter's adversarial loss and the discriminator's own.
    fn compete(
        &self,
        adversary: &Adversary,
        pass: &TrainingPass,
        painted: &Tensor,
        truth: &Tensor,
    ) -> Result<[Tensor; 2]> {
        let (painted, truth) = (self.shown(painted)?, self.shown(truth)?);
        let judge = |pictures: &Tensor, is_true: bool, pass: TrainingPass| -> Result<Tensor> {
            let scores = discriminator::scores(&adversary.net, pictures, &Mode::Train(pass))?;
            let targets = if is_true { scores.ones_like()? } else { scores.zeros_like()? };
            Ok(bce_with_logits(&scores, &targets.detach(), None, scores.elem_count() as f64)?)
        };
        let fooled = judge(&painted, true, pass.through())?;
        let right = (judge(&truth, true, pass.clone())? + judge(&painted.detach(), false, pass.clone())?)?;
        Ok([fooled, right])
    }
}

/// Pictures u8 RGB `(B, S, S, 3)` with the mean color where `hole` is.
fn without(pixels: &Tensor, hole: &[bool]) -> candle_core::Result<Tensor> {
    let _layouts = keep_layouts(pixels.device());
    let (_, height, width, channels) = pixels.dims4()?;
    let map = |of: [u8; CHANNELS], elsewhere: u8| {
        let values = hole.iter().flat_map(|cut| if *cut { of } else { [elsewhere; CHANNELS] }).collect();
        Tensor::from_vec(values, (1, height, width, channels), pixels.device())
    };
    pixels.broadcast_mul(&map([0; CHANNELS], 1)?)?.broadcast_add(&map(MEAN, 0)?)
}

/// Squared distance of the missing pixels from the mean color of the visible ones of their picture.
fn variation(masked: &Masked) -> candle_core::Result<Tensor> {
    let _layouts = keep_layouts(masked.truth.device());
    let visible = masked.cut.map.affine(-1.0, 1.0)?;
    let count = (visible.sum_all()? / CHANNELS as f64)?;
    let sum = masked.truth.broadcast_mul(&visible)?.sum_keepdim(1)?.sum_keepdim(2)?;
    let mean = sum.broadcast_div(&count)?.broadcast_as(masked.truth.shape())?;
    masked.cut.distance(&mean, &masked.truth)
}

impl HeadedTask for Inpainting {
    fn network(&self) -> &Network {
        &self.net
    }
}

impl Task for Inpainting {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let masked = self.masked(&batch.pixels, &training.rng.split("region"), 0)?;
        let painted = self.paint(&masked.x, &Mode::Train(training.clone()))?;
        let missing = |painted: &Tensor| masked.cut.distance(painted, &masked.truth);
        let (squares, logged) = match &masked.painted {
            Some(weights) => (weights.distance(&painted, &masked.truth)?, missing(&painted.detach())?),
            None => missing(&painted).map(|squares| (squares.clone(), squares.detach()))?,
        };
        let mut scalars = vec![("loss", logged)];
        let Some(adversary) = &self.adversary else { return Ok(StepOutput { loss: squares, scalars }) };
        let [fooled, right] = self.compete(adversary, training, &painted, &masked.truth)?;
        scalars.extend([("adversarial_loss", fooled.detach()), ("discriminator_loss", right.detach())]);
        let loss = (((squares * (1.0 - adversary.weight))? + (fooled * adversary.weight)?)? + right)?;
        Ok(StepOutput { loss, scalars })
    }

    /// The squared distance within the region, of colors from −1 to 1; its PSNR; and the share of the variation around the
    /// mean of the visible pixels that it explains.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut meter = MeanMeter::default();
        let measure = |batch: &Batch, number: usize| {
            let masked = self.masked(&batch.pixels, &self.validation, number as u64)?;
            let painted = self.paint(&masked.x, &Mode::Frozen)?;
            let scalar = |x: Tensor| x.to_dtype(DType::F64)?.to_scalar::<f64>();
            let loss = scalar(masked.cut.distance(&painted, &masked.truth)?)?;
            let means = [("loss", loss), ("variation", scalar(variation(&masked)?)?)];
            Ok(MeanMeter::of_batch(batch.indices.len() as f64, &means))
        };
        val.fold(measure, |batch| {
            meter.merge(&batch);
            Ok(())
        })?;
        let (loss, variation) = (meter.mean("loss"), meter.mean("variation"));
        let explained = if variation > MIN_VARIATION { 1.0 - loss / variation } else { f64::NAN };
        self.has_learned = explained.is_nan() || explained >= LEARNED;
        self.uniform = explained.is_nan();
        let all = [
            (loss, Better::Lower),
            (10.0 * (4.0 / loss).log10(), Better::Higher),
            (explained, Better::Higher),
        ];
        let named = Self::METRICS.into_iter().zip(all);
        let metrics = named.map(|(name, (value, better))| Metric { name: name.into(), value, better });
        Ok(metrics.filter(|metric| metric.value.is_finite() || metric.name == "loss").collect())
    }

    /// Input, picture with the painted region, and truth in columns.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let pixels = batch.pixels.narrow(0, 0, batch.pixels.dim(0)?.min(PANEL_IMAGES))?.contiguous()?;
        let masked = self.masked(&pixels, &self.validation, 0)?;
        let painted = self.paint(&masked.x, &Mode::Frozen)?;
        let _layouts = keep_layouts(pixels.device());
        let cut = &masked.cut.map;
        let kept = masked.truth.broadcast_mul(&cut.affine(-1.0, 1.0)?)?;
        let bytes = |x: &Tensor| x.affine(127.5, 127.5)?.round()?.clamp(0f32, 255f32)?.to_dtype(DType::U8);
        let mean = Tensor::from_slice(&MEAN, (1, 1, 1, 3), pixels.device())?.to_dtype(DType::F32)?;
        let fill = mean.affine(1.0 / 127.5, -1.0)?.broadcast_mul(cut)?;
        let input = self.seen(bytes(&kept.broadcast_add(&fill)?)?)?;
        let whole = bytes(&(kept + painted.broadcast_mul(cut)?)?)?;
        let columns = [("input", &input), ("painted", &whole), ("truth", &pixels)];
        Ok(Some(panel::from_columns("inpainting", &columns)?))
    }

    /// Of whole pictures.
    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        Ok(self.net.forward(&self.net.input().read(pixels)?, layers, &Mode::Frozen)?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        if self.uniform {
            return vec![(
                "the validation pictures are uniform, so `explained` is undefined".into(),
                "use pictures that vary, or ignore this metric".into(),
            )];
        }
        if self.has_learned {
            return vec![];
        }
        vec![(
            "the painting is no nearer to the truth than the mean color of the visible pixels".into(),
            "train longer, or change the learning rate".into(),
        )]
    }
}
