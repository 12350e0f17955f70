//! Pretext tasks: colorization, its relatives that predict other channels, the classification of views (rotation, jigsaw
//! puzzles, context), contrast, inpainting, adversarial codes, and the supervised baseline. Each implements
//! [`crate::train::task::Task`], those on views by [`view_classifier`].

pub mod augment; // random views for contrastive tasks
mod channel_meter; // of predictions of Lab channels
pub mod channel_target; // and what they are predictions of
pub mod channels;
pub mod color_prior;
mod label_grid; // label pixels and predictions at them
mod masks; // regions cut out of pictures
mod mean_meter;
mod permutations; // of the tiles of a jigsaw puzzle
pub mod views; // cut from pictures, and normalized

pub mod colorization;
pub mod colorizer;
pub mod cross_channel;
pub mod inputs;
pub mod split_brain;
pub mod supervised;

pub mod headed; // shared by the tasks below
pub mod view_classifier;

pub mod bigan;
pub mod context;
pub mod inpainting;
pub mod jigsaw;
pub mod rotation;
pub mod simclr;

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
    /// Both halves of Lab from one another, by the halves of one network.
    SplitBrain(split_brain::SplitBrainSpec),
    /// The turn of a picture.
    Rotation(rotation::RotationSpec),
    /// The order of shuffled tiles.
    Jigsaw(jigsaw::JigsawSpec),
    /// The position of one patch seen from another.
    Context(context::ContextSpec),
    /// Codes of pictures, against a generator's pictures of codes.
    Bigan(bigan::BiganSpec),
    /// What was cut out of a picture.
    Inpainting(inpainting::InpaintingSpec),
    /// Two views of a picture among those of others.
    Simclr(simclr::SimclrSpec),
}
