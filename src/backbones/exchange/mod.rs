//! Weights of the same networks under other people's names: reads any weight file into the names of our layer tables
//! and writes ours in theirs. Numbers change only where the networks differ in a convention (the scale of the input,
//! sums or means, a temperature), and every such change is noted.
//!
//! Known layouts: ours; `eccv16`, the PyTorch release of the colorizer; Caffe's, for the VGG and AlexNet colorizers, VGG-16
//! and CaffeNet; torchvision's and timm's VGG-16 and AlexNet; each also inside another network's file. The containers belong to [`crate::nn::weights`].

mod describe;
mod export;
mod import;
mod layout;
mod names;
mod wrapped;

pub use export::save;
pub use layout::{Architecture, Layout, recognise};

use crate::{
    backbones::BackboneSpec,
    nn::weights::{self, Contents, Format, Named},
};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, path::Path};

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
            (Some(_), Some(given)) if self.layout != Layout::Ours => Ok(Some(given.clone())),
            (Some(yaml), _) => {
                weights::section(yaml).map(Some).context("the `backbone` in its header is damaged")
            }
            (None, given) => Ok(given.cloned()),
        }
    }
}

/// Reads a weight file of any format and layout.
///
/// # Errors
/// What [`weights::contents`] reports; names that belong to no layout known; numbers that contradict the layout.
pub fn open(path: &Path) -> Result<WeightFile> {
    let contents = weights::contents(path)?;
    translated(contents).with_context(|| format!("cannot use the weights of {}", path.display()))
}

fn translated(contents: Contents) -> Result<WeightFile> {
    let Contents { format, tensors, metadata } = contents;
    let (tensors, wrapped) = inside(format, tensors);
    let known = if metadata.contains_key("backbone") {
        Architecture::of_ours(&tensors).map(|architecture| (Layout::Ours, architecture))
    } else {
        recognise(format, &tensors)?
    };
    let known = match known {
        // Others' conventions hold inside others' files.
        Some((Layout::Ours, architecture)) if !wrapped.is_empty() => Some((Layout::Caffe, architecture)),
        known => known,
    };
    let Some((layout, architecture)) = known else {
        return strange(Contents { format, tensors, metadata });
    };
    let import::Imported { tensors, temperature, mut notes, renamed } =
        import::import(layout, architecture, tensors)?;
    notes.splice(0..0, wrapped);
    let mut metadata = metadata;
    if !metadata.contains_key("backbone") {
        describe::describe(layout, architecture, &tensors, temperature, &mut metadata, &mut notes)?;
    }
    Ok(WeightFile { tensors, metadata, layout, architecture: Some(architecture), format, notes, renamed })
}

/// The tensors of a network inside another file, where that makes them known; else as they are, without a note.
fn inside(format: Format, tensors: Named) -> (Named, Vec<String>) {
    match wrapped::unwrapped(&tensors) {
        Some((inside, notes)) if matches!(recognise(format, &inside), Ok(Some(_))) => (inside, notes),
        _ => (tensors, vec![]),
    }
}

/// Our own files may hold any network; those of others are of use only by name.
fn strange(contents: Contents) -> Result<WeightFile> {
    let Contents { format, tensors, metadata } = contents;
    if format != Format::Safetensors {
        let names: Vec<_> = tensors.keys().take(4).map(String::as_str).collect();
        bail!(
            "its {} tensors ({}, …) are named as those of no network known here: VGG or AlexNet colorizers, VGG-16 \
             and AlexNet classifiers of Caffe and torchvision, the colorizer eccv16",
            tensors.len(),
            names.join(", ")
        )
    }
    let (notes, renamed) = (vec![], vec![]);
    Ok(WeightFile { tensors, metadata, layout: Layout::Ours, architecture: None, format, notes, renamed })
}
