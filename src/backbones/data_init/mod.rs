//! Data-dependent initialization of Krähenbühl, Doersch, Donahue and Darrell, "Data-dependent Initializations of
//! Convolutional Neural Networks" (ICLR 2016), the within-layer half: layer by layer, filters are taken from the patches
//! that the layer sees (k-means, principal components, whitening, the patches themselves) or drawn from N(0, 1); then
//! they are scaled so that on real data every channel responds with variance 1 and a mean that is the bias asked for.
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
    /// the last layer that is treated; absent: the last hidden layer that is not fully connected
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
    /// The row at the end of the last layer that is treated.
    ///
    /// # Errors
    /// A name that is no hidden layer with weights.
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

/// Fills the weights and biases of a network's layers in order, up to the last that `spec` treats; heads are left out.
/// `batches` are network inputs `(B, H, W, C)`, which need not be of one size. Batch normalization, where the network has
/// it, acts between the layers by the statistics of each batch, as in training. A layer without a bias keeps its mean.
///
/// Memory: the maps that are still to be read, for all batches, besides the patches (f64, 4096 at a time) and their
/// covariance.
///
/// # Errors
/// No batches; a layer that is not there; maps too small for a window; a layer whose input is constant.
pub fn initialize(
    spec: &DataInitSpec,
    network: &Network,
    batches: &[Tensor],
    rng: &Rng,
) -> Result<Vec<LayerReport>> {
    let last = spec.last(network.layers())?;
    let Some(first) = batches.first() else {
        bail!("data-dependent initialization: no pictures were given; `batches` batches are needed")
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

/// A row that is being filled.
struct Target<'a> {
    network: &'a Network,
    row: &'a Layer,
    index: usize,
}

impl Target<'_> {
    /// Filters, scale and bias of one row, and what it then makes of its inputs, batch by batch.
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

    /// What the row makes of its inputs, and the moments of that per channel.
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

    /// W ← W / σ, b ← β − μ / σ, where μ and σ are those of the responses without a bias.
    fn scale(&self, responses: &Moments, bias: f64) -> Result<()> {
        let (means, deviations) = (responses.means(), responses.deviations());
        let name = &self.row.name;
        if !largest(means.iter().copied()).is_finite() {
            bail!("data-dependent initialization: the response of {name} is not finite; are the pictures?")
        }
        let dead = deviations.iter().filter(|&&d| d.is_nan() || d <= f64::MIN_POSITIVE).count();
        if dead > 0 {
            bail!(
                "data-dependent initialization: {dead} of the {} channels of {name} answer every picture alike: what \
                 they see is constant; give real pictures, or more of them",
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
