//! Compute device and precision: CPU or NVIDIA GPU, the dtype of activations, and determinism.
//!
//! Weights, statistics, losses and updates are always f32 or better; [`Precision`] applies to the multiplications in
//! network layers. On the CPU these are always f32.

use candle_core::{DType, Device, Result, Tensor, WithDType, bail};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
};

#[cfg(feature = "cuda")]
pub mod cuda;
mod host_memory;
#[cfg(any(test, feature = "cuda"))]
mod lru;

pub use host_memory::host_memory;

/// The requested device: `auto`, `cpu`, `cuda` or `cuda:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// The first GPU if the program was built with `cuda` and one is available, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// The GPU with this index.
    Cuda(usize),
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |n: &str| n.parse().ok();
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", n)) if number(n).is_some() => Ok(Self::Cuda(number(n).unwrap_or(0))),
            _ => Err(format!("`{text}` is no device: auto, cpu, cuda, or cuda:1 for the second GPU")),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        spec.to_string()
    }
}

/// Multiplication precision of network layers on a GPU. Accumulation is always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 activations: the fastest and smallest.
    #[default]
    Bf16,
    /// f32 activations, multiplied with 10 bits of mantissa.
    Tf32,
    /// f32 throughout.
    F32,
}

/// Device settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    pub device: DeviceSpec,
    pub precision: Precision,
    /// Use only bit-reproducible algorithms; if off, the fastest are selected by timing.
    pub deterministic: bool,
    /// On the CPU, multiply every convolution directly. If off, those where it is faster are computed with fewer
    /// multiplications and larger rounding errors (minimal filtering), also bit-reproducibly.
    pub exact: bool,
}

impl Default for Compute {
    fn default() -> Self {
        Self { device: DeviceSpec::Auto, precision: Precision::default(), deterministic: true, exact: false }
    }
}

impl Compute {
    /// Opens the device. Precision and determinism are set for all GPUs of the process, exactness for its CPU.
    ///
    /// # Errors
    /// A GPU was requested, but the program was built without `cuda` or none is available.
    pub fn open(&self) -> Result<Device> {
        EXACT.store(self.exact, Relaxed);
        match self.device {
            DeviceSpec::Cpu => Ok(Device::Cpu),
            DeviceSpec::Cuda(number) => self.gpu(number),
            DeviceSpec::Auto => Ok(self.gpu_or_cpu()),
        }
    }

    #[cfg(feature = "cuda")]
    fn gpu(&self, number: usize) -> Result<Device> {
        set(self.precision, self.deterministic);
        match cuda::open(number) {
            Ok(device) => Ok(device),
            Err(e) => bail!(
                "cuda:{number}: no such GPU can be used here ({e}); look at `nvidia-smi`, or compute on the \
                 processor with `--device cpu`"
            ),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn gpu(&self, number: usize) -> Result<Device> {
        bail!(
            "cuda:{number}: this program was built without GPUs; build it with `--features cuda` (README, section \
             GPUs), or compute on the processor with `--device cpu`"
        )
    }

    fn gpu_or_cpu(&self) -> Device {
        if !cfg!(feature = "cuda") {
            return Device::Cpu;
        }
        self.gpu(0).unwrap_or_else(|_| {
            tracing::warn!("no NVIDIA GPU can be used here: computing on the processor");
            Device::Cpu
        })
    }
}

/// Every device of this machine: the CPU, and all GPUs if built with `cuda`. Does not change precision or
/// determinism.
pub fn available_devices() -> Vec<Device> {
    #[cfg(feature = "cuda")]
    let gpus = (0..cuda::count()).map_while(|number| cuda::open(number).ok());
    #[cfg(not(feature = "cuda"))]
    let gpus = [];
    [Device::Cpu].into_iter().chain(gpus).collect()
}

static PRECISION: AtomicU8 = AtomicU8::new(Precision::F32 as u8);
static DETERMINISTIC: AtomicBool = AtomicBool::new(true);
static EXACT: AtomicBool = AtomicBool::new(false);

/// Sets precision and determinism of GPUs for the whole process.
pub fn set(precision: Precision, deterministic: bool) {
    PRECISION.store(precision as u8, Relaxed);
    DETERMINISTIC.store(deterministic, Relaxed);
    #[cfg(feature = "cuda")] // candle's own products
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
}

/// The precision of layers on a GPU; f32 until a device is opened.
pub fn precision() -> Precision {
    match PRECISION.load(Relaxed) {
        p if p == Precision::Bf16 as u8 => Precision::Bf16,
        p if p == Precision::Tf32 as u8 => Precision::Tf32,
        _ => Precision::F32,
    }
}

/// Whether results must repeat bit for bit.
pub fn deterministic() -> bool {
    DETERMINISTIC.load(Relaxed)
}

/// Whether convolutions on the CPU are multiplied directly.
pub fn exact() -> bool {
    EXACT.load(Relaxed)
}

/// The dtype of a network's activations on a device.
pub fn activations(device: &Device) -> DType {
    if device.is_cuda() && precision() == Precision::Bf16 { DType::BF16 } else { DType::F32 }
}

/// A constant table in one dimension, such as indices or offsets of channels, only to be read. On a GPU each table is
/// uploaded once and used again, so that a step copies nothing but its batch.
pub(crate) fn table<T: WithDType>(numbers: &[T], device: &Device) -> Result<Tensor> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => cuda::tables::kept_table(gpu, numbers),
        _ => Tensor::from_slice(numbers, numbers.len(), device),
    }
}

/// While the result lives, candle keeps on a GPU the shapes and strides that it uploads for operations on tensors that are
/// not contiguous, and uploads none twice. Only around operations whose tables follow from shapes: candle forgets none,
/// nor any other small tensor that is made meanwhile.
#[must_use]
pub(crate) fn keep_layouts(device: &Device) -> Option<impl Sized + use<>> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(gpu) = device {
        return Some(gpu.enable_cuda_graph_htod_cache());
    }
    let _ = device;
    #[cfg(not(feature = "cuda"))]
    let kept = None::<()>;
    #[cfg(feature = "cuda")]
    let kept = None;
    kept
}

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Currently allocated.
    pub used: u64,
    /// Peak allocation since the start of the process or [`restart_peak`].
    pub peak: u64,
    /// Peak reserved memory, including cached free blocks.
    pub reserved: u64,
    /// Total memory of the device.
    pub total: u64,
}

/// GPU memory of this process; None for the CPU, or if the driver does not report it.
pub fn memory(device: &Device) -> Option<Memory> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => cuda::memory(gpu).ok().flatten(),
        _ => None,
    }
}

/// Resets `peak` and `reserved` of [`memory`]; a no-op on the CPU.
///
/// # Errors
/// A driver that fails.
pub fn restart_peak(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => cuda::restart_peak(gpu),
        _ => Ok(()),
    }
}

/// Display name: `cpu`, or the GPU's name.
pub fn name(device: &Device) -> String {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => cuda::name(gpu).unwrap_or_else(|e| format!("a GPU without a name ({e})")),
        _ => "cpu".into(),
    }
}

/// Describes device and settings, for logs: `cpu`, or `NVIDIA H200, bf16, same bits every time`.
pub fn describe(device: &Device) -> String {
    if device.is_cpu() {
        return name(device);
    }
    let precision = format!("{:?}", precision()).to_lowercase();
    let bits = if deterministic() { "same bits every time" } else { "fastest algorithms" };
    format!("{}, {precision}, {bits}", name(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_specs_are_read_and_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceSpec>().map(|p| p.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("cuda".parse(), Ok(DeviceSpec::Cuda(0)));
        for text in ["gpu", "cuda:", "cuda:x", "cpu:1", ""] {
            assert!(text.parse::<DeviceSpec>().is_err_and(|e| e.contains("cuda:1")), "{text}");
        }
    }

    #[test]
    fn the_processor_is_always_there() {
        let compute = Compute { device: DeviceSpec::Cpu, ..Compute::default() };
        assert!(compute.open().is_ok_and(|d| d.is_cpu()));
        assert_eq!(activations(&Device::Cpu), DType::F32);
        assert_eq!(describe(&Device::Cpu), "cpu");
        assert_eq!((memory(&Device::Cpu), name(&Device::Cpu).as_str()), (None, "cpu"));
    }
}
