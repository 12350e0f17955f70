//! Pretext tasks: colorization, its relatives that predict other channels, and the supervised baseline. Each
//! implements [`crate::train::task::Task`].

pub mod channels;
pub mod color_prior;
mod label_grid; // label pixels and predictions at them
mod mean_meter;

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
