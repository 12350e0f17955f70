//! Measures: accuracy (and, later, average precision, segmentation, colour).
pub mod accuracy;
pub mod interpretability;
