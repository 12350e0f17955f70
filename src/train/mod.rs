//! Training machinery: the loop, checkpoints, run directories, logs. Knows no task.
pub mod checkpoint;
pub mod events; // TensorBoard
pub mod fit;
pub mod log; // metrics.jsonl, progress line, warnings
pub mod run_dir; // directory, lock, manifest
pub mod spec; // TrainSpec
pub mod task; // trait Task // THE loop
