//! A backbone with fixed weights, built up to the last layer that is read.

use super::filters::filters;
use crate::{
    backbones::{
        BackboneSpec,
        network::Network,
        table::{Layer, tap, taps},
    },
    experiment::{TrainedWeights, read_trained},
    nn::{init::Filler, params::Params, weights},
    rng::Rng,
    train::{manifest, panel::RgbTile},
};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use std::path::{Path, PathBuf};

/// Where the weights come from.
#[derive(Clone, Debug)]
pub enum StartingWeights {
    /// A weight file on disk, of any recognized format; the backbone is that of its header, else the given one.
    File(PathBuf, Option<BackboneSpec>),
    /// Random weights of a backbone.
    Random { backbone: BackboneSpec, init: Filler, seed: u64 },
}

/// The frozen transfer variant of a backbone without head, as probes read it: batch normalization is absorbed.
pub struct FrozenNetwork {
    spec: BackboneSpec,
    network: Network,
    params: Params,
}

impl FrozenNetwork {
    /// Builds the network up to the last of `layers`.
    ///
    /// # Errors
    /// An unknown layer; a file that cannot be read, was modified after its run finished, names no backbone while none is
    /// given, or does not fit its backbone.
    pub fn open(weights: &StartingWeights, layers: &[String], device: &Device) -> Result<Self> {
        match weights {
            StartingWeights::File(path, backbone) => Self::read(path, backbone.as_ref(), layers, device),
            StartingWeights::Random { backbone, init, seed } => {
                let spec = backbone.with_init(*init);
                let rows = rows(&spec, None, layers)?;
                let mut params = Params::new(device);
                let rng = Rng::new(*seed).split("init");
                let network = Network::new(spec.interface(), rows, &mut params, &rng)?;
                Ok(Self { spec, network, params })
            }
        }
    }

    fn read(
        path: &Path,
        backbone: Option<&BackboneSpec>,
        layers: &[String],
        device: &Device,
    ) -> Result<Self> {
        let (unchanged, read) =
            rayon::join(|| manifest::ensure_unchanged(path), || read_trained(path, backbone));
        unchanged?;
        let TrainedWeights { spec, tensors, through } = read?;
        let rows = rows(&spec, through.as_deref(), layers)?;
        let mut params = Params::with_own_values(device, tensors);
        let network = Network::new(spec.interface(), rows, &mut params, &Rng::new(0))?;
        let misfit = || format!("{} does not fit the backbone {}", path.display(), spec.name());
        let report = weights::finish_load(&mut params).with_context(misfit)?;
        ensure!(report.missing.is_empty() && report.mismatched.is_empty(), "{}: {report}", misfit());
        Ok(Self { spec, network, params })
    }

    /// Its architecture.
    pub fn spec(&self) -> &BackboneSpec {
        &self.spec
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The filters of its first convolution; see [`filters`].
    ///
    /// # Errors
    /// A network that does not begin with a convolution.
    pub fn filters(&self) -> Result<RgbTile> {
        let first = self.network.layers().first().filter(|row| row.conv().is_some());
        let weight = first.and_then(|row| self.params.named(&format!("{}.weight", row.name)));
        filters(weight.context("the network does not begin with a convolution")?, self.network.input())
    }
}

/// A layer that the backbone or its weights do not have.
#[derive(Debug, thiserror::Error)]
#[error("{backbone} has no layer `{layer}`{}; its layers are {}", absence(.through.as_deref()), .known.join(", "))]
pub struct UnknownLayer {
    backbone: &'static str,
    layer: String,
    through: Option<String>,
    known: Vec<String>,
}

fn absence(through: Option<&str>) -> String {
    through.map(|last| format!(" in these weights, which end with {last}")).unwrap_or_default()
}

/// The backbone's table up to the last of `layers`. Weights may end with the layer `through`.
fn rows(spec: &BackboneSpec, through: Option<&str>, layers: &[String]) -> Result<Vec<Layer>> {
    let mut rows = spec.table(&spec.plain());
    if let Some(end) = through.and_then(|layer| tap(&rows, layer)) {
        rows.truncate(end + 1);
    }
    let mut last = None;
    for layer in layers {
        let known = || taps(&rows).map(String::from).collect();
        let unknown = || UnknownLayer {
            backbone: spec.name(),
            layer: layer.clone(),
            through: through.map(String::from),
            known: known(),
        };
        last = last.max(Some(tap(&rows, layer).ok_or_else(unknown)?));
    }
    rows.truncate(last.map_or(0, |last| last + 1));
    Ok(rows)
}
