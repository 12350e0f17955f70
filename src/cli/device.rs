//! Device options of the command line, which override those of a spec.

use crate::{
    device::{self, Compute, DeviceSpec, Precision},
    ops::conv::bf16_instructions,
    train::collective::Launcher,
};
use anyhow::Result;
use candle_core::Device;
use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug, Default)]
pub(super) struct DeviceArgs {
    /// Device: auto, cpu, cuda, cuda:1 for the second GPU, or cuda:0-7 and cuda:0,2,5 for GPUs on which `run` trains one network
    /// [default: the spec's, else auto: the first GPU of a CUDA build, else the CPU]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceSpec>,
    /// Precision of the maps and multiplications in layers; accumulation, weights and statistics are f32. On the CPU,
    /// tf32 is f32 [default: the spec's, if there is one, else bf16 on a GPU and f32 on the CPU]
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
        told(self.compute(spec).open()?)
    }

    /// Opens all devices given on the command line, else those in `spec`; one of the processes of a launcher opens its own.
    pub fn open_all(&self, spec: Compute, launcher: Option<Launcher>) -> Result<Vec<Device>> {
        let compute = self.compute(spec);
        let compute = match launcher {
            Some(launcher) => compute.of_process(launcher.local_rank.unwrap_or(0))?,
            None => compute,
        };
        compute.open_all()?.into_iter().map(told).collect()
    }

    /// What is given here, else by `spec`.
    pub fn compute(&self, spec: Compute) -> Compute {
        let given = self.precision.map(|precision| match precision {
            PrecisionArg::Bf16 => Precision::Bf16,
            PrecisionArg::Tf32 => Precision::Tf32,
            PrecisionArg::F32 => Precision::F32,
        });
        let precision = given.or(spec.precision);
        let device = self.device.unwrap_or(spec.device);
        let deterministic = spec.deterministic && !self.fastest;
        Compute { device, precision, deterministic, exact: spec.exact || self.exact }
    }
}

fn told(device: Device) -> Result<Device> {
    if device.is_cpu() && device::precision(&device) == Precision::Bf16 {
        tell_of_bf16();
    }
    Ok(device)
}

/// Says what computes in bf16 on the CPU, and where f32 would be faster.
fn tell_of_bf16() {
    match bf16_instructions() {
        (instructions, true) => tracing::info!("computing in bf16 on the processor, by {instructions}"),
        (instructions, false) => tracing::warn!(
            "computing in bf16 on the processor by {instructions}, with the bits of AMX tiles, which it lacks: that is \
             slower than f32; `--fastest` gives the bits up, `--precision f32` computes in f32"
        ),
    }
}
