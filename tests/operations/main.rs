//! Every operation against known answers and finite differences, on the CPU and on every GPU of this machine.

mod gradients;
mod gradients_conv;
mod on_devices;
mod oracles;
mod oracles_color;
#[path = "../skipping/mod.rs"]
mod skipping;
