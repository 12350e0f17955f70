//! `low_shot`: linear SVMs on frozen features of a few pictures per class.

use super::kind::*;
use super::readout::{FeatureClassifier, ReadoutResult};
use crate::{
    metrics::accuracy::MeanStd,
    probe::{
        features::{Examples, Labeled},
        low_shot::{self, LowShotResult, LowShotSpec},
        products::Products,
    },
};

impl FeatureClassifier for LowShotSpec {
    const TASK: TransferTask = TransferTask::LowShot;
    const PROTOCOL: &'static str = "low-shot linear SVM";

    fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        Self::feasible(self, classes, of_class)
    }

    fn fits(&self, train: usize, val: usize) -> Result<()> {
        both(Products::check(train, train), Products::check(val, train)).map(drop)
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
        Ok(low_shot::run(self, train, val, classes, rng)?.iter().map(of_samples).collect())
    }

    fn classify(
        &self,
        train: &Labeled,
        val: &Labeled,
        classes: &[String],
        rng: &Rng,
    ) -> Result<Vec<ReadoutResult>> {
        Ok(low_shot::run_single_label(self, train, val, classes, rng)?.iter().map(of_samples).collect())
    }
}

/// Mean and deviation over the samples.
fn of_samples(shot: &LowShotResult) -> ReadoutResult {
    let deviation = MeanStd::of(&shot.samples).and_then(|samples| samples.std);
    ReadoutResult { deviation, ..ReadoutResult::of(shot.mean) }
}
