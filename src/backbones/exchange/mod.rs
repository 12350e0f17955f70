//! Weights of the same networks under other people's names: reads any weight file into the names of our layer tables
//! and writes ours in theirs. Numbers change only where the networks differ in a convention (the scale of the input,
//! sums or means, a temperature), and every such change is noted.
//!
//! Known layouts: ours; `eccv16`, the PyTorch release of the colorizer; Caffe's, for the VGG and AlexNet colorizers, VGG-16
//! and CaffeNet; torchvision's and timm's VGG-16, AlexNet and ResNets; each also inside another network's file. The containers belong to [`crate::nn::weights`].

mod absent;
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

/// What a colorizer's file says of how its labels become a whole picture.
pub const UPSAMPLING: &str = "upsampling";

/// What the released colorizer multiplies its logits by before the softmax; 1 / 2.606 is its temperature.
const RELEASED_SHARPNESS: f64 = 2.606;

/// A weight file, translated.
#[derive(Clone, Debug)]
pub struct WeightFile {
    /// By the names of our layer tables, in memory layout, on the CPU.
    pub tensors: Named,
    /// The file's own, and for files of others `backbone` and, for colorizers, `colorization`: YAML as in a spec.
    pub metadata: BTreeMap<String, String>,
    /// What the file was written for.
    pub layout: Layout,
    /// What network it is; None for files of ours that hold something else.
    pub architecture: Option<Architecture>,
    pub format: Format,
    /// Sentences for the user: what was left out, what was scaled, what the network expects.
    pub notes: Vec<String>,
    /// Tensors that are called otherwise than in the file: (there, here).
    pub renamed: Vec<(String, String)>,
}

impl WeightFile {
    /// The network to load the tensors into: what a file of ours says in its header; for files of others `given`, since
    /// they do not say what their input was, and else what could be told from their tensors. None where nobody says.
    ///
    /// # Errors
    /// A header that is damaged.
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

/// What becomes of a file that lacks numbers which its layout always has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is damaged.
    Refused,
    /// Biases become 0, what else is missing stays so; all are named.
    Allowed,
}

/// Reads a weight file of any format and layout.
///
/// # Errors
/// What [`weights::contents`] reports; names that belong to no layout known; numbers that contradict the layout, or that
/// it always has and this file lacks.
pub fn open(path: &Path) -> Result<WeightFile> {
    open_with(path, Missing::Refused)
}

/// As [`open`], and says what is missing.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &Path, missing: Missing) -> Result<WeightFile> {
    let contents = weights::contents(path)?;
    translated(contents, missing).with_context(|| format!("cannot use the weights of {}", path.display()))
}

/// Layout and network of what a file holds, also where the network is a part of another, as [`open`] takes it.
///
/// # Errors
/// As [`recognize`]; several networks side by side.
pub fn recognized(contents: &Contents) -> Result<Option<(Layout, Architecture)>> {
    let Contents { format, tensors, metadata, .. } = contents;
    Ok(inside(*format, metadata, tensors.clone())?.known)
}

/// As [`open`], for a network that is to compute.
///
/// # Errors
/// As [`open`]; values that are not finite, and variances below 0, by tensor and channel.
pub fn open_finite(path: &Path) -> Result<WeightFile> {
    let file = open(path)?;
    check_finite(&file.tensors).with_context(|| path.display().to_string())?;
    Ok(file)
}

fn translated(contents: Contents, missing: Missing) -> Result<WeightFile> {
    let Contents { format, tensors, mut metadata, unread, notes: mut said } = contents;
    if let Some((name, why)) = unread.iter().find(|(name, _)| is_weight(name)) {
        bail!("`{name}` is not read: {why}")
    }
    said.extend(unread.iter().map(|(name, why)| format!("passed over: {name} ({why})")));
    let Inside { tensors, notes: wrapped, known } = inside(format, &metadata, tensors)?;
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

/// Whether a tensor of this name would be one that a network computes with.
fn is_weight(name: &str) -> bool {
    let part = name.rsplit('.').next().unwrap_or(name);
    ["weight", "bias", "running_mean", "running_var"].contains(&part)
}

/// The network of a file, under the names that its layout has.
struct Inside {
    tensors: Named,
    /// What was taken off.
    notes: Vec<String>,
    known: Option<(Layout, Architecture)>,
}

fn inside(format: Format, metadata: &BTreeMap<String, String>, tensors: Named) -> Result<Inside> {
    let fits = |tensors: &Named| matches!(recognize(format, tensors), Ok(Some(_)));
    let (tensors, notes) = match wrapped::unwrapped(&tensors, fits)? {
        Some((inside, notes)) => (inside, notes),
        None => (tensors, vec![]),
    };
    let known = if metadata.contains_key("backbone") {
        Architecture::of_ours(&tensors).map(|architecture| (Layout::Ours, architecture))
    } else {
        recognize(format, &tensors)?
    };
    let known = match known {
        // Others' conventions hold inside others' files.
        Some((Layout::Ours, architecture)) if !notes.is_empty() => Some((Layout::Caffe, architecture)),
        known => known,
    };
    Ok(Inside { tensors, notes, known })
}

/// Our own files may hold any network; those of others are of use only by name.
fn strange(
    format: Format,
    tensors: Named,
    metadata: BTreeMap<String, String>,
    notes: Vec<String>,
) -> Result<WeightFile> {
    if format != Format::Safetensors {
        let names: Vec<_> = tensors.keys().take(4).map(String::as_str).collect();
        bail!(
            "its {} tensors ({}, …) are named as those of no network known here: VGG or AlexNet colorizers, VGG-16 \
             and AlexNet classifiers of Caffe and torchvision, ResNets of torchvision, the colorizer eccv16",
            tensors.len(),
            names.join(", ")
        )
    }
    let (layout, renamed) = (Layout::Ours, vec![]);
    Ok(WeightFile { tensors, metadata, layout, architecture: None, format, notes, renamed })
}
