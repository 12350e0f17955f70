//! Start of the connection between the processes of a launcher.

use super::{launcher::Launcher, operations::RankOptions, ranks::Ranks, threads::of_threads};
use crate::device::{self, DeviceSpec};
use anyhow::{Result, bail};
use candle_core::Device;

/// Variables that a program is to set before [`start`], unless they are set.
///
/// Open MPI sends up to 64 KiB over TCP at once, and asks before it sends more. Where both sides send, the answer waits behind what
/// is on its way, and a slow link carries one direction at a time: sums took 1.8 times as long at 300 Mbit/s. Pieces of sums
/// are shorter than this.
pub const SETTINGS: [(&str, &str); 1] = [("OMPI_MCA_btl_tcp_eager_limit", "1100000")];

/// Processes that cannot come together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error(
        "--ranks {wanted}, but {}: start it by `mpirun -n {wanted} hueristic run …`, or in a Slurm job by `srun`",
        if *found == 1 { "this process was started alone".into() } else { format!("the launcher started {found} processes") }
    )]
    Size { wanted: usize, found: usize },
    #[error(
        "--ranks {wanted}, but {given} names {found} GPUs of this process, each a rank: name {wanted}, or leave --ranks out"
    )]
    Gpus { wanted: usize, found: usize, given: DeviceSpec },
    #[error(
        "{given} names the GPUs of one process, and the launcher started {size}: give --device cuda, by which each takes one GPU \
         of its machine, or start one process"
    )]
    Launched { given: DeviceSpec, size: usize },
    #[error(
        "the launcher started this program {size} times, and it was built without `mpi`: `cargo install --path . --locked \
         --features mpi` lets the processes train together"
    )]
    Unsupported { size: usize },
}

/// Connects this process with the others of its launcher, if there are others.
///
/// # Errors
/// [`StartError`]; a message layer that does not start.
pub fn start(options: RankOptions) -> Result<Ranks> {
    let Some(Launcher { size: found, .. }) = Launcher::from_env() else { return Ok(Ranks::default()) };
    if let Some(wanted) = options.size.filter(|wanted| *wanted != found) {
        bail!(StartError::Size { wanted, found });
    }
    #[cfg(feature = "mpi")]
    return super::mpi::start(options);
    #[cfg(not(feature = "mpi"))]
    bail!(StartError::Unsupported { size: found })
}

/// The ranks of this process, one for each of its devices, which `given` names: `processes` itself, or several threads. GPUs
/// sum by NCCL.
///
/// # Errors
/// [`StartError`]; ranks on GPUs in a program without `nccl` or on a machine without NCCL.
pub fn on_devices(
    processes: Ranks,
    options: RankOptions,
    devices: &[Device],
    given: DeviceSpec,
) -> Result<Vec<Ranks>> {
    let (count, size) = (devices.len(), processes.size());
    let ranks = match (count, size) {
        (1, _) => vec![processes],
        (_, 1) => of_threads(count, options.patience()),
        _ => bail!(StartError::Launched { given, size }),
    };
    let found = ranks.len().max(size);
    if let Some(wanted) = options.size.filter(|wanted| *wanted != found) {
        bail!(if count > 1 {
            StartError::Gpus { wanted, found, given }
        } else {
            StartError::Size { wanted, found }
        });
    }
    ranks.into_iter().zip(devices).map(|(ranks, device)| on_device(ranks, device, options)).collect()
}

fn on_device(ranks: Ranks, device: &Device, _options: RankOptions) -> Result<Ranks> {
    if !ranks.are_many() || !device.is_cuda() {
        return Ok(ranks);
    }
    device::check_joint_training(format_args!("{} ranks on GPUs", ranks.size()))?;
    #[cfg(feature = "nccl")]
    return Ok(super::nccl::over(ranks, device, _options));
    #[cfg(not(feature = "nccl"))]
    Ok(ranks)
}
