//! The files of a score: tables, every trial, and pictures of the pairs that fooled most and least often.

use super::{
    database,
    design::StudyDesign,
    pictures::{PictureFile, PictureVersion},
    score::{AlgorithmScore, PairScore, ScoringOptions, StudyScores, by_success, score},
    score_table::{algorithms_csv, comparison_table, pairs_csv, table},
    trial_record::{TrialRecord, read_trials, trials_csv},
};
use crate::{
    atomic_write,
    colorize::encoding::{self, ImageFormat},
    data::dataset::RgbImage,
    train::panel::{RgbTile, panel},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Pairs in a picture.
const SHOWN: usize = 6;

/// What the pictures of pairs show.
const LEGEND: &str = "Pictures of pairs: the photographs above, the algorithm's pictures below; how often each pair fooled, of how often it \
                      was shown. `pairs.csv` names them in the order of `_most_fooled.png`; `_least_fooled.png` begins at its end.";

/// A study that was read for its score.
pub struct ScoredStudy {
    pub design: StudyDesign,
    trials: Vec<TrialRecord>,
    pub scores: StudyScores,
    pictures: Vec<u8>,
}

/// Reads and scores the study in `dir`, also while it is served.
///
/// # Errors
/// Not a study; a damaged database.
pub fn score_study(dir: &Path, options: &ScoringOptions) -> Result<ScoredStudy> {
    let study = database::open(dir)?;
    let trials = read_trials(&study.connection)
        .with_context(|| format!("cannot read the answers in {}", dir.display()))?;
    let scores = score(&study.design, &trials, options);
    Ok(ScoredStudy { design: study.design, trials, scores, pictures: study.pictures })
}

impl ScoredStudy {
    /// The tables for a terminal, or in Markdown.
    ///
    /// # Errors
    /// As [`table`].
    pub fn tables(&self, published: bool, markdown: bool) -> Result<String> {
        let tables = [Some(table(&self.scores, published)?), comparison_table(&self.scores)];
        let texts =
            tables.iter().flatten().map(|table| if markdown { table.markdown() } else { table.text() });
        Ok(texts.collect::<Vec<_>>().join("\n"))
    }

    /// Writes tables and pictures of the study in `dir` into `out`; returns their paths.
    ///
    /// # Errors
    /// A folder that cannot be written; a damaged picture file.
    pub fn write(&self, dir: &Path, out: &Path, published: bool) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
        let texts = [
            ("study.md", format!("{}\n{LEGEND}\n", self.tables(published, true)?)),
            ("algorithms.csv", algorithms_csv(&self.scores)),
            ("pairs.csv", pairs_csv(&self.scores, &self.design)),
            ("trials.csv", trials_csv(&self.design, &self.trials)),
        ];
        let mut written = vec![];
        for (name, text) in texts {
            let path = out.join(name);
            atomic_write::write(&path, text.as_bytes()).with_context(|| refused(&path))?;
            written.push(path);
        }
        let pictures = PictureFile::open(dir, &self.design, &self.pictures)?;
        for (index, score) in self.scores.algorithms.iter().enumerate() {
            written.extend(write_sheets(index, score, &pictures, out)?);
        }
        Ok(written)
    }
}

fn refused(path: &Path) -> String {
    format!("cannot write {}: is the folder writable, the disk full?", path.display())
}

/// The pictures of one algorithm: `NAME_most_fooled.png` and `NAME_least_fooled.png`.
fn write_sheets(
    index: usize,
    score: &AlgorithmScore,
    pictures: &PictureFile,
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let sorted = by_success(&score.pairs);
    if sorted.is_empty() {
        return Ok(vec![]);
    }
    let most: Vec<PairScore> = sorted.iter().take(SHOWN).copied().collect();
    let least: Vec<PairScore> = sorted.iter().rev().take(SHOWN).copied().collect();
    let mut written = vec![];
    for (which, pairs) in [("most", most), ("least", least)] {
        let path = out.join(format!("{}_{which}_fooled.png", portable(&score.algorithm, index)));
        let (width, height, pixels) = sheet(index, &pairs, pictures)?;
        let picture = RgbImage { width, height, pixels };
        encoding::write(&path, &picture, ImageFormat::Png, 100).with_context(|| refused(&path))?;
        written.push(path);
    }
    Ok(written)
}

/// Photographs above the pictures of an algorithm; each column says how often of how many times it fooled.
fn sheet(algorithm: usize, pairs: &[PairScore], pictures: &PictureFile) -> Result<RgbTile> {
    let row = |version: PictureVersion| -> Result<Vec<RgbTile>> {
        let tile = |pair: &PairScore| -> Result<RgbTile> {
            let image =
                pictures.image(pair.photograph, version).context("cannot read the pictures of the study")?;
            Ok((image.width, image.height, image.pixels))
        };
        pairs.iter().map(tile).collect()
    };
    let rows = [row(PictureVersion::Real)?, row(PictureVersion::Recolored(algorithm))?];
    let titles: Vec<String> =
        pairs.iter().map(|pair| format!("fooled {} of {}", pair.fooled, pair.shown)).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    panel(&rows, &titles, 1)
}

/// A name for files: the algorithm's, where it has only ordinary characters, and its number, where it has others.
fn portable(name: &str, index: usize) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.chars().all(plain) && !name.starts_with('.') {
        name.into()
    } else {
        format!("algorithm-{}", index + 1)
    }
}
