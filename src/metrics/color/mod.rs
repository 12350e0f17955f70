//! The color measures of Zhang, Isola and Efros (ECCV 2016, section 3.1, "raw accuracy"), and related ones.
//!
//! d is the distance between a pixel's predicted and true ab. AuC, after Deshpande et al. (ICCV 2015), is the
//! normalized area under the fraction of pixels with d ≤ t, over thresholds t from 0 to 150. Two forms are computed:
//! the integral, 1 − E[min(d, 150)] / 150, the default, and the mean over t = 0, 1, …, 150, which the authors used
//! and which differs by up to about 0.3 points.
//!
//! Class-rebalanced AuC weights each pixel by the bin nearest to its TRUE color: by the inverse of that bin's pixel
//! count in this set (`empirical`: all occupied bins count equally), or by equation 4 at λ = 0 with a given prior
//! (`prior`). Rare colors can carry nearly all the weight, so each is reported with its effective sample size (Σw)² /
//! Σw², in pixels.
//!
//! Sums are stored per image and pooled over the pixels of all images, never averaged over images, so that the
//! bootstrap can recompute everything from resampled images. Predicted ab is used at full resolution, without
//! rounding or gamut clipping. Upscaling predictions and parallelizing over images are up to the caller.

mod image;
mod measure;
mod pooled;
mod replicates;

pub use image::{ColorScoreError, ImageScores};
pub use measure::{ColorMeasure, ColorSummary, intervals};
pub use pooled::ColorScores;
pub use replicates::ColorReplicates;
