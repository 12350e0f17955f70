//! A network that predicts color from lightness, and the decoding of its output: a distribution over ab bins at every
//! label pixel, decoded by the annealed mean (Zhang, Isola and Efros 2016, section 2.3), or ab values (equation 1).
//! Training is in [`super::colorization`].

use super::{
    colorization::{ColorizationLoss, ColorizationSpec},
    label_grid,
};
pub use crate::backbones::input::lightness;
use crate::{
    backbones::{BackboneSpec, Build, Variant, exchange, network::Network},
    color::{
        bins::Bins,
        decode::{Decode, decode},
    },
    nn::{Mode, params::Params, weights},
    rng::Rng,
    train::manifest,
};
use anyhow::{Context, ensure};
use candle_core::{Device, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc};

/// Scale of a regression's ab output, so that its values are of the size of the other activations.
const AB_UNIT: f64 = 110.0;

/// Meaning of the last layer's channels.
#[derive(Clone, Debug)]
pub enum OutputKind {
    /// Logits of a distribution over bins.
    Distribution(Arc<Bins>),
    /// a and b.
    Ab,
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
    upsampling: Upsampling,
}

impl Colorizer {
    /// A new network with its parameters in `params`.
    ///
    /// # Errors
    /// A tensor cannot be created on the device of `params`.
    pub fn new(
        spec: &ColorizationSpec,
        backbone: &BackboneSpec,
        params: &mut Params,
        rng: &Rng,
    ) -> Result<Self> {
        let output = match spec.loss {
            ColorizationLoss::Classification => OutputKind::Distribution(Arc::new(spec.bins())),
            ColorizationLoss::L2 => OutputKind::Ab,
        };
        let build = Self::build(spec);
        let net = backbone.build(&build, params, rng)?;
        Ok(Self { net, output, upsampling: Upsampling::default() })
    }

    /// Opens a weight file and returns the network with the spec it was trained by. The file is a run's own (its
    /// header holds `backbone` and `colorization`) or a released colorizer in any recognized format.
    ///
    /// # Errors
    /// A file that cannot be read, was modified after its run finished, holds no colorizer, or lacks weights of the
    /// network that it names.
    pub fn open(path: &Path, device: &Device) -> anyhow::Result<(Self, ColorizationSpec)> {
        // A run's file has a checksum, which takes as long as reading the file.
        let (unchanged, file) =
            rayon::join(|| manifest::ensure_unchanged(path), || exchange::open_finite(path));
        unchanged?;
        let file = file?;
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
        let mut params = Params::with_own_values(device, file.tensors);
        let colorizer = Self::new(&spec, &backbone, &mut params, &Rng::new(0))?;
        let report = weights::finish_load(&mut params)
            .with_context(|| format!("{} does not fit the network that its header names", path.display()))?;
        ensure!(
            report.missing.is_empty() && report.mismatched.is_empty(),
            "{} does not fit the network that its header names: {report}",
            path.display()
        );
        Ok((Self { upsampling, ..colorizer }, spec))
    }

    /// Build options of a colorizer with this spec.
    pub fn build(spec: &ColorizationSpec) -> Build {
        let outputs = match spec.loss {
            ColorizationLoss::Classification => spec.bins().len(),
            ColorizationLoss::L2 => 2,
        };
        Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(outputs) }
    }

    /// The underlying network, with its layer table and pixel grid.
    pub fn network(&self) -> &Network {
        &self.net
    }

    /// Upsampling that the weights were released with.
    pub fn upsampling(&self) -> Upsampling {
        self.upsampling
    }

    /// Meaning of the last layer's output.
    pub fn output(&self) -> &OutputKind {
        &self.output
    }

    /// Outputs of the named heads at the label pixels, in training and in evaluation: lightness `(B, H, W, 1)`, L − 50
    /// → each `(B, h, w, Q)`, with h = ⌈H / stride⌉. If the sides are not multiples of what the network needs, the
    /// picture is padded at the bottom and right by replication, and the output is cropped again.
    pub fn predict(&self, lightness: &Tensor, heads: &[&str], mode: &Mode) -> Result<Vec<Tensor>> {
        label_grid::predict(&self.net, lightness, heads, mode)
    }

    /// The last layer's output at the label pixels, without gradient: `(B, H, W, 1)` → `(B, h, w, Q)`.
    pub fn output_map(&self, lightness: &Tensor) -> Result<Tensor> {
        Ok(self.predict(lightness, &[self.net.head().label()], &Mode::Frozen)?.remove(0))
    }

    /// Decodes an output map `(B, h, w, Q)` to ab `(B, h, w, 2)`. `how` applies to distributions only.
    pub fn decode_map(&self, map: &Tensor, how: Decode) -> Result<Tensor> {
        match &self.output {
            OutputKind::Distribution(bins) => decode(map, bins, how),
            OutputKind::Ab => map.affine(AB_UNIT, 0.0),
        }
    }

    /// Upsamples ab at the label pixels `(B, h, w, 2)` bilinearly to every pixel: `(B, height, width, 2)`.
    pub fn upsampled(&self, ab: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        label_grid::upsampled(self.net.grid(), ab, size)
    }

    /// Predicts ab `(B, H, W, 2)` from lightness `(B, H, W, 1)`, L − 50.
    pub fn color(&self, lightness: &Tensor, how: Decode) -> Result<Tensor> {
        let (_, height, width, _) = lightness.dims4()?;
        self.upsampled(&self.decode_map(&self.output_map(lightness)?, how)?, (height, width))
    }
}
