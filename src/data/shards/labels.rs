//! From the label texts of shards to class numbers.

use super::{class_names, index::ShardIndex};
use crate::{
    data::labels::{Labels, MAX_LABEL},
    text::excerpt,
};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

/// The labels of all shards of a split. `names` are those of `classes.json`. Without usable labels there are none, with
/// the reason.
pub(super) fn assemble(from: &Path, shards: &[&ShardIndex], names: Option<Vec<String>>) -> Labels {
    if let Some(reason) = shards.iter().find_map(|shard| shard.bad_label.as_ref()) {
        return Labels::missing(format!("the label of {reason}"));
    }
    match unlabeled(shards) {
        (0, _) => {}
        (none, all) if none == all => return Labels::default(),
        (none, all) => return Labels::missing(some_only(shards, none, all)),
    }
    let texts: BTreeSet<&str> = shards.iter().flat_map(|shard| &shard.texts).map(String::as_str).collect();
    number(from, shards, &texts, names).unwrap_or_else(Labels::missing)
}

/// Numbers of samples without a label, and of all.
fn unlabeled(shards: &[&ShardIndex]) -> (usize, usize) {
    let without = |shard: &&ShardIndex| shard.labels.iter().filter(|label| label.is_none()).count();
    (shards.iter().map(without).sum(), shards.iter().map(|shard| shard.len()).sum())
}

fn some_only(shards: &[&ShardIndex], none: usize, all: usize) -> String {
    let mut labels = shards.iter().flat_map(|shard| shard.keys.iter().zip(&shard.labels));
    let first = labels.find(|(_, label)| label.is_none()).map(|(key, _)| excerpt(key)).unwrap_or_default();
    format!("{none} of {all} samples have no label, `{first}` is the first; label every sample or none")
}

fn number(
    from: &Path,
    shards: &[&ShardIndex],
    texts: &BTreeSet<&str>,
    names: Option<Vec<String>>,
) -> Result<Labels, String> {
    let (numerals, words): (Vec<&str>, Vec<&str>) =
        texts.iter().partition(|text| text.parse::<i64>().is_ok());
    match (numerals.first(), words.first(), names) {
        (Some(_), None, names) => numbered(from, shards, &numerals, names),
        (_, Some(_), Some(names)) => listed(from, shards, texts, names),
        (Some(number), Some(word), None) => {
            Err(format!("the label `{}` is a name, but `{number}` is a number; use one kind", excerpt(word)))
        }
        (None, _, None) => {
            refuse_captions(shards, texts.len())?;
            Ok(Labels::named(from, &each(shards, |text| Some(text.to_owned()))))
        }
        (None, None, Some(_)) => Ok(Labels::default()),
    }
}

fn numbered(
    from: &Path,
    shards: &[&ShardIndex],
    numerals: &[&str],
    names: Option<Vec<String>>,
) -> Result<Labels, String> {
    let most = names.as_ref().map_or(MAX_LABEL as usize, Vec::len);
    let is_class = |text: &str| text.parse::<u32>().is_ok_and(|number| (number as usize) < most);
    if let Some(odd) = numerals.iter().find(|text| !is_class(text)) {
        return Err(match names {
            Some(names) => {
                format!("label {odd} has no name in {}, which has {}", class_names::FILE, names.len())
            }
            None => {
                format!("label {odd} is not a class number; leave the labels out if the images are unlabeled")
            }
        });
    }
    let numbers = each(shards, |text| text.parse().ok());
    Ok(match names {
        Some(names) => Labels::listed(from, numbers, names),
        None => Labels::numbered(from, numbers),
    })
}

/// Names that `classes.json` numbers.
fn listed(
    from: &Path,
    shards: &[&ShardIndex],
    texts: &BTreeSet<&str>,
    names: Vec<String>,
) -> Result<Labels, String> {
    let places: HashMap<&str, u32> =
        names.iter().enumerate().map(|(at, name)| (name.as_str(), at as u32)).collect();
    if let Some(unknown) = texts.iter().find(|text| !places.contains_key(*text)) {
        return Err(format!("the label `{}` is not in {}", excerpt(unknown), class_names::FILE));
    }
    let numbers = each(shards, |text| places.get(text).copied());
    Ok(Labels::listed(from, numbers, names))
}

/// Texts of which most are there once describe pictures and name no classes.
fn refuse_captions(shards: &[&ShardIndex], different: usize) -> Result<(), String> {
    let all: usize = shards.iter().map(|shard| shard.len()).sum();
    if shards.iter().any(|shard| shard.has_txt) && all > 2 && 2 * different > all {
        return Err(format!(
            "the `.txt` members are captions, not classes: {different} different ones of {all}"
        ));
    }
    Ok(())
}

/// `value` of the label of each sample.
fn each<T: Clone>(shards: &[&ShardIndex], value: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let mut all = Vec::new();
    for shard in shards {
        let values: Vec<Option<T>> = shard.texts.iter().map(|text| value(text)).collect();
        all.extend(shard.labels.iter().flatten().filter_map(|label| values[*label as usize].clone()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard with these labels.
    fn shard(labels: &[&str]) -> ShardIndex {
        let mut shard = ShardIndex::default();
        for label in labels {
            let known = shard.texts.iter().position(|text| text == label);
            let number = known.unwrap_or_else(|| {
                shard.texts.push(String::from(*label));
                shard.texts.len() - 1
            });
            shard.keys.push(format!("key{}", shard.len()));
            shard.labels.push((!label.is_empty()).then_some(number as u32));
        }
        shard.texts.retain(|text| !text.is_empty());
        shard
    }

    fn assembled(shards: &[&[&str]], names: Option<&[&str]>) -> Labels {
        let shards: Vec<ShardIndex> = shards.iter().map(|labels| shard(labels)).collect();
        let names = names.map(|names| names.iter().map(|name| String::from(*name)).collect());
        assemble(Path::new("t.tar"), &shards.iter().collect::<Vec<_>>(), names)
    }

    #[test]
    fn numbers_stay_and_names_are_sorted_over_all_shards() {
        let labels = assembled(&[&["2", "0"], &["0", "5"]], None);
        assert_eq!((labels.numbers(), labels.classes().len()), (&[2, 0, 0, 5][..], 6));
        let labels = assembled(&[&["cat", "bee"], &["ant", "cat"]], None);
        assert_eq!((labels.numbers(), labels.classes().join(" ")), (&[2, 1, 0, 2][..], "ant bee cat".into()));
        let labels = assembled(&[&["1", "0"]], Some(&["zebra", "ant", "unused"]));
        assert_eq!((labels.numbers(), labels.classes().join(" ")), (&[1, 0][..], "zebra ant unused".into()));
        let labels = assembled(&[&["ant"], &["zebra", "zebra"]], Some(&["zebra", "ant"]));
        assert_eq!(labels.numbers(), [1, 0, 0]);
        assert_eq!(assembled(&[&[""], &[""]], None).why_missing(), None, "nothing like labels is there");
    }

    #[test]
    fn labels_that_cannot_be_used_say_why() {
        for (shards, names, part) in [
            (&[&["1", "2"][..], &["", "2"]][..], None, "1 of 4 samples have no label, `key0` is the first"),
            (&[&["1"], &["cat"]], None, "`cat` is a name, but `1` is a number"),
            (&[&["-1"]], None, "label -1 is not a class number"),
            (&[&["99999999"]], None, "label 99999999 is not"),
            (&[&["2"]], Some(&["ant", "bee"][..]), "label 2 has no name in classes.json, which has 2"),
            (&[&["cow"]], Some(&["ant"]), "`cow` is not in classes.json"),
        ] {
            let labels = assembled(shards, names);
            assert!(labels.why_missing().is_some_and(|why| why.contains(part)), "{labels:?}");
            assert!(labels.numbers().is_empty());
        }
        let mut bad = shard(&["1"]);
        bad.bad_label = Some("`a`: damaged".into());
        assert!(assemble(Path::new(""), &[&bad], None).why_missing().unwrap().contains("label of `a`"));
    }

    #[test]
    fn captions_are_no_classes() {
        let text = |labels: &[&str]| {
            let mut shard = shard(labels);
            shard.has_txt = true;
            shard
        };
        let captions = text(&["a cat", "two cats", "a bee", "a bee"]);
        let why = assemble(Path::new(""), &[&captions], None);
        assert!(why.why_missing().unwrap().contains("3 different ones of 4"), "{why:?}");
        let classes = text(&["cat", "bee", "bee", "cat"]);
        assert_eq!(assemble(Path::new(""), &[&classes], None).numbers(), [1, 0, 0, 1]);
    }
}
