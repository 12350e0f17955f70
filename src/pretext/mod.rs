//! Pretext tasks: colorization, the training of other colorizers, its relatives that predict other channels, the
//! classification of views (rotation, jigsaw puzzles, context), contrast, inpainting, adversarial codes, and the supervised
//! baseline. Each implements [`crate::train::task::Task`], those on views by [`view_classifier`].

pub mod augment; // random views for contrastive tasks
mod channel_meter; // of predictions of Lab channels
pub mod channel_target; // and what they are predictions of
pub mod channels;
mod color_meter; // what colorizers are measured by
pub mod color_prior;
pub mod hints; // of colors, for colorizers that take them
mod label_grid; // label pixels and predictions at them
mod masks; // regions cut out of pictures
mod mean_meter;
mod permutations; // of the tiles of a jigsaw puzzle
pub mod views; // cut from pictures, and normalized

mod two_streams; // passes of a network with a global stream

pub mod colorizer; // a network that predicts color

pub mod colorization;
pub mod colorizer_task; // shared by the tasks on one colorizer's network
mod columns; // layers of a network at single pixels
pub mod dahl;
pub mod iizuka;
pub mod larsson;
pub mod siggraph17;

pub mod colorizer_file; // colorizers in weight files
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

pub mod predicts; // what the tasks predict
pub mod trained_file; // their backbones in weight files and checkpoints

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a network learns without labels, by name. In YAML: `task: rotation` or `task: { colorization: { grid: 10 }
/// }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Pretext task")]
pub enum PretextSpec {
    /// Colors from lightness.
    Colorization(colorization::ColorizationSpec),
    /// Colors with hints, on the network of the same name.
    Siggraph17(siggraph17::Siggraph17TaskSpec),
    /// U and V of YUV by a residual encoder, on the network of the same name.
    Dahl(dahl::DahlTaskSpec),
    /// Colors from local and global features, on the network of the same name.
    Iizuka(iizuka::IizukaTaskSpec),
    /// Hue and chroma from hypercolumns, on the network of the same name.
    Larsson(larsson::LarssonTaskSpec),
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
