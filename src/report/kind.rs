//! Kinds of `results.json`.

use serde::{Deserialize, Serialize};

/// Stage kind of a results file. Other kinds in a run directory are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultKind {
    LinearProbe,
    Supervised,
    ColorEvaluation,
    Transfer,
    Monitor,
}
