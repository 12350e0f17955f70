//! Variants of a stage: results for the same cells of a table whose specs differ. Each gets a row of its own, named by the
//! keys that differ, its own and those of the run that it starts from. Results of the same spec are seeds of one row, or
//! duplicates, which the tables refuse.

use super::{
    colors::ColorResult,
    monitor::MonitorResult,
    results::{Collected, DIVERGED, ProbeResult, SupervisedResult},
    transfer::{TransferResult, TransferRow},
};
use crate::train::resolved_spec::{ResolvedSpec, SpecIdentity};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

/// Most keys in the name of a row, and most characters of its values; others are named by a letter.
const MOST_KEYS: usize = 3;
const MOST_CHARACTERS: usize = 36;
/// Most keys in a line of the legend.
const MOST_EXPLAINED: usize = 8;
/// Value of a key that a spec does not have.
const ABSENT: &str = "none";

/// What the letters in the names of rows mean, a line for each; empty without any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Legends {
    pub probes: String,
    pub colors: String,
    pub transfers: String,
    pub monitors: String,
    pub supervised: String,
}

/// Names the variants among all results.
pub(super) fn name_variants(found: &mut Collected) -> Legends {
    Legends {
        probes: name_of_kind(&mut found.probes),
        colors: name_of_kind(&mut found.colors),
        transfers: name_of_kind(&mut found.transfers),
        monitors: name_of_kind(&mut found.monitors),
        supervised: name_of_kind(&mut found.supervised),
    }
}

/// A result that fills cells of a table.
trait Tabled {
    fn from(&self) -> &Path;
    fn seed(&self) -> u64;
    /// Row and column of each of its values, whatever the seed.
    fn cells(&self) -> Vec<String>;
    /// The names of its rows.
    fn names(&mut self) -> Vec<&mut String>;
}

fn name_of_kind<R: Tabled>(results: &mut [R]) -> String {
    let members = |group: Vec<usize>| {
        group.into_iter().map(|at| Member::of(&results[at], at)).collect::<Option<Vec<_>>>()
    };
    // Without its spec, a result is only what its names say.
    let groups: Vec<Vec<Member>> = groups(results).into_iter().filter_map(members).collect();
    // A key has one name in all rows.
    let names = short_names(groups.iter().flat_map(|members| differing(&decisive_keys(members))));
    let mut letters: Vec<String> = vec![];
    for members in groups {
        for (suffix, at) in suffixes(&members, &names, &mut letters) {
            results[at].names().into_iter().for_each(|name| add_suffix(name, &suffix));
        }
    }
    let line = |(at, text): (usize, &String)| format!("{}: {text}", letter(at));
    letters.iter().enumerate().map(line).collect::<Vec<_>>().join("  \n")
}

/// Indices of results that share cells, directly or through others.
fn groups<R: Tabled>(results: &[R]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(HashSet<String>, Vec<usize>)> = vec![];
    for (at, result) in results.iter().enumerate() {
        let mut own: (HashSet<String>, Vec<usize>) = (result.cells().into_iter().collect(), vec![]);
        let (meeting, apart) = groups.into_iter().partition(|(cells, _)| !cells.is_disjoint(&own.0));
        groups = apart;
        let meeting: Vec<(HashSet<String>, Vec<usize>)> = meeting;
        for (cells, members) in meeting {
            own.0.extend(cells);
            own.1.extend(members);
        }
        own.1.push(at);
        groups.push(own);
    }
    groups.sort_by_key(|(_, members)| members[0]);
    groups.into_iter().map(|(_, members)| members).collect()
}

/// A result of a group, and what its spec says.
struct Member {
    at: usize,
    seed: u64,
    identity: SpecIdentity,
    /// Keys that decide the result, with those of the runs that it builds on.
    keys: BTreeMap<String, String>,
    /// The same with program versions, and the hash of a run that is gone.
    all: BTreeMap<String, String>,
}

impl Member {
    fn of(result: &impl Tabled, at: usize) -> Option<Self> {
        let spec = ResolvedSpec::of(result.from())?;
        let (mut keys, mut more) = (BTreeMap::new(), BTreeMap::new());
        collect_keys(&spec, result.from(), "", &mut keys, &mut more);
        let all = keys.clone().into_iter().chain(more).collect();
        Some(Self { at, seed: result.seed(), identity: spec.identity()?, keys, all })
    }
}

/// Keys of a spec and of those of the runs that it builds on, whose keys begin with `upstream.`.
fn collect_keys(
    spec: &ResolvedSpec,
    run: &Path,
    prefix: &str,
    keys: &mut BTreeMap<String, String>,
    more: &mut BTreeMap<String, String>,
) {
    keys.extend(spec.deciding().into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
    more.extend(spec.version().map(|version| (format!("{prefix}version"), version.to_string())));
    let Some(hash) = spec.upstream() else { return };
    let found = upstream(run, hash).and_then(|dir| Some((ResolvedSpec::of(&dir)?, dir)));
    match found {
        Some((spec, dir)) => collect_keys(&spec, &dir, &format!("{prefix}upstream."), keys, more),
        None => drop(more.insert(format!("{prefix}upstream"), hash.chars().take(12).collect())),
    }
}

/// The run directory with this hash beside `run`, or in another experiment.
fn upstream(run: &Path, hash: &str) -> Option<PathBuf> {
    let end = format!("-{}", hash.get(..12)?);
    let folders = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<BTreeSet<_>>()
    };
    let is_it = |dir: &PathBuf| dir.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&end));
    let run = run.canonicalize().ok()?;
    let home = run.parent()?;
    let beside = folders(home).into_iter().find(is_it);
    beside.or_else(|| folders(home.parent()?).iter().flat_map(|other| folders(other)).find(is_it))
}

/// The keys of each member by which variants are told apart.
fn decisive_keys(members: &[Member]) -> Vec<&BTreeMap<String, String>> {
    match hides_difference(members) {
        true => members.iter().map(|member| &member.all).collect(),
        false => members.iter().map(|member| &member.keys).collect(),
    }
}

/// The name of each member's variant, by the short `names` of keys; empty if all are of one.
fn suffixes(
    members: &[Member],
    names: &BTreeMap<String, String>,
    letters: &mut Vec<String>,
) -> Vec<(String, usize)> {
    let keys = decisive_keys(members);
    let differing = differing(&keys);
    if differing.is_empty() {
        return vec![];
    }
    let values = |keys: &BTreeMap<String, String>| -> Vec<(String, String)> {
        let value = |key: &String| keys.get(key).map_or(ABSENT, String::as_str).to_string();
        differing.iter().map(|key| (names.get(key).unwrap_or(key).clone(), value(key))).collect()
    };
    let all: Vec<Vec<(String, String)>> = keys.iter().map(|keys| values(keys)).collect();
    let fits = differing.len() <= MOST_KEYS
        && all.iter().all(|values| inline(values).chars().count() <= MOST_CHARACTERS);
    let name = |values: &Vec<(String, String)>| {
        if fits { inline(values) } else { letter_for(explained(values), letters) }
    };
    all.iter().map(name).collect::<Vec<_>>().into_iter().zip(members.iter().map(|member| member.at)).collect()
}

/// Whether two results of one seed have different specs although the keys that decide are the same.
fn hides_difference(members: &[Member]) -> bool {
    let hidden = |a: &Member, b: &Member| a.seed == b.seed && a.keys == b.keys && a.identity != b.identity;
    members.iter().enumerate().any(|(at, a)| members[..at].iter().any(|b| hidden(a, b)))
}

/// Keys whose values are not the same in all maps.
fn differing(maps: &[&BTreeMap<String, String>]) -> Vec<String> {
    let keys: BTreeSet<&String> = maps.iter().flat_map(|map| map.keys()).collect();
    let differs = |key: &&String| maps.iter().any(|map| map.get(*key) != maps[0].get(*key));
    keys.into_iter().filter(differs).cloned().collect()
}

/// The last components of each key, as many as tell it from the others.
fn short_names(keys: impl IntoIterator<Item = String>) -> BTreeMap<String, String> {
    let keys: BTreeSet<String> = keys.into_iter().collect();
    let last = |key: &str, count: usize| {
        let parts: Vec<&str> = key.split('.').collect();
        parts[parts.len().saturating_sub(count)..].join(".")
    };
    let is_clear = |key: &String, short: &str| {
        let is_index = short.bytes().all(|byte| byte.is_ascii_digit());
        let count = short.split('.').count();
        !is_index && keys.iter().all(|other| other == key || last(other, count) != short)
    };
    let short = |key: &String| {
        let all = key.split('.').count();
        let mut lengths = (1..=all).map(|count| last(key, count));
        lengths.find(|short| is_clear(key, short)).unwrap_or_else(|| key.clone())
    };
    keys.iter().map(|key| (key.clone(), short(key))).collect()
}

/// `lr=1e-3 batch=32`.
fn inline(values: &[(String, String)]) -> String {
    values.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// `lr 1e-3, batch 32`, for the legend.
fn explained(values: &[(String, String)]) -> String {
    let listed = values.iter().take(MOST_EXPLAINED).map(|(key, value)| format!("{key} {value}"));
    let more = values.len().saturating_sub(MOST_EXPLAINED);
    let more = (more > 0).then(|| format!("{more} more (`hueristic runs diff` has all)"));
    listed.chain(more).collect::<Vec<_>>().join(", ")
}

/// The letter of a difference: the same in all rows.
fn letter_for(text: String, letters: &mut Vec<String>) -> String {
    let at = letters.iter().position(|known| *known == text).unwrap_or(letters.len());
    if at == letters.len() {
        letters.push(text);
    }
    letter(at)
}

/// A to Z, then A1 to Z1.
fn letter(at: usize) -> String {
    let letter = char::from(b'A' + (at % 26) as u8);
    if at < 26 { letter.into() } else { format!("{letter}{}", at / 26) }
}

/// `colorization (diverged)` → `colorization lr=1e-3 (diverged)`.
fn add_suffix(name: &mut String, suffix: &str) {
    let mark = if name.ends_with(DIVERGED) { DIVERGED } else { "" };
    name.truncate(name.len() - mark.len());
    *name = format!("{name} {suffix}{mark}");
}

/// A row's name without the mark of what diverged, which is no difference of the spec.
fn unmarked(name: &str) -> &str {
    name.strip_suffix(DIVERGED).unwrap_or(name)
}

impl Tabled for ProbeResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        let layers = self.rows.iter().flat_map(|row| row.layers.iter().map(move |layer| (row, layer)));
        let table = (&self.experiment, &self.dataset, &self.protocol);
        layers.map(|(row, layer)| format!("{:?}", (table, unmarked(&row.backbone), &layer.layer))).collect()
    }
    fn names(&mut self) -> Vec<&mut String> {
        self.rows.iter_mut().map(|row| &mut row.backbone).collect()
    }
}

impl Tabled for TransferResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        let table = (&self.experiment, &self.dataset, &self.protocol);
        let cell = |row: &TransferRow| {
            format!("{:?}", (table, unmarked(&row.backbone), row.task, &row.variant, row.input, row.metric))
        };
        self.rows.iter().map(cell).collect()
    }
    fn names(&mut self) -> Vec<&mut String> {
        self.rows.iter_mut().map(|row| &mut row.backbone).collect()
    }
}

impl Tabled for ColorResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        vec![format!("{:?}", (&self.dataset, self.pixels, self.gray, unmarked(&self.method)))]
    }
    fn names(&mut self) -> Vec<&mut String> {
        vec![&mut self.method]
    }
}

impl Tabled for SupervisedResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        vec![format!("{:?}", (&self.experiment, &self.dataset, unmarked(&self.stage)))]
    }
    fn names(&mut self) -> Vec<&mut String> {
        vec![&mut self.stage]
    }
}

impl Tabled for MonitorResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        vec![format!("{:?}", (&self.experiment, unmarked(&self.stage)))]
    }
    fn names(&mut self) -> Vec<&mut String> {
        vec![&mut self.stage]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_short_as_they_are_clear() {
        let short = |keys: &[&str]| {
            let names = short_names(keys.iter().map(|key| key.to_string()));
            keys.iter().map(|key| names[*key].clone()).collect::<Vec<_>>()
        };
        assert_eq!(short(&["train.optimizer.adam.lr"]), ["lr"]);
        assert_eq!(
            short(&["train.optimizer.sgd.lr", "upstream.train.optimizer.adam.lr"]),
            ["sgd.lr", "adam.lr"]
        );
        assert_eq!(short(&["train.steps", "upstream.train.steps"]), ["train.steps", "upstream.train.steps"]);
        assert_eq!(short(&["at.0", "at.1"]), ["at.0", "at.1"]);
    }

    #[test]
    fn many_keys_become_one_letter_for_each_difference() {
        let mut letters = vec![];
        let member = |at: usize, seed: u64, value: &str| {
            let keys: BTreeMap<String, String> =
                ["a", "b", "c", "d"].iter().map(|key| (key.to_string(), value.to_string())).collect();
            let spec = ResolvedSpec::parse(&format!("lineage: x{value}{seed}"));
            Member { at, seed, identity: spec.identity().unwrap(), all: keys.clone(), keys }
        };
        let members = [member(4, 0, "1"), member(5, 0, "2"), member(6, 1, "1")];
        let names = BTreeMap::new();
        let mut suffixes = |members: &[Member]| suffixes(members, &names, &mut letters);
        let named: Vec<String> = suffixes(&members).into_iter().map(|(name, _)| name).collect();
        assert_eq!(named, ["A", "B", "A"]);
        assert!(suffixes(&members[..1]).is_empty());
        assert_eq!(suffixes(&members[1..])[0], ("B".to_string(), 5), "the letter stays");
        assert_eq!(letters, ["a 1, b 1, c 1, d 1", "a 2, b 2, c 2, d 2"]);
    }

    #[test]
    fn the_suffix_stands_before_the_mark() {
        let mut name = format!("colorization{DIVERGED}");
        add_suffix(&mut name, "lr=1e-3");
        assert_eq!(name, "colorization lr=1e-3 (diverged)");
        assert_eq!([letter(0), letter(25), letter(26)], ["A", "Z", "A1"]);
    }
}
