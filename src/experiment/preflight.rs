//! Plans, opens and checks every fit of every stage, seed and point of a sweep before the first step of any. All problems
//! that can be detected then are reported together.

use super::{
    expected,
    faults::{StageErrors, both},
    fit::StageRun,
    identity::{self, Identity, identify},
    key_errors::lacks_column,
    load::SweepPoint,
    network,
    place::{RunName, RunPlace, place},
    plan::{DataSource, NetworkPlan, PicturePlan, StagePlan, StageRow},
    readiness::{check_readable, check_ready},
    run::PlannedRun,
    sets::{DataSets, OpenedSets},
    sources::{ColorizationMethodSpec, InitSpec, Start},
    spec::Experiment,
    stages::Stage,
};
use crate::{
    backbones::BackboneSpec,
    bounded::Count,
    data::source::{Locations, Split},
    evaluation::monitor::MonitorSets,
    nn::weights,
    rng::Rng,
    spec::Diagnostic,
    train::{collective::Ranks, spec::TrainOptions},
    weight_source::{self, PendingDownload},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::Device;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Options of the command line that are not part of a spec.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Folder of run directories; those of an experiment are in `out/NAME/`.
    pub out: PathBuf,
    /// Local copies of data sets.
    pub locations: Locations,
    pub device: Device,
    /// The processes that train together.
    pub ranks: Ranks,
}

/// What becomes of released weights that are not in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downloads {
    Made,
    /// Fits that need them are left out, with a note.
    Announced,
}

/// The fits of a stage for one seed.
pub struct StageRuns {
    pub name: String,
    /// Its key in the spec.
    pub kind: &'static str,
    pub fits: Vec<PlannedRun>,
    /// Which fits are left out until a download, and how large it is.
    pub pending: Vec<String>,
    /// Whether the points of a sweep may share fits.
    pub is_of_sweep: bool,
}

impl StageRuns {
    /// Probable mistakes in the spec.
    pub fn notes(&self) -> Vec<String> {
        let train = self.fits.iter().take(1).flat_map(|planned| planned.fit.plan.train.as_ref());
        let shared = self.fits.iter().filter_map(|PlannedRun { fit, .. }| {
            let other = fit.place.shared.as_ref().filter(|_| !self.is_of_sweep)?;
            Some(format!("`{}` is identical to `{other}`: both share one run", fit.label))
        });
        let kind = self.fits.first().map(|planned| planned.stage.kind().notes()).unwrap_or_default();
        let pending = self.pending.iter().cloned();
        train.flat_map(TrainOptions::notes).chain(kind).chain(shared).chain(pending).collect()
    }
}

/// The fits of a point of a sweep, or of the whole of an experiment without one.
pub struct PlannedPoint {
    /// Label of the point, empty without a sweep.
    pub label: String,
    /// By seed and stage.
    pub seeds: Vec<Vec<StageRuns>>,
}

impl PlannedPoint {
    /// Hashes of the fits of the first seed; None if some are not known before a download.
    fn hashes(&self) -> Option<Vec<&String>> {
        let stages = self.seeds.first()?;
        let hashes = stages.iter().flat_map(|stage| &stage.fits).map(|planned| &planned.fit.hash).collect();
        stages.iter().all(|stage| stage.pending.is_empty()).then_some(hashes)
    }
}

/// Plans the fits of all points.
///
/// # Errors
/// Every problem that would stop one of them and can be detected before the first step.
pub fn preflight(
    points: &[SweepPoint],
    options: &RunOptions,
    downloads: Downloads,
) -> Result<Vec<PlannedPoint>> {
    let out = &options.out;
    ensure!(!out.exists() || out.is_dir(), "{} is not a folder: choose another --out", out.display());
    let mut known = Known::default();
    let mut planned: Vec<PlannedPoint> = vec![];
    for point in points {
        let preflight = Preflight { point, options, downloads, known, faults: StageErrors::default() };
        let (seeds, more) = match point.label.is_empty() {
            true => preflight.seeds()?,
            false => preflight.seeds().with_context(|| format!("at the sweep's point {}", point.label))?,
        };
        known = more;
        planned.push(PlannedPoint { label: point.label.clone(), seeds });
        check_distinct(&planned)?;
    }
    Ok(planned)
}

/// Warns of probable mistakes in the spec, each once.
pub fn warn_of_mistakes(planned: &[PlannedPoint]) {
    let mut said = BTreeSet::new();
    for stage in planned.iter().flat_map(|point| point.seeds.iter().take(1).flatten()) {
        for note in stage.notes() {
            let warning = format!("stage `{}`: {note}", stage.name);
            if said.insert(warning.clone()) {
                tracing::warn!("{warning}");
            }
        }
    }
}

/// Checks that the last point has other fits than each one before it.
fn check_distinct(planned: &[PlannedPoint]) -> Result<()> {
    let Some((last, before)) = planned.split_last() else { return Ok(()) };
    let same = |other: &&PlannedPoint| last.hashes().is_some_and(|hashes| other.hashes() == Some(hashes));
    before.iter().find(same).map_or(Ok(()), |other| {
        bail!(
            "the sweep's points `{}` and `{}` are the same runs: no result depends on what differs; take one of them out",
            other.label,
            last.label
        )
    })
}

/// State of the planning of one point.
struct Preflight<'a> {
    point: &'a SweepPoint,
    options: &'a RunOptions,
    downloads: Downloads,
    known: Known,
    faults: StageErrors,
}

/// What the planning of one point leaves to the next.
#[derive(Default)]
struct Known {
    opened: OpenedSets,
    /// Weight files: path in the spec, and local path.
    located: Vec<(PathBuf, PathBuf)>,
    /// Weight files, the backbone in the spec, and the backbone in the file.
    stated: Vec<(PathBuf, Option<BackboneSpec>, BackboneSpec)>,
    /// Hash, label and directory of each fit so far.
    planned_fits: Vec<(String, String, PathBuf)>,
    /// Pictures of earlier points, which can be read.
    readable: Vec<DataSource>,
}

/// The last fit of each stage; None if it could not be planned.
type Upstream = BTreeMap<String, Option<UpstreamRun>>;

/// A fit that later ones start from.
#[derive(Clone)]
struct UpstreamRun {
    dir: PathBuf,
    hash: String,
    network: Option<NetworkPlan>,
}

/// Layers of the stage that the network of none of its fits has.
fn unknown_layers(stage: &Stage, fits: &[PlannedRun]) -> Vec<anyhow::Error> {
    let Some(layers) = stage.kind().layers().filter(|_| !fits.is_empty()) else { return vec![] };
    let backbones = || fits.iter().filter_map(|planned| planned.fit.plan.network.as_ref());
    let is_known = |layer: &str| backbones().any(|network| network.backbone.knows(layer));
    let taps: Vec<String> = backbones().flat_map(|network| network.backbone.taps()).collect();
    let known: Vec<&str> = taps.iter().map(String::as_str).collect();
    let unknown = |strange: &&str| {
        let Diagnostic { message, note, .. } = Diagnostic::unknown("layer", strange, &known);
        let note = layers.advice(&known).unwrap_or(note);
        anyhow!("{message}{}{note}", if note.is_empty() { "" } else { "; " })
    };
    layers.names.iter().filter(|layer| !is_known(layer)).map(unknown).collect()
}

impl Preflight<'_> {
    /// Plans the fits of all seeds.
    fn seeds(mut self) -> Result<(Vec<Vec<StageRuns>>, Known)> {
        let Experiment { seeds, stages, .. } = &self.point.experiment;
        let mut planned: Vec<Vec<StageRuns>> = vec![];
        for &seed in seeds.iter() {
            let (mut upstream, mut runs) = (Upstream::new(), vec![]);
            for (name, stage) in stages.iter() {
                let (fits, pending) = self.stage(name, stage, seed, &mut upstream);
                for PlannedRun { fit, .. } in &fits {
                    let damaged = PlannedRun::check_place(fit).err();
                    damaged.into_iter().for_each(|error| self.faults.note(name, Some(&fit.plan.row), error));
                }
                if planned.is_empty() {
                    // A problem of one seed affects all seeds.
                    self.check_fits(name, &fits);
                }
                let is_of_sweep = !self.point.label.is_empty();
                runs.push(StageRuns { name: name.into(), kind: stage.key(), fits, pending, is_of_sweep });
            }
            self.faults.refuse()?;
            planned.push(runs);
        }
        let fits = planned.iter().take(1).flatten().flat_map(|stage| &stage.fits);
        let sources = fits.map(|planned| planned.fit.plan.pictures.source.clone());
        self.known
            .readable
            .extend(sources.filter(|source| !self.known.readable.contains(source)).collect::<Vec<_>>());
        Ok((planned, self.known))
    }

    /// The fits of a stage, and notes of those that wait for a download.
    fn stage(
        &mut self,
        name: &str,
        stage: &Stage,
        seed: u64,
        upstream: &mut Upstream,
    ) -> (Vec<PlannedRun>, Vec<String>) {
        let (mut fits, mut pending) = (vec![], vec![]);
        for row in stage.kind().rows().each() {
            if let Some(note) = self.pending(&row) {
                pending.extend(Some(note).filter(|note| !pending.contains(note)));
                continue;
            }
            match self.fit(name, stage, row.clone(), seed, upstream) {
                Ok(fit) => fits.extend(fit.map(|fit| PlannedRun { stage: stage.clone(), fit })),
                Err(error) => self.faults.note(name, Some(&row), error),
            }
        }
        // Fits that are left out may have networks of their own.
        if pending.is_empty() {
            unknown_layers(stage, &fits).into_iter().for_each(|error| self.faults.note(name, None, error));
        }
        let last = fits.last().map(|PlannedRun { fit: StageRun { place, hash, plan, .. }, .. }| {
            UpstreamRun { dir: place.dir.clone(), hash: hash.clone(), network: plan.network.clone() }
        });
        upstream.insert(name.into(), last);
        (fits, pending)
    }

    /// What to say of a row whose weights are not downloaded now.
    fn pending(&self, row: &StageRow) -> Option<String> {
        let file = row.start.file().filter(|_| self.downloads == Downloads::Announced)?;
        let PendingDownload { name, release } = weight_source::pending(file)?;
        let row = row.name.as_ref().map_or(String::new(), |row| format!("`{row}`: "));
        Some(format!(
            "{row}not checked before `run` has downloaded its weights, {name} ({}), from {}",
            release.size(),
            release.addresses.join(" or ")
        ))
    }

    /// Plans one fit; None if its column is a layer that only other rows' networks have.
    fn fit(
        &mut self,
        name: &str,
        stage: &Stage,
        row: StageRow,
        seed: u64,
        upstream: &Upstream,
    ) -> Result<Option<StageRun>> {
        let Some((plan, located, sets)) = self.plan(stage, row)? else { return Ok(None) };
        let rng = Rng::new(seed).split(stage.key());
        let monitored = self.monitored(&plan, &sets, &rng)?;
        // A stage that could not be planned has been reported; continue to check those that depend on it.
        let upstream_run = plan.row.start.stage().and_then(|stage| upstream.get(stage).cloned().flatten());
        let hash = upstream_run.as_ref().map(|upstream_run| upstream_run.hash.as_str());
        let Identity { hash, spec } = identify(stage, &plan, &sets, seed, (hash, located.as_deref()))?;
        let (dir, upstream_network) =
            upstream_run.map_or((None, None), |upstream_run| (Some(upstream_run.dir), upstream_run.network));
        let parts = [Some(name), plan.row.name.as_deref(), plan.row.column.as_deref()];
        let label = parts.into_iter().flatten().collect::<Vec<_>>().join("-");
        let home = self.options.out.join(&*self.point.experiment.name);
        let run_name = RunName { label: &format!("{label}-s{seed}"), hash: &hash[..12], spec: &spec };
        let mut place = place(&self.options.out, &home, &run_name, &plan);
        let label = match self.point.label.as_str() {
            "" => format!("{label}, seed {seed}"),
            point => format!("{label}, {point}, seed {seed}"),
        };
        let same = self.known.planned_fits.iter().find(|(known, ..)| *known == hash);
        if let Some((_, other, dir)) = same
            && (*dir == place.dir || !place.dir.exists())
        {
            place = RunPlace { shared: Some(other.clone()), ..RunPlace::at(dir.clone()) };
        }
        self.known.planned_fits.push((hash.clone(), label.clone(), place.dir.clone()));
        Ok(Some(StageRun {
            label,
            point: self.point.label.clone(),
            stage: name.into(),
            experiment: self.point.experiment.name.to_string(),
            plan,
            sets,
            monitored,
            seed,
            rng,
            device: self.options.device.clone(),
            ranks: self.options.ranks.clone(),
            upstream: dir,
            upstream_network,
            located,
            place,
            hash,
            spec,
            rehearsal: None,
        }))
    }

    /// The plan of a row, the local path of its weight file, and its pictures.
    fn plan(
        &mut self,
        stage: &Stage,
        row: StageRow,
    ) -> Result<Option<(StagePlan, Option<PathBuf>, DataSets)>> {
        let weights = row.start.file().map(|file| self.locate(file)).transpose().and_then(|located| {
            let backbone = self.backbone(stage, &row, located.as_deref())?;
            Ok((located, backbone))
        });
        // If the weights are unusable, check the rest with the stage's own backbone.
        let backbone = weights.as_ref().map_or_else(|_| stage.backbone(), |(_, backbone)| backbone.as_ref());
        if backbone.is_some_and(|backbone| lacks_column(stage, &row, backbone)) {
            return Ok(None);
        }
        let mut plan = match stage.kind().plan(row, backbone) {
            Ok(plan) => plan,
            Err(error) => return Err(weights.err().unwrap_or(error)),
        };
        let sets = self.known.opened.sets(&plan.pictures, &self.options.locations);
        let files = if sets.is_ok() && weights.is_ok() { Ok(()) } else { identity::files(&plan) };
        let (((located, _), sets), ()) = both(both(weights, sets), files)?;
        let pictures = sets.split(Split::Train).len();
        plan.train = stage.train().map(|train| train.in_steps(pictures)).transpose()?;
        Ok(Some((plan, located, sets)))
    }

    /// The pictures of the plan's monitor.
    fn monitored(&mut self, plan: &StagePlan, sets: &DataSets, rng: &Rng) -> Result<Option<MonitorSets>> {
        let Some(monitor) = &plan.monitor else { return Ok(None) };
        let pictures = PicturePlan::plain(Some(&monitor.data), None, false)?;
        let (framing, threads) = (pictures.val.framing.clone(), pictures.source.reading_options().1);
        let opened = self.known.opened.sets(&pictures, &self.options.locations).context("monitor")?;
        let splits = (opened.split(Split::Train), opened.split(Split::Val));
        let name = pictures.source.to_string();
        let drawn = MonitorSets::draw(splits, &name, (&monitor.spec, framing), threads, rng)?;
        let neighbors = monitor.spec.knn.and_then(|knn| knn.neighbors).map(Count::get);
        drawn.check(neighbors, &*sets.split(Split::Train))?;
        Ok(Some(drawn))
    }

    /// The network of a row: that of an earlier stage, that stated in a file, or the stage's own.
    fn backbone(
        &mut self,
        stage: &Stage,
        row: &StageRow,
        located: Option<&Path>,
    ) -> Result<Option<BackboneSpec>> {
        let own = row.backbone.as_ref().or(stage.backbone());
        let measures = !stage.trains_backbone();
        let trained = |wanted: &String| {
            self.point.experiment.stages.get(wanted).and_then(|stage| stage.kind().trained())
        };
        let stated = match &row.start {
            Start::Method(ColorizationMethodSpec::Stage(wanted)) => trained(wanted),
            Start::Weights(init) if measures => match init.source() {
                InitSpec::Stage(wanted) => trained(wanted),
                InitSpec::File(_) => located.map(|local| self.stated(local, own)).transpose()?,
                _ => None,
            },
            _ => None,
        };
        let (Some(named), Some(stated)) = (&row.backbone, &stated) else {
            return Ok(stated.or_else(|| own.cloned()));
        };
        ensure!(
            named.is_same_network(stated),
            "{} are for {}, and its `backbone:` is {}: leave that out",
            row.start,
            serde_json::to_string(stated)?,
            serde_json::to_string(named)?
        );
        Ok(Some(named.clone()))
    }

    /// Local path of weights in a spec, downloaded if need be. The lookup is shared by all seeds.
    fn locate(&mut self, file: &Path) -> Result<PathBuf> {
        if let Some((_, local)) = self.known.located.iter().find(|(named, _)| named == file) {
            return Ok(local.clone());
        }
        let local = weight_source::locate(file)?;
        let there = weights::split(&local).0.exists();
        ensure!(there, "{} does not exist; give the path of a weight file", file.display());
        self.known.located.push((file.into(), local.clone()));
        Ok(local)
    }

    /// The network stated in a weight file. The file is read once for all seeds.
    fn stated(&mut self, path: &Path, own: Option<&BackboneSpec>) -> Result<BackboneSpec> {
        let same = |known: &&(PathBuf, Option<BackboneSpec>, BackboneSpec)| {
            known.0 == path && known.1.as_ref() == own
        };
        if let Some((.., spec)) = self.known.stated.iter().find(same) {
            return Ok(spec.clone());
        }
        let spec = network::read_trained(path, own)?.spec;
        self.known.stated.push((path.into(), own.cloned(), spec.clone()));
        Ok(spec)
    }

    /// Reports the problems of a stage's fits.
    fn check_fits(&mut self, name: &str, fits: &[PlannedRun]) {
        let unknown = fits
            .iter()
            .flat_map(|planned| expected::unknown_metrics(&self.point.experiment, name, &planned.fit));
        unknown.for_each(|error| self.faults.note(name, None, error));
        let mut seen: Vec<&DataSource> = self.known.readable.iter().collect();
        for planned in fits.iter().filter(|planned| !planned.is_finished()) {
            let StageRun { plan: StagePlan { row, pictures, .. }, sets, .. } = &planned.fit;
            let check_ready = check_ready(planned).err();
            check_ready.into_iter().for_each(|error| self.faults.note(name, Some(row), error));
            if !seen.contains(&&pictures.source) {
                seen.push(&pictures.source);
                let unread = check_readable(sets, pictures).err();
                unread.into_iter().for_each(|error| self.faults.note(name, None, error));
            }
        }
    }
}
