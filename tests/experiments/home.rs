//! A folder of its own for an experiment that a test runs.

use candle_core::Device;
use hueristic::{data::source::Locations, experiment::Experiment, experiment::RunOptions};
use std::{fs, path::Path};

pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs go to `runs`, no local copies of data sets are known.
    pub fn options(&self) -> RunOptions {
        RunOptions { out: self.path().join("runs"), locations: Locations::default(), device: Device::Cpu }
    }

    /// The experiment of a text, resolved.
    pub fn load(&self, yaml: &str, sets: &[&str]) -> anyhow::Result<Experiment> {
        let path = self.path().join("spec.yaml");
        fs::write(&path, yaml)?;
        let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
        Ok(Experiment::load(&path, &sets)?.resolve())
    }
}
