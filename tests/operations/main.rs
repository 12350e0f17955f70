//! Every operation against known answers and finite differences, on the CPU and on every GPU of this machine; the
//! layers of the CPU in bf16 against those in f32.

#[path = "../devices/convolution.rs"]
mod convolution;
mod gradients;
mod gradients_conv;
#[path = "../devices/layers.rs"]
mod layers;
mod on_devices;
mod oracles;
mod oracles_augment;
mod oracles_color;
#[path = "../skipping/mod.rs"]
mod skipping;

use candle_core::{DType, Device};

/// The device whose layers are compared with the CPU's in f32 and f64, and the dtypes of its maps.
fn tested() -> Option<(Device, &'static [DType])> {
    Some((Device::Cpu, &[DType::BF16]))
}
