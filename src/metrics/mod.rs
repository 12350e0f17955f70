//! Measures: accuracy, the paper's colour measures, and the bootstrap over images (later: average precision,
//! segmentation).
pub mod accuracy;
pub mod bootstrap;
pub mod color;
pub mod interpretability;
