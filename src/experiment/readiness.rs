//! Checks of one fit before the first step of any: its network can be built, its loaders can be made, and its validation
//! pictures can be read.

use super::{
    faults::all,
    key_errors::check_plan,
    plan::{NetworkPlan, PicturePlan},
    run::PlannedRun,
    sets::DataSets,
    sources::{InitSpec, Start},
};
use crate::{
    backbones::calibrate::check_layers, bounded::part_of, data::source::Split, key_error::KeyError,
    train::run_dir::RunDir,
};
use anyhow::{Result, bail, ensure};
use rayon::prelude::*;
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Time limit for reading validation pictures to find unreadable ones.
const READING_LIMIT: Duration = Duration::from_secs(20);
/// Number of unreadable pictures named in a message.
const NAMED: usize = 3;

/// Checks that the fit could run from its first to its last step.
pub fn check_ready(planned: &PlannedRun) -> Result<()> {
    let PlannedRun { stage, fit } = planned;
    let finished = fit.upstream.as_ref().filter(|_| fit.plan.row.start.stage().is_some());
    let finished = finished.map_or(Ok(None), |run| RunDir::finished(run));
    let upstream = finished.and_then(|run| run.map_or(Ok(()), |_| fit.upstream_weights().map(drop)));
    // Loaders validate their options on creation.
    let train = fit.plan.pictures.train.as_ref().map_or(Ok(()), |_| fit.loader(Split::Train).map(drop));
    let val = fit.loader(Split::Val).map(drop);
    let share = check_share(planned);
    all([share, check_buildable(planned), upstream, val, train, stage.kind().check_ready(fit)]).map(drop)
}

/// Checks that the processes that train together can share a batch.
fn check_share(PlannedRun { fit, .. }: &PlannedRun) -> Result<()> {
    let (Some(train), ranks) = (&fit.plan.train, fit.ranks.size()) else { return Ok(()) };
    let batch = train.batch.get();
    ensure!(
        batch.is_multiple_of(ranks),
        KeyError::new(["train", "batch"], format!("{ranks} processes cannot share {batch} pictures equally"))
            .advice(format!("`batch` is that of all together: use a multiple of {ranks}"))
    );
    Ok(())
}

/// Checks that the network can be built for its pictures, with its initial weights.
fn check_buildable(PlannedRun { stage, fit }: &PlannedRun) -> Result<()> {
    check_plan(stage, &fit.plan, (fit.sets.classes(), fit.sets.first_size()))?;
    match (&fit.plan.network, &fit.plan.row.start) {
        (Some(NetworkPlan { backbone, .. }), Start::Weights(InitSpec::Rescaled(_))) => {
            Ok(check_layers(&backbone.table(&backbone.plain()))?)
        }
        _ => Ok(()),
    }
}

/// Checks that few enough validation pictures are unreadable. Reads all of them, or as many as the time limit allows,
/// spread over the set.
pub fn check_readable(sets: &DataSets, pictures: &PicturePlan) -> Result<()> {
    let (set, name) = (sets.split(Split::Val), pictures.source.to_string());
    let (len, began) = (set.len(), Instant::now());
    let allowed = part_of(pictures.source.reading_options().0, len);
    let bad = AtomicUsize::new(0);
    let read = |index: usize| {
        if bad.load(Relaxed) > allowed || began.elapsed() > READING_LIMIT {
            return None;
        }
        let error = set.image(index).err()?;
        bad.fetch_add(1, Relaxed);
        Some(error.to_string())
    };
    let mut faults: Vec<String> = spread_indices(len).into_par_iter().filter_map(read).collect();
    if faults.len() <= allowed {
        return Ok(());
    }
    faults.sort();
    faults.truncate(NAMED);
    bail!(
        "more than the {allowed} of the {len} validation pictures of {name} that `max_bad` allows cannot be read; \
         `hueristic data verify` names all of them:\n    {}",
        faults.join("\n    ")
    )
}

/// All indices below `len`, ordered so that any prefix is spread over the range.
fn spread_indices(len: usize) -> Vec<usize> {
    let stride = len.isqrt().max(1);
    (0..stride).flat_map(|first| (first..len).step_by(stride)).collect()
}

#[cfg(test)]
mod tests {
    use super::spread_indices;

    #[test]
    fn every_index_comes_once_and_the_first_are_spread() {
        for len in [0, 1, 2, 10, 101] {
            let mut all = spread_indices(len);
            assert!(all.iter().take(3).is_sorted());
            all.sort_unstable();
            assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
        assert_eq!(spread_indices(10)[..4], [0, 3, 6, 9]);
    }
}
