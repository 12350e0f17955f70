//! The color measures of Zhang, Isola and Efros (ECCV 2016, section 3.1, "raw accuracy"), and those beside them.
//!
//! d is the distance of a pixel's predicted and true ab. AuC, after Deshpande et al. (ICCV 2015), is the area under the
//! share of pixels with d ≤ t, over thresholds t from 0 to 150, as a share of the whole. Two forms of it are kept:
//! the integral, 1 − E[min(d, 150)] / 150, which is the default, and the mean over t = 0, 1, …, 150, which is what the
//! authors computed and differs by up to about 0.3 points.
//!
//! Class-rebalanced AuC weights each pixel by the bin nearest to its TRUE color: by one over that bin's pixels in this
//! set (`empirical`: all occupied bins count the same), or by equation 4 at λ = 0 with a given prior (`prior`). Rare
//! colors can carry nearly all the weight, so each goes with its effective sample size (Σw)² / Σw², in pixels.
//!
//! All sums are kept per image and pooled over the pixels of all images, never averaged over images, so that the
//! bootstrap can recompute everything from resampled images. Predicted ab is taken as it is: at full resolution, not
//! rounded, not clipped to the gamut. Scaling predictions up is the caller's; so are threads, one image at a time.

mod image;
mod measure;
mod pooled;

pub use image::{ColorScoreError, ImageScores};
pub use measure::{ColorMeasure, ColorSummary, intervals};
pub use pooled::ColorScores;
