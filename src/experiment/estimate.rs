//! Cost estimate of a fit by a rehearsal: the fit runs on a few of its pictures, and a few updates and one validation
//! are timed. The result is extrapolated to the full number of pictures, updates and validations. Nothing is stored;
//! random weights replace those of an earlier stage that has not run.
//!
//! A few pictures can lack what the full set has (e.g. a class that an SVM needs). A failed rehearsal is therefore
//! repeated on more pictures before its error is reported.

use super::{
    fit::{Rehearsal, StageRun},
    monitor::MonitorPlan,
    place::RunPlace,
    plan::{DataSource, StagePlan},
    run::PlannedRun,
    sets::{DataSets, Splits},
};
use crate::{
    bounded::{Count, Fraction},
    data::{
        annotated::Annotated,
        annotated_view::AnnotatedView,
        source::{Dataset, Split},
        view::{CACHE_BYTES, DatasetView},
    },
    evaluation::monitor::{self, MonitorSpec},
    train::{heap, manifest, run_dir::RunDir, spec::TrainOptions, trial::Trial},
};
use anyhow::{Context, Result};
use std::{cell::RefCell, path::Path, sync::Arc, time::Instant};

/// Assumed multiply-accumulates per second, used to choose the size of a rehearsal.
const ASSUMED_MACS_PER_SECOND: f64 = 5e10;
/// Maximum seconds per update in a rehearsal; larger batches are reduced.
const MAX_UPDATE_SECONDS: f64 = 1.5;
/// Default number of pictures per split.
const PICTURES: usize = 64;
/// Minimum number of pictures per split, for slow networks.
const MIN_PICTURES: usize = 4;
/// Maximum number of pictures per split after repeated failures.
const MAX_PICTURES: usize = 1024;
/// How many times more pictures the third rehearsal of a fit without training takes.
const GROWTH: usize = 8;
/// Batches per epoch of a rehearsal.
const BATCHES: usize = 8;
/// Number of stored pictures sampled for the mean decoded size.
const SAMPLE: usize = 8;

/// Cost of a fit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    pub seconds: f64,
    /// Peak memory of the process; None if the system does not report it (Linux does).
    pub bytes: Option<f64>,
}

/// Rehearses a fit in a folder below `scratch`.
///
/// # Errors
/// Those of the fit.
pub fn estimate(planned: &PlannedRun, scratch: &Path) -> Result<Estimate> {
    let fit = &planned.fit;
    let batch = rehearsal_batch(fit);
    let whole = fit.plan.train.as_ref().map_or(1, |train| train.batch.get());
    let (Some(train), true) = (&fit.plan.train, batch < whole) else {
        return at_batch(planned, scratch, batch);
    };
    // For a reduced batch, extrapolate linearly from two batch sizes.
    let (half, cut) = (at_batch(planned, scratch, batch.div_ceil(2))?, at_batch(planned, scratch, batch)?);
    let grown = (train.batch.get() - batch) as f64 / (batch - batch.div_ceil(2)).max(1) as f64;
    let at = |half: f64, cut: f64| cut + (cut - half).max(0.0) * grown;
    let bytes = half.bytes.zip(cut.bytes).map(|(half, cut)| at(half, cut));
    Ok(Estimate { seconds: at(half.seconds, cut.seconds), bytes })
}

/// The largest batch, up to the planned one, whose update is fast enough to rehearse.
fn rehearsal_batch(fit: &StageRun) -> usize {
    let planned = fit.plan.train.as_ref().map_or(1, |train| train.batch.get());
    planned.min((pictures_in_limit(fit) / 3).max(MIN_PICTURES))
}

/// Number of pictures that the network processes within [`MAX_UPDATE_SECONDS`].
fn pictures_in_limit(fit: &StageRun) -> usize {
    let macs = fit.plan.network.as_ref().and_then(|network| {
        let summary = network.summary(fit.sets.classes(), fit.sets.first_size().unwrap_or_default()).ok()?;
        Some(summary.macs().saturating_mul(network.views_per_picture()))
    });
    let macs = macs.unwrap_or_default() as f64;
    (MAX_UPDATE_SECONDS * ASSUMED_MACS_PER_SECOND / macs.max(1.0)) as usize
}

/// Cost of the whole fit with batches of `batch` pictures.
fn at_batch(planned: &PlannedRun, scratch: &Path, batch: usize) -> Result<Estimate> {
    let fit = &planned.fit;
    let (train, val) = (fit.sets.split(Split::Train).len(), fit.sets.split(Split::Val).len());
    let most = PICTURES.min(pictures_in_limit(fit).max(MIN_PICTURES));
    let pictures = (train.min(most.max(BATCHES * batch)), val.min(most));
    let few = (pictures.0.div_ceil(8), pictures.1.div_ceil(8));
    let (few, start) = rehearse((planned, scratch), few, batch, false)?;
    manifest::reset_peak_memory();
    let more = |few: usize, pictures: usize, all: usize| all.min(pictures.max(2 * few));
    let pictures = (more(few.0, pictures.0, train), more(few.1, pictures.1, val));
    let (pictures, Rehearsed { setup, trial }) = rehearse((planned, scratch), pictures, batch, true)?;
    let peak = manifest::peak_memory();
    heap::release(); // so that this rehearsal's memory is not counted for the next
    let mut timed = vec![(few.0 + few.1, start.setup), (pictures.0 + pictures.1, setup)];
    // What reads features may compare every picture with every other: a third size shows it.
    let grown = |few: usize, all: usize| all.min((GROWTH * few).min(MAX_PICTURES).max(few));
    let third = (grown(pictures.0, train), grown(pictures.1, val));
    if fit.plan.train.is_none() && planned.stage.kind().reads_features() && third != pictures {
        let (third, rehearsed) = rehearse((planned, scratch), third, batch, false)?;
        timed.push((third.0 + third.1, rehearsed.setup));
    }
    let setup = extrapolated(&timed, train + val);
    let (training, monitor) = fit.plan.train.as_ref().map_or((0.0, 0.0), |spec| {
        let training = training(&trial, spec, train, val);
        (training, monitoring(&fit.plan, spec, &trial, training))
    });
    let kept = trial.cached_bytes as f64 * (train as f64 / pictures.0 as f64 - 1.0);
    let decoded_bytes = decoded_bytes(fit, Split::Train) + decoded_bytes(fit, Split::Val);
    Ok(Estimate {
        seconds: setup + training + monitor,
        bytes: peak.map(|peak| peak as f64 + kept.max(0.0) + decoded_bytes + monitored_bytes(&fit.plan)),
    })
}

/// Seconds for `all` pictures from those of growing numbers of them: constant, proportional to the pictures, and with three
/// points to their pairs. No part is negative.
fn extrapolated(timed: &[(usize, f64)], all: usize) -> f64 {
    let slope = |(few, short): (usize, f64), (more, long): (usize, f64)| {
        (long - short).max(0.0) / more.saturating_sub(few).max(1) as f64
    };
    let beyond = |known: usize| all.saturating_sub(known) as f64;
    match timed {
        [a, b] => b.1 + slope(*a, *b) * beyond(b.0),
        [a, b, c] => {
            let (first, last) = (slope(*a, *b), slope(*b, *c));
            let bend = (last - first).max(0.0) / (c.0 - a.0).max(1) as f64;
            c.1 + last * beyond(c.0) + bend * beyond(c.0) * beyond(b.0)
        }
        _ => 0.0,
    }
}

/// Seconds of all updates and validations.
fn training(trial: &Trial, spec: &TrainOptions, train: usize, val: usize) -> f64 {
    let steps = spec.steps.get();
    let epoch = (train / (spec.batch.get() * spec.iter_size.get())).max(1);
    let first = steps.min(epoch);
    let validations = spec.evaluate_every.map_or(1, |every| steps.div_ceil(every.get()));
    first as f64 * trial.first
        + (steps - first) as f64 * trial.later
        + (validations * val) as f64 * trial.validation
}

/// Seconds of a monitor: each picture takes as long as in a validation; the last measurement is made even if its budget is
/// smaller.
fn monitoring(plan: &StagePlan, spec: &TrainOptions, trial: &Trial, training: f64) -> f64 {
    let Some(MonitorPlan { spec: MonitorSpec { every, budget, .. }, .. }) = &plan.monitor else { return 0.0 };
    let each = plan.monitor.as_ref().map_or(0, MonitorPlan::passes) as f64 * trial.validation;
    let due = 1 + spec.steps.get().div_ceil(spec.scale.steps(*every).get());
    (due as f64 * each).min((budget.get() * training).max(each))
}

/// Bytes of a monitor's decoded pictures.
fn monitored_bytes(plan: &StagePlan) -> f64 {
    let bytes = |monitor: &MonitorPlan| monitor::bytes(monitor.spec.pictures, monitor.data.crop.get());
    plan.monitor.as_ref().map_or(0.0, |monitor| bytes(monitor) as f64)
}

/// Bytes of a split's decoded pictures in the cache.
fn decoded_bytes(fit: &StageRun, split: Split) -> f64 {
    let (keeps, reads) = match &fit.plan.pictures.source {
        DataSource::Plain(spec) => (spec.cache, fit.plan.pictures.view(split).is_ok()),
        DataSource::Annotated(spec, _) => (spec.cache, true),
    };
    let set = fit.sets.split(split);
    if !keeps || !reads {
        return 0.0;
    }
    let step = (set.len() / SAMPLE).max(1);
    let sizes: Vec<usize> = (0..set.len())
        .step_by(step)
        .filter_map(|index| set.image(index).ok())
        .map(|image| image.pixels.len())
        .collect();
    let mean = sizes.iter().sum::<usize>() as f64 / sizes.len().max(1) as f64;
    (mean * set.len() as f64).min(CACHE_BYTES as f64)
}

/// Measurements of a rehearsal.
struct Rehearsed {
    /// Seconds outside training.
    setup: f64,
    trial: Trial,
}

/// Rehearses on the first `pictures` of both splits, or on more if that fails; returns the number used.
fn rehearse(
    (planned, scratch): (&PlannedRun, &Path),
    mut pictures: (usize, usize),
    batch: usize,
    updates: bool,
) -> Result<((usize, usize), Rehearsed)> {
    let sets = &planned.fit.sets;
    let (train, val) = (sets.split(Split::Train).len(), sets.split(Split::Val).len());
    loop {
        match rehearse_on((planned, scratch), pictures, batch, updates) {
            Ok(rehearsed) => return Ok((pictures, rehearsed)),
            Err(_) if pictures.0.max(pictures.1) < MAX_PICTURES && pictures != (train, val) => {
                pictures = (train.min(2 * pictures.0), val.min(2 * pictures.1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn rehearse_on(
    (planned, scratch): (&PlannedRun, &Path),
    pictures: (usize, usize),
    batch: usize,
    updates: bool,
) -> Result<Rehearsed> {
    let folder = tempfile::tempdir_in(scratch).context("cannot create a temporary folder")?;
    let fit = rehearsal(&planned.fit, pictures, batch, folder.path(), updates);
    let mut run = RunDir::open(&fit.place.dir, &fit.spec)?;
    let began = Instant::now();
    planned.stage.kind().run(&fit, &mut run)?;
    let seconds = began.elapsed().as_secs_f64();
    let Rehearsal { trial, training, .. } = fit.rehearsal.map(RefCell::into_inner).unwrap_or_default();
    Ok(Rehearsed { setup: seconds - training, trial })
}

/// The fit on the first pictures of its splits, in another directory.
fn rehearsal(
    fit: &StageRun,
    pictures: (usize, usize),
    batch: usize,
    folder: &Path,
    updates: bool,
) -> StageRun {
    let mut plan = fit.plan.clone();
    if let Some(train) = &mut plan.train {
        train.batch = Count::of(batch);
    }
    if let (Some(view), Some(_)) = (&mut plan.pictures.train, &plan.train) {
        view.batch = batch;
    }
    // The share of unreadable pictures in a small sample says nothing about the full set.
    *plan.pictures.source.max_bad() = Fraction::of(1.0);
    let dir = folder.join("runs/rehearsal/fit");
    StageRun {
        plan,
        sets: few(&fit.sets, pictures),
        upstream: None,
        place: RunPlace::at(dir),
        rehearsal: Some(RefCell::new(Rehearsal { updates, ..Rehearsal::default() })),
        ..fit.clone()
    }
}

/// Both splits, limited to a few pictures.
fn few(sets: &DataSets, (train, val): (usize, usize)) -> DataSets {
    let plain =
        |set: &Arc<dyn Dataset>, n| -> Arc<dyn Dataset> { Arc::new(DatasetView::new(set.clone()).sample(n)) };
    let annotated = |set: &Arc<dyn Annotated>, n| -> Arc<dyn Annotated> {
        Arc::new(AnnotatedView::new(set.clone(), Some(n), false))
    };
    match sets {
        DataSets::Plain(pair) => {
            DataSets::Plain(Splits { train: plain(&pair.train, train), val: plain(&pair.val, val) })
        }
        DataSets::Annotated(pair) => DataSets::Annotated(Splits {
            train: annotated(&pair.train, train),
            val: annotated(&pair.val, val),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::extrapolated;

    #[test]
    fn costs_grow_with_pictures_and_with_their_pairs() {
        let linear = |n: usize| (n, 3.0 + 0.5 * n as f64);
        let pairs = |n: usize| (n, 3.0 + 0.5 * n as f64 + 0.01 * (n * n) as f64);
        for (cost, sizes) in [
            (&linear as &dyn Fn(usize) -> (usize, f64), &[8, 64][..]),
            (&linear, &[8, 64, 512]),
            (&pairs, &[8, 64, 512]),
        ] {
            let timed: Vec<_> = sizes.iter().map(|n| cost(*n)).collect();
            let (found, truth) = (extrapolated(&timed, 20_000), cost(20_000).1);
            assert!((found / truth - 1.0).abs() < 1e-9, "{found} {truth}");
        }
        assert_eq!(extrapolated(&[(8, 2.0), (64, 1.0)], 1000), 1.0, "noise makes nothing negative");
        assert_eq!(extrapolated(&[(8, 0.0), (64, 1.0), (64, 1.0)], 64), 1.0);
    }
}
