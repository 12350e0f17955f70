//! The launcher that started this process as one of several, by the variables that it sets.

use std::env;

/// This process among those that a launcher started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launcher {
    pub rank: usize,
    pub size: usize,
    /// Processes on this machine, if the launcher tells.
    pub local: Option<usize>,
    /// The place of this process among them, from 0, if the launcher tells.
    pub local_rank: Option<usize>,
}

/// Names of the variables for rank, size, processes on this machine and place among them: Open MPI; MPICH, Intel MPI and Slurm's
/// PMI; Slurm's PMIx. The script of a batch job has Slurm's sizes, but no rank of PMI.
const VARIABLES: [[&str; 4]; 3] = [
    [
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
    ],
    ["PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"],
    ["PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", SLURM_LOCAL_RANK],
];

/// Slurm's, for its PMI too.
const SLURM_LOCAL_RANK: &str = "SLURM_LOCALID";

impl Launcher {
    /// The launcher of this process; None for a process that was started by itself, or alone.
    pub fn from_env() -> Option<Self> {
        Self::of(|name| env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name: &str| variable(name)?.parse::<usize>().ok();
        VARIABLES.iter().find_map(|[rank, size, local, place]| {
            let (rank, size) = (number(rank)?, number(size)?);
            let local_rank = || number(place).or_else(|| number(SLURM_LOCAL_RANK));
            (size > 1).then(|| Self { rank, size, local: number(local), local_rank: local_rank() })
        })
    }

    /// Whether this process follows another.
    pub fn follows(&self) -> bool {
        self.rank > 0
    }
}

#[cfg(test)]
mod tests {
    use super::Launcher;

    fn of(variables: &[(&str, &str)]) -> Option<Launcher> {
        Launcher::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.to_string()))
    }

    #[test]
    fn every_launcher_is_known_by_its_variables() {
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
        ];
        assert_eq!(of(&open_mpi), Some(Launcher { rank: 3, size: 4, local: Some(2), local_rank: Some(1) }));
        let mpich = [("PMI_RANK", "0"), ("PMI_SIZE", "2")];
        let alone = Launcher { rank: 0, size: 2, local: None, local_rank: None };
        assert_eq!(of(&mpich), Some(alone));
        let hydra = [mpich[0], mpich[1], ("MPI_LOCALNRANKS", "2"), ("MPI_LOCALRANKID", "0")];
        assert_eq!(of(&hydra), Some(Launcher { local: Some(2), local_rank: Some(0), ..alone }));
        let slurm_pmi = [mpich[0], mpich[1], ("SLURM_LOCALID", "1")];
        assert_eq!(of(&slurm_pmi), Some(Launcher { local_rank: Some(1), ..alone }));
        let slurm = [
            ("PMIX_RANK", "1"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_STEP_TASKS_PER_NODE", "4(x2)"),
            ("SLURM_LOCALID", "1"),
        ];
        assert_eq!(of(&slurm), Some(Launcher { rank: 1, size: 8, local: None, local_rank: Some(1) }));
    }

    #[test]
    fn a_process_alone_has_none() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")]), None);
        // The script of a batch job of eight tasks.
        assert_eq!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "8")]), None);
    }
}
