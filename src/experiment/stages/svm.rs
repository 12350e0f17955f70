//! `svm`: linear SVMs on frozen features.

use super::kind::*;
use super::readout::{FeatureClassifier, ReadoutResult};
use crate::probe::{
    features::{Examples, Labeled},
    products::Products,
    svm::{self, SvmSpec, one_vs_rest},
};

impl FeatureClassifier for SvmSpec {
    const TASK: TransferTask = TransferTask::Svm;
    const PROTOCOL: &'static str = "linear SVM";

    fn feasible(&self, classes: &[String], of_class: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        Self::feasible(self, classes, of_class)
    }

    fn fits(&self, train: usize, val: usize) -> Result<()> {
        both(Products::check(train, train), Products::check(val, train)).map(drop)
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
        Ok(vec![ReadoutResult { per_class, ..ReadoutResult::of(report.mean_average_precision) }])
    }

    fn classify(
        &self,
        train: &Labeled,
        val: &Labeled,
        classes: &[String],
        rng: &Rng,
    ) -> Result<Vec<ReadoutResult>> {
        let report = one_vs_rest::run(self, train, val, classes, rng)?;
        Ok(vec![ReadoutResult::top1(&report.predicted, val, classes)])
    }
}
