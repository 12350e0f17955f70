//! Data-dependent initialisation of Krähenbühl, Doersch, Donahue and Darrell, "Data-dependent Initializations of
//! Convolutional Neural Networks" (ICLR 2016), the within-layer half: layer by layer, filters are taken from the patches
//! that the layer sees (k-means, principal components, whitening, the patches themselves) or drawn from N(0, 1); then
//! they are scaled so that on real data every channel answers with variance 1 and a mean that is the bias asked for.
//!
//! Patches are gathered directly where the authors project them on random filters to spare themselves that. The other
//! half of the paper, which balances layers against one another, is [`super::calibrate`].
//!
//! Not here: drawing the pictures, and the heads, which keep their fillers.

mod filters;
mod kmeans;
mod moments;
mod patches;
mod spectrum;

use super::{network::Network, rows::Row, table::Layer};
use crate::{
    bounded::{BatchSize, Count},
    extremes::largest,
    nn::params::Params,
    rng::Rng,
};
use candle_core::{DType, Result, Tensor, bail};
use moments::Moments;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Instant};

/// Where the filters of a layer come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filters {
    /// Centroids of whitened patches of unit length, brought back to pixels.
    #[default]
    Kmeans,
    /// Principal components, each over the root of its variance.
    Pca,
    /// Rows of the symmetric whitening, each about one element of the patch, which are drawn at random.
    Zca,
    /// Whitened patches of unit length, drawn at random, brought back to pixels.
    Patches,
    /// N(0, 1): the paper's "Gaussian" rows. Only the scale depends on the data.
    Gaussian,
}

impl fmt::Display for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kmeans => "kmeans",
            Self::Pca => "pca",
            Self::Zca => "zca",
            Self::Patches => "patches",
            Self::Gaussian => "gaussian",
        })
    }
}

/// What a spec says about it. The defaults are those of the colorizer's k-means start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataInitSpec {
    pub filters: Filters,
    /// batches of pictures that are looked at
    pub batches: BatchSize,
    /// mean of every channel's response
    pub bias: f64,
    /// the last layer that is treated; absent: conv5, and in networks without one the last hidden layer that is not
    /// fully connected
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// patches that are looked at in each layer, at most
    pub patches: Count,
}

impl Default for DataInitSpec {
    fn default() -> Self {
        Self {
            filters: Filters::Kmeans,
            batches: Count::of(10),
            bias: 0.1,
            through: None,
            patches: Count::of(32_768),
        }
    }
}

impl DataInitSpec {
    /// The place in the table of the last layer that is treated.
    ///
    /// # Errors
    /// A name that is no hidden layer with weights.
    pub fn last(&self, layers: &[Layer]) -> Result<usize> {
        let hidden = |layer: &Layer| layer.kind.has_weights() && layer.relu && !layer.branch;
        let usual = || {
            let named = layers.iter().position(|layer| layer.name == "conv5");
            named.or_else(|| layers.iter().rposition(|l| hidden(l) && !l.name.starts_with("fc")))
        };
        let found = match &self.through {
            Some(name) => layers.iter().position(|layer| layer.name == *name && hidden(layer)),
            None => usual(),
        };
        let Some(found) = found else {
            let names: Vec<&str> = layers.iter().filter(|l| hidden(l)).map(|l| l.name.as_str()).collect();
            bail!(
                "data-dependent initialisation: `through: {}` is no hidden layer with weights; those are {}",
                self.through.as_deref().unwrap_or("conv5"),
                names.join(", ")
            )
        };
        Ok(found)
    }
}

/// What was done to a layer, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerReport {
    pub layer: String,
    /// Where its filters came from.
    pub filters: Filters,
    /// Why not from where they should have.
    pub instead: Option<String>,
    /// Patches looked at, and numbers in each.
    pub patches: usize,
    pub fan_in: usize,
    /// Largest distance of a channel's mean response from the bias asked for, measured afterwards.
    pub mean_error: f64,
    /// Largest distance of a channel's standard deviation from 1, measured afterwards.
    pub std_error: f64,
    pub seconds: f64,
}

impl fmt::Display for LayerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, filters, patches, fan_in, mean_error, std_error, seconds, .. } = self;
        write!(f, "{layer}: {filters}")?;
        if *filters != Filters::Gaussian {
            write!(f, " of {patches} patches of {fan_in} numbers")?;
        }
        if let Some(reason) = &self.instead {
            write!(f, " ({reason})")?;
        }
        write!(f, "; mean within {mean_error:.1e}, deviation within {std_error:.1e}; {seconds:.1} s")
    }
}

/// Fills the weights and biases of a network's layers in order, up to the last that `spec` treats; branches are
/// passed by. `batches` are network inputs `(B, H, W, C)`, which need not be of one size. Batch normalisation, where the
/// network has it, acts between the layers by the statistics of each batch, as in training.
///
/// Memory: the maps of one layer for all batches, besides the patches (f64, 4096 at a time) and their covariance.
///
/// # Errors
/// No batches; a layer that is not there; maps too small for a window; a layer whose input is constant.
pub fn initialize(
    spec: &DataInitSpec,
    network: &Network,
    params: &Params,
    batches: &[Tensor],
    rng: &Rng,
) -> Result<Vec<LayerReport>> {
    let last = spec.last(network.layers())?;
    if batches.is_empty() {
        bail!("data-dependent initialisation: no pictures were given; `batches` batches are needed")
    }
    let mut maps: Vec<Tensor> = batches.iter().map(Tensor::detach).collect();
    let mut reports = vec![];
    for layer in network.layers().iter().take(last + 1).filter(|layer| !layer.branch) {
        let row = Row::new(layer, params);
        if layer.kind.has_weights() {
            let report = treat(spec, row, &mut maps, &rng.split(&layer.name))?;
            tracing::info!("{report}");
            reports.push(report);
        } else {
            maps.iter_mut().try_for_each(|x| row.forward(x).map(|y| *x = y))?;
        }
    }
    Ok(reports)
}

/// Filters, scale and bias of one layer; afterwards `maps` are what the next row takes.
fn treat(spec: &DataInitSpec, row: Row<'_>, maps: &mut [Tensor], rng: &Rng) -> Result<LayerReport> {
    let (began, layer) = (Instant::now(), row.layer);
    let found = filters::find(spec, row, maps, rng)?;
    row.weight()?.set(&found.weight)?;
    scale(row, &moments(row, maps)?, spec.bias)?;
    let mut after = Moments::new(layer.outputs);
    for x in maps {
        let sums = row.window(x, true)?;
        after.add(&sums)?;
        *x = row.rest(&sums)?;
    }
    let worst = |values: Vec<f64>, wanted: f64| largest(values.iter().map(|v| v - wanted));
    Ok(LayerReport {
        layer: layer.name.clone(),
        filters: found.filters,
        instead: found.instead,
        patches: found.patches,
        fan_in: found.fan_in,
        mean_error: worst(after.means(), spec.bias),
        std_error: worst(after.deviations(), 1.0),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Of the responses without bias, per channel.
fn moments(row: Row<'_>, maps: &[Tensor]) -> Result<Moments> {
    let mut moments = Moments::new(row.layer.outputs);
    maps.iter().try_for_each(|x| moments.add(&row.window(x, false)?))?;
    Ok(moments)
}

/// W ← W / σ, b ← β − μ / σ, where μ and σ are those of the responses.
fn scale(row: Row<'_>, moments: &Moments, bias: f64) -> Result<()> {
    let (means, deviations) = (moments.means(), moments.deviations());
    if !largest(means.iter().copied()).is_finite() {
        bail!(
            "data-dependent initialisation: what {} answers is not finite; are the pictures?",
            row.layer.name
        )
    }
    let dead = deviations.iter().filter(|&&d| d.is_nan() || d <= f64::MIN_POSITIVE).count();
    if dead > 0 {
        bail!(
            "data-dependent initialisation: {dead} of the {} channels of {} answer every picture alike: what they \
             see is constant; give real pictures, or more of them",
            deviations.len(),
            row.layer.name
        )
    }
    let (weight, channels) = (row.weight()?, deviations.len());
    let biases: Vec<f32> = means.iter().zip(&deviations).map(|(m, d)| (bias - m / d) as f32).collect();
    row.bias()?.set(&Tensor::from_vec(biases, channels, weight.device())?)?;
    let factors: Vec<f64> = deviations.iter().map(|d| 1.0 / d).collect();
    let factors = Tensor::from_vec(factors, &row.per_output(), weight.device())?;
    let scaled = weight.as_detached_tensor().to_dtype(DType::F64)?.broadcast_mul(&factors)?;
    weight.set(&scaled.to_dtype(weight.dtype())?)
}
