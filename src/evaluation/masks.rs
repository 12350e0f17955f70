//! Scores predicted masks against true ones, file by file: two folders of PNGs in VOC's palette with matching names.

use super::identifiers;
use crate::{
    data::{
        annotated::Mask,
        error::DataError,
        voc::{
            CLASSES,
            devkit::{MASKS, of as file_of},
            mask,
            palette::Palette,
        },
    },
    metrics::segmentation::{ConfusionMatrix, SegmentationScores},
    text::counted,
};
use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

const INDICES: &str = "if the palette indices of all masks are the classes, use --indices";

/// Inputs of the comparison.
#[derive(Clone, Debug)]
pub struct MaskFiles {
    /// Folder of the true masks; 255 is void.
    pub truth: PathBuf,
    /// Folder of the predicted masks.
    pub predicted: PathBuf,
    /// Text file with the pictures' identifiers, the first word of each line; absent: all masks of both folders.
    pub set: Option<PathBuf>,
    /// Number of classes including the background.
    pub classes: usize,
    /// Palette of the masks in both folders.
    pub palette: Palette,
}

/// Scores with the names of the classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaskScores {
    pub images: usize,
    /// Number of labeled (non-void) pixels.
    pub pixels: u64,
    pub classes: Vec<String>,
    #[serde(flatten)]
    pub scores: SegmentationScores,
}

impl MaskFiles {
    /// Counts all pixels of all masks. `progress` advances by one per picture.
    ///
    /// # Errors
    /// Folders that cannot be read or have no masks; a mask without its counterpart, of a different size, unreadable,
    /// or with invalid labels. Each error names its file.
    pub fn evaluate(&self, progress: &ProgressBar) -> Result<MaskScores> {
        let ids = self.ids()?;
        progress.set_length(ids.len() as u64);
        let count = |id: &String| {
            let confusion = self.count(id);
            progress.inc(1);
            confusion
        };
        // Each picture has its own matrix. Integer sums do not depend on the order of the merge.
        let empty = || ConfusionMatrix::new(self.classes);
        let sum = ids.par_iter().map(count).try_reduce_with(|mut a, b| {
            a.merge(&b)?;
            Ok(a)
        });
        let confusion = sum.unwrap_or_else(|| Ok(empty()?))?;
        progress.finish_and_clear();
        Ok(MaskScores {
            images: ids.len(),
            pixels: confusion.pixels(),
            classes: (0..self.classes).map(|class| name(class, self.classes)).collect(),
            scores: confusion.scores(),
        })
    }

    fn ids(&self) -> Result<Vec<String>> {
        if let Some(set) = &self.set {
            return identifiers::read(set);
        }
        let (truth, predicted) = (masks(&self.truth)?, masks(&self.predicted)?);
        let hint = "give --set FILE to compare some of the pictures";
        if let Some(id) = truth.difference(&predicted).next() {
            bail!(
                "{}: no prediction `{id}.png`, but there is a true mask of this name; {hint}",
                self.predicted.display()
            );
        }
        if let Some(id) = predicted.difference(&truth).next() {
            bail!(
                "{}: no true mask `{id}.png`, but there is a prediction of this name; {hint}",
                self.truth.display()
            );
        }
        Ok(truth.into_iter().collect())
    }

    fn count(&self, id: &str) -> Result<ConfusionMatrix> {
        let [truth_path, predicted_path] =
            [&self.truth, &self.predicted].map(|folder| file_of(folder, id, &MASKS));
        let (truth, predicted) = (self.read(&truth_path)?, self.read(&predicted_path)?.mask);
        if let Some(reason) = truth.suspicion(None) {
            let hint = truth.narrow.map_or_else(String::new, |_| format!("; {INDICES}"));
            bail!("{}: {reason}{hint}", truth_path.display());
        }
        let truth = truth.mask;
        let size = |mask: &Mask| (mask.width, mask.height);
        ensure!(
            size(&truth) == size(&predicted),
            "{}: {}×{} pixels, but the true mask {} has {}×{}; predictions are compared pixel by pixel, unscaled",
            predicted_path.display(),
            predicted.width,
            predicted.height,
            truth_path.display(),
            truth.width,
            truth.height
        );
        let mut confusion = ConfusionMatrix::new(self.classes)?;
        confusion
            .add(&truth.labels, &predicted.labels)
            .with_context(|| format!("{} against {}", predicted_path.display(), truth_path.display()))?;
        Ok(confusion)
    }

    fn read(&self, path: &Path) -> Result<mask::DecodedMask> {
        mask::read(path, &self.palette).map_err(|error| match error {
            DataError::Image { .. } if self.palette.is_voc() => anyhow::anyhow!("{error}; {INDICES}"),
            other => other.into(),
        })
    }
}

/// Stems of the PNGs in a folder.
fn masks(folder: &Path) -> Result<BTreeSet<String>> {
    let unreadable = || format!("{}: cannot be read", folder.display());
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if let (Some(stem), true) =
            (path.file_stem(), path.extension().is_some_and(|e| MASKS.iter().any(|ending| e == *ending)))
        {
            found.insert(stem.to_string_lossy().into_owned());
        }
    }
    ensure!(!found.is_empty(), "{}: contains no masks; expected palette PNGs (.png)", folder.display());
    Ok(found)
}

/// VOC class names if the number of classes is VOC's.
fn name(class: usize, classes: usize) -> String {
    match class.checked_sub(1) {
        None => "background".into(),
        Some(object) if classes == CLASSES.len() + 1 => CLASSES[object].into(),
        Some(_) => format!("class {class}"),
    }
}

/// One row per class and the four metrics, in percent.
impl fmt::Display for MaskScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentationScores { pixel_accuracy, mean_accuracy, mean_iu, frequency_weighted_iu, class_iu } =
            &self.scores;
        let images = counted(self.images, "image");
        writeln!(f, "Segmentation of {images}, {} pixels, in %", self.pixels)?;
        let width = self.classes.iter().map(|class| class.chars().count()).max().unwrap_or(0).max(21);
        writeln!(f, "{:width$}      IU", "class")?;
        for (class, iu) in self.classes.iter().zip(class_iu) {
            writeln!(f, "{class:width$}  {:>6}", percent(*iu))?;
        }
        let classes = counted(class_iu.iter().flatten().count(), "class");
        for (measure, value) in [
            (format!("mean IU of {classes}"), mean_iu),
            ("pixel accuracy".into(), pixel_accuracy),
            ("mean accuracy".into(), mean_accuracy),
            ("frequency weighted IU".into(), frequency_weighted_iu),
        ] {
            writeln!(f, "{measure:width$}  {:>6}", percent(*value))?;
        }
        Ok(())
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{:.2}", 100.0 * value))
}
