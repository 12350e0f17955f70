//! Processes, or threads of one process, that train one network together. Each takes its share of every batch, and all sum their
//! gradients, so that all hold the same weights after every update. The first one, rank 0, leads: it alone writes the run
//! directory, validates and decides what comes next; the others follow its commands.
//!
//! On processors, sums are taken in the order of the ranks, element by element in f32, whatever the message layer would do: N
//! ranks that share a batch have the bits of one process that takes the N parts one after another (`iter_size`). GPUs sum by
//! NCCL, in its order: all ranks have the same bits, which are near those of one GPU.

mod operations; // trait Collective

mod alone;
mod launcher;
#[cfg(feature = "mpi")]
mod mpi;
mod threads;

mod command;
mod end;
mod ranks;

#[cfg(feature = "nccl")]
mod nccl; // sums of GPUs
#[cfg(feature = "nccl")]
mod nccl_watch;

mod batch_statistics; // of batch normalization
mod gradient_sum;
mod pass_report;
mod shared_state;

mod start;

pub use batch_statistics::learn_from_all;
pub use command::Command;
pub use end::{abort, finish};
pub use gradient_sum::GradientSum;
pub use launcher::Launcher;
pub use operations::{Bucket, PendingSum, RankOptions, WireFormat};
pub use pass_report::PassReport;
pub use ranks::Ranks;
pub use shared_state::{give_state, take_state};
pub use start::{SETTINGS, StartError, on_devices, start};
pub use threads::of_threads;
