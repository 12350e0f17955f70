//! Colorization from hypercolumns (Larsson, Maire and Shakhnarovich 2016): training of the network
//! [`crate::backbones::larsson`] on columns at a few random pixels of each picture. The targets are the histograms of hue
//! and chroma around a pixel, the loss the divergence from them: that of the hue counts by the chroma of the pixel, that of
//! the chroma less in the dark and the bright. Defaults are those of the authors' training file; their paper takes the
//! histogram of the pixel alone and weighs no chroma.

use super::{
    colorizer::{Colorizer, ColorizerSpec, OutputKind},
    colorizer_task::{ColorizerCriterion, ColorizerTaskSpec, Draw},
    columns::{Pixel, columns},
};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        larsson::{COLUMN, HEAD},
    },
    bounded::{Count, NonNegative, Pixels},
    color::hue_chroma::{BINS, bin, hue_chroma},
    data::Batch,
    key_error::KeyError,
    nn::Mode,
    train::task::StepOutput,
    yaml,
};
use anyhow::Result;
use candle_core::{D, Device, Tensor};
use candle_nn::ops::log_softmax;
use rand::RngExt;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hue and chroma from hypercolumns (Larsson, Maire and Shakhnarovich 2016). In YAML: `larsson: { samples: 128,
/// border: 96 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LarssonTaskSpec {
    /// Random pixels of each picture on which the loss is computed.
    pub samples: Count<65_536>,
    /// Distance in pixels from the sides of the crop within which none is drawn.
    pub border: Count<65_535>,
    /// Side in pixels of the square whose colors form a pixel's target, odd.
    pub window: Pixels,
    /// Weight of the hue's loss beside that of the chroma.
    pub hue_weight: NonNegative,
}

impl Default for LarssonTaskSpec {
    fn default() -> Self {
        Self {
            samples: Count::of(128),
            border: Count::of(96),
            window: Count::of(7),
            hue_weight: NonNegative::of(5.0),
        }
    }
}

impl ColorizerSpec for LarssonTaskSpec {
    fn name(&self) -> &'static str {
        "larsson"
    }

    fn section(&self) -> Result<String, serde_yaml::Error> {
        yaml::write(self)
    }

    fn build(&self) -> Build {
        Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(BINS) }
    }

    fn output(&self, _: &BackboneSpec) -> OutputKind {
        OutputKind::HueChroma
    }

    fn network(&self) -> Option<&'static str> {
        Some("larsson")
    }
}

impl ColorizerTaskSpec for LarssonTaskSpec {
    fn losses(&self) -> &'static [&'static str] {
        &["loss", "hue_loss", "chroma_loss"]
    }

    fn check_crop(&self, crop: usize) -> Result<(), KeyError> {
        let (border, window) = (self.border.get(), self.window.get());
        let wrong = |key, reason: String| Err(KeyError::new(["task", "larsson", key], reason));
        if window.is_multiple_of(2) {
            return wrong(
                "window",
                format!("a window of {window} pixels has no middle pixel: set an odd number"),
            );
        }
        if crop <= 2 * border {
            return wrong(
                "border",
                format!(
                    "a border of {border} pixels leaves nothing of pictures of {crop}: set a `border` below {}",
                    crop.div_ceil(2)
                ),
            );
        }
        if window / 2 > border {
            let needed = window / 2;
            return wrong(
                "border",
                format!("a window of {window} pixels needs a border of at least {needed}, not {border}"),
            );
        }
        Ok(())
    }

    fn criterion(&self) -> Box<dyn ColorizerCriterion> {
        Box::new(SparseColumns(*self))
    }
}

/// Divergences at random pixels.
struct SparseColumns(LarssonTaskSpec);

impl ColorizerCriterion for SparseColumns {
    fn score(&self, colorizer: &Colorizer, batch: &Batch, mode: &Mode, draw: Draw) -> Result<StepOutput> {
        let net = colorizer.network();
        let samples = self.draw(batch, draw)?;
        let columns = columns(net, &net.input().read(&batch.pixels)?, &samples.pixels, mode)?;
        let logits = net.forward_from(COLUMN, &columns, &[HEAD], mode)?.remove(0).flatten_to(2)?;
        let [hue, chroma] = [0, 1].map(|axis| logits.narrow(D::Minus1, axis * BINS, BINS)?.contiguous());
        let device = batch.pixels.device();
        let count = samples.pixels.len();
        let target = |values: Vec<f32>| Tensor::from_vec(values, (count, BINS), device);
        let weights = |values: Vec<f32>| Tensor::from_vec(values, count, device);
        let hue = divergence(&hue?, &target(samples.hues)?, &weights(samples.saturation)?)?;
        let chroma = divergence(&chroma?, &target(samples.chromas)?, &weights(samples.exposure)?)?;
        let loss = ((&hue * self.0.hue_weight.get())? + &chroma)?;
        let scalars =
            vec![("loss", loss.detach()), ("hue_loss", hue.detach()), ("chroma_loss", chroma.detach())];
        Ok(StepOutput { loss, scalars })
    }
}

/// Drawn pixels with their targets and weights, picture by picture.
#[derive(Debug, Default)]
struct Samples {
    pixels: Vec<Pixel>,
    /// Histograms, [`BINS`] numbers for each pixel.
    hues: Vec<f32>,
    chromas: Vec<f32>,
    /// Chroma of the pixel: the weight of its hue.
    saturation: Vec<f32>,
    /// Weight of its chroma: less in the dark and in the bright.
    exposure: Vec<f32>,
}

impl SparseColumns {
    fn draw(&self, batch: &Batch, Draw { rng, first }: Draw) -> Result<Samples> {
        let (_, height, width, _) = batch.pixels.dims4()?;
        let bytes = batch.pixels.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<u8>()?;
        let pictures = bytes.as_chunks::<3>().0.par_chunks_exact(height * width).enumerate();
        let of_picture = |(picture, rgb): (usize, &[[u8; 3]])| {
            let mut stream = rng.at(0, (first + picture) as u64);
            let border = self.0.border.get();
            let mut samples = Samples::default();
            for _ in 0..self.0.samples.get() {
                let y = stream.random_range(border..height - border);
                let x = stream.random_range(border..width - border);
                samples.add(Pixel { picture, y, x }, rgb, width, self.0.window.get() / 2);
            }
            samples
        };
        let all: Vec<Samples> = pictures.map(of_picture).collect();
        Ok(all.into_iter().fold(Samples::default(), Samples::with))
    }
}

impl Samples {
    fn add(&mut self, pixel: Pixel, rgb: &[[u8; 3]], width: usize, radius: usize) {
        let Pixel { y, x, .. } = pixel;
        let (mut hues, mut chromas) = ([0f32; BINS], [0f32; BINS]);
        let share = 1.0 / ((2 * radius + 1) as f32).powi(2);
        for row in y - radius..=y + radius {
            for color in &rgb[row * width + x - radius..=row * width + x + radius] {
                let (hue, chroma) = hue_chroma(*color);
                hues[bin(hue)] += share;
                chromas[bin(chroma)] += share;
            }
        }
        let own = rgb[y * width + x];
        let gray = own.iter().map(|v| f32::from(*v)).sum::<f32>() / (3.0 * 255.0);
        self.pixels.push(pixel);
        self.hues.extend(hues);
        self.chromas.extend(chromas);
        self.saturation.push(hue_chroma(own).1);
        self.exposure.push((3.0 * gray).min(1.0).min(3.0 * (1.0 - gray)));
    }

    fn with(mut self, other: Self) -> Self {
        self.pixels.extend(other.pixels);
        self.hues.extend(other.hues);
        self.chromas.extend(other.chromas);
        self.saturation.extend(other.saturation);
        self.exposure.extend(other.exposure);
        self
    }
}

/// Divergence of the distributions that `logits` `(N, 32)` give from `targets` `(N, 32)`, weighted `(N)` and averaged.
fn divergence(logits: &Tensor, targets: &Tensor, weights: &Tensor) -> candle_core::Result<Tensor> {
    // 0 · ln 0 is 0.
    let entropy = (targets * targets.maximum(1e-30)?.log()?)?.sum(1)?;
    let cross = (log_softmax(logits, D::Minus1)? * targets)?.sum(1)?;
    ((entropy - cross)? * weights)?.mean_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: KL of (1, 0, …) from the uniform distribution is ln 32; of a distribution from itself 0.
    #[test]
    fn divergences_by_hand() -> candle_core::Result<()> {
        let mut targets = vec![0f32; 2 * BINS];
        targets[3] = 1.0;
        targets[BINS..].fill(1.0 / BINS as f32);
        let targets = Tensor::from_vec(targets, (2, BINS), &Device::Cpu)?;
        let weights = Tensor::new(&[0.5f32, 9.0], &Device::Cpu)?;
        let uniform = Tensor::zeros((2, BINS), candle_core::DType::F32, &Device::Cpu)?;
        let got = divergence(&uniform, &targets, &weights)?.to_scalar::<f32>()?;
        assert!((got - 0.5 * 32f32.ln() / 2.0).abs() < 1e-5, "{got}");
        Ok(())
    }

    /// A red square on gray: its middle has only red hues around it, its corner one part in four.
    #[test]
    fn targets_are_histograms_around_the_pixel() {
        let side = 16;
        let color = |y: usize, x: usize| if y < 8 && x < 8 { [255, 0, 0] } else { [128; 3] };
        let rgb: Vec<[u8; 3]> = (0..side * side).map(|i| color(i / side, i % side)).collect();
        let mut samples = Samples::default();
        samples.add(Pixel { picture: 0, y: 4, x: 4 }, &rgb, side, 1);
        samples.add(Pixel { picture: 0, y: 8, x: 8 }, &rgb, side, 1);
        let chroma = |sample: usize, at: usize| samples.chromas[sample * BINS + at];
        assert!((chroma(0, 31) - 1.0).abs() < 1e-6 && (chroma(1, 31) - 1.0 / 9.0).abs() < 1e-6);
        assert!((chroma(1, 0) - 8.0 / 9.0).abs() < 1e-6);
        assert_eq!((samples.saturation[0], samples.saturation[1]), (1.0, 0.0));
        assert!((samples.exposure[0] - 1.0).abs() < 1e-6 && (samples.exposure[1] - 1.0).abs() < 1e-6);
    }
}
