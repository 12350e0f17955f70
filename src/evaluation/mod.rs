//! Evaluation of trained methods on held-out pictures: colorization (paper section 3.1), and detection and
//! segmentation from result files; of representations while they are trained.

pub mod interpretability;

pub mod color;

pub mod monitor; // representations during training

pub mod detections; // result files against annotations
mod identifiers;
pub mod masks; // folders of masks
