//! Probes: how much a frozen representation knows, measured by a simple classifier on top of it.

pub mod downsample;
pub mod feature_cache;
pub mod linear;
