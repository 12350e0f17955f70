//! Evaluation of trained methods on held-out pictures: colorization (paper section 3.1), and detection and
//! segmentation from result files.

pub mod interpretability;

pub mod color;

pub mod detections; // result files against annotations
mod identifiers;
pub mod masks; // folders of masks
