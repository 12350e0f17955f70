//! Where a verb computes: the options that say so, over what a spec says.

use crate::device::{Compute, DeviceSpec, Precision};
use anyhow::Result;
use candle_core::Device;
use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug, Default)]
pub(super) struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda, or cuda:1 for the second GPU [default: the spec's, else auto: the first GPU of
    /// a build for GPUs, the processor where there is none]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceSpec>,
    /// In what layers multiply on a GPU; sums, weights and statistics are f32 [default: the spec's, else bf16]
    #[arg(long, value_enum)]
    precision: Option<PrecisionArg>,
    /// On a GPU, time all algorithms and take the fastest, also one whose last bits differ from run to run
    #[arg(long)]
    fastest: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PrecisionArg {
    Bf16,
    Tf32,
    F32,
}

impl DeviceArgs {
    /// Opens the device that is asked for here, else in `spec`.
    pub fn open(&self, spec: Compute) -> Result<Device> {
        let precision = self.precision.map_or(spec.precision, |precision| match precision {
            PrecisionArg::Bf16 => Precision::Bf16,
            PrecisionArg::Tf32 => Precision::Tf32,
            PrecisionArg::F32 => Precision::F32,
        });
        let device = self.device.unwrap_or(spec.device);
        let deterministic = spec.deterministic && !self.fastest;
        Ok(Compute { device, precision, deterministic }.open()?)
    }
}
