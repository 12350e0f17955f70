//! A temporary folder for an experiment of a test.

use candle_core::Device;
use hueristic::{
    data::source::Locations,
    experiment::{Experiment, RunOptions, SweepPoint},
    train::collective::Ranks,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs are written to `runs`; there are no local copies of data sets.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            out: self.path().join("runs"),
            locations: Locations::default(),
            device: Device::Cpu,
            ranks: Ranks::default(),
        }
    }

    /// Asserts that every run below `runs` reports only metrics of its plan.
    pub fn reports_as_planned(&self) -> anyhow::Result<()> {
        let mut seen = 0;
        for folder in fs::read_dir(self.path().join("runs"))? {
            for run in fs::read_dir(folder?.path())? {
                let run = run?.path();
                let Ok(manifest) = fs::read(run.join("manifest.json")) else { continue };
                let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
                let plan = fs::read_to_string(run.join("plan.txt"))?;
                let named =
                    plan.lines().find_map(|line| line.strip_prefix("reports  ")).expect("a line of metrics");
                let named = format!(", {named}, ");
                for metric in manifest["metrics"].as_array().expect("metrics") {
                    let name = metric["name"].as_str().expect("a name");
                    let planned = |name: &str| named.contains(&format!(", {name}, "));
                    assert!(
                        planned(name) || (name.starts_with("ap_") && planned("ap_CLASS")),
                        "{name} is not in\n{plan}"
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 0, "no run reports anything");
        Ok(())
    }

    /// Parses and resolves an experiment.
    pub fn load(&self, yaml: &str, sets: &[&str]) -> anyhow::Result<Experiment> {
        Ok(Experiment::load(&self.write(yaml)?, &owned(sets))?)
    }

    /// As [`Self::load`], all points of a sweep.
    pub fn points(&self, yaml: &str, sets: &[&str]) -> anyhow::Result<Vec<SweepPoint>> {
        Ok(SweepPoint::load(&self.write(yaml)?, &owned(sets))?)
    }

    fn write(&self, yaml: &str) -> anyhow::Result<PathBuf> {
        let path = self.path().join("spec.yaml");
        fs::write(&path, yaml)?;
        Ok(path)
    }
}

fn owned(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|set| set.to_string()).collect()
}
