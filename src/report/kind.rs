//! What a `results.json` is of.

use serde::{Deserialize, Serialize};

/// What kind of stage the results are of; other kinds in a run directory are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    LinearProbe,
    ColorEvaluation,
    Transfer,
}
