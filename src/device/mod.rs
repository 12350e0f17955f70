//! Compute device and precision: CPU or NVIDIA GPU, the dtype of activations, and determinism.
//!
//! Weights, statistics, losses and updates are always f32 or better; [`Precision`] applies to the multiplications in
//! network layers and to the maps between them.

use candle_core::{DType, Device, Result, Tensor, WithDType, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

#[cfg(feature = "cuda")]
pub mod cuda;
mod host_memory;
#[cfg(any(test, feature = "cuda"))]
mod lru;
mod spec;

pub use host_memory::host_memory;
pub use spec::{DeviceSpec, GpuSet};

/// Multiplication precision of network layers. Accumulation is always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 activations: the fastest on a GPU, and the smallest.
    Bf16,
    /// f32 activations, multiplied with 10 bits of mantissa on a GPU and as f32 on the CPU.
    Tf32,
    /// f32 throughout.
    F32,
}

/// Device and precision, which are not part of a stage's hash. In YAML: `compute: { device: cuda, precision: bf16 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compute {
    /// Where the experiment is computed.
    pub device: DeviceSpec,
    /// Precision of products; default: bf16 on a GPU and f32 on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Use only bit-reproducible algorithms; if off, the fastest are selected by timing. Of the CPU it concerns products of
    /// bf16 alone, whose bits are otherwise the same on every processor.
    pub deterministic: bool,
    /// On the CPU, multiply every convolution directly. If off, those where it is faster are computed with fewer
    /// multiplications and larger rounding errors (minimal filtering), also bit-reproducibly.
    pub exact: bool,
}

impl Default for Compute {
    fn default() -> Self {
        Self { device: DeviceSpec::Auto, precision: None, deterministic: true, exact: false }
    }
}

impl Compute {
    /// Opens the device. Its precision is set for the whole process, that is, for the CPU or for all GPUs; so are
    /// determinism and the exactness of the CPU. The CPU of a process that opens a GPU computes in f32.
    ///
    /// # Errors
    /// A GPU was requested, but the program was built without `cuda` or none is available; several GPUs.
    pub fn open(&self) -> Result<Device> {
        self.set();
        let device = match self.device {
            DeviceSpec::Cpu => Device::Cpu,
            DeviceSpec::Cuda(number) => self.gpu(number)?,
            DeviceSpec::OwnGpu => self.gpu(0)?,
            DeviceSpec::Auto => self.gpu_or_cpu(),
            DeviceSpec::Gpus(_) => {
                bail!("{}: only `run` computes on several GPUs; name one of them", self.device)
            }
        };
        set_cpu(self.precision.filter(|_| device.is_cpu()).unwrap_or(Precision::F32));
        Ok(device)
    }

    /// Opens all devices, of which only GPUs can be several: they train together.
    ///
    /// # Errors
    /// As [`Compute::open`]; several GPUs in a program without `nccl` or on a machine without NCCL.
    pub fn open_all(&self) -> Result<Vec<Device>> {
        let DeviceSpec::Gpus(set) = self.device else { return Ok(vec![self.open()?]) };
        check_joint_training(self.device)?;
        let there = gpu_count();
        // Without any, opening one says why.
        if let Some(missing) = set.indices().find(|index| there > 0 && *index >= there) {
            let those = if there == 1 { "one GPU, cuda:0".into() } else { format!("{there} GPUs") };
            bail!("{}: there is no GPU {missing}: this process sees {those}", self.device)
        }
        self.set();
        set_cpu(Precision::F32);
        set.indices().map(|index| self.gpu(index)).collect()
    }

    /// What the process of this rank among those of a launcher on this machine opens: by `auto` and `cuda`, its own GPU. A
    /// launcher may also show each process one GPU only.
    ///
    /// # Errors
    /// More processes than GPUs.
    pub fn of_process(self, local_rank: usize) -> Result<Self> {
        let there = gpu_count();
        match self.device {
            DeviceSpec::Auto | DeviceSpec::OwnGpu if there > 1 && local_rank < there => {
                Ok(Self { device: DeviceSpec::Cuda(local_rank), ..self })
            }
            DeviceSpec::Auto | DeviceSpec::OwnGpu if there > 1 => bail!(
                "{}: there are {there} GPUs and no one for process {local_rank} of this machine (from 0): start one process \
                 for each GPU",
                self.device
            ),
            _ => Ok(self),
        }
    }

    fn set(&self) {
        EXACT.store(self.exact, Relaxed);
        DETERMINISTIC.store(self.deterministic, Relaxed);
    }

    #[cfg(feature = "cuda")]
    fn gpu(&self, number: usize) -> Result<Device> {
        set(self.precision.unwrap_or(Precision::Bf16), self.deterministic);
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

/// Checks that this program and machine can train on several GPUs; `what` names them in the error.
///
/// # Errors
/// A program without `nccl`; a machine without NCCL.
pub fn check_joint_training(what: impl std::fmt::Display) -> Result<()> {
    if !cfg!(feature = "nccl") {
        bail!(
            "{what}: this program was built without NCCL, by which GPUs train together; build it with `--features \
             nccl` (README, section More than one GPU), or compute on one GPU, or on processors (`--device cpu`)"
        )
    }
    #[cfg(feature = "nccl")]
    if let Some(library) = cuda::nccl::missing() {
        bail!(
            "{what}: {library} cannot be loaded: it comes with NCCL 2 for CUDA 13 and is looked for where LD_LIBRARY_PATH says"
        )
    }
    Ok(())
}

/// Number of GPUs that this process sees; 0 without `cuda` or a driver.
pub fn gpu_count() -> usize {
    #[cfg(feature = "cuda")]
    let count = cuda::count();
    #[cfg(not(feature = "cuda"))]
    let count = 0;
    count
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
static CPU_IN_BF16: AtomicBool = AtomicBool::new(false);
static DETERMINISTIC: AtomicBool = AtomicBool::new(true);
static EXACT: AtomicBool = AtomicBool::new(false);

/// Sets precision and determinism of GPUs for the whole process.
pub fn set(precision: Precision, deterministic: bool) {
    PRECISION.store(precision as u8, Relaxed);
    DETERMINISTIC.store(deterministic, Relaxed);
    #[cfg(feature = "cuda")] // candle's own products
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
}

/// Sets the precision of the CPU for the whole process: bf16, or f32 for any other.
pub fn set_cpu(precision: Precision) {
    CPU_IN_BF16.store(precision == Precision::Bf16, Relaxed);
}

/// The precision of layers on a device; f32 until one is opened.
pub fn precision(device: &Device) -> Precision {
    match CPU_IN_BF16.load(Relaxed) {
        _ if !device.is_cpu() => gpu_precision(),
        true => Precision::Bf16,
        false => Precision::F32,
    }
}

/// The precision of layers on a GPU.
pub(crate) fn gpu_precision() -> Precision {
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
    if precision(device) == Precision::Bf16 { DType::BF16 } else { DType::F32 }
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

/// Its name among those of this machine: `cpu`, `cuda:1`.
pub fn place(device: &Device) -> String {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => format!("cuda:{}", gpu.cuda_stream().context().ordinal()),
        _ => "cpu".into(),
    }
}

/// Describes device and settings, for logs: `cpu` in f32, `cpu, bf16`, or `NVIDIA H200, bf16, same bits every time`.
pub fn describe(device: &Device) -> String {
    let (name, precision) = (name(device), format!("{:?}", precision(device)).to_lowercase());
    match (device.is_cpu(), deterministic()) {
        (true, _) if precision == "f32" => name,
        (true, true) => format!("{name}, {precision}"),
        (false, true) => format!("{name}, {precision}, same bits every time"),
        (_, false) => format!("{name}, {precision}, fastest algorithms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_written_only_where_it_was_given() {
        let read = |yaml: &str| serde_yaml::from_str::<Compute>(yaml).map_err(|e| e.to_string());
        let written = |compute: &Compute| serde_yaml::to_string(compute).unwrap_or_default();
        for (yaml, precision) in [
            ("{}", None),
            ("{ device: cpu }", None),
            ("{ device: cpu, precision: bf16 }", Some(Precision::Bf16)),
            ("{ device: cuda, precision: tf32 }", Some(Precision::Tf32)),
            // as `show` wrote it for every device
            ("{ device: auto, precision: bf16, deterministic: true, exact: false }", Some(Precision::Bf16)),
        ] {
            let compute = read(yaml).expect(yaml);
            assert_eq!(compute.precision, precision, "{yaml}");
            assert_eq!(written(&compute).contains("precision"), precision.is_some(), "{yaml}");
            assert_eq!(read(&written(&compute)), Ok(compute), "{yaml}");
        }
        assert!(read("{ precision: f16 }").is_err_and(|e| e.contains("bf16")));
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
