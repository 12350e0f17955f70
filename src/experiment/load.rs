//! Loads a spec: one experiment, or one for each point of its `sweep:`. Everything that is wrong is reported at once, at its
//! line, as far as it shows without data and weights.

use super::{
    diagnostics::StageFault,
    spec::{Experiment, FIELDS},
    stages::KINDS,
    sweep::{self, Assignments, SweepSpec},
};
use crate::{
    report::differing::short_names,
    spec::{self, Diagnostic, Document, MapEntry, SpecError, SpecNode},
    train::resolved_spec::shown,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// The key of a sweep.
const SWEEP: &str = "sweep";
/// Sections at the top that a point may change.
const SWEPT: [&str; 4] = ["data", "annotated", "backbone", "stages"];

/// One point of a sweep, or the whole of a spec without one.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepPoint {
    /// What it sets, by the shortest clear names of the keys: `lr=1e-3 batch=32`; empty without a sweep.
    pub label: String,
    /// The experiment, equal to that of a file with these values.
    pub experiment: Experiment,
}

impl SweepPoint {
    /// Loads a spec: reads, applies overrides, parses, checks, and copies the top-level data and backbone into every
    /// stage. A path of `--set` or of a swept key may start at the stage (`pretrain.train.steps`) and omit its kind.
    ///
    /// # Errors
    /// Every error that can be detected without opening data or weights, with its position.
    pub fn load(path: &Path, sets: &[String]) -> Result<Vec<Self>, SpecError> {
        let file = Document::read(path)?;
        let mut whole = file.clone();
        let mut pinned = apply(&mut whole, sets)?;
        // A sweep that is set is as one in the file.
        pinned.retain(|path| path.first().is_none_or(|first| first != SWEEP));
        let sweep = whole.take(SWEEP).filter(|entry| !entry.value.is_null());
        match sweep {
            Some(sweep) => Sweep { file, whole, sets, pinned }.points(&sweep.value),
            None => {
                let experiment = read(&whole).map_err(|wrong| whole.refuse_all(&wrong))?;
                Ok(vec![Self::whole(experiment)])
            }
        }
    }

    /// An experiment that is not part of a sweep.
    pub fn whole(experiment: Experiment) -> Self {
        Self { label: String::new(), experiment }
    }
}

impl Experiment {
    /// As [`SweepPoint::load`], for what needs one experiment; of a sweep, that of the first point, with a warning.
    ///
    /// # Errors
    /// As [`SweepPoint::load`].
    pub fn load(path: &Path, sets: &[String]) -> Result<Self, SpecError> {
        let mut points = SweepPoint::load(path, sets)?;
        let SweepPoint { label, experiment } = points.remove(0);
        if !points.is_empty() {
            tracing::warn!("{} has a sweep; this is about its first point: {label}", path.display());
        }
        Ok(experiment)
    }
}

/// Applies the arguments of `--set`; returns their full paths.
fn apply(document: &mut Document, sets: &[String]) -> Result<Vec<Vec<String>>, SpecError> {
    sets.iter().map(|argument| document.set(argument, expand)).collect()
}

/// The experiment of a document without a sweep, or all that is wrong.
fn read(document: &Document) -> Result<Experiment, Vec<Diagnostic>> {
    let written: Experiment = document.typed_part(document.root())?;
    let resolved = written.clone().resolve();
    let experiment =
        resolved.map_err(|wrong| wrong.into_iter().map(|wrong| wrong.of(document)).collect::<Vec<_>>())?;
    let wrong = StageFault::located(experiment.key_errors(&written), document);
    if wrong.is_empty() { Ok(experiment) } else { Err(wrong) }
}

/// A spec with a sweep.
struct Sweep<'a> {
    /// As written.
    file: Document,
    /// With the arguments of `--set`, without the sweep.
    whole: Document,
    sets: &'a [String],
    /// Paths of these arguments.
    pinned: Vec<Vec<String>>,
}

impl Sweep<'_> {
    fn points(self, sweep: &SpecNode) -> Result<Vec<SweepPoint>, SpecError> {
        let refuse = |wrong: Vec<Diagnostic>| self.whole.refuse_all(&wrong);
        self.whole.typed_part::<SweepSpec>(sweep).map_err(|wrong| refuse(without_rest(sweep, wrong)))?;
        let is_pinned = |key: &str| self.path(key).is_ok_and(|path| self.pinned.contains(&path));
        let points = sweep::points(sweep, is_pinned).map_err(|fault| refuse(vec![fault]))?;
        let mut wrong = self.unsweepable(&points);
        let mut read = vec![];
        for point in points.iter().take(if wrong.is_empty() { points.len() } else { 0 }) {
            match self.experiment(point)? {
                Ok(experiment) => read.push(experiment),
                Err(faults) => add_new(&mut wrong, faults),
            }
        }
        if !wrong.is_empty() {
            return Err(refuse(self.as_in_file(wrong)));
        }
        let labeled = labels(&points).into_iter().zip(read);
        let read = labeled.map(|(label, experiment)| SweepPoint { label, experiment });
        self.distinct(points.into_iter().zip(read)).map_err(refuse)
    }

    /// The full path of a key.
    fn path(&self, key: &str) -> Result<Vec<String>, Diagnostic> {
        expand(key.split('.').map(String::from).collect(), self.whole.root())
    }

    /// Keys that all points have in common, each once.
    fn unsweepable(&self, points: &[Assignments]) -> Vec<Diagnostic> {
        let mut wrong = vec![];
        for entry in points.iter().flatten() {
            let first = entry.key.split('.').next().unwrap_or_default();
            if FIELDS.contains(&first) && !SWEPT.contains(&first) {
                let fault = Diagnostic::new(format!("`{first}` cannot be swept"));
                add_new(&mut wrong, vec![fault.note(instead(first)).or_at(entry.key_at)]);
            }
        }
        wrong
    }

    /// The experiment of a point, or what is wrong with it.
    fn experiment(&self, point: &Assignments) -> Result<Result<Experiment, Vec<Diagnostic>>, SpecError> {
        let mut document = self.file.clone();
        document.take(SWEEP);
        let assigned: Vec<Diagnostic> =
            point.iter().filter_map(|entry| document.assign(entry, expand).err()).collect();
        apply(&mut document, self.sets)?;
        document.take(SWEEP); // of a `--set sweep.…`
        if !assigned.is_empty() {
            return Ok(Err(assigned));
        }
        Ok(read(&document))
    }

    /// What is wrong without the sweep too is shown where it is in the file, and not at the keys that a point sets.
    fn as_in_file(&self, wrong: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let of_file = read(&self.whole).err().unwrap_or_default();
        let same = |fault: &Diagnostic| of_file.iter().find(|other| other.message == fault.message);
        let mut found = vec![];
        for fault in &wrong {
            add_new(&mut found, vec![same(fault).unwrap_or(fault).clone()]);
        }
        found.sort_by_key(|fault| fault.at.map(|at| (at.layer, at.line, at.column)));
        found
    }

    /// Refuses points that are the same experiment, unless `--set` has made them so.
    fn distinct(
        &self,
        points: impl Iterator<Item = (Assignments, SweepPoint)>,
    ) -> Result<Vec<SweepPoint>, Vec<Diagnostic>> {
        let mut known: HashMap<String, (Assignments, String)> = HashMap::new();
        let (mut kept, mut wrong) = (vec![], vec![]);
        for (entries, point) in points {
            let hash =
                spec::hash(&point.experiment).map_err(|error| vec![Diagnostic::new(error.to_string())])?;
            match known.get(&hash) {
                None => {
                    known.insert(hash, (entries, point.label.clone()));
                    kept.push(point);
                }
                Some(_) if !self.pinned.is_empty() => {}
                Some((other, label)) => add_new(&mut wrong, vec![twice(&entries, other, label)]),
            }
        }
        if wrong.is_empty() { Ok(kept) } else { Err(wrong) }
    }
}

/// Leaves out that a grid or list is empty where it is so without the entries that are wrong.
fn without_rest(sweep: &SpecNode, mut wrong: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let is_whole = |fault: &Diagnostic| sweep.entries().iter().any(|form| fault.at == Some(form.value.at));
    if !wrong.iter().all(is_whole) {
        wrong.retain(|fault| !is_whole(fault));
    }
    wrong
}

/// Adds faults that are not yet among those that were `found`.
fn add_new(found: &mut Vec<Diagnostic>, faults: Vec<Diagnostic>) {
    for fault in faults {
        if !found.iter().any(|known| known.at == fault.at && known.message == fault.message) {
            found.push(fault);
        }
    }
}

/// What to do in place of sweeping a key at the top.
fn instead(field: &str) -> &'static str {
    match field {
        "seeds" => "`seeds: [0, 1, 2]` repeats every point",
        "compute" => "results do not depend on it; give --device and --precision",
        "sweep" => "a point sets values of the experiment",
        _ => "it is that of all points",
    }
}

/// The error for a point that is the same experiment as an `other`, at the first value in which they differ.
fn twice(point: &Assignments, other: &Assignments, label: &str) -> Diagnostic {
    let fault =
        Diagnostic::new(format!("this point of the sweep is the same as `{label}`")).note("take one out");
    let differs = |(own, other): &(&MapEntry, &MapEntry)| own.value.at != other.value.at;
    let entry = point.iter().zip(other).find(differs).map(|(own, _)| own).or(point.first());
    match entry {
        Some(entry) => fault.or_at(entry.value.at),
        None => fault,
    }
}

/// What each point sets, by the shortest clear names of its keys.
fn labels(points: &[Assignments]) -> Vec<String> {
    let names: BTreeMap<String, String> = short_names(points.iter().flatten().map(|entry| entry.key.clone()));
    let said = |entry: &MapEntry| {
        let name = names.get(&entry.key).unwrap_or(&entry.key);
        format!("{name}={}", shown(&entry.value.to_string()))
    };
    let label = |point: &Assignments| point.iter().map(said).collect::<Vec<_>>().join(" ");
    let as_it_is = |label: String| if label.is_empty() { "unchanged".into() } else { label };
    points.iter().map(label).map(as_it_is).collect()
}

/// `pretrain.train.steps` → `stages.pretrain.pretext.train.steps`.
fn expand(mut keys: Vec<String>, root: &SpecNode) -> Result<Vec<String>, Diagnostic> {
    let stages = root.get("stages").map(|e| e.value.entries()).unwrap_or_default();
    let names: Vec<&str> = stages.iter().map(|e| e.key.as_str()).collect();
    let Some(first) = keys.first().map(String::as_str) else { return Ok(keys) };
    if !FIELDS.contains(&first) {
        if !names.contains(&first) {
            return Err(Diagnostic::unknown("stage or field", first, &[&names[..], &FIELDS[..]].concat()));
        }
        keys.insert(0, "stages".into());
    }
    if let [first, name, next, ..] = keys.as_slice()
        && first == "stages"
        && !KINDS.contains(&next.as_str())
        && let Some(stage) = stages.iter().find(|e| e.key == *name)
        && let [kind] = stage.value.entries()
    {
        keys.insert(2, kind.key.clone());
    }
    Ok(keys)
}
