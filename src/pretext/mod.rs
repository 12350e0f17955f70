//! What a network can be trained on before its features are probed: colorization, the pretext task, and labels, the
//! supervised ceiling that it is compared with. Each implements [`crate::train::task::Task`].

pub mod color_prior;
pub mod colorization;
pub mod colorizer;
pub mod inputs;
pub mod supervised;

use serde::{Deserialize, Serialize};

/// A pretext task, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PretextSpec {
    Colorization(colorization::ColorizationSpec),
}
