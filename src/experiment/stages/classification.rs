//! `classification`: multi-label classification by fine-tuning a backbone.

use super::{
    kind::*,
    transfer::{FineTuned, Transfer, TransferPlan},
};
use crate::transfer::classification::{Classification, ClassificationSpec};

/// Batch size of the multi-crop test.
const TEST_BATCH: usize = 32;

impl Transfer for ClassificationSpec {
    const TASK: TransferTask = TransferTask::Classification;
    const METRIC: TransferMetric = TransferMetric::MeanAveragePrecision;
    const LISTS: Lists = Lists::Main;
    const VARIANT: Variant = Variant::Transfer;
    const SIZE_KEYS: &'static [&'static str] = &["task", "crop"];

    fn columns(&self) -> &[String] {
        &self.train_from
    }

    fn layers(&self) -> Option<Layers<'_>> {
        Some(Layers { with_head: true, ..Layers::all(&["task", "train_from"], &self.train_from)? })
    }

    fn transfer_plan(&self, column: Option<&str>, batch: usize, backbone: &BackboneSpec) -> TransferPlan {
        let side = self.crop.map_or(backbone.crop(), |crop| crop.get());
        let train =
            ViewPlan { framing: CropPolicy::RandomScale { side }, pass: Pass::Train, batch, flip: true };
        let val = ViewPlan { pass: Pass::Draw, batch: TEST_BATCH, ..train.clone() };
        TransferPlan {
            head: Some(HeadPlan { outputs: Outputs::Classes, fillers: Some(Self::head()) }),
            trainable: column.map_or(Trainable::All, |first| Trainable::From(first.into())),
            views: (train, val),
            input_size: Some((side, side)),
            files: vec![],
            metrics: Metrics::of_classes(),
        }
    }

    fn check_ready(&self, fit: &StageRun) -> Result<()> {
        check_objects(fit.sets.annotated()?, &fit.data())
    }

    fn check_network(&self, network: &NetworkPlan) -> Result<()> {
        let summary = network.summary(1, (0, 0))?;
        let map = summary.lines.last().map(|line| line.map).unwrap_or_default();
        let (name, made_for) = (network.backbone.name(), network.backbone.crop());
        let advice = match self.crop {
            Some(crop) if crop.get() != made_for => format!("leave `crop` out, or give {made_for}"),
            _ => "use alexnet, vgg16 or resnet".into(),
        };
        let reason = format!("{name} gives {}×{} answers for a crop, not one", map.0, map.1);
        ensure!(map == (1, 1), KeyError::new(Self::SIZE_KEYS.iter().copied(), reason).advice(advice));
        Ok(())
    }

    fn fine_tune(&self, fit: &StageRun, run: &mut RunDir) -> Result<Option<FineTuned>> {
        let sets = fit.sets.annotated()?;
        let both = (sets.train.clone(), sets.val.clone());
        let mut task = Classification::new(self, fit.network()?, both)?;
        let Some(metrics) = fit.train(&mut task, run)? else { return Ok(None) };
        Ok(Some(FineTuned {
            metrics,
            value: task.mean().context("the fit ended without a validation")?,
            per_class: task.last().iter().map(|c| (c.class.clone(), c.average_precision)).collect(),
            variant: Self::column(&fit.backbone()?.layer(fit.column()?), fit.backbone()?),
        }))
    }
}
