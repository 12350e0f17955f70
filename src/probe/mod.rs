//! Probes of frozen features.

pub mod linear;
