//! # hueristic: representation learning by colorization
//!
//! The system of Zhang, Isola and Efros, "Colorful Image Colorization" (ECCV 2016): a network sees only the
//! lightness of a photograph and predicts a distribution over 313 quantized colors at every pixel. Probes and transfer tasks
//! measure the features that it learns, and those of other pretext tasks: other channels, rotation, jigsaw puzzles, context,
//! inpainting, contrast, adversarial codes.
//!
//! ## Data flow
//!
//! YAML → [`spec`] → [`experiment`] (stage → plan → run) → (backbone, dataset, task) → [`train`] → run directory →
//! [`report`]. `spec` parses text into types, which `experiment` defines: each stage kind is one file there, with its YAML
//! section, its plan and its run. Everything is planned and checked before the first training step, and the dry run prints
//! the plan that a run executes. A spec with a `sweep` is an experiment for each of its points; the fits of all of them are one
//! queue, which several processes may share. Only `experiment` reads the YAML; no module below floor 5 uses a config path; `report` reads
//! run directories only.
//!
//! ## Floors
//!
//! A file uses lower floors and siblings listed above it on its own floor, never a higher one
//! (`tests/surface/floors.rs` fails on an upward arrow).
//!
//! | floor | modules |
//! |---|---|
//! | 0 ground | `skipping` (for tests), [`bounded`], [`extremes`], [`text`], [`guarded`], [`yaml`], [`rng`], [`element`], [`boxes`], [`checksum`], [`atomic_write`], [`key_error`], [`old_key`], [`spec_path`], [`progress`], [`hub`], [`released`], [`npy`], [`device`], `op`, [`color`], [`ops`] |
//! | 1 networks | [`nn`] |
//! | 2 siblings that do not see one another | [`backbones`], [`data`], [`metrics`] |
//! | 3 training machinery, independent of tasks | [`train`] |
//! | 4 tasks and evaluation | [`pretext`], [`probe`], [`transfer`], [`evaluation`], [`weight_source`] |
//! | 5 experiments, pictures | [`spec`], [`report`], [`score`], [`experiment`], [`colorize`], [`analysis`], [`features`], [`runs`], `study` |
//! | 6 surface | [`cli`] |
//!
//! [`device`] is the only module with GPU code: an operation of [`ops`] or [`color`] implements the traits of `op` for the CPU
//! and for CUDA, often in a separate file `cuda.rs`; kernels are in `device/cuda/kernels`.
//!
//! A backbone is a table of rows, each with the rows that it reads and a role; one interpreter runs them
//! ([`backbones::network`]). In training each row leaves its backward pass on a tape ([`ops::tape`]), which is walked once in
//! reverse and hands every gradient to the optimizer ([`nn::optim`]) when it is complete; candle's graph covers losses and
//! what lies between passes. Activations are NHWC, `(B, H, W, C)`, everywhere; weight files keep the OIHW order and Caffe's
//! layer names, ResNets torchvision's.
//!
//! Several processes train together ([`train::collective`]): each runs its share of the passes of an update, and all sum
//! gradients and statistics in the order of the ranks. Rank 0 runs the experiment; the others follow its commands.
//!
//! A colorizer is a network, the gray picture that it sees ([`backbones::input`]), and the meaning of its output
//! ([`pretext::colorizer`]); `colorize`, evaluations and panels use nothing else. Colorizers with a loss of their own share
//! one implementation of training ([`pretext::colorizer_task`]).
//!
//! Many tasks keep a backbone up to one of its layers and add a head ([`backbones::task_head`], [`pretext::headed`]). Those
//! that classify views of a picture share one design of it ([`backbones::view_head`]) and one implementation
//! ([`pretext::view_classifier`]); each adds a file that says which views it makes and how they are grouped.
//! Every pretext task exposes the maps of its layers, which [`evaluation::monitor`] measures while [`train`] schedules and
//! bounds it.

pub mod atomic_write;
pub mod bounded;
pub mod boxes;
pub mod checksum;
pub mod element;
pub mod extremes;
pub mod guarded;
pub mod hub;
pub mod key_error;
pub mod npy;
pub mod old_key;
pub mod progress;
pub mod released;
pub mod rng;
pub mod spec_path;
pub mod text;
pub mod yaml;

pub mod device;
mod op;
#[cfg(test)]
#[path = "../tests/skipping/mod.rs"]
mod skipping;

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
pub mod weight_source;

pub mod analysis;
pub mod colorize;
pub mod experiment;
pub mod features;
pub mod report;
pub mod runs;
pub mod score;
pub mod spec;
#[cfg(feature = "study")]
pub mod study;

pub mod cli;
