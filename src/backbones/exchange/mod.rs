//! Weights of the same networks in third-party layouts. Reads any weight file into the names of our layer tables, and
//! writes ours in third-party layouts. Values change only where conventions differ (the scale of the input, sums or
//! means, a temperature), and every such change is noted.
//!
//! Known layouts: ours; `eccv16` and `siggraph17`, the PyTorch releases of the colorizers; Caffe's, for the VGG and AlexNet colorizers,
//! that with hints, VGG-16 and CaffeNet; torchvision's and timm's VGG-16, AlexNet and ResNets. Each is also recognized as a part of
//! another network's file. File formats are [`crate::nn::weights`].

mod absent;
mod caffe_hints;
mod describe;
mod export;
mod import;
mod layout;
mod names;
mod wrapped;

pub use export::save;
pub use layout::{Architecture, Layout, recognize};

use crate::{
    backbones::{BackboneSpec, finite::check_finite, input::Input},
    nn::weights::{self, Contents, Format, Named},
};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, path::Path};

/// Metadata key of a colorizer: how labels are upsampled to a whole picture.
pub const UPSAMPLING: &str = "upsampling";

/// Metadata key of a file that this program wrote in a third-party layout, with that layout's name.
const LAYOUT: &str = "layout";

/// Factor on the released colorizer's logits before the softmax; 1 / 2.606 is its temperature.
const RELEASED_SHARPNESS: f64 = 2.606;

/// A weight file, converted to our names.
#[derive(Clone, Debug)]
pub struct WeightFile {
    /// By the names of our layer tables, in our memory layout, on the CPU.
    pub tensors: Named,
    /// The file's own metadata; third-party files get `backbone` and, for colorizers, `colorization`: YAML as in a
    /// spec.
    pub metadata: BTreeMap<String, String>,
    /// Layout of the file.
    pub layout: Layout,
    /// Recognized network; None for our own files of another network.
    pub architecture: Option<Architecture>,
    pub format: Format,
    /// Notes for the user: what was left out, what was rescaled, what input the network expects.
    pub notes: Vec<String>,
    /// Renamed tensors: (name in the file, our name).
    pub renamed: Vec<(String, String)>,
}

impl WeightFile {
    /// The network to load the tensors into. Our own files specify it in their header. For third-party files it is
    /// `given`, since they do not specify their input, or else the network derived from their tensors. None if all are
    /// absent.
    ///
    /// # Errors
    /// A damaged header.
    pub fn backbone(&self, given: Option<&BackboneSpec>) -> Result<Option<BackboneSpec>> {
        match (self.metadata.get("backbone"), given) {
            (Some(yaml), Some(given)) if self.layout != Layout::Ours => {
                let told: BackboneSpec = weights::section(yaml)?;
                if told.input() != given.input() {
                    let [told, given] = [told.input(), given.input()].map(Input::describe);
                    tracing::warn!(
                        "the file's network expects {told}; its `backbone:` in the spec says {given}"
                    );
                }
                Ok(Some(given.clone()))
            }
            (Some(yaml), _) => {
                weights::section(yaml).map(Some).context("the `backbone` in its header is damaged")
            }
            (None, given) => Ok(given.cloned()),
        }
    }
}

/// Policy for files that lack tensors which their layout always contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The file is rejected as damaged.
    Refused,
    /// Missing biases become 0, other tensors stay missing; all are listed.
    Allowed,
}

/// Reads a weight file of any format and layout.
///
/// # Errors
/// Errors of [`weights::contents`]; names of no known layout; shapes that contradict the layout; tensors that the
/// layout always contains and this file lacks.
pub fn open(path: &Path) -> Result<WeightFile> {
    open_with(path, Missing::Refused)
}

/// As [`open`], with a policy for missing tensors.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &Path, missing: Missing) -> Result<WeightFile> {
    let contents = weights::contents(path)?;
    translated(contents, missing).with_context(|| format!("cannot use the weights of {}", path.display()))
}

/// Layout and network of a file's contents, also for a network inside another, as in [`open`].
///
/// # Errors
/// As [`recognize`]; several networks in one file.
pub fn recognized(contents: &Contents) -> Result<Option<(Layout, Architecture)>> {
    let Contents { format, tensors, metadata, .. } = contents;
    Ok(inside(*format, metadata, tensors.clone())?.known)
}

/// As [`open`], for weights used in computation.
///
/// # Errors
/// As [`open`]; values that are not finite and variances below 0, by tensor and channel.
pub fn open_finite(path: &Path) -> Result<WeightFile> {
    let file = open(path)?;
    check_finite(&file.tensors).with_context(|| path.display().to_string())?;
    Ok(file)
}

fn translated(contents: Contents, missing: Missing) -> Result<WeightFile> {
    let Contents { format, tensors, mut metadata, unread, notes: mut said } = contents;
    if let Some((name, why)) = unread.iter().find(|(name, _)| is_weight(name)) {
        bail!("cannot read `{name}`: {why}")
    }
    said.extend(unread.iter().map(|(name, why)| format!("skipped: {name} ({why})")));
    let Inside { tensors, notes: wrapped, known } = inside(format, &metadata, tensors)?;
    metadata.remove(LAYOUT);
    let Some((layout, architecture)) = known else { return strange(format, tensors, metadata, said) };
    let import::Imported { tensors, temperature, notes, renamed, .. } =
        import::import((format, layout, architecture), tensors, missing)?;
    tensors.iter().filter(|(name, _)| is_weight(name)).try_for_each(|(name, t)| weights::real(name, t))?;
    let mut notes = [said, wrapped, notes].concat();
    if !metadata.contains_key("backbone") {
        describe::describe(layout, architecture, &tensors, temperature, &mut metadata, &mut notes)?;
    }
    Ok(WeightFile { tensors, metadata, layout, architecture: Some(architecture), format, notes, renamed })
}

/// Whether a tensor of this name is used in a network's computation.
fn is_weight(name: &str) -> bool {
    let part = name.rsplit('.').next().unwrap_or(name);
    ["weight", "bias", "running_mean", "running_var"].contains(&part)
}

/// The network of a file, under its layout's names.
struct Inside {
    tensors: Named,
    /// Notes on removed prefixes.
    notes: Vec<String>,
    known: Option<(Layout, Architecture)>,
}

fn inside(format: Format, metadata: &BTreeMap<String, String>, tensors: Named) -> Result<Inside> {
    // The header of our own files describes all of their tensors.
    let is_ours = metadata.contains_key("backbone") && !metadata.contains_key(LAYOUT);
    let fits = |tensors: &Named| matches!(recognize(format, tensors), Ok(Some(_)));
    let unwrapped = if is_ours { None } else { wrapped::unwrapped(&tensors, fits)? };
    let (tensors, notes) = unwrapped.unwrap_or((tensors, vec![]));
    let known = if is_ours {
        Architecture::of_ours(&tensors).map(|architecture| (Layout::Ours, architecture))
    } else {
        recognize(format, &tensors)?
    };
    let known = match known {
        // Inside a third-party file, third-party conventions apply.
        Some((Layout::Ours, architecture)) if !notes.is_empty() => Some((Layout::Caffe, architecture)),
        known => known,
    };
    Ok(Inside { tensors, notes, known })
}

/// Our own files, which have a header or are safetensors, may hold any network; third-party files must have known names.
fn strange(
    format: Format,
    tensors: Named,
    metadata: BTreeMap<String, String>,
    notes: Vec<String>,
) -> Result<WeightFile> {
    if format != Format::Safetensors && !metadata.contains_key("backbone") {
        let names: Vec<_> = tensors.keys().take(4).map(String::as_str).collect();
        bail!(
            "its {} tensors ({}, …) match no known network: VGG or AlexNet colorizers, VGG-16 \
             and AlexNet classifiers of Caffe and torchvision, ResNets of torchvision, the colorizers eccv16 and siggraph17",
            tensors.len(),
            names.join(", ")
        )
    }
    let (layout, renamed) = (Layout::Ours, vec![]);
    Ok(WeightFile { tensors, metadata, layout, architecture: None, format, notes, renamed })
}
