//! What a method is worth, measured on pictures that it has not seen: of coloring (paper section 3.1), and of detection and
//! segmentation by finished files. Trains nothing.

pub mod interpretability;

pub mod color;

pub mod detections; // result files against annotations
mod identifiers;
pub mod masks; // folders of masks
