//! Weights of the same networks under other people's names: reads any weight file into the names of our layer tables
//! and writes ours in theirs. Numbers change only where the networks differ in a convention (the scale of the input,
//! sums or means, a temperature), and every such change is noted.
//!
//! Known layouts: ours; `eccv16`, the PyTorch release of the colorizer; Caffe's, for the VGG and AlexNet colorizers, VGG-16
//! and CaffeNet; torchvision's VGG-16 and AlexNet. The containers belong to [`crate::nn::weights`].

mod describe;
mod export;
mod import;
mod layout;
mod names;

pub use export::save;
pub use layout::{Architecture, Layout, recognise};

use crate::nn::weights::{self, Contents, Format, Named};
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
    let known = if metadata.contains_key("backbone") {
        Architecture::of_ours(&tensors).map(|architecture| (Layout::Ours, architecture))
    } else {
        recognise(format, &tensors)?
    };
    let Some((layout, architecture)) = known else {
        return strange(Contents { format, tensors, metadata });
    };
    let import::Imported { tensors, temperature, mut notes, renamed } =
        import::import(layout, architecture, tensors)?;
    let mut metadata = metadata;
    if !metadata.contains_key("backbone") {
        describe::describe(layout, architecture, &tensors, temperature, &mut metadata, &mut notes)?;
    }
    Ok(WeightFile { tensors, metadata, layout, architecture: Some(architecture), format, notes, renamed })
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
