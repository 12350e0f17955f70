//! Differences between runs: settings, data, programs, devices and metrics. Folders of runs are compared run by run, paired
//! by stage, row, column and seed.

use super::{
    FoundRuns, RunRecord, find, is_run,
    list::{number, row_name},
};
use crate::train::resolved_spec::shown;
use anyhow::{Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

/// Value of a key that a run does not have.
const ABSENT: &str = "absent";

/// What differs between the runs of one pair, or of a larger group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDiff {
    /// Stage, row and seed, if there are several groups.
    title: Option<String>,
    sections: Vec<DiffSection>,
}

/// Keys that differ, with the value of each run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DiffSection {
    title: &'static str,
    rows: Vec<(String, Vec<String>)>,
}

/// Differences between the runs in some folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    sides: Vec<PathBuf>,
    diffs: Vec<RunDiff>,
    /// What could not be compared.
    notes: Vec<String>,
}

/// Compares run directories, or folders of them.
///
/// # Errors
/// A folder without runs; a run directory beside a folder of runs; a damaged run.
pub fn diff(dirs: &[PathBuf]) -> Result<Diff> {
    let single = dirs.iter().filter(|dir| is_run(dir)).count();
    if single == dirs.len() {
        let runs = dirs.iter().map(|dir| RunRecord::read(dir)).collect::<Result<Vec<_>>>()?;
        let diffs = vec![RunDiff::of(None, &runs.iter().collect::<Vec<_>>())];
        return Ok(Diff { sides: dirs.to_vec(), diffs, notes: vec![] });
    }
    ensure!(
        single == 0,
        "some of these are run directories and some are folders of runs: give one sort of them"
    );
    let found: Vec<FoundRuns> = dirs.iter().map(|dir| find(std::slice::from_ref(dir))).collect();
    for (dir, found) in dirs.iter().zip(&found) {
        ensure!(!found.is_empty(), "there is no run directory in or below {}", dir.display());
    }
    Ok(pairs(dirs, &found))
}

/// What pairs two runs: stage, row and column, seed.
type PairKey<'a> = (&'a str, Option<String>, u64);

fn key(run: &RunRecord) -> PairKey<'_> {
    (&run.name.stage, row_name(run), run.seed)
}

fn pairs(dirs: &[PathBuf], found: &[FoundRuns]) -> Diff {
    let (mut notes, mut diffs) = (vec![], vec![]);
    for (letter, found) in letters().zip(found) {
        let unread = |run: &super::Unreadable| format!("in {letter}, not compared: {}", run.reason);
        notes.extend(found.unreadable.iter().map(unread));
    }
    let keys: BTreeSet<PairKey> = found.iter().flat_map(|found| found.runs.iter().map(key)).collect();
    for wanted in keys {
        let title = title(&wanted);
        let mut group = vec![];
        for (letter, found) in letters().zip(found) {
            let mut same: Vec<&RunRecord> = found.runs.iter().filter(|run| key(run) == wanted).collect();
            same.sort_by_key(|run| &run.started);
            if same.len() > 1 {
                notes.push(format!("{title}: {letter} has {} of them; the newest is compared", same.len()));
            }
            group.push(same.last().copied());
        }
        match group.iter().copied().collect::<Option<Vec<_>>>() {
            Some(runs) => diffs.push(RunDiff::of(Some(title), &runs)),
            None => {
                let there = letters().zip(&group).filter(|(_, run)| run.is_some());
                let there: Vec<String> = there.map(|(letter, _)| letter.to_string()).collect();
                notes.push(format!("{title}: only in {}", there.join(", ")));
            }
        }
    }
    Diff { sides: dirs.to_vec(), diffs, notes }
}

/// `probe colorization, seed 0`.
fn title((stage, row, seed): &PairKey) -> String {
    let row = row.as_ref().map_or(String::new(), |row| format!(" {row}"));
    format!("{stage}{row}, seed {seed}")
}

fn letters() -> impl Iterator<Item = char> {
    'A'..='Z'
}

impl RunDiff {
    fn of(title: Option<String>, runs: &[&RunRecord]) -> Self {
        let sections = [
            ("spec", spec_of as fn(&RunRecord) -> _),
            ("data", data_of),
            ("program", program_of),
            ("results", results_of),
        ];
        let sections = sections.map(|(title, of)| DiffSection { title, rows: differing(runs, of) });
        Self { title, sections: sections.into() }
    }

    /// Whether the settings of all runs are the same.
    pub fn same_specs(&self) -> bool {
        self.sections.iter().all(|section| section.title != "spec" || section.rows.is_empty())
    }
}

/// Keys whose values are not the same in all runs.
fn differing(
    runs: &[&RunRecord],
    of: fn(&RunRecord) -> BTreeMap<String, String>,
) -> Vec<(String, Vec<String>)> {
    let values: Vec<BTreeMap<String, String>> = runs.iter().map(|run| of(run)).collect();
    let keys: BTreeSet<&String> = values.iter().flat_map(BTreeMap::keys).collect();
    let row = |key: &String| {
        let values: Vec<String> =
            values.iter().map(|all| all.get(key).map_or(ABSENT, String::as_str).to_string()).collect();
        (key.clone(), values)
    };
    let differs = |(_, values): &(String, Vec<String>)| values.iter().any(|value| *value != values[0]);
    keys.into_iter().map(row).filter(differs).collect()
}

fn spec_of(run: &RunRecord) -> BTreeMap<String, String> {
    let mut settings = run.spec.settings();
    settings.insert("kind".into(), run.kind.clone());
    settings
}

fn data_of(run: &RunRecord) -> BTreeMap<String, String> {
    let data = run.manifest.about.data.iter();
    data.map(|(split, fingerprint)| (split.clone(), shown(fingerprint))).collect()
}

fn program_of(run: &RunRecord) -> BTreeMap<String, String> {
    let (machine, device) = (&run.manifest.machine, &run.manifest.about.device);
    let commit = machine.commit.as_deref().unwrap_or("unknown");
    let (version, features) = (&machine.version, machine.features.join(" "));
    let all = [
        ("version", version.as_str()),
        ("commit", commit),
        ("features", features.as_str()),
        ("device", device.as_str()),
        ("processor", machine.cpu.as_str()),
    ];
    all.map(|(key, value)| (key.to_string(), value.to_string())).into()
}

fn results_of(run: &RunRecord) -> BTreeMap<String, String> {
    let metrics = run.manifest.metrics.iter().map(|metric| (metric.name.clone(), number(metric.value)));
    metrics.chain([("status".into(), run.status.to_string()), ("step".into(), run.progress())]).collect()
}

impl Display for Diff {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (letter, side) in letters().zip(&self.sides) {
            writeln!(f, "{letter}  {}", side.display())?;
        }
        for diff in &self.diffs {
            diff.write(f, self.sides.len())?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

impl RunDiff {
    fn write(&self, f: &mut Formatter<'_>, sides: usize) -> fmt::Result {
        let rows = || self.sections.iter().flat_map(|section| &section.rows);
        if let Some(title) = &self.title {
            write!(f, "\n{title}")?;
            if rows().next().is_none() {
                return writeln!(f, ": no difference");
            }
            writeln!(f)?;
        }
        if self.same_specs() {
            writeln!(f, "\nthe specs are the same")?;
        }
        let wide = |cell: &str| cell.chars().count();
        let first = rows().map(|(key, _)| wide(key)).max().unwrap_or(0);
        let column = |side: usize| rows().map(|(_, values)| wide(&values[side])).max().unwrap_or(0).max(1);
        let widths: Vec<usize> = (0..sides).map(column).collect();
        let mut line = |key: &str, values: &[String]| {
            let cells = values.iter().zip(&widths).map(|(value, width)| format!("  {value:<width$}"));
            writeln!(f, "{}", format!("{key:<first$}{}", cells.collect::<String>()).trim_end())
        };
        let names: Vec<String> = letters().take(sides).map(String::from).collect();
        for section in self.sections.iter().filter(|section| !section.rows.is_empty()) {
            line("", &[])?;
            line(section.title, &names)?;
            section.rows.iter().try_for_each(|(key, values)| line(key, values))?;
        }
        Ok(())
    }
}
