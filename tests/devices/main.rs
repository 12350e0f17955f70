//! GPUs compared with the CPU: operations, training, moving between devices. A single program that can be copied to a
//! machine with a GPU; without one each test is skipped with a message.

mod convolution;
mod launched;
mod layers;
mod loading;
mod losses;
mod several;
#[path = "../skipping/mod.rs"]
mod skipping;
mod stand_in;
mod training;

use candle_core::{DType, Device};
use hueristic::device::available_devices;

/// The device whose layers are compared with the CPU's in f32 and f64, and the dtypes of its maps; None with a message.
fn tested() -> Option<(Device, &'static [DType])> {
    gpu().map(|gpu| (gpu, &[DType::F32, DType::F64, DType::BF16][..]))
}

/// The first GPU, or None with a message. Networks compute in f32 unless a test sets another precision.
fn gpu() -> Option<Device> {
    let gpu = available_devices().into_iter().nth(1);
    if gpu.is_none() {
        skipping::skipped("no GPU", "none can be opened here");
    }
    gpu
}
