//! `segmentation`: semantic segmentation by a fully convolutional fine-tuned backbone.

use super::{
    kind::*,
    transfer::{FineTuned, Transfer, TransferPlan, frozen, trainable_above},
};
use crate::{
    data::{annotated::Annotated, voc::mask::write_indices},
    transfer::segmentation::{Segmentation, SegmentationSpec},
};
use std::path::Path;

impl Transfer for SegmentationSpec {
    const TASK: TransferTask = TransferTask::Segmentation;
    const METRIC: TransferMetric = TransferMetric::MeanIu;
    const LISTS: Lists = Lists::Segmentation;
    const VARIANT: Variant = Variant::Dense;
    const SIZE_KEYS: &'static [&'static str] = &["annotated"];

    fn layers(&self) -> Option<Layers<'_>> {
        frozen(self.frozen.as_ref())
    }

    fn transfer_plan(&self, _: Option<&str>, batch: usize, _: &BackboneSpec) -> TransferPlan {
        let framing = CropPolicy::Whole { scales: vec![], longest: None };
        let train = ViewPlan { framing, pass: Pass::Train, batch, flip: self.flip };
        let val = ViewPlan { pass: Pass::Once, batch: 1, flip: false, ..train.clone() };
        TransferPlan {
            head: Some(HeadPlan { outputs: Outputs::ClassesAndBackground, fillers: Some(Self::head()) }),
            trainable: trainable_above(self.frozen.as_ref()),
            views: (train, val),
            input_size: None,
            files: vec![],
            metrics: Metrics::of(Segmentation::METRICS),
        }
    }

    fn head_parameters(&self, network: &NetworkPlan) -> Result<Vec<String>> {
        let misfit = |error: anyhow::Error| KeyError::new(["task", "stride"], error.to_string());
        let scores = self.scores(&network.table(1)?).map_err(misfit)?;
        Ok(scores.iter().flat_map(|score| [format!("{score}.weight"), format!("{score}.bias")]).collect())
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        let sets = fit.sets.annotated()?;
        check_masks(sets, &fit.data())?;
        let both = (sets.train.clone(), sets.val.clone());
        Segmentation::new(self, fit.untrained()?, both, &fit.rng).map(drop)
    }

    fn fine_tune(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<FineTuned>> {
        let sets = fit.sets.annotated()?;
        let both = (sets.train.clone(), sets.val.clone());
        let mut task = Segmentation::new(self, fit.network()?, both, &fit.rng)?;
        let Some(metrics) = fit.train(&mut task, run)? else { return Ok(None) };
        save_masks(&task, &*sets.val, &run.path().join("segmentations"))?;
        let scores = task.last().context("the fit ended without a validation")?;
        let names = std::iter::once("background").chain(sets.val.classes().iter().map(String::as_str));
        Ok(Some(FineTuned {
            metrics,
            value: scores.mean_iu.context("no pixel was to be named")?,
            per_class: names.map(String::from).zip(scores.class_iu.iter().copied()).collect(),
            variant: String::new(),
        }))
    }
}

/// Predicts all pictures and writes the masks as PNGs with VOC's palette.
fn save_masks(task: &Segmentation, set: &dyn Annotated, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for index in 0..set.len() {
        // The loader has already counted and named unreadable pictures.
        if let Ok(image) = set.image(index) {
            write_indices(&dir.join(format!("{}.png", set.id(index))), &task.predict(&image)?)?;
        }
    }
    Ok(())
}
