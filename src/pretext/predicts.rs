//! What pretext tasks predict, as far as planning, training and weight files distinguish them.

use super::{
    PretextSpec, channel_target::ChannelTarget, channels::LabChannels, colorization::ColorizationSpec,
    colorizer::ColorizerSpec, colorizer_task::ColorizerTaskSpec, headed::HeadedTaskSpec,
    split_brain::SplitBrainSpec,
};
use crate::{backbones::BackboneSpec, yaml};
use anyhow::Result;

/// Header key of a weight file that states the network's input channels; absent: lightness.
pub const INPUT: &str = "input";

/// Header key of a weight file that holds a backbone up to this layer only: the pretext task trained none after it.
pub const THROUGH: &str = "through";

/// The task's target: color from lightness, on any backbone or on one colorizer's network; some channels from others; two
/// halves from one another; or what a head of its own says.
pub enum Predicts<'a> {
    Color(&'a ColorizationSpec),
    Colorizer(&'a dyn ColorizerTaskSpec),
    Other(ChannelTarget),
    Halves(SplitBrainSpec),
    Headed(&'a dyn HeadedTaskSpec),
}

impl<'a> Predicts<'a> {
    pub fn of(task: &'a PretextSpec) -> Self {
        match task {
            PretextSpec::Colorization(spec) => Self::Color(spec),
            PretextSpec::Siggraph17(spec) => Self::Colorizer(spec),
            PretextSpec::Dahl(spec) => Self::Colorizer(spec),
            PretextSpec::Iizuka(spec) => Self::Colorizer(spec),
            PretextSpec::Larsson(spec) => Self::Colorizer(spec),
            PretextSpec::CrossChannel(spec) => Self::Other((*spec).into()),
            PretextSpec::Autoencoder(spec) => Self::Other((*spec).into()),
            PretextSpec::SplitBrain(spec) => Self::Halves(*spec),
            PretextSpec::Rotation(spec) => Self::Headed(spec),
            PretextSpec::Jigsaw(spec) => Self::Headed(spec),
            PretextSpec::Context(spec) => Self::Headed(spec),
            PretextSpec::Bigan(spec) => Self::Headed(spec),
            PretextSpec::Inpainting(spec) => Self::Headed(spec),
            PretextSpec::Simclr(spec) => Self::Headed(spec),
        }
    }

    /// What the weight file of a run says in its header, beside its backbone, of the network that was trained on square
    /// pictures of `side` pixels.
    ///
    /// # Errors
    /// Pictures that are too small for the head.
    pub fn header(&self, backbone: &BackboneSpec, side: usize) -> Result<Vec<(String, String)>> {
        let input = |sees: LabChannels| Ok::<_, anyhow::Error>((INPUT.to_string(), yaml::write(&sees)?));
        Ok(match self {
            Self::Color(spec) => vec![(spec.name().to_string(), spec.section()?)],
            Self::Colorizer(spec) => vec![(spec.name().to_string(), spec.section()?)],
            Self::Other(target) => vec![input(target.sees())?],
            Self::Halves(_) => vec![input(LabChannels::Lab)?],
            Self::Headed(spec) => {
                let through = spec.task_head(side)?.trained_through(backbone)?;
                through.map(|layer| (THROUGH.to_string(), layer)).into_iter().collect()
            }
        })
    }
}
