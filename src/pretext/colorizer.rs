//! A network that predicts color from a gray picture, and the decoding of its output: a distribution over ab bins at every
//! label pixel, decoded by the annealed mean (Zhang, Isola and Efros 2016, section 2.3), ab values (equation 1), or what
//! other colorizers put out. Training is in the tasks, [`super::colorization`] and those of single networks; weight files
//! are opened in [`super::colorizer_file`].

use super::{label_grid, two_streams};
pub use crate::backbones::input::lightness;
use crate::{
    backbones::{
        BackboneSpec, Build,
        iizuka::COLOR_HEAD,
        network::{Network, PixelGrid},
    },
    color::{
        bins::Bins,
        decode::{Decode, decode},
        gray::{Gray, gray_of},
        hue_chroma::{BINS, ab_of_hue_chroma},
        yuv::ab_of_uv,
    },
    nn::{Mode, params::Params},
    ops::activation::{sigmoid, tanh},
    rng::Rng,
};
use candle_core::{D, Result, Tensor, bail};
use candle_nn::ops::softmax;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Scale of a regression's ab output, so that its values are of the size of the other activations.
const AB_UNIT: f64 = 110.0;
/// Largest a and b of a sigmoid's output.
pub(super) const AB_RANGE: f64 = 100.0;

/// What a task's section of the YAML says about its network.
pub trait ColorizerSpec: std::fmt::Debug {
    /// Name of the task, and of its section in weight files.
    fn name(&self) -> &'static str;

    /// The section as YAML.
    ///
    /// # Errors
    /// None for the specs of this crate.
    fn section(&self) -> std::result::Result<String, serde_yaml::Error>;

    /// Build options of the network.
    fn build(&self) -> Build;

    /// Meaning of the output of the network that is built on `backbone`.
    fn output(&self, backbone: &BackboneSpec) -> OutputKind;

    /// The only backbone on which the task is defined; None for any.
    fn network(&self) -> Option<&'static str> {
        None
    }

    /// Decoding of a distribution for panels and figures.
    fn decode(&self) -> Decode {
        Decode::Mean
    }
}

/// Meaning of the last layer's channels.
#[derive(Clone, Debug)]
pub enum OutputKind {
    /// Logits of a distribution over bins, at the label pixels.
    Distribution(Arc<Bins>),
    /// a and b at the label pixels.
    Ab,
    /// a and b at every pixel are this scale times the tanh.
    Tanh { scale: f64 },
    /// U and V of YUV at every pixel, from 0 to 1, are the sigmoid.
    Uv,
    /// a and b at every pixel, from −100 to 100, are the sigmoid; the network's global stream sees pictures of this side.
    UnitAb { side: usize },
    /// Logits of 32 hues and of 32 chromas at the label pixels.
    HueChroma,
}

/// Upsampling of ab from label pixels to the pixels of a full-size picture, which is larger than the network's input.
/// The two methods differ by up to 3.5 ab units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// One bilinear resize.
    #[default]
    Direct,
    /// A bilinear resize to the network's input size, then another to the picture's size, as in the authors' release
    /// (`Upsample(scale_factor=4)`, then `interpolate`, both without aligned corners).
    TwoStep,
}

/// A colorization network with its output encoding.
#[derive(Clone, Debug)]
pub struct Colorizer {
    net: Network,
    output: OutputKind,
    pub(super) upsampling: Upsampling,
    pub(super) trained_side: Option<usize>,
}

impl Colorizer {
    /// A new network with its parameters in `params`.
    ///
    /// # Errors
    /// A tensor cannot be created on the device of `params`.
    pub fn new(
        spec: &dyn ColorizerSpec,
        backbone: &BackboneSpec,
        params: &mut Params,
        rng: &Rng,
    ) -> Result<Self> {
        Self::with_build(spec, &spec.build(), backbone, params, rng)
    }

    /// As [`Self::new`], with the build options of a task that trains more than colors.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_build(
        spec: &dyn ColorizerSpec,
        build: &Build,
        backbone: &BackboneSpec,
        params: &mut Params,
        rng: &Rng,
    ) -> Result<Self> {
        let net = backbone.build(build, params, rng)?;
        Ok(Self { net, output: spec.output(backbone), upsampling: Upsampling::default(), trained_side: None })
    }

    /// The underlying network, with its layer table and pixel grid.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// Short side in pixels of the pictures that it was trained on, or else the side of their crops; None if its file does
    /// not say.
    pub fn trained_side(&self) -> Option<usize> {
        self.trained_side
    }

    /// Upsampling that the weights were released with.
    pub fn upsampling(&self) -> Upsampling {
        self.upsampling
    }

    /// Meaning of the last layer's output.
    pub fn output(&self) -> &OutputKind {
        &self.output
    }

    /// The gray value of color pictures that the network sees.
    pub fn gray(&self) -> Gray {
        self.net.input().gray()
    }

    /// Whether it takes color hints.
    pub fn takes_hints(&self) -> bool {
        self.net.input().takes_hints()
    }

    /// The network's input from gray pictures, given as L − 50 `(B, H, W, 1)`, and hints `(B, H, W, 3)` if there are any
    /// ([`super::hints::map`]).
    pub fn input(&self, lightness: &Tensor, hints: Option<&Tensor>) -> Result<Tensor> {
        self.net.input().of_lightness(lightness, hints)
    }

    /// Outputs of the named heads at the label pixels, in training and in evaluation: network input `(B, H, W, C)`
    /// → each `(B, h, w, Q)`, with h = ⌈H / stride⌉. If the sides are not multiples of what the network needs, the
    /// picture is padded at the bottom and right by replication, and the output is cropped again.
    pub fn predict(&self, input: &Tensor, heads: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        label_grid::predict(&self.net, input, heads, mode)
    }

    /// The last layer's output at the label pixels, without gradient: L − 50 `(B, H, W, 1)`, hints `(B, H, W, 3)` →
    /// `(B, h, w, Q)`.
    pub fn output_map(&self, lightness: &Tensor, hints: Option<&Tensor>) -> Result<Tensor> {
        let (input, mode) = (self.input(lightness, hints)?, Mode::Frozen);
        let mut maps = match self.output {
            OutputKind::UnitAb { side } => label_grid::predict_by(self.net.grid(), &input, |padded| {
                two_streams::forward(&self.net, side, padded, &[COLOR_HEAD], &mode)
            })?,
            _ => self.predict(&input, &[self.net.head().label()], &mode)?,
        };
        Ok(maps.remove(0))
    }

    /// Decodes an output map `(B, h, w, Q)` to ab `(B, h', w', 2)` on the grid of [`Self::ab_grid`], for gray pictures, given
    /// as L − 50 `(B, H, W, 1)`. `how` applies to distributions over ab only.
    pub fn ab(&self, map: &Tensor, lightness: &Tensor, how: Decode) -> Result<Tensor> {
        match &self.output {
            OutputKind::Uv => ab_of_uv(&sigmoid(map)?, &gray_of(lightness)?),
            OutputKind::HueChroma => {
                let (_, height, width, _) = lightness.dims4()?;
                let [hue, chroma] = [0, 1].map(|axis| softmax(&map.narrow(3, axis * BINS, BINS)?, D::Minus1));
                let both = Tensor::cat(&[hue?, chroma?], 3)?;
                let whole = label_grid::upsampled(self.net.grid(), &both, (height, width))?;
                ab_of_hue_chroma(&whole, &gray_of(lightness)?)
            }
            _ => self.decode_map(map, how),
        }
    }

    /// As [`Self::ab`], of an output whose meaning does not depend on the gray value.
    ///
    /// # Errors
    /// Another output.
    pub fn decode_map(&self, map: &Tensor, how: Decode) -> Result<Tensor> {
        match &self.output {
            OutputKind::Distribution(bins) => decode(map, bins, how),
            OutputKind::Ab => map.affine(AB_UNIT, 0.0),
            OutputKind::Tanh { scale } => tanh(map)?.affine(*scale, 0.0),
            OutputKind::UnitAb { .. } => sigmoid(map)?.affine(2.0 * AB_RANGE, -AB_RANGE),
            OutputKind::Uv | OutputKind::HueChroma => {
                bail!("{:?} is a color only on a gray value", self.output)
            }
        }
    }

    /// Side in pixels of what a global stream sees; 0 without one.
    pub fn global_side(&self) -> usize {
        if let OutputKind::UnitAb { side } = self.output { side } else { 0 }
    }

    /// Alignment of decoded ab with the picture: one at every label or, for colorizers that paint every pixel, there.
    pub fn ab_grid(&self) -> PixelGrid {
        let grid = self.net.grid();
        match self.output {
            OutputKind::Distribution(_) | OutputKind::Ab => grid,
            _ => PixelGrid { stride: 1, align_corners: false, ..grid },
        }
    }

    /// Upsamples decoded ab `(B, h', w', 2)` bilinearly to every pixel: `(B, height, width, 2)`.
    pub fn upsampled(&self, ab: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        label_grid::upsampled(self.ab_grid(), ab, size)
    }

    /// Predicts ab `(B, H, W, 2)` from gray pictures, given as L − 50 `(B, H, W, 1)`.
    pub fn color(&self, lightness: &Tensor, how: Decode) -> Result<Tensor> {
        let (_, height, width, _) = lightness.dims4()?;
        let map = self.output_map(lightness, None)?;
        self.upsampled(&self.ab(&map, lightness, how)?, (height, width))
    }
}
