//! Colorization with local and global features (Iizuka, Simo-Serra and Ishikawa 2016): training of the network
//! [`crate::backbones::iizuka`]. It regresses a and b and, from the global stream, classifies the picture, which needs
//! labels. The color loss trains the whole network, the classification the global stream and the low-level features.

use super::{
    colorizer::{AB_RANGE, Colorizer, ColorizerSpec, OutputKind},
    colorizer_task::{ColorizerCriterion, ColorizerTaskSpec, Draw, check_multiple},
    supervised::labels,
    two_streams,
};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        iizuka::{CLASS_HEAD, COLOR_HEAD},
    },
    bounded::NonNegative,
    color::lab,
    data::Batch,
    key_error::KeyError,
    nn::Mode,
    ops::{
        activation::sigmoid,
        losses::{cross_entropy, squared_distance},
    },
    train::task::StepOutput,
    yaml,
};
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the network's sides must be multiples of.
const MULTIPLE: usize = 8;

/// Colors from local and global features (Iizuka, Simo-Serra and Ishikawa 2016). In YAML: `iizuka: { classification:
/// 0 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IizukaTaskSpec {
    /// Weight of the cross-entropy of the classes beside the squared distance in colors; 0 trains without labels.
    pub classification: NonNegative,
}

impl Default for IizukaTaskSpec {
    fn default() -> Self {
        Self { classification: NonNegative::of(1.0 / 300.0) }
    }
}

impl IizukaTaskSpec {
    /// Whether it classifies.
    pub fn classifies(&self) -> bool {
        self.classification.get() > 0.0
    }
}

impl ColorizerSpec for IizukaTaskSpec {
    fn name(&self) -> &'static str {
        "iizuka"
    }

    fn section(&self) -> Result<String, serde_yaml::Error> {
        yaml::write(self)
    }

    /// Without a classifier, whose classes are those of the data.
    fn build(&self) -> Build {
        Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(0) }
    }

    fn output(&self, backbone: &BackboneSpec) -> OutputKind {
        OutputKind::UnitAb { side: backbone.crop() }
    }

    fn network(&self) -> Option<&'static str> {
        Some("iizuka")
    }
}

impl ColorizerTaskSpec for IizukaTaskSpec {
    fn losses(&self) -> &'static [&'static str] {
        if self.classifies() { &["loss", "l2", "class_loss"] } else { &["loss", "l2"] }
    }

    fn needs_labels(&self) -> bool {
        self.classifies()
    }

    fn check_crop(&self, crop: usize) -> Result<(), KeyError> {
        check_multiple(self.name(), MULTIPLE, crop)
    }

    fn criterion(&self) -> Box<dyn ColorizerCriterion> {
        Box::new(ColorsAndClasses { weight: self.classification.get() })
    }
}

/// Squared distance of colors from 0 to 1, averaged over pixels, and cross-entropy of the picture's class.
struct ColorsAndClasses {
    /// Of the cross-entropy.
    weight: f64,
}

impl ColorizerCriterion for ColorsAndClasses {
    fn score(&self, colorizer: &Colorizer, batch: &Batch, mode: &Mode, _: Draw) -> Result<StepOutput> {
        let ab = lab::rgb_to_lab(&batch.pixels)?.narrow(3, 1, 2)?.contiguous()?;
        let truth = ab.affine(0.5 / AB_RANGE, 0.5)?;
        let input = colorizer.network().input().read(&batch.pixels)?;
        let heads: &[&str] = if self.weight > 0.0 { &[COLOR_HEAD, CLASS_HEAD] } else { &[COLOR_HEAD] };
        let maps = two_streams::forward(colorizer.network(), colorizer.global_side(), &input, heads, mode)?;
        let pixels = truth.elem_count() / 2;
        let l2 = squared_distance(&sigmoid(&maps[0])?, &truth, None, pixels as f64)?;
        let Some(classes) = maps.get(1) else {
            let scalars = vec![("loss", l2.detach()), ("l2", l2.detach())];
            return Ok(StepOutput { loss: l2, scalars });
        };
        let classes = cross_entropy(&classes.flatten_from(1)?, labels(batch)?, None)?;
        let loss = (&l2 + (&classes * self.weight)?)?;
        let scalars = vec![("loss", loss.detach()), ("l2", l2.detach()), ("class_loss", classes.detach())];
        Ok(StepOutput { loss, scalars })
    }
}
