//! GPUs against the processor: operations, training, moving between devices. One program, to be carried to a machine that
//! has a GPU; without one each test says so and ends.

mod convolution;
mod layers;
mod loading;
mod losses;
#[path = "../skipping/mod.rs"]
mod skipping;
mod training;

use candle_core::Device;
use hueristic::device::available_devices;

/// The first GPU, or None, and that on the terminal. Opened so, networks compute in f32 unless a test says otherwise.
fn gpu() -> Option<Device> {
    let gpu = available_devices().into_iter().nth(1);
    if gpu.is_none() {
        skipping::skipped("no GPU", "none can be opened here");
    }
    gpu
}
