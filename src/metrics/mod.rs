//! Measures: accuracy, average precision, detection, segmentation, the paper's color measures, representations without
//! labels, rank correlation, and the bootstrap over images.
pub mod accuracy;
pub mod average_precision;
pub mod bootstrap;
pub mod color;
pub mod confusion;
pub mod detection;
pub mod detection_files; // PASCAL VOC result files
pub mod interpretability;
pub mod rank_correlation;
pub mod representation;
pub mod segmentation;
