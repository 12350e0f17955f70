//! Bidirectional adversarial learning, BiGAN (Donahue, Krähenbühl and Darrell, "Adversarial Feature Learning", ICLR
//! 2017): an encoder of pictures and a generator of pictures from random codes learn against a discriminator, which tells
//! pairs of a picture and its code from pairs of a code and its picture. The features are those of the encoder.
//!
//! As in the authors' code, encoder and generator minimize the discriminator's loss with exchanged labels, all three are
//! updated in each step, and the discriminator normalizes true and generated pairs separately.

use super::{
    headed::{HeadedTask, HeadedTaskSpec, NetworkBeside},
    mean_meter::MeanMeter,
};
use crate::{
    backbones::{
        BackboneSpec,
        bigan_networks::{BiganSizes, generate, judge},
        code_head::{CODE, CodeHead},
        network::Network,
        task_head::TaskHead,
    },
    bounded::{Channels, Pixels, Positive},
    color::channels::signed,
    data::{Batch, loader::Loader},
    key_error::KeyError,
    nn::{Mode, TrainingPass, params::Params},
    ops::{losses::bce_with_logits, resize::resize_bilinear},
    rng::Rng,
    train::{
        panel,
        task::{Better, ImagePanel, Metric, StepOutput, Task},
    },
};
use anyhow::{Result, ensure};
use candle_core::{D, DType, Device, Tensor};
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Images in a panel.
const PANEL_IMAGES: usize = 8;
/// Side of the pictures in the original.
const SIDE: usize = 64;
/// Share of matched pictures, by chance a half, below which the codes tell nothing.
const LEARNED: f64 = 0.52;

/// Codes of pictures, against a generator's pictures of codes (Donahue, Krähenbühl and Darrell 2017). In YAML:
/// `bigan: { code: 200 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "BiGAN")]
pub struct BiganSpec {
    /// Numbers of a code, each uniform between −1 and 1.
    pub code: Channels,
    /// Side of generated pictures in pixels; absent: 64, or for smaller pictures the largest side that fits them. The
    /// discriminator sees pictures resized to it, the encoder as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Pixels>,
    /// Factor on the channels of the generator and of the discriminator, whose parameters are `generator.*` and
    /// `discriminator.*`.
    pub width: Positive,
    /// Layer of the backbone from which the code is computed; absent: the last with a map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// Batch normalization in the encoder.
    pub batch_norm: bool,
}

impl Default for BiganSpec {
    fn default() -> Self {
        Self { code: Channels::of(200), side: None, width: Positive::of(1.0), tap: None, batch_norm: true }
    }
}

impl BiganSpec {
    fn sizes(&self, crop: usize) -> BiganSizes {
        let of_side = |side| BiganSizes { side, code: self.code.get(), width: self.width };
        let largest = crop.min(SIDE);
        let usual = (1..=largest).rev().map(of_side).find(|sizes| sizes.doublings().is_ok());
        self.side.map_or(usual.unwrap_or(of_side(largest)), |side| of_side(side.get()))
    }
}

impl HeadedTaskSpec for BiganSpec {
    fn key(&self) -> &'static str {
        "bigan"
    }

    fn fewest_pictures(&self) -> usize {
        2
    }

    fn tap_keys(&self) -> &'static [&'static str] {
        &["tap"]
    }

    fn beside(&self, crop: usize) -> Result<Vec<NetworkBeside>> {
        let sizes = self.sizes(crop);
        let network = |name, rows| NetworkBeside::new(name, rows, (1, 1), ["task", "bigan", "width"]);
        Ok(vec![
            network("generator", sizes.generator_table()?)?,
            network("discriminator", sizes.discriminator_table()?)?,
        ])
    }

    fn task_head(&self, crop: usize) -> Result<TaskHead> {
        let sizes = self.sizes(crop);
        let keys: &[&str] = if self.side.is_some() { &["task", "bigan", "side"] } else { &["data", "crop"] };
        let wrong = |reason: String| KeyError::new(keys.iter().copied(), reason);
        sizes.doublings().map_err(|error| wrong(error.to_string()))?;
        ensure!(
            sizes.side <= crop,
            wrong(format!("pictures of {} pixels are more than those of {crop} show", sizes.side))
                .advice("use a larger `crop` or a smaller `side`")
        );
        let Self { code, tap, batch_norm, .. } = self;
        Ok(CodeHead { side: crop, numbers: code.get(), tap: tap.clone(), batch_norm: *batch_norm }.into())
    }

    fn metrics(&self) -> &'static [&'static str] {
        &Bigan::METRICS
    }

    fn task(
        &self,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Box<dyn HeadedTask>> {
        Ok(Box::new(Bigan::new(self, backbone, crop, rng, device)?))
    }
}

/// The three networks, and their training state.
pub struct Bigan {
    sizes: BiganSizes,
    crop: usize,
    encoder: Network,
    generator: Network,
    discriminator: Network,
    params: Params,
    /// Codes in validation are the same every time.
    validation: Rng,
    matches: bool,
}

impl Bigan {
    /// Names of the metrics.
    pub const METRICS: [&str; 4] = ["matched", "code", "psnr", "discriminated"];

    /// New networks for pictures of `crop` pixels on `device`.
    ///
    /// # Errors
    /// A side that cannot be generated; a backbone that the head does not fit.
    pub fn new(
        spec: &BiganSpec,
        backbone: &BackboneSpec,
        crop: usize,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        let (init, mut params, sizes) = (rng.split("init"), Params::new(device), spec.sizes(crop));
        let encoder = spec.task_head(crop)?.network(backbone, &mut params, &init)?;
        let generator = sizes.generator(&mut params, &init)?;
        let discriminator = sizes.discriminator(&mut params, &init)?;
        let validation = rng.split("validation");
        Ok(Self { sizes, crop, encoder, generator, discriminator, params, validation, matches: true })
    }

    /// Codes `(B, N)` of pictures u8 RGB `(B, H, W, 3)`.
    fn encode(&self, pixels: &Tensor, mode: &Mode) -> Result<Tensor> {
        let x = self.encoder.input().read(pixels)?;
        Ok(self.encoder.forward(&x, &[CODE], mode)?.remove(0).flatten_from(1)?)
    }

    /// Pictures as the discriminator sees them: RGB from −1 to 1, `(B, side, side, 3)`.
    fn shown(&self, pixels: &Tensor) -> Result<Tensor> {
        let (signed, side) = (signed(pixels)?, self.sizes.side);
        Ok(if self.crop == side { signed } else { resize_bilinear(&signed, (side, side), false)? })
    }

    /// Random codes `(B, N)`, the `number`th of the stream.
    fn codes(&self, count: usize, rng: &Rng, number: u64, device: &Device) -> Result<Tensor> {
        let mut rng = rng.at(0, number);
        let codes: Vec<f32> = (0..count * self.sizes.code).map(|_| rng.random_range(-1.0f32..=1.0)).collect();
        Ok(Tensor::from_vec(codes, (count, self.sizes.code), device)?)
    }

    /// The discriminator's loss on a pair.
    fn loss(&self, pair: (&Tensor, &Tensor), is_encoded: bool, pass: TrainingPass) -> Result<Tensor> {
        let scores = judge(&self.discriminator, pair, &Mode::Train(pass))?;
        let targets = if is_encoded { scores.ones_like()? } else { scores.zeros_like()? };
        Ok(bce_with_logits(&scores, &targets.detach(), None, scores.elem_count() as f64)?)
    }

    /// Pictures u8 RGB `(B, side, side, 3)` from those between −1 and 1, resized to `side`.
    fn bytes(&self, pictures: &Tensor, side: usize) -> Result<Tensor> {
        let resized = if side == self.sizes.side {
            pictures.clone()
        } else {
            resize_bilinear(pictures, (side, side), false)?
        };
        Ok(resized.affine(127.5, 127.5)?.round()?.clamp(0f32, 255f32)?.to_dtype(DType::U8)?)
    }

    /// Codes of pictures as they are read out: clipped to the range of random ones.
    fn read_out(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(self.encode(pixels, &Mode::Frozen)?.clamp(-1f32, 1f32)?)
    }

    /// Means over a validation batch.
    fn measure(&self, pixels: &Tensor, number: u64) -> Result<[(&'static str, f64); 4]> {
        let scalar = |x: Tensor| x.to_dtype(DType::F64)?.to_scalar::<f64>();
        let (shown, codes) = (self.shown(pixels)?, self.encode(pixels, &Mode::Frozen)?);
        let drawn = self.codes(pixels.dim(0)?, &self.validation, number, pixels.device())?;
        let generated = generate(&self.generator, &drawn, &Mode::Frozen)?;
        let again = self.read_out(&self.bytes(&generated, self.crop)?)?;
        let reconstructed = generate(&self.generator, &self.read_out(pixels)?, &Mode::Frozen)?;
        let [right, wrong] = [(&shown, &codes), (&generated, &drawn)]
            .map(|pair| judge(&self.discriminator, pair, &Mode::Frozen));
        let share = |x: Tensor| x.to_dtype(DType::F32)?.mean_all();
        let discriminated = (share(right?.gt(0f32)?)? + share(wrong?.le(0f32)?)?)?;
        let others = Tensor::cat(&[shown.narrow(0, 1, shown.dim(0)? - 1)?, shown.narrow(0, 0, 1)?], 0)?;
        let (own, other) = (distances(&reconstructed, &shown)?, distances(&reconstructed, &others)?);
        Ok([
            ("matched", 0.5 * scalar((share(own.lt(&other)?)? + share(own.le(&other)?)?)?)?),
            ("code", scalar(cosine(&drawn, &again)?)?),
            ("squares", scalar(own.mean_all()?)?),
            ("discriminated", 0.5 * scalar(discriminated)?),
        ])
    }
}

/// Mean squared difference of each picture `(B, H, W, 3)` from its counterpart, `(B)`.
fn distances(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    (a - b)?.sqr()?.flatten_from(1)?.mean(1)
}

/// Mean cosine of the rows of two matrices.
fn cosine(a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    let length = |x: &Tensor| (x.sqr()?.sum(D::Minus1)? + 1e-12)?.sqrt();
    ((a * b)?.sum(D::Minus1)? / (length(a)? * length(b)?)?)?.mean_all()
}

impl HeadedTask for Bigan {
    fn network(&self) -> &Network {
        &self.encoder
    }
}

impl Task for Bigan {
    fn params(&self) -> &Params {
        &self.params
    }

    fn step(&mut self, batch: &Batch, training: &TrainingPass) -> Result<StepOutput> {
        let (mode, pixels) = (Mode::Train(training.clone()), &batch.pixels);
        let (shown, codes) = (self.shown(pixels)?, self.encode(pixels, &mode)?);
        let drawn = self.codes(pixels.dim(0)?, &training.rng.split("codes"), 0, pixels.device())?;
        let generated = generate(&self.generator, &drawn, &mode)?;
        let right = self.loss((&shown, &codes.detach()), true, training.clone())?;
        let wrong = self.loss((&generated.detach(), &drawn), false, training.clone())?;
        let encoder = self.loss((&shown, &codes), false, training.through())?;
        let generator = self.loss((&generated, &drawn), true, training.through())?;
        let (own, against) = (((right + wrong)? * 0.5)?, ((encoder + generator)? * 0.5)?);
        let scalars = vec![("loss", against.detach()), ("discriminator_loss", own.detach())];
        Ok(StepOutput { loss: (own + against)?, scalars })
    }

    /// The share of pictures whose reconstruction from their code is nearer to them than to the next picture, which is a
    /// half by chance; the mean cosine of random codes and the codes of their pictures, by chance 0; the PSNR of the
    /// reconstructions; and the discriminator's accuracy.
    fn evaluate(&mut self, val: &mut Loader) -> Result<Vec<Metric>> {
        let mut meter = MeanMeter::default();
        let measure = |batch: &Batch, number: usize| {
            let images = batch.indices.len() as f64;
            // a picture alone has no other to be compared with
            match images > 1.0 {
                true => Ok(MeanMeter::of_batch(images, &self.measure(&batch.pixels, number as u64)?)),
                false => Ok(MeanMeter::default()),
            }
        };
        val.fold(measure, |batch| {
            meter.merge(&batch);
            Ok(())
        })?;
        ensure!(
            meter.images > 0.0,
            "one validation picture has no other to be compared with: use at least 2"
        );
        self.matches = meter.mean("matched") >= LEARNED;
        let all = [
            (meter.mean("matched"), Better::Higher),
            (meter.mean("code"), Better::Higher),
            (10.0 * (4.0 / meter.mean("squares")).log10(), Better::Higher),
            (meter.mean("discriminated"), Better::Neither),
        ];
        let named = Self::METRICS.into_iter().zip(all);
        Ok(named.map(|(name, (value, better))| Metric { name: name.into(), value, better }).collect())
    }

    /// Pictures, pictures generated from their codes, and pictures generated from random codes in columns.
    fn picture(&mut self, val: &mut Loader) -> Result<Option<ImagePanel>> {
        let Some(batch) = val.next_batch()? else { return Ok(None) };
        let count = batch.pixels.dim(0)?.min(PANEL_IMAGES);
        let (pixels, side) = (batch.pixels.narrow(0, 0, count)?.contiguous()?, self.sizes.side);
        let codes = self.read_out(&pixels)?;
        let drawn = self.codes(count, &self.validation, 0, pixels.device())?;
        let generated = |codes: &Tensor| self.bytes(&generate(&self.generator, codes, &Mode::Frozen)?, side);
        let (picture, again, random) =
            (self.bytes(&self.shown(&pixels)?, side)?, generated(&codes)?, generated(&drawn)?);
        let columns = [("picture", &picture), ("reconstructed", &again), ("generated", &random)];
        Ok(Some(panel::from_columns("bigan", &columns)?))
    }

    fn embed(&self, pixels: &Tensor, layers: &[&str]) -> Result<Vec<Tensor>> {
        Ok(self.encoder.forward(&self.encoder.input().read(pixels)?, layers, &Mode::Frozen)?)
    }

    fn warnings(&self) -> Vec<(String, String)> {
        if self.matches {
            return vec![];
        }
        vec![(
            "pictures generated from the codes of others are as near to a picture as that from its own"
                .into(),
            "train longer, or change the learning rate of `discriminator.*`".into(),
        )]
    }
}
