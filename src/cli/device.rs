//! Device options of the command line, which override those of a spec.

use crate::device::{Compute, DeviceSpec, Precision};
use anyhow::Result;
use candle_core::Device;
use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug, Default)]
pub(super) struct DeviceArgs {
    /// Device: auto, cpu, cuda, or cuda:1 for the second GPU [default: the spec's, else auto: the first GPU of a CUDA
    /// build, else the CPU]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceSpec>,
    /// Precision of the maps and multiplications in layers; accumulation, weights and statistics are f32. On the CPU,
    /// tf32 is f32 [default: the spec's, else bf16 on a GPU and f32 on the CPU]
    #[arg(long, value_enum)]
    precision: Option<PrecisionArg>,
    /// Use the fastest algorithms, even if bits then differ: on a GPU all that cuDNN has, by timing; in bf16 on the CPU, minimal
    /// filtering in f32 and the processor's fastest instruction
    #[arg(long)]
    fastest: bool,
    /// On the CPU, multiply every convolution directly instead of with fewer multiplications and larger rounding errors
    #[arg(long)]
    exact: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionArg {
    Bf16,
    Tf32,
    F32,
}

impl DeviceArgs {
    /// Opens the device given on the command line, else the one in `spec`.
    pub fn open(&self, spec: Compute) -> Result<Device> {
        let given = self.precision.map(|precision| match precision {
            PrecisionArg::Bf16 => Precision::Bf16,
            PrecisionArg::Tf32 => Precision::Tf32,
            PrecisionArg::F32 => Precision::F32,
        });
        let precision = given.or(spec.precision);
        let device = self.device.unwrap_or(spec.device);
        let deterministic = spec.deterministic && !self.fastest;
        Ok(Compute { device, precision, deterministic, exact: spec.exact || self.exact }.open()?)
    }
}
