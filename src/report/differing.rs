//! How the specs of runs differ: keys that are not the same in all of them, their own and those of the runs that they start
//! from, as short names such as `lr=1e-3 batch=32`. Long ones become letters with a legend.

use crate::train::resolved_spec::{ResolvedSpec, SpecIdentity};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Most keys in a name, and most characters of its values; others are named by a letter.
const MOST_KEYS: usize = 3;
const MOST_CHARACTERS: usize = 36;
/// Most keys in a line of the legend.
const MOST_EXPLAINED: usize = 8;
/// Start of a key of the run that one starts from.
const UPSTREAM: &str = "upstream.";
/// Value of a key that a spec does not have.
const ABSENT: &str = "none";

/// A run of a group, and what its spec says.
pub struct Member {
    /// Its index among all.
    at: usize,
    seed: u64,
    identity: SpecIdentity,
    /// Keys that decide the result, with those of the runs that it builds on.
    keys: BTreeMap<String, String>,
    /// The same with program versions, and the hash of a run that is gone.
    all: BTreeMap<String, String>,
}

impl Member {
    /// The run directory `run`, whose index among all is `at`; None without a spec that an experiment wrote.
    pub fn of(run: &Path, seed: u64, at: usize) -> Option<Self> {
        let spec = ResolvedSpec::of(run)?;
        let (mut keys, mut more) = (BTreeMap::new(), BTreeMap::new());
        collect_keys(&spec, run, "", &mut keys, &mut more);
        let all = keys.clone().into_iter().chain(more).collect();
        Some(Self { at, seed, identity: spec.identity()?, keys, all })
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
        Some((spec, dir)) => collect_keys(&spec, &dir, &format!("{prefix}{UPSTREAM}"), keys, more),
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

/// A short name for each key in which members of a group differ: the same in all groups.
pub fn names_of_keys(groups: &[Vec<Member>]) -> BTreeMap<String, String> {
    short_names(groups.iter().flat_map(|members| differing(&decisive_keys(members))))
}

/// The name of each member's variant, by the short `names` of keys, and its index; empty if all are of one. Long names become
/// `letters`.
pub fn suffixes(
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

/// Keys whose values are not the same in all maps. A key of the run before that always has the value of one's own says
/// nothing more.
fn differing(maps: &[&BTreeMap<String, String>]) -> Vec<String> {
    let keys: BTreeSet<&String> = maps.iter().flat_map(|map| map.keys()).collect();
    let differs = |key: &&String| maps.iter().any(|map| map.get(*key) != maps[0].get(*key));
    let is_repeated = |key: &&String| {
        let own = key.strip_prefix(UPSTREAM);
        own.is_some_and(|own| maps.iter().all(|map| map.contains_key(own) && map.get(own) == map.get(*key)))
    };
    keys.into_iter().filter(differs).filter(|key| !is_repeated(key)).cloned().collect()
}

/// The last components of each key, as many as tell it from the others.
pub fn short_names(keys: impl IntoIterator<Item = String>) -> BTreeMap<String, String> {
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

/// What the letters mean, a line for each: `A: lr 1e-3, batch 32`.
pub fn legend(letters: &[String]) -> Vec<String> {
    letters.iter().enumerate().map(|(at, text)| format!("{}: {text}", letter(at))).collect()
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
    fn a_key_that_the_run_before_has_alike_is_named_once() {
        let map = |own: &str, upstream: &str| {
            BTreeMap::from([("width".into(), own.into()), ("upstream.width".into(), upstream.into())])
        };
        assert_eq!(differing(&[&map("1", "1"), &map("2", "2")]), ["width"]);
        assert_eq!(differing(&[&map("1", "1"), &map("2", "3")]), ["upstream.width", "width"]);
        assert_eq!(differing(&[&map("1", "1"), &map("1", "2")]), ["upstream.width"]);
    }

    #[test]
    fn letters_do_not_end() {
        assert_eq!([letter(0), letter(25), letter(26)], ["A", "Z", "A1"]);
    }
}
