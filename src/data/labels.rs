//! Class labels of one source, and how the labels of two sources are matched: by name.
//!
//! Two files may number the same names differently, so numbers alone are not comparable across files. If both sides
//! have class names, numbers are translated through the names; if only one side has names, the mapping is unknown and
//! the set is unlabeled; if neither has names, numbers are kept.

use super::{dataset::Dataset, error::DataError};
use crate::text::excerpt;
use std::{
    collections::{BTreeSet, HashMap},
    mem,
    path::Path,
};

/// Class numbers from this value on are rejected as a mistake (a size or a timestamp in place of a label).
pub(super) const MAX_LABEL: u32 = 1 << 20;
/// Most classes that a message lists.
const SHOWN: usize = 12;

/// Where the class numbering comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ClassOrder {
    /// Numbers without names.
    #[default]
    Numbers,
    /// The source lists names in the order of their numbers.
    Listed,
    /// Names without numbers, numbered in sorted order.
    Sorted,
}

/// The labels of one source.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Source path, for messages.
    from: String,
    /// One per image; empty: unlabeled.
    numbers: Vec<u32>,
    /// Class names by number; `0`, `1`, … for numbers without names.
    classes: Vec<String>,
    order: ClassOrder,
    /// Why there are none, where something like labels is there.
    missing: Option<String>,
}

impl Labels {
    /// No labels, with the reason that a stage needing labels reports.
    pub(super) fn missing(reason: String) -> Self {
        Self { missing: Some(reason), ..Self::default() }
    }

    /// Labels from one name per image, numbered in sorted order.
    pub(super) fn named(from: &Path, names: &[String]) -> Self {
        let classes: Vec<String> = names.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let number = |name| classes.binary_search(name).unwrap_or_default() as u32;
        let numbers = names.iter().map(number).collect();
        Self { from: from.display().to_string(), numbers, classes, order: ClassOrder::Sorted, missing: None }
    }

    /// Labels from one number below [`MAX_LABEL`] per image, without names.
    pub(super) fn numbered(from: &Path, numbers: Vec<u32>) -> Self {
        let classes = (0..numbers.iter().max().map_or(0, |max| max + 1)).map(|n| n.to_string()).collect();
        Self { from: from.display().to_string(), numbers, classes, order: ClassOrder::Numbers, missing: None }
    }

    /// Labels from one index into `classes` per image.
    pub(super) fn listed(from: &Path, numbers: Vec<u32>, classes: Vec<String>) -> Self {
        Self { from: from.display().to_string(), numbers, classes, order: ClassOrder::Listed, missing: None }
    }

    /// Label of the image at `index`.
    pub fn get(&self, index: usize) -> Option<u32> {
        self.numbers.get(index).copied()
    }

    /// One per image; empty: unlabeled.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Those of the images at `indices`, numbered as before.
    pub(super) fn of(self, indices: &[usize]) -> Self {
        let numbers = indices.iter().filter_map(|index| self.get(*index)).collect();
        Self { numbers, ..self }
    }

    /// Class names by number.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Why there are none, where something like labels is there.
    pub fn why_missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// Concatenates the labels of several parts of one split. Parts may have different classes: listed classes keep
    /// their order, part by part; the others follow, sorted. If one part is unlabeled, the result is unlabeled.
    pub(super) fn joined(parts: Vec<Self>) -> Self {
        if let Some(reason) = parts.iter().find_map(Self::why_missing) {
            return Self::missing(reason.into());
        }
        let mut parts: Vec<Self> = parts.into_iter().filter(|part| !part.numbers.is_empty()).collect();
        if parts.len() < 2 {
            return parts.pop().unwrap_or_default();
        }
        if let Some(reason) = parts.windows(2).find_map(|pair| clash(&pair[0], &pair[1])) {
            return Self::missing(reason);
        }
        let mut all = Self { classes: union(&parts), ..Self::default() };
        all.from.clone_from(&parts[0].from);
        all.order =
            parts.iter().map(|part| part.order).find(|o| *o == ClassOrder::Listed).unwrap_or(parts[0].order);
        for part in parts {
            match part.renumbered(&all, &[]) {
                Self { missing: Some(reason), .. } => return Self::missing(reason),
                part => all.numbers.extend(part.numbers),
            }
        }
        all
    }

    /// Translates these labels of a validation split to the numbering of `train`. `names` are the catalog's class
    /// names, used if one of the splits has numbers only.
    pub(super) fn like(self, train: &Self, names: &[String]) -> Self {
        if let Some(doubt) = self.doubt(train) {
            tracing::warn!("{doubt}");
        }
        self.renumbered(train, names)
    }

    /// A warning if bare numbers may not mean the same in `train`: gaps in its classes, as when one side counts from
    /// 1 and the other from 0.
    fn doubt(&self, train: &Self) -> Option<String> {
        let alone = self.order == ClassOrder::Numbers && train.order == ClassOrder::Numbers;
        let known: BTreeSet<u32> = train.numbers.iter().copied().collect();
        let last = known.last().filter(|_| alone)?;
        let own: BTreeSet<u32> = self.numbers.iter().copied().collect();
        let lacking: Vec<String> =
            own.difference(&known).filter(|number| *number < last).map(u32::to_string).collect();
        (!lacking.is_empty()).then(|| {
            format!(
                "{} has pictures of classes of which {} has none: {}; do both count from 0?",
                self.from,
                train.from,
                spelt(&lacking)
            )
        })
    }

    fn renumbered(mut self, train: &Self, names: &[String]) -> Self {
        if self.numbers.is_empty() || train.classes.is_empty() || self.classes == train.classes {
            return self;
        }
        let mut train = train.clone();
        if (self.order == ClassOrder::Numbers) != (train.order == ClassOrder::Numbers) {
            self.take_names(names);
            train.take_names(names);
        }
        let translated = match clash(&self, &train) {
            Some(reason) => Err(reason),
            None => self.translated(&train.classes, &train.from),
        };
        match translated {
            Ok(numbers) => Self { numbers, classes: train.classes, order: train.order, ..self },
            Err(reason) => Self::missing(reason),
        }
    }

    /// Assigns `names` to unnamed numbers, if there are enough.
    fn take_names(&mut self, names: &[String]) {
        if self.order == ClassOrder::Numbers && self.classes.len() <= names.len() {
            self.classes = names.to_vec();
            self.order = ClassOrder::Listed;
        }
    }

    /// The labels translated to indices into `classes`, the classes of `whose`.
    fn translated(&self, classes: &[String], whose: &str) -> Result<Vec<u32>, String> {
        let mut places = HashMap::new();
        let twice =
            |name: &str, from: &str| format!("{from} has two classes called `{}`; rename one", excerpt(name));
        for (number, name) in classes.iter().enumerate() {
            if places.insert(name, number as u32).is_some() {
                return Err(twice(name, whose));
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(name) = self.classes.iter().find(|name| !seen.insert(*name)) {
            return Err(twice(name, &self.from));
        }
        let places: Vec<Option<u32>> = self.classes.iter().map(|name| places.get(name).copied()).collect();
        let place = |number: &u32| {
            places.get(*number as usize).copied().flatten().ok_or_else(|| self.unknown(*number, classes))
        };
        self.numbers.iter().map(place).collect()
    }

    fn unknown(&self, number: u32, classes: &[String]) -> String {
        let name = self.classes.get(number as usize).map(String::as_str).unwrap_or_default();
        format!(
            "class `{}` of {} is not among the {} classes of the training split ({}); rename or remove it",
            excerpt(name),
            self.from,
            classes.len(),
            spelt(classes)
        )
    }

    /// `0 cat, 1 dog`, or `0 to 7` for numbers without names.
    fn shown(&self) -> String {
        match self.order {
            ClassOrder::Numbers => {
                format!("numbers without names, 0 to {}", self.classes.len().saturating_sub(1))
            }
            ClassOrder::Sorted => format!("names without numbers: {}", spelt(&self.classes)),
            ClassOrder::Listed => {
                spelt(&self.classes.iter().enumerate().map(|(n, c)| format!("{n} {c}")).collect::<Vec<_>>())
            }
        }
    }
}

/// Why the labels of two sources cannot be matched: one has names, the other numbers only. Names that are numerals
/// match the other side's numbers.
fn clash(a: &Labels, b: &Labels) -> Option<String> {
    let names = match (a.order, b.order) {
        (ClassOrder::Numbers, ClassOrder::Numbers) => return None,
        (ClassOrder::Numbers, _) => b,
        (_, ClassOrder::Numbers) => a,
        _ => return None,
    };
    let numeral = |name: &String| name.parse::<u32>().is_ok_and(|number| number.to_string() == *name);
    if names.classes.iter().all(numeral) {
        return None;
    }
    Some(format!(
        "class numbers and names cannot be matched: {} has {}; {} has {}. Give both names, or both numbers",
        a.from,
        a.shown(),
        b.from,
        b.shown()
    ))
}

/// Classes of all parts: listed classes first, then the others, sorted.
fn union(parts: &[Labels]) -> Vec<String> {
    let (ours, listed): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.order == ClassOrder::Sorted);
    let mut classes = listed.first().map(|part| part.classes.clone()).unwrap_or_default();
    let mut seen: BTreeSet<String> = classes.iter().cloned().collect();
    let mut add = |name: &String| {
        if seen.insert(name.clone()) {
            classes.push(name.clone());
        }
    };
    listed.iter().skip(1).flat_map(|part| &part.classes).for_each(&mut add);
    ours.iter().flat_map(|part| &part.classes).collect::<BTreeSet<_>>().into_iter().for_each(add);
    classes
}

fn spelt(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).map(|name| excerpt(name)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(", … {} in all", names.len());
    }
    text
}

/// A data set whose labels can be renumbered.
pub(super) trait Relabel {
    fn labels(&mut self) -> &mut Labels;

    /// As [`Labels::like`].
    fn relabeled(mut self, train: &Labels, names: &[String]) -> Self
    where
        Self: Sized,
    {
        let own = mem::take(self.labels());
        *self.labels() = own.like(train, names);
        self
    }
}

/// The number of classes, or an error if the set is unlabeled or has a single class.
///
/// # Errors
/// [`DataError::Unlabeled`].
pub fn require(set: &dyn Dataset, name: &str, split: &'static str) -> Result<usize, DataError> {
    let unlabeled = |reason: String| DataError::Unlabeled { name: name.into(), split, reason };
    match set.classes() {
        [] => Err(unlabeled(match set.why_unlabeled() {
            Some(reason) => format!("have none: {reason}"),
            None => "have none; use class folders or a label column".into(),
        })),
        [one] => {
            Err(unlabeled(format!("are all of one class, `{}`; give two classes or more", excerpt(one))))
        }
        classes => Ok(classes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }
    fn listed(from: &str, numbers: &[u32], classes: &[&str]) -> Labels {
        Labels::listed(Path::new(from), numbers.to_vec(), texts(classes))
    }
    fn named(names: &[&str]) -> Labels {
        Labels::named(Path::new("strings"), &texts(names))
    }
    fn numbered(numbers: &[u32]) -> Labels {
        Labels::numbered(Path::new("numbers"), numbers.to_vec())
    }
    /// The names that images have after all.
    fn names(labels: &Labels) -> Vec<&str> {
        assert_eq!(labels.why_missing(), None);
        labels.numbers.iter().map(|n| labels.classes[*n as usize].as_str()).collect()
    }

    #[test]
    fn numbers_are_translated_by_the_names_on_both_sides() {
        let train = listed("train", &[0, 1, 2], &["cat", "dog", "eel"]);
        for val in [
            listed("val", &[1, 0, 1], &["dog", "cat"]),
            listed("val", &[2, 0, 2], &["dog", "eel", "cat"]),
            listed("val", &[1, 0, 1], &["dog", "cat", "unused"]),
            named(&["cat", "dog", "cat"]),
        ] {
            let val = val.like(&train, &[]);
            assert_eq!((&*val.numbers, val.classes()), (&[0, 1, 0][..], train.classes()));
        }
        // names in the training split, numbered by nobody but us
        let val = listed("val", &[0, 1], &["dog", "cat"]).like(&named(&["dog", "cat", "ant"]), &[]);
        assert_eq!((names(&val), &*val.numbers), (vec!["dog", "cat"], &[2, 1][..]));
    }

    #[test]
    fn names_against_numbers_are_refused_with_both_orders() {
        let names = listed("a.parquet", &[0, 1], &["dog", "cat"]);
        for (val, train) in [(names.clone(), numbered(&[0, 1, 2])), (numbered(&[0, 1, 2]), names.clone())] {
            for labels in [val.clone().like(&train, &[]), Labels::joined(vec![train, val])] {
                let reason = labels.why_missing().unwrap();
                assert!(reason.contains("a.parquet has 0 dog, 1 cat"), "{reason}");
                assert!(reason.contains("numbers has numbers without names, 0 to 2"), "{reason}");
                assert!(labels.classes().is_empty() && labels.get(0).is_none());
            }
        }
        let reason = numbered(&[0]).like(&named(&["cow", "ant"]), &[]);
        assert!(reason.why_missing().unwrap().contains("strings has names without numbers: ant, cow"));
    }

    #[test]
    fn names_of_the_catalog_stand_for_numbers_alone() {
        let known = texts(&["cat", "dog", "eel"]);
        let val = listed("val", &[0, 1], &["dog", "cat"]).like(&numbered(&[0, 1, 2]), &known);
        assert_eq!(val.numbers, [1, 0]);
        let val = numbered(&[1, 0]).like(&listed("train", &[0, 1], &["dog", "cat"]), &known);
        assert_eq!(val.numbers, [0, 1]);
    }

    #[test]
    fn numbers_stay_and_digits_as_names_are_numbers() {
        let val = numbered(&[1, 0]).like(&numbered(&[0, 1, 2]), &[]);
        assert_eq!((&*val.numbers, val.classes().len()), (&[1, 0][..], 3));
        let digits = listed("train", &[0, 1], &["1", "0"]);
        assert_eq!(numbered(&[0, 1]).like(&digits, &[]).numbers, [1, 0]);
        assert_eq!(named(&["10", "2"]).like(&numbered(&[10]), &[]).numbers, [10, 2]);
    }

    #[test]
    fn numbers_of_which_training_has_no_picture_are_doubted() {
        let doubt = |train: &[u32], val: &[u32]| numbered(val).doubt(&numbered(train));
        let one_based = doubt(&[1, 2, 3], &[0, 1, 2]).unwrap();
        assert!(one_based.contains("has none: 0; do both count from 0?"), "{one_based}");
        assert!(doubt(&[0, 3], &[2, 1, 2]).unwrap().contains("none: 1, 2;"));
        for (train, val) in
            [(&[0, 1, 2][..], &[0, 2][..]), (&[1, 2], &[2]), (&[0, 1], &[7]), (&[], &[0]), (&[1], &[])]
        {
            assert_eq!(doubt(train, val), None, "{train:?} {val:?}");
        }
        // names say which class is which
        assert_eq!(numbered(&[0]).doubt(&listed("train", &[1], &["cat", "dog"])), None);
        assert_eq!(listed("val", &[0], &["cat", "dog"]).doubt(&numbered(&[1])), None);
        assert_eq!(named(&["cat"]).doubt(&numbered(&[1])), None);
        // a doubt takes no labels away
        assert_eq!(numbered(&[0, 2]).like(&numbered(&[1, 2]), &[]).numbers, [0, 2]);
    }

    #[test]
    fn a_class_that_training_lacks_is_named_and_so_is_a_name_that_stands_twice() {
        let train = listed("train", &[0, 1], &["cat", "dog"]);
        for (val, part) in [
            (listed("val", &[1], &["dog", "eel"]), "class `eel` of val is not among the 2 classes"),
            (listed("val", &[0, 2], &["dog", "cat", "dog"]), "val has two classes called `dog`"),
        ] {
            let reason = val.like(&train, &[]);
            assert!(reason.why_missing().unwrap().contains(part), "{reason:?}");
        }
        let reason = numbered(&[7]).like(&numbered(&[0, 1]), &[]);
        assert!(reason.why_missing().unwrap().contains("class `7` of numbers is not among the 2"));
        // the same list on both sides leaves nothing to translate
        let twice = listed("train", &[0, 2], &["crane", "cat", "crane"]);
        assert_eq!(twice.clone().like(&twice, &[]).numbers, [0, 2]);
    }

    #[test]
    fn parts_of_a_split_are_joined_by_name() {
        let parts = vec![
            listed("a", &[0, 1], &["dog", "cat"]),
            listed("b", &[0, 1, 2], &["cat", "dog", "bee"]),
            named(&["ant", "cat"]),
        ];
        let all = Labels::joined(parts);
        assert_eq!(all.classes(), ["dog", "cat", "bee", "ant"]);
        assert_eq!(names(&all), ["dog", "cat", "cat", "dog", "bee", "ant", "cat"]);
        let all = Labels::joined(vec![named(&["cow", "ant"]), named(&[]), named(&["bee"])]);
        assert_eq!((all.classes(), &*all.numbers), (&texts(&["ant", "bee", "cow"])[..], &[2, 0, 1][..]));
        let all = Labels::joined(vec![numbered(&[1]), numbered(&[3])]);
        assert_eq!((all.classes().len(), &*all.numbers), (4, &[1, 3][..]));
        let none = Labels::joined(vec![numbered(&[1]), Labels::missing("no column".into()), numbered(&[3])]);
        assert_eq!((none.why_missing(), none.numbers().len()), (Some("no column"), 0));
    }
}
