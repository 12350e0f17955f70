//! `knn`: k-nearest-neighbor classification on frozen features.

use super::kind::*;
use super::readout::{FeatureClassifier, ReadoutResult};
use crate::probe::{
    features::{Examples, Labeled},
    knn::{self, KnnSpec},
};

impl FeatureClassifier for KnnSpec {
    const TASK: TransferTask = TransferTask::Knn;
    const PROTOCOL: &'static str = "nearest neighbors";

    fn feasible(&self, _: &[String], _: &dyn Fn(usize) -> Vec<Presence>) -> Result<()> {
        ensure!(
            !self.neighbors.is_empty(),
            "knn: no number of neighbors is given; give `neighbors: [5, 20]`"
        );
        Ok(())
    }

    fn variants(&self, layer: &str) -> Vec<String> {
        self.neighbors.iter().map(|k| format!("{layer}, {k}")).collect()
    }

    fn read(&self, train: &Examples, val: &Examples, _: &[String], _: &Rng) -> Result<Vec<ReadoutResult>> {
        let found = |result: knn::KnnResult| ReadoutResult::of(result.value);
        Ok(knn::mean_average_precision(self, train, val)?.into_iter().map(found).collect())
    }

    fn classify(
        &self,
        train: &Labeled,
        val: &Labeled,
        classes: &[String],
        _: &Rng,
    ) -> Result<Vec<ReadoutResult>> {
        let predicted = knn::predict(self, train.features(), train.labels(), val.features())?;
        Ok(predicted.iter().map(|predicted| ReadoutResult::top1(predicted, val, classes)).collect())
    }
}
