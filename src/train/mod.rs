//! Training machinery: the loop, checkpoints, run directories, logs. Knows no task.
//!
//! A file uses those of the groups above it, and of its own.

pub mod clock; // UTC and spans as text
pub mod exact; // doubles that survive JSON bit for bit
pub mod heap; // freed memory kept for the next step
pub mod interrupt; // Ctrl-C and SIGTERM
pub mod program; // what it was built from, and with

pub mod spec; // TrainSpec
pub mod spec_change; // which keys of two specs differ
pub mod task; // trait Task

pub mod events; // TensorBoard
pub mod panel; // pictures side by side
pub mod picture; // panels as PNG
pub mod tensors; // safetensors, streamed
pub mod warning; // what a run warns about, with advice
pub mod window; // means over the log interval

pub mod divergence; // when a loss is far above where it began
pub mod pending; // numbers that still lie on the device

pub mod extend;
pub mod manifest; // what ran where, and what came out
pub mod run_dir; // directory, lock, spec, log // a longer run from a shorter one

pub mod keep; // the best checkpoints
pub mod told; // what metrics.jsonl holds, in short

pub mod checkpoint; // save, resume
pub mod progress; // one line for people

pub mod log; // metrics.jsonl, events, progress, warnings
pub mod update; // one update of the parameters

pub mod trial; // what training costs

pub mod due; // what follows an update

pub mod fit; // THE loop
