//! The paper's analyses of a finished colorizer, and of the colors that it is trained on: what a person runs once for a figure,
//! with no spec and no run directory.
//!
//! | module | in the paper |
//! |---|---|
//! | [`color_prior`] | Figure 3, the bins and the colors of a set of pictures |
//! | [`temperature`] | Figure 4, the annealed mean from the mean to the mode |
//! | [`chart`], [`cues`] | Figure 13, whether color follows from low-level cues |
//! | [`runtime`] | Table 5, time for a picture |
//!
//! Photographs are measured at the size at which the network sees them ([`photographs`]), so that upsampling plays no part.
//! Each analysis computes everything before it writes its first file ([`output`]).

pub mod output; // files and text of an analysis
pub mod photographs; // as the network sees them

mod color_counts;
mod color_prior_plot;

pub mod color_prior;

pub mod temperature;

pub mod chart; // the ColorChecker
mod cue_change;
mod cues_plot;

pub mod cues; // lightness, contrast, blur

pub mod runtime;
