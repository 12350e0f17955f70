//! Fine-tuning on annotated sets as fits: what each is built from, and what it leaves in its run directory.

use super::{backbones::Wanted, fits::Fit, sets::AnnotatedSets};
use crate::{
    backbones::{Graph, network::Network},
    boxes::Rect,
    data::{
        annotated::Annotated,
        framing::Framing,
        loader::{Feed, Loader, Pass},
        proposals::spec::obtain,
        source::Split,
        voc::mask::write_indices,
    },
    metrics::detection_files,
    nn::params::Params,
    report::{
        Kind,
        transfer::{TransferMetric, TransferResult, TransferRow, TransferTask},
    },
    spec::{experiment::InitSpec, transfer::TransferStage},
    train::{run_dir::RunDir, spec::TrainSpec, task::Metric},
    transfer::{
        Colors, Frozen,
        classification::{Classification, ClassificationSpec},
        detection::{Detection, DetectionSpec, ProposedSet},
        segmentation::{Segmentation, SegmentationSpec},
    },
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Pictures in a batch of a test on crops.
const TEST_BATCH: usize = 32;

impl Fit<'_> {
    pub(super) fn classification(
        &self,
        init: &InitSpec,
        stage: &TransferStage<ClassificationSpec>,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let (sets, task) = (self.annotated()?, &stage.task);
        let train_from = task.train_from.first().context("no layer to train from")?;
        let head = Some((sets.train.classes().len(), ClassificationSpec::head()));
        let wanted = Wanted { graph: Graph::Transfer, head, colors: stage.input, taps: None };
        let (mut net, mut params) = self.backbone(init, stage.backbone.as_ref(), &wanted)?;
        freeze_before(train_from, &mut net, &mut params)?;
        let framing = Framing::RandomScale { side: task.crop.get() };
        let mut task = Classification::new(task, (net, params), (sets.train.clone(), sets.val.clone()))?;
        let mut train =
            self.loader(&sets.train, framing.clone(), Pass::Train, stage.train.batch.get(), true)?;
        let mut val = self.loader(&sets.val, framing, Pass::Draw, TEST_BATCH, true)?;
        let ended = self.fit_on(&mut task, (&mut train, &mut val), &stage.train, run)?;
        if ended.is_some() {
            let per_class = task.last().iter().map(|c| (c.class.clone(), c.average_precision)).collect();
            let found = TransferRow {
                backbone: self.row(),
                task: TransferTask::Classification,
                variant: ClassificationSpec::column(train_from),
                input: stage.input,
                metric: TransferMetric::MeanAveragePrecision,
                value: task.mean().context("the fit ended without a validation")?,
                per_class,
            };
            self.leave_transfer(vec![found], &protocol(&stage.train), run)?;
        }
        Ok(ended)
    }

    pub(super) fn detection(
        &self,
        init: &InitSpec,
        stage: &TransferStage<DetectionSpec>,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let (sets, spec) = (self.annotated()?, &stage.task);
        let wanted = Wanted { graph: Graph::Regions, head: None, colors: stage.input, taps: None };
        let (mut net, mut params) = self.backbone(init, stage.backbone.as_ref(), &wanted)?;
        freeze(spec.frozen.as_ref(), stage.input, &mut net, &mut params)?;
        let train_set = self.proposed(spec, &sets.train, Split::Train)?;
        let val_set = self.proposed(spec, &sets.val, Split::Val)?;
        let mut task = Detection::new(spec, (net, params), (train_set, val_set), &self.rng)?;
        let batch = stage.train.batch.get();
        let mut train = self.loader(&sets.train, spec.training(), Pass::Train, batch, true)?;
        let mut val = self.loader(&sets.val, spec.test(), Pass::Once, 1, false)?;
        let ended = self.fit_on(&mut task, (&mut train, &mut val), &stage.train, run)?;
        if ended.is_some() {
            let outcome = task.last().context("the fit ended without a validation")?;
            let (scores, dir) = (&outcome.scores, run.path().join("detections"));
            std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            for (class, detections) in sets.val.classes().iter().zip(&outcome.detections) {
                let path = dir.join(detection_files::file_name("val", class));
                detection_files::write(&path, detections, |image| sets.val.id(image))?;
            }
            let per_class = scores.classes.iter().map(|c| (c.class.clone(), c.average_precision)).collect();
            let found = TransferRow {
                backbone: self.row(),
                task: TransferTask::Detection,
                variant: String::new(),
                input: stage.input,
                metric: TransferMetric::MeanAveragePrecision,
                value: scores.mean.context("no object was to be found")?,
                per_class,
            };
            self.leave_transfer(vec![found], &protocol(&stage.train), run)?;
        }
        Ok(ended)
    }

    pub(super) fn segmentation(
        &self,
        init: &InitSpec,
        stage: &TransferStage<SegmentationSpec>,
        run: &mut RunDir,
    ) -> Result<Option<Vec<Metric>>> {
        let (sets, spec) = (self.annotated()?, &stage.task);
        let head = Some((sets.train.classes().len() + 1, SegmentationSpec::head()));
        let wanted = Wanted { graph: Graph::Dense, head, colors: stage.input, taps: None };
        let (mut net, mut params) = self.backbone(init, stage.backbone.as_ref(), &wanted)?;
        freeze(spec.frozen.as_ref(), stage.input, &mut net, &mut params)?;
        let both = (sets.train.clone(), sets.val.clone());
        let mut task = Segmentation::new(spec, (net, params), both, &self.rng)?;
        let whole = || Framing::Whole { scales: vec![], longest: None };
        let batch = stage.train.batch.get();
        let mut train = self.loader(&sets.train, whole(), Pass::Train, batch, spec.flip)?;
        let mut val = self.loader(&sets.val, whole(), Pass::Once, 1, false)?;
        let ended = self.fit_on(&mut task, (&mut train, &mut val), &stage.train, run)?;
        if ended.is_some() {
            self.leave_masks(&task, &*sets.val, &run.path().join("segmentations"))?;
            let scores = task.last().context("the fit ended without a validation")?;
            let names = std::iter::once("background").chain(sets.val.classes().iter().map(String::as_str));
            let per_class = names.map(String::from).zip(scores.class_iu.iter().copied()).collect();
            let found = TransferRow {
                backbone: self.row(),
                task: TransferTask::Segmentation,
                variant: String::new(),
                input: stage.input,
                metric: TransferMetric::MeanIu,
                value: scores.mean_iu.context("no pixel was to be named")?,
                per_class,
            };
            self.leave_transfer(vec![found], &protocol(&stage.train), run)?;
        }
        Ok(ended)
    }

    /// Annotated pictures to train and be measured on.
    pub fn annotated(&self) -> Result<&AnnotatedSets> {
        self.job.sets.annotated_sets()
    }

    /// A loader of annotated pictures.
    pub fn loader(
        &self,
        set: &Arc<dyn Annotated>,
        framing: Framing,
        pass: Pass,
        batch: usize,
        flip: bool,
    ) -> Result<Loader> {
        let spec = &self.annotated()?.spec;
        let (max_bad, threads) = (spec.max_bad.get(), spec.threads.map(|n| n.get()));
        let feed = Feed { batch, pass, flip, max_bad, threads };
        Ok(Loader::framed(set.clone(), framing, feed, &self.rng, self.device)?)
    }

    /// The boxes proposed on a set; computed ones are kept beside the run directories, for all runs on the same pictures.
    fn proposed(&self, spec: &DetectionSpec, set: &Arc<dyn Annotated>, split: Split) -> Result<ProposedSet> {
        let home = self.job.dir.parent().and_then(Path::parent).unwrap_or(&self.job.dir);
        let found = obtain(&spec.proposals, &**set, split, &home.join("proposals"))?;
        let boxes = |index| found.of(set.id(index)).unwrap_or_default().to_vec();
        let boxes: Vec<Vec<Rect>> = (0..set.len()).map(boxes).collect();
        Ok(ProposedSet { set: set.clone(), proposals: Arc::new(boxes) })
    }

    /// The class of every pixel of every picture, as PNGs with VOC's palette.
    fn leave_masks(&self, task: &Segmentation, set: &dyn Annotated, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        for index in 0..set.len() {
            // A picture that cannot be read was counted and named by the loader.
            if let Ok(image) = set.image(index) {
                write_indices(&dir.join(format!("{}.png", set.id(index))), &task.predict(&image)?)?;
            }
        }
        Ok(())
    }

    /// The row of the table.
    pub(super) fn row(&self) -> String {
        self.job.row.clone().unwrap_or_default()
    }

    /// Writes `results.json`.
    pub(super) fn leave_transfer(&self, rows: Vec<TransferRow>, protocol: &str, run: &RunDir) -> Result<()> {
        let result = TransferResult {
            kind: Kind::Transfer,
            experiment: self.job.experiment.clone(),
            seed: self.job.seed,
            dataset: self.job.sets.name(),
            protocol: protocol.into(),
            rows,
            from: PathBuf::new(),
        };
        self.leave_results(&result, run)
    }
}

/// How long was trained, for the head of a table.
pub(super) fn protocol(train: &TrainSpec) -> String {
    let images = train.batch.get() * train.iter_size.get();
    format!("{} steps of {images}", train.steps)
}

/// Frozen layers of a network that is given colour keep what they made of lightness; their part for a and b, which
/// starts at zero, learns.
fn freeze(frozen: Option<&Frozen>, input: Colors, net: &mut Network, params: &mut Params) -> Result<()> {
    if let Some(Frozen { through }) = frozen {
        net.freeze_through(through, params)?;
        if input == Colors::Color {
            net.release_color(params)?;
        }
    }
    Ok(())
}

/// Makes everything before `first` constant.
fn freeze_before(first: &str, net: &mut Network, params: &mut Params) -> Result<()> {
    let at = net.layers().iter().position(|layer| layer.name == first);
    let at = at.with_context(|| format!("the backbone has no layer `{first}` to train from"))?;
    if at > 0 {
        let before = net.layers()[at - 1].name.clone();
        net.freeze_through(&before, params)?;
    }
    Ok(())
}
