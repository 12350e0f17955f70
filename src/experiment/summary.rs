//! What follows when every fit is finished: the report, the newest pictures, and the check of `expected:`.

use super::{
    expected,
    fit::StageRun,
    load::SweepPoint,
    preflight::{PlannedPoint, RunOptions},
    run::PlannedRun,
    stages::Stage,
};
use crate::report::{self, ReportPaths, ReportedRun};
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// How an experiment ended.
#[derive(Debug)]
pub enum Outcome {
    /// All stages are finished. If the experiment evaluates nothing, the report is a page.
    Finished { report: Option<ReportPaths>, pictures: Vec<PathBuf> },
    /// Interrupted by the user; the same command resumes.
    Interrupted,
}

/// Reports on finished fits, and checks their results.
///
/// # Errors
/// Results that cannot be read; a report that cannot be written; results that do not meet `expected`.
pub fn summarize(points: &[SweepPoint], planned: &[PlannedPoint], options: &RunOptions) -> Result<Outcome> {
    let Some(SweepPoint { experiment, .. }) = points.first() else { return Ok(Outcome::Interrupted) };
    let stages = || planned.iter().flat_map(|point| &point.seeds).flatten();
    let fits: Vec<&PlannedRun> = stages().flat_map(|stage| &stage.fits).collect();
    let out = options.out.join(&*experiment.name).join("report");
    let report = write(points, &reported(&fits), &out)?;
    let short = stages().map(|stage| {
        let of = |planned: &PlannedRun| expected::shortfalls(experiment, &stage.name, &planned.fit);
        stage.fits.iter().map(of).collect::<Result<Vec<_>>>()
    });
    let short = unique(short.collect::<Result<Vec<_>>>()?.into_iter().flatten().flatten());
    ensure!(short.is_empty(), "the results do not meet `expected` in the spec:\n  {}", short.join("\n  "));
    let pictures = unique(fits.iter().filter_map(|planned| planned.picture()));
    Ok(Outcome::Finished { report, pictures })
}

/// The runs of all fits, each once.
fn reported(fits: &[&PlannedRun]) -> Vec<ReportedRun> {
    unique(fits.iter().map(|planned| {
        let StageRun { place, experiment, plan, stage, .. } = &planned.fit;
        ReportedRun {
            dir: place.dir.clone(),
            experiment: experiment.clone(),
            stage: stage.clone(),
            row: plan.row.name.clone(),
            column: plan.row.column.clone(),
            dataset: planned.fit.dataset(),
        }
    }))
}

fn unique<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.fold(vec![], |mut kept, item| {
        if !kept.contains(&item) {
            kept.push(item);
        }
        kept
    })
}

/// Writes tables, plots and the page.
fn write(points: &[SweepPoint], runs: &[ReportedRun], out: &Path) -> Result<Option<ReportPaths>> {
    let reports = |stage: &Stage| !stage.trains_backbone() || stage.kind().monitor().is_some();
    let mut stages = points.iter().flat_map(|point| point.experiment.stages.iter());
    let reported = stages.any(|(_, stage)| reports(stage));
    let mut report = reported.then(|| report::write_report_of(runs, out)).transpose()?;
    match report::write_page_of(runs, out) {
        Ok(page) => report.get_or_insert_default().page = Some(page),
        Err(error) => tracing::warn!("the results are complete, but there is no page of them: {error:#}"),
    }
    Ok(report)
}
