//! # hueristic: representation learning by colorization
//!
//! The whole system of Zhang, Isola and Efros, "Colorful Image Colorization" (ECCV 2016): a network sees only the
//! lightness of a photograph, predicts a distribution over 313 quantized colors at every pixel, and learns
//! features on the way that probes and transfer tasks then measure.
//!
//! ## One way through the house
//!
//! YAML → [`spec`] → [`experiment`] (stage → plan → fit) → (backbone, dataset, task) → [`train`] → run directory →
//! [`report`]. `spec` turns text into types, `experiment` holds the types: a kind of stage is one file there, with its section
//! of the YAML, its plan and its run. All is planned and looked over before the first step of anything, and the dry run
//! prints the plan that the run carries out. Nothing reads the YAML after `experiment`; nothing below floor 5 knows a path to a
//! config; the run directory is the only thing that `report` reads.
//!
//! ## Floors
//!
//! A file uses lower floors and siblings listed above it on its own floor, never a higher one
//! (`tests/surface/floors.rs` fails on an upward arrow).
//!
//! | floor | modules |
//! |---|---|
//! | 0 ground | [`bounded`], [`extremes`], [`text`], [`guarded`], [`yaml`], [`rng`], [`element`], [`boxes`], [`seal`], [`atomic_write`], [`spec_path`], [`hub`], [`npy`], [`device`], `op`, [`color`], [`ops`] |
//! | 1 networks | [`nn`] |
//! | 2 siblings that do not see one another | [`backbones`], [`data`], [`metrics`] |
//! | 3 training machinery, knows no task | [`train`] |
//! | 4 what is learned | [`pretext`], [`probe`], [`transfer`], [`evaluation`] |
//! | 5 experiments, pictures | [`spec`], [`report`], [`score`], [`experiment`], [`colorize`] |
//! | 6 surface | [`cli`] |
//!
//! [`device`] is the only module that knows GPUs: an operation of [`ops`] or [`color`], written as `op` has it, is computed
//! once for the CPU and once for CUDA, often in a file `cuda.rs` of its own; its kernels are in `device/cuda/kernels`.
//!
//! Activations are NHWC, `(B, H, W, C)`, everywhere; weight files keep the OIHW order and Caffe layer names.

pub mod atomic_write;
pub mod bounded;
pub mod boxes;
pub mod element;
pub mod extremes;
pub mod guarded;
pub mod hub;
pub mod npy;
pub mod rng;
pub mod seal;
pub mod spec_path;
pub mod text;
pub mod yaml;

pub mod device;
mod op;

pub mod color;
pub mod ops;

pub mod nn;

pub mod backbones;
pub mod data;
pub mod metrics;

pub mod train;

pub mod evaluation;
pub mod pretext;
pub mod probe;
pub mod transfer;

pub mod colorize;
pub mod experiment;
pub mod report;
pub mod score;
pub mod spec;

pub mod cli;
