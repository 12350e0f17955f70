//! A first look at a folder of pictures: how many, of which classes and sizes, and how many of them are gray. For a folder
//! that nobody has written a spec for; `verify` reads every picture of a known one.

use super::{
    dataset::{Dataset, RgbImage},
    error::DataError,
    folder::Files,
    scenes,
    verify::{is_gray, spread},
};
use rayon::prelude::*;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Names of folders with the pictures of a split.
const TRAIN: [&str; 2] = ["train", "training"];
const VAL: [&str; 4] = ["val", "valid", "validation", "test"];
/// Number of pictures that are decoded, and the time after which no other is begun.
const SAMPLE: usize = 64;
const LONGEST: Duration = Duration::from_secs(4);

/// What a look at a folder found.
#[derive(Debug)]
pub struct Survey {
    /// Folder of the training pictures.
    pub train: PathBuf,
    /// Folder of the validation pictures, if there is one.
    pub val: Option<PathBuf>,
    /// Number of training pictures.
    pub pictures: usize,
    /// Number of validation pictures in a folder of their own.
    pub val_pictures: usize,
    /// Class names; empty: unlabeled.
    pub classes: Vec<String>,
    /// Pictures of the smallest class.
    pub smallest_class: usize,
    /// Smallest, median and largest short side of the decoded pictures, in pixels.
    pub short_side: [usize; 3],
    /// Share of the decoded pictures in which every pixel is gray.
    pub gray: f64,
    /// Number of decoded pictures.
    pub decoded: usize,
    /// The first picture that cannot be decoded, with the reason.
    pub fault: Option<(String, String)>,
    /// Why there are no classes, where something like classes is there.
    pub why_unlabeled: Option<String>,
    /// Some training pictures that can be decoded, spread over the folder.
    pub sample: Vec<PathBuf>,
}

impl Survey {
    /// The built-in scenes, as a folder of them would be seen; there are no files to look at.
    pub fn of_scenes(pictures: usize, val_pictures: usize, side: usize) -> Self {
        let classes = scenes::CLASSES.map(String::from).to_vec();
        Self {
            train: PathBuf::new(),
            val: None,
            pictures,
            val_pictures,
            smallest_class: pictures / classes.len(),
            classes,
            short_side: [side; 3],
            gray: 0.0,
            decoded: 0,
            fault: None,
            why_unlabeled: None,
            sample: vec![],
        }
    }

    /// Looks at a folder, or at its subfolders `train` and `val`.
    ///
    /// # Errors
    /// Not a folder; a folder without pictures; none of the pictures that were tried can be decoded.
    pub fn of(folder: &Path) -> Result<Self, DataError> {
        let below = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|path| path.is_dir());
        let (train, val) = match below(&TRAIN) {
            Some(train) => (train, below(&VAL)),
            None => (folder.to_path_buf(), None),
        };
        let files = Files::open(&train)?;
        let val_pictures = val.as_deref().map(Files::open).transpose()?.map_or(0, |files| files.len());
        let step = files.len().div_ceil(SAMPLE);
        let sampled: Vec<usize> = (0..files.len()).step_by(step).collect();
        let began = Instant::now();
        let looked: Vec<(usize, Result<RgbImage, DataError>)> = (sampled.into_par_iter())
            .filter(|_| began.elapsed() < LONGEST)
            .map(|index| (index, files.image(index)))
            .collect();
        let found: Vec<&RgbImage> = looked.iter().filter_map(|(_, image)| image.as_ref().ok()).collect();
        let fault = looked.iter().find_map(|(_, image)| match image {
            Err(DataError::Image { name, reason }) => Some((name.clone(), reason.clone())),
            _ => None,
        });
        if let (true, Some((name, reason))) = (found.is_empty(), &fault) {
            return Err(DataError::Image { name: name.clone(), reason: reason.clone() });
        }
        let gray = found.iter().filter(|image| is_gray(image)).count();
        Ok(Self {
            pictures: files.len(),
            val_pictures,
            classes: files.classes().to_vec(),
            smallest_class: smallest_class(&files),
            short_side: spread(found.iter().map(|image| image.width.min(image.height)).collect()),
            gray: gray as f64 / found.len().max(1) as f64,
            decoded: found.len(),
            fault,
            sample: (looked.iter().filter(|(_, image)| image.is_ok()))
                .map(|(index, _)| train.join(&files.paths()[*index]))
                .collect(),
            why_unlabeled: files.why_unlabeled().map(String::from),
            train,
            val,
        })
    }
}

fn smallest_class(files: &Files) -> usize {
    let mut counts = vec![0; files.classes().len()];
    for label in (0..files.len()).filter_map(|index| files.label(index)) {
        counts[label as usize] += 1;
    }
    counts.into_iter().min().unwrap_or_default()
}
