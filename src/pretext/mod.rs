//! Pretext tasks.

pub mod colorization;
