//! Sources of predicted colors: pictures in a folder, no color, colors of random pictures.

use super::MethodSpec;
use crate::{
    color::lab::{convert, lab_to_srgb8},
    data::{
        error::DataError,
        folder::Files,
        source::{Dataset, RgbImage},
        transforms::resize_to,
    },
    report::LeftOut,
    rng::Rng,
};
use anyhow::{Result, bail};
use rand::RngExt;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// A picture and its Lab values.
#[derive(Clone, Debug)]
pub struct LabPicture {
    pub image: RgbImage,
    /// One per pixel, in row order.
    pub lab: Vec<[f32; 3]>,
}

impl LabPicture {
    pub fn of(image: RgbImage) -> Self {
        let pixels = image.pixels.as_chunks::<3>().0;
        let mut lab = vec![[0f32; 3]; pixels.len()];
        convert(pixels, &mut lab);
        Self { image, lab }
    }

    pub fn ab(&self) -> Vec<[f32; 2]> {
        self.lab.iter().map(|[_, a, b]| [*a, *b]).collect()
    }
}

/// Prediction of a method for one picture.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// One per pixel, in row order; not clipped to the gamut.
    pub ab: Vec<[f32; 2]>,
    /// Packed RGB bytes, clipped.
    pub pixels: Vec<u8>,
}

/// The Gray baseline: the lightness of `truth`, without color.
pub fn gray(truth: &LabPicture) -> Prediction {
    with_lightness(truth, vec![[0.0; 2]; truth.lab.len()])
}

/// Combines the predicted `ab` with the lightness of `truth`. Excess pixels of the longer one are dropped.
pub fn with_lightness(truth: &LabPicture, ab: Vec<[f32; 2]>) -> Prediction {
    let colored = truth.lab.iter().zip(&ab);
    let pixels = colored.flat_map(|([lightness, ..], [a, b])| lab_to_srgb8([*lightness, *a, *b]).0).collect();
    Prediction { ab, pixels }
}

/// An opened method.
#[derive(Debug)]
pub enum ScoredMethod {
    Folder {
        name: String,
        files: Files,
        /// For each true picture, the index of its counterpart in `files`.
        matches: Vec<Option<usize>>,
    },
    Gray,
    Random {
        files: Files,
        streams: Rng,
        /// Whether `files` is the truth itself, so that no picture may get its own colors.
        is_truth: bool,
    },
}

impl ScoredMethod {
    /// Opens `spec` for the pictures of `truth` in the folder `root`. Pictures without a counterpart are added to
    /// `left_out`.
    ///
    /// Errors: a folder that cannot be read, has no pictures, or has none whose name matches.
    pub fn open(
        spec: &MethodSpec,
        root: &Path,
        truth: &Files,
        seed: u64,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Self> {
        match spec {
            MethodSpec::Gray => Ok(Self::Gray),
            MethodSpec::Random(dir) => {
                let is_truth =
                    dir.canonicalize().ok().is_some_and(|dir| root.canonicalize().ok() == Some(dir));
                let streams = Rng::new(seed).split("random colors");
                Ok(Self::Random { files: Files::open(dir)?, streams, is_truth })
            }
            MethodSpec::Folder { name, dir } => open_folder(name, dir, root, truth, left_out),
        }
    }

    /// Name of the row.
    pub fn name(&self) -> &str {
        match self {
            Self::Folder { name, .. } => name,
            Self::Gray => "Gray",
            Self::Random { .. } => "Random",
        }
    }

    /// The prediction for true picture `index`; None if the folder has no counterpart, which was reported when it was
    /// opened.
    ///
    /// Errors: an unreadable picture; a picture of another size.
    pub fn predict(&self, index: usize, truth: &LabPicture) -> Result<Option<Prediction>, LeftOut> {
        match self {
            Self::Gray => Ok(Some(gray(truth))),
            Self::Folder { files, matches, .. } => {
                let Some(place) = matches.get(index).copied().flatten() else { return Ok(None) };
                let image = self.read(files, place)?;
                if (image.width, image.height) != (truth.image.width, truth.image.height) {
                    let [is, wanted] =
                        [&image, &truth.image].map(|image| format!("{}×{}", image.width, image.height));
                    return Err(self.left_out(files.name(place), format!("{is}, but the truth is {wanted}")));
                }
                let picture = LabPicture::of(image);
                Ok(Some(Prediction { ab: picture.ab(), pixels: picture.image.pixels }))
            }
            Self::Random { files, streams, is_truth } => {
                let place = draw(streams, index, files.len(), *is_truth);
                let image = self.read(files, place)?;
                let size = (truth.image.width, truth.image.height);
                let image =
                    resize_to(&image, size).map_err(|e| self.left_out(files.name(place), e.to_string()))?;
                Ok(Some(with_lightness(truth, LabPicture::of(image).ab())))
            }
        }
    }

    fn read(&self, files: &Files, place: usize) -> Result<RgbImage, LeftOut> {
        files.image(place).map_err(|error| self.left_out(files.name(place), reason(error)))
    }

    fn left_out(&self, path: String, reason: String) -> LeftOut {
        LeftOut { method: Some(self.name().to_owned()), path, reason }
    }
}

/// The reason of an image error, without its path.
pub(super) fn reason(error: DataError) -> String {
    match error {
        DataError::Image { reason, .. } => reason,
        other => other.to_string(),
    }
}

/// A random index below `len` (at least 1); with `is_truth`, different from `index` if possible.
fn draw(streams: &Rng, index: usize, len: usize, is_truth: bool) -> usize {
    let mut generator = streams.at(0, index as u64);
    if !is_truth || len < 2 {
        return generator.random_range(0..len);
    }
    let other = generator.random_range(0..len - 1);
    other + usize::from(other >= index)
}

fn open_folder(
    name: &str,
    dir: &Path,
    root: &Path,
    truth: &Files,
    left_out: &mut Vec<LeftOut>,
) -> Result<ScoredMethod> {
    let files = Files::open(dir)?;
    let mut lost = |path: PathBuf, reason: String| {
        left_out.push(LeftOut { method: Some(name.into()), path: path.display().to_string(), reason });
    };
    let mut by_stem = HashMap::new();
    for (place, path) in files.paths().iter().enumerate() {
        if let Some(first) = by_stem.insert(path.with_extension(""), place) {
            // Keep the first of the two.
            by_stem.insert(path.with_extension(""), first);
            lost(dir.join(path), format!("{} has the same name", dir.join(&files.paths()[first]).display()));
        }
    }
    let stems: Vec<PathBuf> = truth.paths().iter().map(|path| path.with_extension("")).collect();
    let matches: Vec<Option<usize>> = stems.iter().map(|stem| by_stem.remove(stem)).collect();
    if matches.iter().all(Option::is_none) {
        bail!("{}", no_match(dir, root, &files, truth));
    }
    for (stem, _) in stems.iter().zip(&matches).filter(|(_, place)| place.is_none()) {
        lost(root.join(stem), format!("no picture of this name in {}", dir.display()));
    }
    let mut unasked: Vec<usize> = by_stem.into_values().collect();
    unasked.sort_unstable();
    for path in unasked.into_iter().map(|place| &files.paths()[place]) {
        lost(dir.join(path), format!("no picture of this name in {}", root.display()));
    }
    Ok(ScoredMethod::Folder { name: name.into(), files, matches })
}

fn no_match(dir: &Path, root: &Path, files: &Files, truth: &Files) -> String {
    let first = |files: &Files| files.paths().first().map(|p| p.display().to_string()).unwrap_or_default();
    format!(
        "no picture in {} is called like one in {}: looked for the same path below the folder, whatever the ending \
         ({} pictures there, first {}; {} here, first {}); rename one side or give another folder",
        dir.display(),
        root.display(),
        truth.len(),
        first(truth),
        files.len(),
        first(files)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_draws_reach_every_other_picture() {
        let streams = Rng::new(2).split("x");
        let drawn: Vec<usize> = (0..400).map(|index| draw(&streams, index, 4, false)).collect();
        assert!((0..4).all(|place| drawn.contains(&place)) && drawn.iter().all(|place| *place < 4));
        for index in 0..4 {
            for seed in 0..50 {
                let place = draw(&Rng::new(seed), index, 4, true);
                assert!(place < 4 && place != index);
            }
        }
        assert_eq!(draw(&streams, 0, 1, true), 0);
        assert_eq!(draw(&streams, 7, 4, false), drawn[7]);
    }

    #[test]
    fn no_color_keeps_the_lightness() {
        let image = RgbImage { width: 2, height: 1, pixels: vec![200, 30, 60, 77, 77, 77] };
        let truth = LabPicture::of(image);
        let prediction = gray(&truth);
        assert_eq!(prediction.ab, [[0.0; 2]; 2]);
        let again = LabPicture::of(RgbImage { width: 2, height: 1, pixels: prediction.pixels });
        assert_eq!(&again.image.pixels[3..], [77; 3]);
        assert!((again.lab[0][0] - truth.lab[0][0]).abs() < 0.3 && again.lab[0][1].abs() < 0.02);
    }
}
