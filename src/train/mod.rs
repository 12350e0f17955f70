//! Training machinery independent of any task: the loop, checkpoints, run directories, logs.
//!
//! A file uses only files of its own group and of the groups above it.

pub mod clock; // timestamps and durations as text
pub mod exact; // bit-exact doubles in JSON
pub mod heap; // allocator settings
pub mod interrupt; // Ctrl-C, SIGTERM and SIGUSR1
pub mod program; // commit and features of the build

pub mod spec; // TrainSpec, TrainOptions
pub mod spec_change; // differences between two specs
pub mod task; // trait Task

pub mod monitor; // trait Monitor, its schedule and budget

pub mod events; // TensorBoard
pub mod interval_means;
pub mod panel; // grids of image tiles
pub mod picture; // panels as PNG
pub mod tensors; // safetensors, streamed
pub mod warning; // warnings with advice // means over the log interval

pub mod deferred;
pub mod divergence; // divergence check // scalars still on the device

pub mod manifest; // environment, status and results

pub mod lock; // one writer of a run directory

pub mod extend; // a longer run from a shorter one
pub mod run_dir; // directory, lock, spec, log

pub mod removal; // deletion of runs and of their checkpoints
pub mod resolved_spec; // spec.yaml as flat keys

pub mod log_digest;
pub mod retention; // the best checkpoints // digest of metrics.jsonl

pub mod learner; // task, optimizer, averaged weights

pub mod collective; // several processes

pub mod checkpoint; // save, resume
pub mod progress; // the progress line

pub mod log; // metrics.jsonl, events, progress, warnings
pub mod update; // one update of the parameters

pub mod trial; // measured cost of training

pub mod due; // actions after an update

pub mod fit; // the training loop
pub mod follow; // that of further processes
