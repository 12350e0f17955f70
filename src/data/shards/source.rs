//! The spec of shards.

use crate::{bounded::Count, spec_path::ShardPath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// WebDataset shards: tar files with pictures beside their labels. In YAML: `shards: { train: "imagenet/train-{000000..000146}.tar",
/// val: imagenet/val-000000.tar }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Shards")]
pub struct ShardsSource {
    /// Shards of the training pictures.
    pub train: ShardPath,
    /// Shards of the validation pictures; absent: there are none.
    #[serde(default)]
    pub val: Option<ShardPath>,
    /// Key of the label in `.json` members, used where a picture has no `.cls`.
    #[serde(default = "label_key")]
    pub label: String,
    /// Number of shards whose pictures are shuffled together in an epoch that takes the shards in random order; absent: all of
    /// this machine, 16 of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Count>,
}

fn label_key() -> String {
    "label".into()
}

impl ShardsSource {
    /// Shards with every other field at its default.
    pub fn new(train: impl Into<ShardPath>, val: Option<ShardPath>) -> Self {
        Self { train: train.into(), val, label: label_key(), mix: None }
    }

    /// The patterns of its splits.
    pub(in crate::data) fn paths(&self) -> Vec<&Path> {
        [&self.train].into_iter().chain(&self.val).map(ShardPath::as_path).collect()
    }

    /// Why a pattern names no shards, whatever there is.
    ///
    /// # Errors
    /// The key of the pattern, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let patterns = [("train", Some(&self.train)), ("val", self.val.as_ref())];
        for (key, pattern) in patterns.into_iter().filter_map(|(key, pattern)| Some((key, pattern?))) {
            super::pattern::expand(&pattern.to_string_lossy()).map_err(|reason| (key, reason))?;
        }
        Ok(())
    }
}
