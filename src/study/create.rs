//! `study new`: checks everything that can be known before the first participant, and writes a study at once or not at all.

use super::{
    database,
    design::StudyDesign,
    pictures::PictureWriter,
    prepare::{PairPictures, PairedFolders, RecoloredFolder, is_gray, refuse},
};
use crate::{atomic_write, data::dataset::RgbImage, text::counted, train::interrupt::ScratchDir};
use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// Photographs that are in memory at once.
const CHUNK: usize = 32;

/// A study to create.
#[derive(Clone, Debug)]
pub struct NewStudy {
    /// The folder to create.
    pub dir: PathBuf,
    /// Folder of the photographs.
    pub real: PathBuf,
    pub recolored: Vec<RecoloredFolder>,
    /// Number of photographs to use; None for all.
    pub pairs: Option<usize>,
    pub participants: usize,
    pub practice: usize,
    pub trials: usize,
    pub seed: u64,
    pub consent: String,
}

/// What was created, with warnings.
#[derive(Clone, Debug)]
pub struct CreatedStudy {
    pub design: StudyDesign,
    pub warnings: Vec<String>,
}

/// Writes the study into a new folder.
///
/// # Errors
/// A folder that exists and is not empty; photographs without counterpart, pictures that cannot be read, are of another size or
/// equal to the photograph; fewer photographs than a session shows. Nothing is left then.
pub fn create(new: &NewStudy, progress: &ProgressBar) -> Result<CreatedStudy> {
    let dir =
        std::path::absolute(&new.dir).with_context(|| format!("cannot create {}", new.dir.display()))?;
    ensure_free(&dir)?;
    let folders = PairedFolders::open(&new.real, &new.recolored, new.pairs, new.seed)?;
    let design = design(new, folders.names())?;
    let above = dir.parent().unwrap_or(&dir);
    fs::create_dir_all(above).with_context(|| format!("cannot create {}", above.display()))?;
    let scratch = ScratchDir::within(above)?;
    let folder = scratch.path().join("study");
    fs::create_dir(&folder).with_context(|| format!("cannot write to {}", above.display()))?;
    let (sha256, gray) = write_pictures(&folder, &folders, &design, progress)?;
    database::create(&folder, &design, &sha256)?;
    if dir.exists() {
        fs::remove_dir(&dir).with_context(|| format!("cannot replace {}", dir.display()))?;
    }
    atomic_write::rename(&folder, &dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut warnings = gray_warnings(&gray, &design);
    if design.vigilance() == 0 {
        let trials = counted(design.trials, "trial");
        warnings.push(format!(
            "{trials} are too few for one against the Random baseline: inattention will not show"
        ));
    }
    if folders.unpaired > 0 {
        let unpaired = counted(folders.unpaired, "picture");
        warnings.push(format!("without a photograph, and not used: {unpaired}"));
    }
    Ok(CreatedStudy { design, warnings })
}

fn ensure_free(dir: &Path) -> Result<()> {
    let is_free = !dir.exists() || fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(is_free, "{} exists: choose another folder, or remove it with all its answers", dir.display());
    Ok(())
}

fn design(new: &NewStudy, photographs: Vec<String>) -> Result<StudyDesign> {
    let length = new.practice + new.trials;
    ensure!(
        photographs.len() >= length,
        "{} has {} photographs, but a session of {} + {} trials shows {length} different ones: add photographs, or give \
         --practice and --trials",
        new.real.display(),
        photographs.len(),
        new.practice,
        new.trials
    );
    Ok(StudyDesign {
        algorithms: new.recolored.iter().map(|folder| folder.name.clone()).collect(),
        photographs,
        participants: new.participants,
        practice: new.practice,
        trials: new.trials,
        seed: new.seed,
        consent: new.consent.clone(),
    })
}

/// Gray pictures: the photograph's index, and of which algorithm, None for the photograph itself.
type GrayPictures = Vec<(usize, Option<usize>)>;

/// Writes all pictures, a few photographs at a time; returns the file's SHA-256. Every fault is found before it is refused.
fn write_pictures(
    folder: &Path,
    folders: &PairedFolders,
    design: &StudyDesign,
    progress: &ProgressBar,
) -> Result<([u8; 32], GrayPictures)> {
    let full = || format!("cannot write to {}: is the disk full?", folder.display());
    let mut writer = PictureWriter::create(folder).with_context(full)?;
    let (mut faults, mut gray): (Vec<String>, GrayPictures) = Default::default();
    progress.set_length(design.photographs.len() as u64);
    let places: Vec<usize> = (0..design.photographs.len()).collect();
    for chunk in places.chunks(CHUNK) {
        let read: Vec<_> = chunk.par_iter().map(|place| folders.read(*place)).collect();
        for (place, pictures) in chunk.iter().zip(read) {
            progress.inc(1);
            let Ok(pictures) = pictures.map_err(|wrong| faults.extend(wrong)) else { continue };
            gray.extend(gray_ones(&pictures).map(|algorithm| (*place, algorithm)));
            in_order(&pictures).try_for_each(|image| writer.push(&image.pixels)).with_context(full)?;
        }
    }
    progress.finish_and_clear();
    // A photograph that cannot be read is also missed where its colors were drawn for another.
    let mut named = HashSet::new();
    faults.retain(|fault| named.insert(fault.clone()));
    refuse(faults, "cannot be used")?;
    Ok((writer.finish().with_context(full)?, gray))
}

/// As the file has them.
fn in_order(pictures: &PairPictures) -> impl Iterator<Item = &RgbImage> {
    [&pictures.real, &pictures.random].into_iter().chain(&pictures.recolored)
}

fn gray_ones(pictures: &PairPictures) -> impl Iterator<Item = Option<usize>> {
    let real = is_gray(&pictures.real).then_some(None);
    let recolored = pictures.recolored.iter().enumerate().filter(|(_, image)| is_gray(image));
    real.into_iter().chain(recolored.map(|(algorithm, _)| Some(algorithm)))
}

fn gray_warnings(gray: &GrayPictures, design: &StudyDesign) -> Vec<String> {
    let sources = std::iter::once(None).chain((0..design.algorithms.len()).map(Some));
    let warning = |source: Option<usize>| {
        let places: Vec<usize> =
            gray.iter().filter(|(_, of)| *of == source).map(|(place, _)| *place).collect();
        let first = &design.photographs[*places.first()?];
        let of = source.map_or("photographs".into(), |a| format!("pictures of {}", design.algorithms[a]));
        Some(format!(
            "{} of the {of} are gray, first {first}: their pairs say nothing about colors",
            places.len()
        ))
    };
    sources.filter_map(warning).collect()
}
