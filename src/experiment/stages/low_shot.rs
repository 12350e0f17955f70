//! `low_shot`: linear SVMs on frozen features of a few pictures per class.

use super::kind::*;
use super::readout::{FeatureClassifier, ReadoutResult};
use crate::probe::{
    features::Examples,
    low_shot::{self, LowShotSpec},
};

impl FeatureClassifier for LowShotSpec {
    const TASK: TransferTask = TransferTask::LowShot;
    const PROTOCOL: &'static str = "low-shot linear SVM";

    fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        Self::feasible(self, classes, of_class)
    }

    fn variants(&self, layer: &str) -> Vec<String> {
        self.shots.iter().map(|k| format!("{layer}, {k}")).collect()
    }

    fn read(
        &self,
        train: &Examples,
        val: &Examples,
        classes: &[String],
        rng: &Rng,
    ) -> Result<Vec<ReadoutResult>> {
        let found =
            |shot: low_shot::LowShotResult| ReadoutResult { value: shot.mean, per_class: BTreeMap::new() };
        Ok(low_shot::run(self, train, val, classes, rng)?.into_iter().map(found).collect())
    }
}
