//! Photographs at the size at which a colorizer sees them, read one after the other.

use super::output::AnalysisOutput;
use crate::{
    colorize::{
        inputs::InputPicture,
        montage::{MIN_CHROMA, mean_chroma},
        picture::{InputSize, Options},
    },
    data::{decode::decode, source::RgbImage, transforms::resize_to},
    pretext::colorizer::Colorizer,
    progress::Progress,
    train::panel::RgbTile,
};
use anyhow::{Context, Result, ensure};
use std::{fs, path::Path};

/// Photographs shown in figures; all are measured.
pub const SHOWN: usize = 8;

/// A photograph as large as the network's input.
#[derive(Clone, Debug)]
pub struct Photograph {
    pub name: String,
    pub image: RgbImage,
}

impl Photograph {
    /// Reads a picture and scales it to the input of `colorizer`.
    ///
    /// # Errors
    /// A file that cannot be read or decoded; a picture that cannot be resized.
    pub fn read(path: &Path, colorizer: &Colorizer, size: InputSize) -> Result<Self> {
        let image = decode(&fs::read(path).context("cannot be read")?)?;
        let (height, width) = size.seen((image.height, image.width), colorizer.network().grid().multiple);
        let image = resize_to(&image, (width, height))?;
        Ok(Self { name: path.display().to_string(), image })
    }

    /// Whether it has color.
    pub fn is_colored(&self) -> bool {
        mean_chroma(&self.image) > MIN_CHROMA
    }
}

/// Options under which a photograph of that size is seen unscaled.
pub fn unscaled(options: &Options) -> Options {
    Options { size: InputSize::Full, ..options.clone() }
}

/// A picture as a tile.
pub fn tile(picture: &RgbImage) -> RgbTile {
    (picture.width, picture.height, picture.pixels.clone())
}

/// Calls `each` with every readable photograph in order; the others are listed in `output`.
///
/// # Errors
/// None is readable; those of `each`.
pub fn for_each(
    inputs: &[InputPicture],
    (colorizer, size): (&Colorizer, InputSize),
    output: &mut AnalysisOutput,
    mut each: impl FnMut(Photograph) -> Result<()>,
) -> Result<()> {
    let bar = Progress::new(inputs.len(), "analyzing");
    for input in inputs {
        match Photograph::read(&input.path, colorizer, size) {
            Ok(photograph) => {
                let name = photograph.name.clone();
                each(photograph).context(name)?;
            }
            Err(error) => output.failed.push((input.path.clone(), format!("{error:#}"))),
        }
        bar.add(1);
    }
    let first = output.failed.first().map(|(path, reason)| format!("{}: {reason}", path.display()));
    ensure!(
        output.failed.len() < inputs.len(),
        "no picture can be read; first, {}",
        first.unwrap_or_default()
    );
    Ok(())
}
