//! GPUs against the processor: operations, training, moving between devices. One program, to be carried to a machine that
//! has a GPU; without one each test says so and ends.

mod convolution;
mod layers;
mod loading;
mod losses;
mod training;

use candle_core::Device;
use hueristic::device::{Compute, Place, Precision};

/// The first GPU, or None, and why on the terminal. Networks compute in f32 unless a test says otherwise.
fn gpu() -> Option<Device> {
    let compute = Compute { device: Place::Cuda(0), precision: Precision::F32, deterministic: true };
    compute.open().map_err(|e| println!("skipped: {e}")).ok()
}
