//! The color prior of a data set, measured over its images or read from a file (paper section 2.2). The rebalancing
//! weights are in [`crate::color::prior::rebalance`].

use crate::{
    bounded::{Count, Positive},
    color::{
        bins::Bins,
        prior::{Prior, PriorCounter, PriorRecord, ZERO_RULE},
    },
    data::source::Dataset,
    spec_path::SpecPath,
};
use anyhow::{Result, bail};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Source of a prior of colors. In YAML: `prior: { measured: { sigma: 5 } }` or `prior: { file: prior.npy }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Color prior")]
pub enum PriorSpec {
    /// Counted over the training pictures and smoothed.
    Measured {
        /// Deviation of the Gaussian that smooths it, in ab units.
        #[serde(default = "sigma")]
        sigma: Positive,
        /// Number of pictures counted, evenly spaced over the set; absent: all.
        #[serde(default)]
        images: Option<Count>,
    },
    /// A `.npy` file with one probability per bin.
    File(SpecPath),
}

fn sigma() -> Positive {
    Positive::of(5.0)
}

impl Default for PriorSpec {
    fn default() -> Self {
        Self::Measured { sigma: sigma(), images: None }
    }
}

/// The probability of every bin. A measured prior is written to `out` with its record. If `out` exists it is read
/// instead, so that a resumed run uses the same weights. `name` is the data set's name, for the record.
///
/// # Errors
/// A prior file of the wrong length or with invalid values; a data set without any readable image.
pub fn load_or_measure(
    spec: &PriorSpec,
    bins: &Bins,
    set: &dyn Dataset,
    name: &str,
    out: &Path,
) -> Result<Prior> {
    match spec {
        PriorSpec::File(path) => Ok(Prior::read(path, bins)?),
        PriorSpec::Measured { .. } if out.exists() => Ok(Prior::read(out, bins)?),
        PriorSpec::Measured { sigma, images } => {
            let images = images.map_or(set.len(), Count::get).min(set.len());
            let prior = measure(set, name, images, bins, sigma.get() as f32)?;
            prior.write(out)?;
            Ok(prior)
        }
    }
}

/// Counts colors over `images` images spaced evenly over the set and smooths the histogram.
///
/// # Errors
/// None of the images can be read.
pub fn measure(set: &dyn Dataset, name: &str, images: usize, bins: &Bins, sigma: f32) -> Result<Prior> {
    let counter = count(set, images)?;
    let record = PriorRecord {
        dataset: name.into(),
        fingerprint: set.fingerprint(),
        images: images as u64,
        pixels: counter.pixels(),
        grid: bins.grid(),
        sigma,
        zero_rule: ZERO_RULE.into(),
        crate_version: env!("CARGO_PKG_VERSION").into(),
        sha256: String::new(),
    };
    Ok(Prior { probabilities: counter.prior(bins, sigma), record: Some(record) })
}

/// Counts the pixels of `images` evenly spaced images; unreadable ones are skipped.
fn count(set: &dyn Dataset, images: usize) -> Result<PriorCounter> {
    let counter = (0..images)
        .into_par_iter()
        .fold(PriorCounter::new, |mut counter, i| {
            if let Ok(image) = set.image(i * set.len() / images) {
                counter.add_rgb(&image.pixels);
            }
            counter
        })
        .reduce(PriorCounter::new, |mut a, b| {
            a.merge(&b);
            a
        });
    if counter.pixels() == 0 {
        bail!(
            "no image of the data set could be read, so its color prior cannot be measured; run `data verify` on it"
        );
    }
    Ok(counter)
}
