//! Colorizes photographs with a trained network: the network processes a resized copy, and the predicted colors are
//! upsampled and combined with the lightness of the full-size picture (Zhang, Isola and Efros 2016, section 2.3 and
//! the released deploy network).
//!
//! [`picture::color`] colorizes one picture in memory and is also used by evaluations. [`inputs`] finds the pictures
//! that a command names, [`plan`] determines all output files before anything is written, and [`batch`] runs the plan
//! file by file. Weights are read by [`crate::pretext::colorizer`] only.

pub mod field; // upsampling from labels to pixels
pub mod picture; // one picture in memory

pub mod distribution; // probability maps on the ab plane
pub mod montage; // gray | colorized | truth

pub mod encoding; // PNG, JPEG, WebP
pub mod inputs;

pub mod hints; // files of color hints
pub mod plan;

pub mod batch; // file by file
