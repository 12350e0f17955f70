//! A network that predicts color from lightness, and how its output is read: a distribution over ab bins at every label
//! pixel, turned into a color by the annealed mean (Zhang, Isola and Efros 2016, section 2.3), or the color itself
//! (equation 1). Training it is [`super::colorization`]; this is the network in use.

use super::{
    colorization::{ColorizationSpec, Loss},
    label_grid,
};
pub use crate::backbones::input::lightness;
use crate::{
    backbones::{BackboneSpec, Build, Variant, exchange, network::Network},
    color::{
        bins::Bins,
        decode::{Decode, decode},
    },
    nn::{Mode, init::Filler, params::Params, weights},
    rng::Rng,
    train::manifest,
};
use anyhow::{Context, ensure};
use candle_core::{Device, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc};

/// A regressing network puts out ab in units of this, so that its numbers are of the size of its other activations.
const AB_UNIT: f64 = 110.0;

/// What the last layer's channels are.
#[derive(Clone, Debug)]
pub enum Output {
    /// The logits of a distribution over bins.
    Distribution(Arc<Bins>),
    /// a and b.
    Ab,
}

/// How ab at the labels becomes ab at the pixels of a whole picture, which is larger than what the network saw of it. The two
/// ways are up to 3.5 ab units apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// Once, bilinear.
    #[default]
    Direct,
    /// Bilinear to the size that the network saw, and that again to the picture's: as the authors' release does
    /// (`Upsample(scale_factor=4)`, then `interpolate`, both without aligned corners).
    TwoStep,
}

/// A colorizer.
#[derive(Clone, Debug)]
pub struct Colorizer {
    net: Network,
    output: Output,
    upsampling: Upsampling,
}

impl Colorizer {
    /// A fresh network, its parameters in `params`.
    ///
    /// # Errors
    /// When a tensor cannot be made on the device of `params`.
    pub fn new(
        spec: &ColorizationSpec,
        backbone: &BackboneSpec,
        params: &mut Params,
        rng: &Rng,
    ) -> Result<Self> {
        let output = match spec.loss {
            Loss::Classification => Output::Distribution(Arc::new(spec.bins())),
            Loss::L2 => Output::Ab,
        };
        let build = Self::build(spec);
        let net = backbone.build(&build, params, rng)?;
        Ok(Self { net, output, upsampling: Upsampling::default() })
    }

    /// The network of a weight file, with the spec that it was trained by: a run's own, which says what it is (its
    /// header's `backbone` and `colorization`), or a released colorizer in any format that is recognized.
    ///
    /// # Errors
    /// A file that cannot be read, that is not what a run has left in its directory, that is no colorizer's, or that lacks weights of the network which it names.
    pub fn open(path: &Path, device: &Device) -> anyhow::Result<(Self, ColorizationSpec)> {
        manifest::ensure_unchanged(path)?;
        let file = exchange::open_finite(path)?;
        file.notes.iter().for_each(|note| tracing::info!("{}: {note}", path.display()));
        let section = |name: &str| {
            file.metadata.get(name).with_context(|| {
                format!(
                    "{} holds no colorizer that can be used: its header has no `{name}`; give the \
                     weights.safetensors of a colorization stage, or a released colorizer",
                    path.display()
                )
            })
        };
        let damaged = || format!("{}: its header is damaged", path.display());
        let backbone: BackboneSpec = weights::section(section("backbone")?).with_context(damaged)?;
        let spec: ColorizationSpec = weights::section(section("colorization")?).with_context(damaged)?;
        let upsampling = file.metadata.get(exchange::UPSAMPLING).map(|yaml| weights::section(yaml));
        let upsampling = upsampling.transpose().with_context(damaged)?.unwrap_or_default();
        let mut params = Params::new(device);
        // Every weight is about to be set: none is drawn.
        let colorizer = Self::new(&spec, &backbone.with_init(Filler::Zero), &mut params, &Rng::new(0))?;
        let report = weights::load_into(&params, &file.tensors)
            .with_context(|| format!("{} does not fit the network that its header names", path.display()))?;
        ensure!(
            report.missing.is_empty() && report.mismatched.is_empty(),
            "{} does not fit the network that its header names: {report}",
            path.display()
        );
        Ok((Self { upsampling, ..colorizer }, spec))
    }

    /// What of a backbone a colorizer with this spec is made of.
    pub fn build(spec: &ColorizationSpec) -> Build {
        let outputs = match spec.loss {
            Loss::Classification => spec.bins().len(),
            Loss::L2 => 2,
        };
        Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(outputs) }
    }

    /// Its layer table, and where its predictions lie.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// How those who trained it make its labels the colors of a whole picture.
    pub fn upsampling(&self) -> Upsampling {
        self.upsampling
    }

    /// What its last layer puts out.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// What the named heads put out at the label pixels, in training as evaluated: lightness `(B, H, W, 1)`, L − 50
    /// → each `(B, h, w, Q)`, with h = ⌈H / stride⌉. A picture whose sides do not divide by what the network needs
    /// is continued over its lower and right border by its last pixels; what lies there is cut off again.
    pub fn predict(&self, lightness: &Tensor, heads: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        label_grid::predict(&self.net, lightness, heads, mode)
    }

    /// The last layer's output at the label pixels, without a graph: `(B, H, W, 1)` → `(B, h, w, Q)`.
    pub fn output_map(&self, lightness: &Tensor) -> Result<Tensor> {
        Ok(self.predict(lightness, &[self.net.head().label()], &Mode::Frozen)?.remove(0))
    }

    /// The color that an output map `(B, h, w, Q)` means: ab `(B, h, w, 2)`. How to decode matters to distributions
    /// only.
    pub fn decoded(&self, map: &Tensor, how: Decode) -> Result<Tensor> {
        match &self.output {
            Output::Distribution(bins) => decode(map, bins, how),
            Output::Ab => map.affine(AB_UNIT, 0.0),
        }
    }

    /// ab at the label pixels `(B, h, w, 2)` → at every pixel of the picture, bilinear: `(B, height, width, 2)`.
    pub fn enlarged(&self, ab: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        label_grid::enlarged(self.net.grid(), ab, size)
    }

    /// From lightness `(B, H, W, 1)`, L − 50, to ab `(B, H, W, 2)`.
    pub fn color(&self, lightness: &Tensor, how: Decode) -> Result<Tensor> {
        let (_, height, width, _) = lightness.dims4()?;
        self.enlarged(&self.decoded(&self.output_map(lightness)?, how)?, (height, width))
    }
}
