//! `detection`: object detection by Fast R-CNN on a fine-tuned backbone.

use super::{
    kind::*,
    transfer::{FineTuned, Transfer, TransferPlan, frozen, trainable_above},
};
use crate::{
    boxes::Rect,
    data::{
        annotated::Annotated,
        proposals::spec::{ProposalSpec, obtain},
    },
    metrics::detection_files,
    transfer::detection::{DetectionSpec, DetectionTask, ProposedSet},
};
use std::{path::Path, sync::Arc};

impl Transfer for DetectionSpec {
    const TASK: TransferTask = TransferTask::Detection;
    const METRIC: TransferMetric = TransferMetric::MeanAveragePrecision;
    const LISTS: Lists = Lists::Main;
    const VARIANT: Variant = Variant::Regions;
    const SIZE_KEYS: &'static [&'static str] = &["task", "test_scale"];

    fn layers(&self) -> Option<Layers<'_>> {
        frozen(self.frozen.as_ref())
    }

    fn transfer_plan(&self, _: Option<&str>, batch: usize, _: &BackboneSpec) -> TransferPlan {
        let train = ViewPlan { framing: self.training(), pass: Pass::Train, batch, flip: true };
        let val = ViewPlan { framing: self.test(), pass: Pass::Once, batch: 1, flip: false };
        let short = self.test_scale.get();
        let needed =
            |path: &Path| InputFile { key: "proposals", path: path.into(), content: FileContent::Proposals };
        TransferPlan {
            head: None,
            trainable: trainable_above(self.frozen.as_ref()),
            views: (train, val),
            input_size: Some((short, (short * 4 / 3).min(self.test_longest.get()))),
            files: self.proposals.files().into_iter().map(needed).collect(),
            metrics: Metrics::of_classes(),
        }
    }

    fn head_parameters(&self, _: &NetworkPlan) -> Result<Vec<String>> {
        Ok(Self::HEADS.iter().flat_map(|head| [format!("{head}.weight"), format!("{head}.bias")]).collect())
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        let sets = fit.sets.annotated()?;
        let network = fit.untrained().and_then(|net| Self::check_network(net, fit.sets.classes()));
        let read = !matches!(self.proposals, ProposalSpec::SelectiveSearch(_));
        let files = [(&sets.train, Split::Train), (&sets.val, Split::Val)].into_iter().filter(|_| read);
        let files = files.map(|(set, split)| proposed(self, fit, set, split).map(drop));
        all([check_objects(sets, &fit.data()), network].into_iter().chain(files)).map(drop)
    }

    fn fine_tune(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<FineTuned>> {
        let (sets, network) = (fit.sets.annotated()?, fit.network()?);
        let train = proposed(self, fit, &sets.train, Split::Train)?;
        let val = proposed(self, fit, &sets.val, Split::Val)?;
        let mut task = DetectionTask::new(self, network, (train, val), &fit.rng)?;
        let Some(metrics) = fit.train(&mut task, run)? else { return Ok(None) };
        let outcome = task.last().context("the fit ended without a validation")?;
        let (scores, dir) = (&outcome.scores, run.path().join("detections"));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for (class, detections) in sets.val.classes().iter().zip(&outcome.detections) {
            let path = dir.join(detection_files::file_name("val", class));
            detection_files::write(&path, detections, |image| sets.val.id(image))?;
        }
        Ok(Some(FineTuned {
            metrics,
            value: scores.mean.context("no object was to be found")?,
            per_class: scores.classes.iter().map(|c| (c.class.clone(), c.average_precision)).collect(),
            variant: String::new(),
        }))
    }
}

/// The box proposals of a set. Computed ones are cached next to the run directories, shared by all runs on the same
/// pictures.
fn proposed(
    spec: &DetectionSpec,
    fit: &StageRun,
    set: &Arc<dyn Annotated>,
    split: Split,
) -> Result<ProposedSet> {
    let dir = &fit.place.dir;
    let home = dir.parent().and_then(Path::parent).unwrap_or(dir);
    let found = obtain(&spec.proposals, &**set, split, &home.join("proposals")).context("`proposals`")?;
    let boxes = |index| found.of(set.id(index)).unwrap_or_default().to_vec();
    let boxes: Vec<Vec<Rect>> = (0..set.len()).map(boxes).collect();
    Ok(ProposedSet { set: set.clone(), proposals: Arc::new(boxes) })
}
