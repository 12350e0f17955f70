//! Classifiers on frozen features, and new layers above frozen ones, as fits.

use super::{backbones::Wanted, fits::Fit, transfer::protocol};
use crate::{
    backbones::network::Network,
    data::{annotated::Annotated, framing::Framing, loader::Pass},
    probe::{
        features::{Examples, FeatureSpec, Features, extract},
        knn::{self, KnnSpec},
        low_shot::{self, LowShotSpec},
        nonlinear::NonlinearProbeSpec,
        svm::{self, SvmSpec},
    },
    report::transfer::{TransferMetric, TransferRow, TransferTask},
    spec::{
        experiment::InitSpec,
        transfer::{NonlinearProbeStage, ReadoutStage},
    },
    train::{
        run_dir::RunDir,
        task::{Better, Metric},
    },
    transfer::Colors,
};
use anyhow::{Context, Result};
use std::{collections::BTreeMap, sync::Arc};

/// Pictures in a batch whose features are taken.
const BATCH: usize = 32;

/// The features of both splits, one pair a layer.
type Matrices = Vec<(String, Examples, Examples)>;

impl Fit<'_> {
    pub(super) fn svm(
        &self,
        init: &InitSpec,
        stage: &ReadoutStage<SvmSpec>,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let classes = self.annotated()?.train.classes().to_vec();
        let mut found = vec![];
        for (layer, train, val) in self.matrices(init, stage)? {
            let report = svm::run(&stage.classifier, &train, &val, &classes, &self.rng.split(&layer))
                .with_context(|| format!("layer {layer}"))?;
            let per_class = report.classes.iter().map(|c| (c.class.clone(), c.average_precision)).collect();
            found.push(self.precision(TransferTask::Svm, layer, report.mean_average_precision, per_class));
        }
        self.leave(found, "linear SVM", run)
    }

    pub(super) fn low_shot(
        &self,
        init: &InitSpec,
        stage: &ReadoutStage<LowShotSpec>,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let classes = self.annotated()?.train.classes().to_vec();
        let mut found = vec![];
        for (layer, train, val) in self.matrices(init, stage)? {
            let shots = low_shot::run(&stage.classifier, &train, &val, &classes, &self.rng.split(&layer))
                .with_context(|| format!("layer {layer}"))?;
            found.extend(shots.into_iter().map(|shot| {
                self.precision(
                    TransferTask::LowShot,
                    format!("{layer}, {}", shot.k),
                    shot.mean,
                    BTreeMap::new(),
                )
            }));
        }
        self.leave(found, "low-shot linear SVM", run)
    }

    pub(super) fn knn(
        &self,
        init: &InitSpec,
        stage: &ReadoutStage<KnnSpec>,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let mut found = vec![];
        for (layer, train, val) in self.matrices(init, stage)? {
            let results = knn::mean_average_precision(&stage.classifier, &train, &val)
                .with_context(|| format!("layer {layer}"))?;
            found.extend(results.into_iter().map(|result| {
                self.precision(
                    TransferTask::Knn,
                    format!("{layer}, {}", result.k),
                    result.value,
                    BTreeMap::new(),
                )
            }));
        }
        self.leave(found, "nearest neighbours", run)
    }

    pub(super) fn nonlinear_probe(
        &self,
        init: &InitSpec,
        stage: &NonlinearProbeStage,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let through = stage.through.first().context("no layer to keep")?.clone();
        let (spec, trained) = self.prepared(init, stage.backbone.as_ref())?;
        let probe = NonlinearProbeSpec { through: through.clone(), batch_norm: stage.batch_norm };
        let mut task = probe.build(&spec, trained.as_ref(), self.classes()?, &self.rng, self.device)?;
        let ended = self.fit(&mut task, Pass::Train, &stage.train, run)?;
        if let Some(metrics) = &ended {
            let top1 =
                metrics.iter().find(|m| m.name == "top1").context("the fit ended without a validation")?;
            let found = TransferRow {
                backbone: self.row(),
                task: TransferTask::Nonlinear,
                variant: through,
                input: Colors::Gray,
                metric: TransferMetric::Top1,
                value: top1.value,
                per_class: BTreeMap::new(),
            };
            self.leave_transfer(vec![found], &protocol(&stage.train), run)?;
        }
        Ok(ended)
    }

    /// Features of every layer that the stage names.
    fn matrices<C>(&self, init: &InitSpec, stage: &ReadoutStage<C>) -> Result<Matrices> {
        let wanted = Wanted::frozen(&stage.features.layers);
        let (spec, tensors) = self.prepared(init, stage.backbone.as_ref())?;
        let side = stage.side.map_or(spec.crop(), |side| side.get());
        let (net, _) = self.assembled(init, &spec, tensors, &wanted)?;
        let sets = self.annotated()?;
        let train = self.features(&net, &sets.train, &stage.features, side, "training features")?;
        let val = self.features(&net, &sets.val, &stage.features, side, "validation features")?;
        let pairs = stage.features.layers.iter().zip(train).zip(val);
        pairs
            .map(|((layer, t), v)| {
                let t = Examples::annotated(t, &*sets.train)?;
                Ok((layer.clone(), t, Examples::annotated(v, &*sets.val)?))
            })
            .collect()
    }

    fn features(
        &self,
        net: &Network,
        set: &Arc<dyn Annotated>,
        spec: &FeatureSpec,
        side: usize,
        what: &str,
    ) -> Result<Vec<Features>> {
        let framing = match spec.squash {
            Some(short) => Framing::Squash { short: short.get(), side },
            None => Framing::Crop { resize: Some(side), crop: side },
        };
        let mut loader = self.loader(set, framing, Pass::Once, BATCH, false)?;
        extract(net, &mut loader, spec, what)
    }

    /// Writes the results; the metrics are the same numbers.
    fn leave(
        &self,
        found: Vec<TransferRow>,
        protocol: &str,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let metric = |found: &TransferRow| Metric {
            name: found.variant.clone(),
            value: found.value,
            better: Better::Higher,
        };
        let metrics = found.iter().map(metric).collect();
        self.leave_transfer(found, protocol, run)?;
        Ok(Some(metrics))
    }

    fn precision(
        &self,
        task: TransferTask,
        variant: String,
        value: f64,
        per_class: BTreeMap<String, Option<f64>>,
    ) -> TransferRow {
        let (input, metric) = (Colors::Gray, TransferMetric::MeanAveragePrecision);
        TransferRow { backbone: self.row(), task, variant, input, metric, value, per_class }
    }
}
