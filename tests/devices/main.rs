//! GPUs compared with the CPU: operations, training, moving between devices. A single program that can be copied to a
//! machine with a GPU; without one each test is skipped with a message.

mod convolution;
mod layers;
mod loading;
mod losses;
#[path = "../skipping/mod.rs"]
mod skipping;
mod stand_in;
mod training;

use candle_core::Device;
use hueristic::device::available_devices;

/// The first GPU, or None with a message. Networks compute in f32 unless a test sets another precision.
fn gpu() -> Option<Device> {
    let gpu = available_devices().into_iter().nth(1);
    if gpu.is_none() {
        skipping::skipped("no GPU", "none can be opened here");
    }
    gpu
}
