//! Names in a spec: validation, suggestions for misspelled names, and ordered sections with user-chosen keys.

use crate::text::excerpt;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
    ser::SerializeMap,
};
use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData, ops::Deref};

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

/// Words of other tools, the key that means the same here, and its place in a spec.
const ELSEWHERE: [(&[&str], &str, &str); 19] = [
    (&["weight_decay", "wd", "l2_penalty"], "decay", "train.optimizer.NAME.decay"),
    (&["learning_rate", "base_lr", "init_lr", "initial_lr"], "lr", "train.optimizer.NAME.lr"),
    (&["num_epochs", "n_epochs", "max_epochs"], "epochs", "train.epochs"),
    (&["max_steps", "num_steps", "iterations", "max_iter", "num_iterations"], "steps", "train.steps"),
    (&["batch_size", "bs", "batchsize", "train_batch_size"], "batch", "train.batch"),
    (&["lr_schedule", "lr_scheduler", "scheduler", "lr_policy"], "schedule", "train.schedule"),
    (
        &["warmup_steps", "warmup_iters", "num_warmup_steps", "warmup_epochs"],
        "warmup",
        "train.schedule.warmup",
    ),
    (&["grad_clip", "clip_grad", "clip_norm", "max_grad_norm", "gradient_clip_val"], "clip", "train.clip"),
    (
        &["accumulate_grad_batches", "gradient_accumulation_steps", "accum_iter"],
        "iter_size",
        "train.iter_size",
    ),
    (
        &["eval_every", "val_every", "eval_interval", "val_check_interval"],
        "evaluate_every",
        "train.evaluate_every",
    ),
    (
        &["save_every", "save_interval", "snapshot", "ckpt_every"],
        "checkpoint_every",
        "train.checkpoint_every",
    ),
    (&["optim", "solver"], "optimizer", "train.optimizer"),
    (&["model", "arch", "architecture", "network", "encoder"], "backbone", "backbone"),
    (&["dataset", "datasets"], "data", "data"),
    (&["num_workers", "workers", "n_jobs"], "threads", "data.threads"),
    (&["image_size", "img_size", "input_size", "crop_size"], "crop", "data.crop"),
    (&["seed", "random_seed", "manual_seed"], "seeds", "seeds"),
    (&["pretrained", "checkpoint", "init_weights", "load_from"], "init_from", "init_from of a pretext stage"),
    (&["k", "n_neighbors", "num_neighbors"], "neighbors", "neighbors"),
];

/// What `name`, an unknown key, means in other tools: the key here if it is one of `known`, else its place.
pub(super) fn elsewhere(name: &str, known: &[&str]) -> Option<String> {
    let (_, key, place) =
        ELSEWHERE.iter().find(|(words, ..)| words.contains(&name.to_lowercase().as_str()))?;
    Some(match known.contains(key) {
        true => format!("it is called `{key}` here"),
        false => format!("its place is `{place}`"),
    })
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

/// A name that is also a directory name: letters, digits, `_`, `.`, `-`, starting with a letter or digit; at most 100
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9_.-]*$", "maxLength" = MAX_LENGTH))]
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

impl<T: JsonSchema> JsonSchema for NamedMap<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("NamedMapOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (name, value) = (generator.subschema_for::<Name>(), generator.subschema_for::<T>());
        json_schema!({ "type": "object", "propertyNames": name, "additionalProperties": value })
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
    fn words_of_other_tools_are_translated() {
        let optimizer = ["lr", "decay", "beta1"];
        let told = |name: &str| elsewhere(name, &optimizer).unwrap_or_default();
        assert_eq!(told("weight_decay"), "it is called `decay` here");
        assert_eq!(told("Learning_Rate"), "it is called `lr` here");
        assert_eq!(told("batch_size"), "its place is `train.batch`");
        assert_eq!(told("conv1"), "");
        let mut words: Vec<&str> = ELSEWHERE.iter().flat_map(|(words, ..)| words.iter().copied()).collect();
        let all = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), all, "each word once");
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
