//! What follows when every fit is finished: the report, the newest pictures, and the check of `expected:`.

use super::{
    expected,
    fit::StageRun,
    load::SweepPoint,
    preflight::{PlannedPoint, RunOptions},
    run::PlannedRun,
    stages::Stage,
};
use crate::{
    report::{self, ReportPaths, ReportedRun},
    train::manifest::hex,
};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// File in the folder of a report that is locked while a process writes there; it holds the digest of what was reported.
const LOCK: &str = ".lock";

/// How an experiment ended.
#[derive(Debug)]
pub enum Outcome {
    /// All stages are finished. If the experiment evaluates nothing, the report is a page.
    Finished { report: Option<ReportPaths>, pictures: Vec<PathBuf> },
    /// All stages are finished, and another process that shares them has written the report into this folder.
    ReportedElsewhere { report: PathBuf },
    /// Interrupted by the user; the same command resumes.
    Interrupted,
    /// Another process has run it, and this one has trained with it.
    Followed,
}

/// Reports on finished fits, and checks their results. Of processes that share them, the first to come here writes the report.
///
/// # Errors
/// Results that cannot be read; a report that cannot be written; results that do not meet `expected`.
pub fn summarize(
    points: &[SweepPoint],
    planned: &[PlannedPoint],
    options: &RunOptions,
    is_shared: bool,
) -> Result<Outcome> {
    let Some(SweepPoint { experiment, .. }) = points.first() else { return Ok(Outcome::Interrupted) };
    let stages = || planned.iter().flat_map(|point| &point.seeds).flatten();
    let fits: Vec<&PlannedRun> = stages().flat_map(|stage| &stage.fits).collect();
    let out = options.out.join(&*experiment.name).join("report");
    let runs = reported(&fits);
    let mut lock = ReportLock::take(&out)?;
    let report = match is_shared && lock.has_reported(&runs, &out) {
        true => None,
        false => Some(write(points, &runs, &out)?),
    };
    lock.set_reported(&runs)
        .with_context(|| format!("cannot write to {}: is the disk full?", out.display()))?;
    let short = stages().map(|stage| {
        let of = |planned: &PlannedRun| expected::shortfalls(experiment, &stage.name, &planned.fit);
        stage.fits.iter().map(of).collect::<Result<Vec<_>>>()
    });
    let short = unique(short.collect::<Result<Vec<_>>>()?.into_iter().flatten().flatten());
    ensure!(short.is_empty(), "the results do not meet `expected` in the spec:\n  {}", short.join("\n  "));
    let pictures = unique(fits.iter().filter_map(|planned| planned.picture()));
    Ok(report
        .map_or(Outcome::ReportedElsewhere { report: out }, |report| Outcome::Finished { report, pictures }))
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

/// The folder of a report while this process writes there.
struct ReportLock(File);

impl ReportLock {
    /// Waits for other processes.
    fn take(out: &Path) -> Result<Self> {
        let opened = fs::create_dir_all(out).and_then(|()| {
            let path: PathBuf = out.join(LOCK);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            file.lock().map(|()| Self(file))
        });
        opened.with_context(|| format!("cannot write to the report folder {}", out.display()))
    }

    /// Whether the folder `out` holds a report of these runs.
    fn has_reported(&mut self, runs: &[ReportedRun], out: &Path) -> bool {
        let mut text = String::new();
        let is_empty = fs::read_dir(out).is_ok_and(|entries| entries.count() < 2);
        !is_empty
            && self.0.rewind().is_ok()
            && self.0.read_to_string(&mut text).is_ok()
            && text == digest(runs)
    }

    fn set_reported(&mut self, runs: &[ReportedRun]) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()?;
        self.0.write_all(digest(runs).as_bytes())
    }
}

/// Identifies the runs of a report, in whatever order.
fn digest(runs: &[ReportedRun]) -> String {
    let mut names: Vec<String> = runs.iter().map(|run| format!("{run:?}")).collect();
    names.sort();
    hex(&Sha256::digest(names.join("\n")))
}
