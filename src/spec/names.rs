//! Names in a spec: validation, suggestions for misspelled names, and ordered sections with user-chosen keys.

use crate::text::excerpt;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
    ser::SerializeMap,
};
use std::{collections::HashSet, fmt, marker::PhantomData, ops::Deref};

/// The known name that `name` most likely means; None if no name is close.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    // At most a third of the letters may differ: matches `bacth` and `learning-rate`, but not unrelated short words.
    let near = |k: &&str| {
        let distance = strsim::damerau_levenshtein(&lower, &k.to_lowercase());
        (distance * 3 <= name.chars().count().max(k.chars().count())).then_some(distance)
    };
    let typo = known.iter().filter_map(|k| Some((near(k)?, *k))).min_by_key(|(distance, _)| *distance);
    typo.map(|(_, k)| k).or_else(|| known.iter().copied().find(|k| extends(&lower, k)))
}

/// Whether one word is a prefix of the other: `color` for `colorization`.
fn extends(name: &str, known: &str) -> bool {
    name.len() >= 3 && (known.starts_with(name) || name.starts_with(known))
}

/// Maximum number of names listed in a message, more than any network has layers.
const MAX_LISTED: usize = 60;

/// Formats names for a message: `` `a`, `b` ``.
pub(super) fn list(names: &[&str]) -> String {
    let listed = names.iter().take(MAX_LISTED).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_LISTED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// Maximum length of a name: with seed and hash it must fit into a directory name of 255 bytes.
const MAX_LENGTH: usize = 100;

/// A name that is also a directory name: letters, digits, `_`, `.`, `-`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if text.len() > MAX_LENGTH {
            return Err(format!("`{}` is longer than {MAX_LENGTH} characters", excerpt(&text)));
        }
        if starts && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{}` cannot be a name: use letters, digits, `_`, `.` and `-`, starting with a letter or digit",
            excerpt(&text)
        ))
    }
}
impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}
impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A section with user-chosen names as keys, in file order.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedMap<T>(Vec<(Name, T)>);

impl<T> NamedMap<T> {
    /// The entries in order, with names as plain text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
    /// As `iter`, with mutable values.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut T)> {
        self.0.iter_mut().map(|(name, value)| (&**name, value))
    }
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for NamedMap<T> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<T: Serialize> Serialize for NamedMap<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NamedMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

struct NamedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
    type Value = NamedMap<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NamedMap<T>, A::Error> {
        let (mut entries, mut taken) = (vec![], HashSet::new());
        while let Some((name, value)) = map.next_entry::<Name, T>()? {
            if !taken.insert(name.clone()) {
                return Err(A::Error::custom(format!("`{name}` is given twice")));
            }
            entries.push((name, value));
        }
        Ok(NamedMap(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["steps", "batch", "iter_size", "optimizer", "colorization"];
        assert_eq!(nearest("bacth", &known), Some("batch"));
        assert_eq!(nearest("itersize", &known), Some("iter_size"));
        assert_eq!(nearest("Optimizer", &known), Some("optimizer"));
        assert_eq!(nearest("color", &known), Some("colorization"));
        assert_eq!(nearest("lr", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn names_can_be_directories() {
        for good in ["conv1", "0", "a.b-c_d"] {
            assert!(Name::try_from(good.to_string()).is_ok(), "{good} was refused");
        }
        for bad in ["", "..", "-x", "a/b", "a b", "é"] {
            assert!(Name::try_from(bad.to_string()).is_err(), "{bad:?} was accepted");
        }
    }
}
