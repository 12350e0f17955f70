//! What a network can be trained on before its features are probed: colorization, the pretext task; its relatives that
//! predict other channels; and labels, the supervised ceiling that they are compared with. Each implements [`crate::train::task::Task`].

pub mod channels;
pub mod color_prior;
mod label_grid; // where labels lie, and predictions with them
mod sums;

pub mod colorization;
pub mod colorizer;
pub mod cross_channel;
pub mod inputs;
pub mod supervised;

use serde::{Deserialize, Serialize};

/// A pretext task, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PretextSpec {
    Colorization(colorization::ColorizationSpec),
    /// One half of Lab from the other.
    CrossChannel(cross_channel::CrossChannelSpec),
    /// Lab from Lab.
    Autoencoder(cross_channel::AutoencoderSpec),
}
