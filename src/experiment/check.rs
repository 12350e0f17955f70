//! The dry run: reports what each stage would build, read and cost. It plans and opens everything as a run does and
//! stores nothing.

use super::{
    estimate::{Estimate, estimate},
    fit::StageRun,
    plan::StagePlan,
    preflight::{Downloads, RunOptions, StageRuns, preflight},
    run::PlannedRun,
    sources::Start,
    spec::Experiment,
};
use crate::{
    backbones::summary::Summary,
    data::source::Split,
    text::counted,
    train::{clock, interrupt::ScratchDir, spec::TrainOptions},
};
use anyhow::{Context, Result};
use std::{
    fmt::{self, Display, Formatter},
    path::Path,
    time::{Duration, Instant},
};

/// Measuring time of the loader's throughput.
const LOADER_TIME: Duration = Duration::from_millis(1500);

/// Result of checking an experiment.
#[derive(Debug)]
pub struct CheckReport {
    name: String,
    seeds: usize,
    stages: Vec<StageReport>,
}

/// Check result of one stage for one seed.
#[derive(Debug, Default)]
struct StageReport {
    name: String,
    kind: &'static str,
    data: String,
    /// Label and plan of each fit; none if all wait for a download.
    fits: Vec<(String, StagePlan)>,
    /// Probable mistakes in the spec.
    notes: Vec<String>,
    /// None if nothing is trained.
    training: Option<Training>,
    /// Number of finished fits.
    finished: usize,
    cost: Option<Cost>,
}

/// Total time and peak memory of all unfinished fits; or the error of a rehearsal, which the fit would also hit.
type Cost = Result<Estimate, String>;

/// Training options and loader throughput.
#[derive(Debug)]
struct Training {
    train: TrainOptions,
    images: usize,
    loader: f64,
    network: Summary,
    /// Networks trained beside it, by name.
    beside: Vec<(&'static str, Summary)>,
}

/// Performs the checks that a run performs before its first step.
///
/// # Errors
/// Every problem that would stop the run before its first step.
pub fn check(experiment: &Experiment, options: &RunOptions) -> Result<CheckReport> {
    check_stages(experiment, options, |_| None)
}

/// As [`check`], and estimates the cost of every stage by a short rehearsal: seconds to a minute per stage.
///
/// # Errors
/// As [`check`].
pub fn check_and_estimate(experiment: &Experiment, options: &RunOptions) -> Result<CheckReport> {
    let scratch = ScratchDir::new()?;
    check_stages(experiment, options, |fits| {
        Some(cost(fits, scratch.path()).map_err(|error| format!("{error:#}")))
    })
}

fn check_stages(
    experiment: &Experiment,
    options: &RunOptions,
    cost: impl Fn(&[PlannedRun]) -> Option<Cost>,
) -> Result<CheckReport> {
    let stages = preflight(experiment, options, Downloads::Announced)?.into_iter().next().unwrap_or_default();
    let stages = stages.iter().map(|stage| {
        let name = &stage.name;
        stage_report(stage, cost(&stage.fits)).with_context(|| format!("stage `{name}` cannot start"))
    });
    let mut stages = stages.collect::<Result<Vec<_>>>()?;
    carry_memory_forward(&mut stages);
    Ok(CheckReport { name: experiment.name.to_string(), seeds: experiment.seeds.len(), stages })
}

/// Memory freed by a stage stays with the process, so later stages need at least as much.
fn carry_memory_forward(stages: &mut [StageReport]) {
    let mut most = 0.0;
    for stage in stages {
        if let Some(Ok(Estimate { bytes: Some(bytes), .. })) = &mut stage.cost {
            most = bytes.max(most);
            *bytes = most;
        }
    }
}

fn stage_report(planned: &StageRuns, cost: Option<Cost>) -> Result<StageReport> {
    let StageRuns { name, kind, fits, .. } = planned;
    let Some(PlannedRun { fit: first, .. }) = fits.first() else {
        return Ok(StageReport {
            name: name.clone(),
            kind,
            notes: planned.notes(),
            ..StageReport::default()
        });
    };
    let (train, val) = (first.sets.split(Split::Train), first.sets.split(Split::Val));
    let data = format!(
        "{}: {} training and {}, {}, {}",
        first.data(),
        train.len(),
        counted(val.len(), "validation image"),
        counted(first.sets.classes(), "class"),
        first.plan.pictures.train.as_ref().unwrap_or(&first.plan.pictures.val).describe_transform()
    );
    Ok(StageReport {
        name: name.clone(),
        kind,
        data,
        fits: fits.iter().map(|PlannedRun { fit, .. }| (fit.label.clone(), fit.plan.clone())).collect(),
        notes: planned.notes(),
        training: first.plan.train.as_ref().map(|train| training(first, train)).transpose()?,
        finished: fits.iter().filter(|planned| planned.is_finished()).count(),
        cost,
    })
}

/// Total cost of the unfinished fits. Fits with the same plan on different weights cost the same.
fn cost(fits: &[PlannedRun], scratch: &Path) -> Result<Estimate> {
    let (mut sum, mut known): (Estimate, Vec<(&StagePlan, Estimate)>) = Default::default();
    let to_run = |planned: &&PlannedRun| !planned.is_finished() && planned.fit.place.shared.is_none();
    for planned in fits.iter().filter(to_run) {
        let fit = &planned.fit;
        let alike = |plan: &StagePlan| StagePlan { row: fit.plan.row.clone(), ..plan.clone() } == fit.plan;
        let same = |plan: &StagePlan| !matches!(plan.row.start, Start::Method(_)) && alike(plan);
        let one = match known.iter().find(|(plan, _)| same(plan)) {
            Some((_, one)) => *one,
            None => estimate(planned, scratch)?,
        };
        known.push((&fit.plan, one));
        sum.seconds += one.seconds;
        sum.bytes = one.bytes.map(|bytes| bytes.max(sum.bytes.unwrap_or_default()));
    }
    Ok(sum)
}

fn training(fit: &StageRun, train: &TrainOptions) -> Result<Training> {
    let plan = fit.plan.network.as_ref().context("what is trained has a network")?;
    let network = plan.summary(fit.sets.classes(), fit.sets.first_size().unwrap_or_default())?;
    let beside = plan.beside.iter().map(|other| Ok((other.name, other.summary()?)));
    let beside = beside.collect::<Result<_>>()?;
    Ok(Training {
        train: train.clone(),
        images: fit.sets.split(Split::Train).len(),
        loader: loader_speed(fit)?,
        network,
        beside,
    })
}

/// Loader throughput without training, in images per second.
fn loader_speed(fit: &StageRun) -> Result<f64> {
    let mut loader = fit.loader(Split::Train)?;
    loader.next_batch()?;
    let (start, mut images) = (Instant::now(), 0);
    while start.elapsed() < LOADER_TIME {
        images += loader.next_batch()?.map_or(0, |b| b.indices.len());
    }
    Ok(images as f64 / start.elapsed().as_secs_f64())
}

impl CheckReport {
    /// Label and plan of every fit of the first seed.
    pub fn plans(&self) -> impl Iterator<Item = (&str, String)> {
        let fits = self.stages.iter().flat_map(|stage| &stage.fits);
        fits.map(|(label, plan)| (label.as_str(), plan.to_string()))
    }

    /// Seconds of all stages for one seed, as far as they were estimated.
    pub fn seconds(&self) -> f64 {
        let costs = self.stages.iter().filter_map(|stage| stage.cost.as_ref()?.as_ref().ok());
        costs.map(|cost| cost.seconds).sum()
    }

    /// The error of the first stage whose rehearsal failed.
    pub fn fault(&self) -> Option<&str> {
        self.stages.iter().find_map(|stage| stage.cost.as_ref()?.as_ref().err().map(String::as_str))
    }

    /// Number of stages whose rehearsals failed.
    pub fn failing(&self) -> usize {
        self.stages.iter().filter(|stage| matches!(stage.cost, Some(Err(_)))).count()
    }
}

impl Display for CheckReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for stage in &self.stages {
            writeln!(f, "{stage}")?;
        }
        let seconds = self.seconds();
        if seconds > 0.0 {
            writeln!(f, "about {} for each seed\n", clock::span(seconds))?;
        }
        let fits: usize = self.stages.iter().map(|s| s.fits.len()).sum();
        write!(
            f,
            "{}: {}, {}, {}; nothing was trained",
            self.name,
            counted(self.stages.len(), "stage"),
            counted(self.seeds, "seed"),
            counted(fits * self.seeds, "fit")
        )?;
        match self.failing() {
            0 => Ok(()),
            failing => write!(f, "; {failing} would fail, as in the rehearsal"),
        }
    }
}

impl Display for StageReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "stage {} ({})", self.name, self.kind)?;
        if let Some(Training { network, beside, .. }) = &self.training {
            writeln!(f, "{network}")?;
            beside.iter().try_for_each(|(name, network)| writeln!(f, "{name}\n{network}"))?;
        }
        if self.fits.is_empty() {
            return self.write_cost(f);
        }
        writeln!(f, "  data     {}", self.data)?;
        match &self.training {
            Some(training) => self.write_training(f, training)?,
            None => writeln!(f, "  methods  {} to be measured", self.fits.len())?,
        }
        self.write_plans(f)?;
        self.write_cost(f)
    }
}

impl StageReport {
    fn write_training(&self, f: &mut Formatter<'_>, training: &Training) -> fmt::Result {
        let Training { train, images, loader, .. } = training;
        let seen = train.steps.get() * train.batch.get() * train.iter_size.get();
        writeln!(
            f,
            "  training {} of {} × {} × {} images = {:.1} epochs",
            counted(self.fits.len(), "fit"),
            counted(train.steps.get(), "step"),
            train.batch,
            train.iter_size,
            seen as f64 / *images as f64
        )?;
        writeln!(f, "  loader   {loader:.0} images/s on its own")
    }

    /// The full plan of the first fit, and the differing lines of the others.
    fn write_plans(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut said: Vec<String> = vec![];
        for (label, plan) in &self.fits {
            writeln!(f, "  fit      {label}")?;
            let plan = plan.to_string();
            for line in plan.lines().filter(|line| !said.iter().any(|said| said == line)) {
                writeln!(f, "           {line}")?;
            }
            said.extend(plan.lines().map(String::from));
        }
        Ok(())
    }

    fn write_cost(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "  note     {note}")?;
        }
        if self.finished > 0 {
            writeln!(f, "  finished {} of {}, kept", self.finished, counted(self.fits.len(), "fit"))?;
        }
        match &self.cost {
            None => Ok(()),
            Some(Ok(Estimate { seconds, .. })) if *seconds == 0.0 => Ok(()),
            Some(Ok(Estimate { seconds, bytes })) => {
                match *seconds < 10.0 {
                    true => writeln!(f, "  time     about {seconds:.1} s")?,
                    false => writeln!(f, "  time     about {}", clock::span(*seconds))?,
                }
                bytes.map_or(Ok(()), |bytes| writeln!(f, "  memory   about {:.2} GB", bytes / 1e9))
            }
            Some(Err(why)) => writeln!(f, "  fails    in a rehearsal on a few pictures: {why}"),
        }
    }
}
