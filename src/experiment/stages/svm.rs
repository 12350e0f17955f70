//! `svm`: linear SVMs on frozen features.

use super::kind::*;
use super::readout::{FeatureClassifier, ReadoutResult};
use crate::probe::{
    features::Examples,
    svm::{self, SvmSpec},
};

impl FeatureClassifier for SvmSpec {
    const TASK: TransferTask = TransferTask::Svm;
    const PROTOCOL: &'static str = "linear SVM";

    fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        Self::feasible(self, classes, of_class)
    }

    fn variants(&self, layer: &str) -> Vec<String> {
        vec![layer.into()]
    }

    fn read(
        &self,
        train: &Examples,
        val: &Examples,
        classes: &[String],
        rng: &Rng,
    ) -> Result<Vec<ReadoutResult>> {
        let report = svm::run(self, train, val, classes, rng)?;
        let per_class = report.classes.iter().map(|c| (c.class.clone(), c.average_precision)).collect();
        Ok(vec![ReadoutResult { value: report.mean_average_precision, per_class }])
    }
}
