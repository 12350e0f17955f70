//! Data-dependent initialization of Krähenbühl, Doersch, Donahue and Darrell, "Data-dependent Initializations of
//! Convolutional Neural Networks" (ICLR 2016), the within-layer part. Layer by layer, filters are computed from the
//! layer's input patches (k-means, principal components, whitening, the patches themselves) or drawn from N(0, 1).
//! They are then scaled so that on real data every channel has variance 1 and the requested bias as its mean.
//!
//! Patches are gathered directly; the authors use random projections to avoid that. The between-layer part of the
//! paper is [`super::calibrate`].
//!
//! Out of scope: sampling the pictures, and the heads, which keep their fillers.

mod filters;
mod kmeans;
mod moments;
mod patches;
mod spectrum;

use super::{
    network::Network,
    table::{Layer, hidden_taps},
};
use crate::{
    bounded::{BatchSize, Count},
    extremes::largest,
    rng::Rng,
};
use candle_core::{DType, Result, Tensor, Var, bail};
use moments::Moments;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Instant};

/// How the filters of a layer are computed from patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(title = "Filters of an initialization")]
pub enum Filters {
    /// Centroids of whitened patches of unit length, mapped back to pixels.
    #[default]
    Kmeans,
    /// Principal components, each divided by the root of its variance.
    Pca,
    /// Randomly drawn rows of the symmetric whitening matrix, each centered on one element of the patch.
    Zca,
    /// Randomly drawn whitened patches of unit length, mapped back to pixels.
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

/// Initialization from the training pictures (Krähenbühl et al. 2016). The defaults are those of the colorizer's
/// k-means initialization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Data-dependent initialization")]
pub struct DataInitSpec {
    /// How the filters of a layer are computed.
    pub filters: Filters,
    /// Batches of pictures to use.
    pub batches: BatchSize,
    /// Mean of every channel's response.
    pub bias: f64,
    /// The last layer to initialize; default: the last hidden layer that is not fully connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// Maximum number of patches per layer.
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
    /// Index of the last row of the last layer to initialize.
    ///
    /// # Errors
    /// A name of no hidden layer with weights.
    pub fn last(&self, rows: &[Layer]) -> Result<usize> {
        let hidden = hidden_taps(rows);
        let found = match &self.through {
            Some(name) => hidden.iter().find(|(tap, _)| tap == name).map(|(_, row)| *row),
            None => {
                let last = rows.iter().rposition(|row| row.is_hidden() && !row.is_fully_connected());
                hidden.iter().map(|(_, row)| *row).find(|row| Some(*row) >= last)
            }
        };
        let Some(found) = found else {
            let names: Vec<&str> = hidden.iter().map(|(tap, _)| *tap).collect();
            bail!(
                "data-dependent initialization: `through: {}` is no hidden layer with weights; those are {}",
                self.through.as_deref().unwrap_or("absent"),
                names.join(", ")
            )
        };
        Ok(found)
    }
}

/// Report on one initialized layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerReport {
    pub layer: String,
    /// Method used.
    pub filters: Filters,
    /// Why the requested method was not used.
    pub instead: Option<String>,
    /// Number of patches, and numbers in each.
    pub patches: usize,
    pub fan_in: usize,
    /// Largest deviation of a channel's mean response from the requested bias, measured afterwards.
    pub mean_error: f64,
    /// Largest deviation of a channel's standard deviation from 1, measured afterwards.
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

/// Sets the weights and biases of a network's layers in order, up to the last layer of `spec`; heads are skipped.
/// `batches` are network inputs `(B, H, W, C)` of any sizes. Batch normalization, if present, uses the statistics of
/// each batch, as in training. A layer without a bias keeps its mean.
///
/// Memory: the maps that later layers read, for all batches, plus the patches (f64, 4096 at a time) and their
/// covariance.
///
/// # Errors
/// No batches; an unknown layer; maps too small for a window; a layer with constant input.
pub fn initialize(
    spec: &DataInitSpec,
    network: &Network,
    batches: &[Tensor],
    rng: &Rng,
) -> Result<Vec<LayerReport>> {
    let last = spec.last(network.layers())?;
    let Some(first) = batches.first() else {
        bail!("data-dependent initialization: no pictures were given; it needs `batches` batches")
    };
    let (_, way) = network.walk(first, last)?;
    let begin = |x: &Tensor| Ok(network.walk(&x.detach(), last)?.0);
    let mut passes = batches.iter().map(begin).collect::<Result<Vec<_>>>()?;
    let mut reports = vec![];
    for i in way {
        let row = &network.layers()[i];
        let inputs = passes.iter_mut().map(|values| values.take(&row.from)).collect::<Result<Vec<_>>>()?;
        let outputs = if row.kind.has_weights() {
            let target = Target { network, row, index: i };
            let (report, outputs) = target.treat(spec, inputs, &rng.split(&row.name))?;
            tracing::info!("{report}");
            reports.push(report);
            outputs
        } else {
            inputs.iter().map(|inputs| network.step(i, inputs)).collect::<Result<_>>()?
        };
        passes.iter_mut().zip(outputs).for_each(|(values, output)| values.put(i + 1, output));
    }
    Ok(reports)
}

/// The row being initialized.
struct Target<'a> {
    network: &'a Network,
    row: &'a Layer,
    index: usize,
}

impl Target<'_> {
    /// Sets filters, scale and bias of one row; returns its outputs, batch by batch.
    fn treat(
        &self,
        spec: &DataInitSpec,
        inputs: Vec<Vec<Tensor>>,
        rng: &Rng,
    ) -> Result<(LayerReport, Vec<Tensor>)> {
        let (began, maps) = (Instant::now(), inputs.iter().flatten().cloned().collect::<Vec<Tensor>>());
        let found = filters::find(spec, self, &maps, rng)?;
        self.weight()?.set(&found.weight)?;
        if let Some(bias) = self.bias() {
            bias.set(&bias.as_detached_tensor().zeros_like()?)?;
        }
        let (responses, _) = self.respond(&inputs)?;
        self.scale(&responses, spec.bias)?;
        let (after, outputs) = self.respond(&inputs)?;
        let worst = |values: Vec<f64>, wanted: f64| largest(values.iter().map(|v| v - wanted));
        let wanted = if self.bias().is_some() { after.means() } else { vec![] };
        let report = LayerReport {
            layer: self.row.name.clone(),
            filters: found.filters,
            instead: found.instead,
            patches: found.patches,
            fan_in: found.fan_in,
            mean_error: worst(wanted, spec.bias),
            std_error: worst(after.deviations(), 1.0),
            seconds: began.elapsed().as_secs_f64(),
        };
        Ok((report, outputs))
    }

    fn weight(&self) -> Result<&Var> {
        self.network.weight(self.index)
    }

    fn bias(&self) -> Option<&Var> {
        self.network.bias(self.index)
    }

    /// The row's outputs and their moments per channel.
    fn respond(&self, inputs: &[Vec<Tensor>]) -> Result<(Moments, Vec<Tensor>)> {
        let mut moments = Moments::new(self.row.outputs);
        let mut outputs = vec![];
        for inputs in inputs {
            let output = self.network.step(self.index, inputs)?;
            moments.add(&output)?;
            outputs.push(output);
        }
        Ok((moments, outputs))
    }

    /// W ← W / σ, b ← β − μ / σ, with μ and σ the moments of the responses without a bias.
    fn scale(&self, responses: &Moments, bias: f64) -> Result<()> {
        let (means, deviations) = (responses.means(), responses.deviations());
        let name = &self.row.name;
        if !largest(means.iter().copied()).is_finite() {
            bail!("data-dependent initialization: the response of {name} is not finite: check the pictures")
        }
        let dead = deviations.iter().filter(|&&d| d.is_nan() || d <= f64::MIN_POSITIVE).count();
        if dead > 0 {
            bail!(
                "data-dependent initialization: {dead} of the {} channels of {name} have the same response to every \
                 picture: their input is constant; give more pictures, or real ones",
                deviations.len()
            )
        }
        let weight = self.weight()?;
        if let Some(var) = self.bias() {
            let biases = means.iter().zip(&deviations).map(|(m, d)| (bias - m / d) as f32);
            var.set(&Tensor::from_iter(biases, weight.device())?)?;
        }
        let factors: Vec<f64> = deviations.iter().map(|d| 1.0 / d).collect();
        let per_output = self.row.kind.per_output(deviations.len()).unwrap_or_default();
        let factors = Tensor::from_vec(factors, per_output, weight.device())?;
        let scaled = weight.as_detached_tensor().to_dtype(DType::F64)?.broadcast_mul(&factors)?;
        weight.set(&scaled.to_dtype(weight.dtype())?)
    }
}
