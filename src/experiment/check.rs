//! The dry run: reports what each stage would build, read and cost. It plans and opens everything as a run does and
//! stores nothing.

use super::{
    estimate::{Estimate, estimate},
    fit::StageRun,
    load::SweepPoint,
    plan::StagePlan,
    preflight::{Downloads, PlannedPoint, RunOptions, StageRuns, preflight},
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
    collections::{BTreeMap, BTreeSet},
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
    points: Vec<PointReport>,
}

/// Check result of one point of a sweep for one seed.
#[derive(Debug)]
struct PointReport {
    /// Empty without a sweep.
    label: String,
    /// Stages with fits of their own.
    stages: Vec<StageReport>,
    /// Names of the stages whose fits are all those of points before.
    shared: Vec<String>,
}

/// Check result of one stage for one seed.
#[derive(Debug, Default)]
struct StageReport {
    name: String,
    kind: &'static str,
    data: String,
    /// None if all wait for a download.
    fits: Vec<FitReport>,
    /// Probable mistakes in the spec.
    notes: Vec<String>,
    /// None if nothing is trained.
    training: Option<Training>,
    /// Number of finished fits.
    finished: usize,
    cost: Option<Cost>,
}

/// A fit in a report.
#[derive(Debug)]
struct FitReport {
    label: String,
    plan: StagePlan,
    /// Whether an identical fit comes before it.
    is_repeated: bool,
}

/// Total time and peak memory of all unfinished fits; or the error of a rehearsal, which the fit would also hit.
type Cost = Result<Estimate, String>;

/// Training options and loader throughput.
#[derive(Debug)]
struct Training {
    train: TrainOptions,
    images: usize,
    /// Images per second; None if nothing is timed.
    loader: Option<f64>,
    network: Summary,
    /// Networks trained beside it, by name.
    beside: Vec<(&'static str, Summary)>,
}

/// Performs the checks that a run performs before its first step.
///
/// # Errors
/// Every problem that would stop the run before its first step.
pub fn check(experiment: &Experiment, options: &RunOptions) -> Result<CheckReport> {
    check_points(&[SweepPoint::whole(experiment.clone())], options)
}

/// As [`check`], and times the loader and a short rehearsal of every stage: seconds to a minute per stage.
///
/// # Errors
/// As [`check`].
pub fn check_and_estimate(experiment: &Experiment, options: &RunOptions) -> Result<CheckReport> {
    check_and_estimate_points(&[SweepPoint::whole(experiment.clone())], options)
}

/// As [`check`], of all points of a sweep.
///
/// # Errors
/// As [`check`].
pub fn check_points(points: &[SweepPoint], options: &RunOptions) -> Result<CheckReport> {
    report(points, options, |_| None)
}

/// As [`check_and_estimate`], of all points of a sweep.
///
/// # Errors
/// As [`check`].
pub fn check_and_estimate_points(points: &[SweepPoint], options: &RunOptions) -> Result<CheckReport> {
    let scratch = ScratchDir::new()?;
    report(points, options, |fits| Some(cost(fits, scratch.path()).map_err(|error| format!("{error:#}"))))
}

fn report(
    points: &[SweepPoint],
    options: &RunOptions,
    cost: impl Fn(&[PlannedRun]) -> Option<Cost>,
) -> Result<CheckReport> {
    let planned = preflight(points, options, Downloads::Announced)?;
    let reports = planned.into_iter().enumerate().map(|(at, point)| point_report(point, at == 0, &cost));
    let mut reports = reports.collect::<Result<Vec<_>>>()?;
    carry_memory_forward(reports.iter_mut().flat_map(|point| &mut point.stages));
    let (name, seeds) = points.first().map_or((String::new(), 0), |SweepPoint { experiment, .. }| {
        (experiment.name.to_string(), experiment.seeds.len())
    });
    Ok(CheckReport { name, seeds, points: reports })
}

fn point_report(
    point: PlannedPoint,
    is_first: bool,
    cost: impl Fn(&[PlannedRun]) -> Option<Cost>,
) -> Result<PointReport> {
    let is_shared = |stage: &StageRuns| {
        let shared = |planned: &PlannedRun| planned.fit.place.shared.is_some();
        !is_first && stage.pending.is_empty() && stage.fits.iter().all(shared)
    };
    let (shared, own): (Vec<StageRuns>, Vec<StageRuns>) =
        point.seeds.into_iter().next().unwrap_or_default().into_iter().partition(is_shared);
    let stages = own.iter().map(|stage| {
        let name = &stage.name;
        stage_report(stage, cost(&stage.fits)).with_context(|| format!("stage `{name}` cannot start"))
    });
    let stages = stages.collect::<Result<Vec<_>>>()?;
    Ok(PointReport {
        label: point.label,
        stages,
        shared: shared.into_iter().map(|stage| stage.name).collect(),
    })
}

/// Memory freed by a stage stays with the process, so later stages need at least as much.
fn carry_memory_forward<'a>(stages: impl Iterator<Item = &'a mut StageReport>) {
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
        fits: fits.iter().map(|PlannedRun { fit, .. }| FitReport::of(fit)).collect(),
        notes: planned.notes(),
        training: first
            .plan
            .train
            .as_ref()
            .map(|train| training(first, train, cost.is_some()))
            .transpose()?,
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

impl FitReport {
    fn of(fit: &StageRun) -> Self {
        let is_repeated = fit.place.shared.is_some();
        Self { label: fit.label.clone(), plan: fit.plan.clone(), is_repeated }
    }
}

fn training(fit: &StageRun, train: &TrainOptions, is_timed: bool) -> Result<Training> {
    let plan = fit.plan.network.as_ref().context("what is trained has a network")?;
    let network = plan.summary(fit.sets.classes(), fit.sets.first_size().unwrap_or_default())?;
    let beside = plan.beside.iter().map(|other| Ok((other.name, other.summary()?)));
    let beside = beside.collect::<Result<_>>()?;
    Ok(Training {
        train: train.clone(),
        images: fit.sets.split(Split::Train).len(),
        loader: loader_speed(fit, is_timed)?,
        network,
        beside,
    })
}

/// Loader throughput without training, in images per second. A batch is read in any case: what it meets, a run would meet.
fn loader_speed(fit: &StageRun, is_timed: bool) -> Result<Option<f64>> {
    let mut loader = fit.loader(Split::Train)?;
    loader.next_batch()?;
    if !is_timed {
        return Ok(None);
    }
    let (start, mut images) = (Instant::now(), 0);
    while start.elapsed() < LOADER_TIME {
        images += loader.next_batch()?.map_or(0, |b| b.indices.len());
    }
    Ok(Some(images as f64 / start.elapsed().as_secs_f64()))
}

impl CheckReport {
    fn stages(&self) -> impl Iterator<Item = &StageReport> {
        self.points.iter().flat_map(|point| &point.stages)
    }

    /// Label and plan of every fit of the first seed.
    pub fn plans(&self) -> impl Iterator<Item = (&str, String)> {
        let fits = self.stages().flat_map(|stage| &stage.fits);
        fits.map(|fit| (fit.label.as_str(), fit.plan.to_string()))
    }

    /// Seconds of all stages of all points for one seed, as far as they were estimated.
    pub fn seconds(&self) -> f64 {
        let costs = self.stages().filter_map(|stage| stage.cost.as_ref()?.as_ref().ok());
        costs.map(|cost| cost.seconds).sum()
    }

    /// The error of the first stage whose rehearsal failed.
    pub fn fault(&self) -> Option<&str> {
        self.stages().find_map(|stage| stage.cost.as_ref()?.as_ref().err().map(String::as_str))
    }

    /// Number of stages whose rehearsals failed.
    pub fn failing(&self) -> usize {
        self.stages().filter(|stage| matches!(stage.cost, Some(Err(_)))).count()
    }

    /// `tiny: 2 stages, 4 points, 1 seed, 6 fits`.
    fn size(&self) -> String {
        let stages = self.points.iter().map(|point| point.stages.len() + point.shared.len()).max();
        let points = (self.points.len() > 1).then(|| counted(self.points.len(), "point"));
        let fits = self.stages().map(|stage| stage.fits.iter().filter(|fit| !fit.is_repeated).count());
        let counts = [
            Some(counted(stages.unwrap_or_default(), "stage")),
            points,
            Some(counted(self.seeds, "seed")),
            Some(counted(fits.sum::<usize>() * self.seeds, "fit")),
        ];
        format!("{}: {}", self.name, counts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Display for CheckReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut said = BTreeMap::new();
        self.points.iter().try_for_each(|point| point.write(f, &mut said))?;
        let seconds = self.seconds();
        if seconds > 0.0 {
            let points = if self.points.len() > 1 { " of all points" } else { "" };
            writeln!(f, "about {} for each seed{points}\n", clock::span(seconds))?;
        }
        write!(f, "{}; nothing was trained", self.size())?;
        match self.failing() {
            0 => Ok(()),
            failing => write!(f, "; {failing} would fail, as in the rehearsal"),
        }
    }
}

/// Starts of lines that are printed at every point.
const OWN: [&str; 3] = ["  time ", "  memory ", "  fails "];

/// Lines of each stage that were printed at an earlier point.
type Said = BTreeMap<String, BTreeSet<String>>;

impl PointReport {
    /// Prints the stages; of one that an earlier point has, the first line, its cost, and what differs.
    fn write(&self, f: &mut Formatter<'_>, said: &mut Said) -> fmt::Result {
        if !self.label.is_empty() {
            writeln!(f, "point {}", self.label)?;
        }
        for stage in &self.stages {
            let text = stage.to_string();
            let known = said.entry(stage.name.clone()).or_default();
            let is_own = |line: &str| OWN.iter().any(|own| line.starts_with(own)) || !known.contains(line);
            let is_new = |(at, line): &(usize, &str)| *at == 0 || is_own(line);
            for (_, line) in text.lines().enumerate().filter(is_new) {
                writeln!(f, "{line}")?;
            }
            writeln!(f)?;
            known.extend(text.lines().map(String::from));
        }
        match self.shared.as_slice() {
            [] => Ok(()),
            shared => writeln!(f, "shared with points above: {}\n", shared.join(", ")),
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
        match loader {
            Some(loader) => writeln!(f, "  loader   {loader:.0} images/s on its own"),
            None => Ok(()),
        }
    }

    /// The full plan of the first fit, and the differing lines of the others.
    fn write_plans(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut said: Vec<String> = vec![];
        for FitReport { label, plan, .. } in &self.fits {
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
