//! `sweep:`: variants of an experiment as values of some of its keys. Here a sweep is taken apart into points, each a list
//! of entries `key.path: value`; [`super::load`] makes experiments of them.

use crate::spec::{Diagnostic, MapEntry, SpecNode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// Maximum number of points; more is probably a typing error.
const MAX_POINTS: usize = 1000;

/// Variants of the experiment. Each point sets some keys as `--set` does (`colorization.train.batch` or the full path) and
/// is then what a file with these values would be: it has the same hashes, and stages that it does not change are run
/// once. Tables have a row for each point, named by the keys that differ. A `--set` of a swept key replaces its values;
/// any other `--set` applies to every point. `name`, `seeds`, `compute`, and `expected` are those of all points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SweepSpec {
    /// All combinations of the values of each key; those of the last key change first. In YAML: `grid: {
    /// colorization.train.batch: [32, 64], colorization.train.optimizer.adam.lr: [1.0e-3, 3.0e-4] }`.
    Grid(Filled<BTreeMap<String, Filled<Vec<Value>>>>),
    /// The points one by one. In YAML: `list: [ { colorization.train.batch: 32 }, { colorization.train.batch: 64,
    /// backbone.alexnet.width: 0.5 } ]`; `{}` is the experiment as it is.
    List(Filled<Vec<BTreeMap<String, Value>>>),
}

/// A list or section with at least one entry.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Filled<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Filled<T>
where
    for<'a> &'a T: IntoIterator,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let inner = T::deserialize(deserializer)?;
        let is_empty = (&inner).into_iter().next().is_none();
        if is_empty { Err(D::Error::custom("expected at least one entry")) } else { Ok(Self(inner)) }
    }
}

impl<T: JsonSchema> JsonSchema for Filled<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Filled{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let is_list = schema.get("type").is_some_and(|kind| kind == "array");
        schema.insert(if is_list { "minItems" } else { "minProperties" }.into(), 1.into());
        schema
    }
}

/// What one point sets.
pub type Assignments = Vec<MapEntry>;

/// The points of a section that is a [`SweepSpec`], without the keys that `is_pinned`.
///
/// # Errors
/// More than 1000 points.
pub fn points(sweep: &SpecNode, is_pinned: impl Fn(&str) -> bool) -> Result<Vec<Assignments>, Diagnostic> {
    let Some(form) = sweep.variant() else { return Ok(vec![vec![]]) };
    let is_kept = |entry: &&MapEntry| !is_pinned(&entry.key);
    let points = match form.key.as_str() {
        "grid" => grid(form.value.entries().iter().filter(is_kept)),
        _ => {
            let kept = |item: &SpecNode| item.entries().iter().filter(is_kept).cloned().collect();
            form.value.items().iter().map(kept).collect()
        }
    };
    if points.len() > MAX_POINTS {
        let fault = Diagnostic::new(format!("the sweep has more than {MAX_POINTS} points"));
        return Err(fault.or_at(form.key_at));
    }
    Ok(points)
}

/// All combinations of the values of keys, those of the last key changing first. Those beyond the maximum are not made.
fn grid<'a>(axes: impl Iterator<Item = &'a MapEntry>) -> Vec<Assignments> {
    axes.fold(vec![vec![]], |points, axis| {
        let with = |point: &Assignments, value: &SpecNode| {
            let entry = MapEntry { value: value.clone(), ..axis.clone() };
            point.iter().cloned().chain([entry]).collect()
        };
        let values = |point| axis.value.items().iter().map(move |value| with(point, value));
        points.iter().flat_map(values).take(MAX_POINTS + 1).collect()
    })
}
