//! A first look at a folder of pictures: how many, of which classes and sizes, and how many of them are gray. For a folder
//! that nobody has written a spec for; `verify` reads every picture of a known one.

use super::{
    dataset::{Dataset, Split},
    error::DataError,
    folder::Files,
    scenes,
    source::HoldOut,
    verify::{is_gray, spread},
};
use crate::bounded::{Part, part_of};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Names of folders with the pictures of a split.
const TRAIN: [&str; 2] = ["train", "training"];
const VAL: [&str; 4] = ["val", "valid", "validation", "test"];
/// Number of pictures of a folder that are decoded, and the time after which no other is begun.
const SAMPLE: usize = 256;
const LONGEST: Duration = Duration::from_secs(3);
/// Number of splits that are tried where some pictures cannot be read.
const SEEDS: u64 = 64;

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
    /// Smallest, median and largest short side of the decoded training pictures, in pixels.
    pub short_side: [usize; 3],
    /// Share of the decoded training pictures in which every pixel is gray.
    pub gray: f64,
    /// Why there are no classes, where something like classes is there.
    pub why_unlabeled: Option<String>,
    /// The look at the training pictures, and at those of a validation folder; none: the built-in scenes.
    looks: Vec<Look>,
}

/// The pictures of one folder, some of which were decoded.
#[derive(Debug)]
struct Look {
    files: Files,
    /// Those that can be decoded, by their number.
    seen: BTreeMap<usize, SeenPicture>,
    /// Those that cannot be decoded, and why.
    faults: BTreeMap<usize, String>,
}

/// What is kept of a decoded picture: photographs are large.
#[derive(Clone, Copy, Debug)]
struct SeenPicture {
    short_side: usize,
    is_gray: bool,
}

/// A split whose parts can be read but for a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadableSplit {
    /// Seed of the pictures held out.
    pub seed: u64,
    /// Share of unreadable pictures that both parts stay within; 0: every picture that was looked at can be read.
    pub max_bad: f64,
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
            why_unlabeled: None,
            looks: vec![],
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
        let looks: Vec<Look> = [Some(&train), val.as_ref()]
            .into_iter()
            .flatten()
            .map(|at| Look::at(at))
            .collect::<Result<_, _>>()?;
        let Look { files, seen, .. } = &looks[0];
        let gray = seen.values().filter(|picture| picture.is_gray).count();
        Ok(Self {
            pictures: files.len(),
            val_pictures: looks.get(1).map_or(0, |look| look.files.len()),
            classes: files.classes().to_vec(),
            smallest_class: smallest_class(files),
            short_side: spread(seen.values().map(|picture| picture.short_side).collect()),
            gray: gray as f64 / seen.len().max(1) as f64,
            why_unlabeled: files.why_unlabeled().map(String::from),
            looks,
            train,
            val,
        })
    }

    /// Number of pictures that were decoded.
    pub fn decoded(&self) -> usize {
        self.looks.iter().map(|look| look.seen.len()).sum()
    }

    /// The pictures that cannot be decoded, with the reason.
    pub fn faults(&self) -> Vec<&str> {
        self.looks.iter().flat_map(|look| look.faults.values().map(String::as_str)).collect()
    }

    /// Training pictures that can be read, as far as known: those that were looked at and cannot are left out.
    pub fn readable(&self) -> usize {
        self.pictures - self.looks.first().map_or(0, |look| look.faults.len())
    }

    /// Number of training pictures that are held out where this share of each class is.
    pub fn held_out(&self, share: Part) -> usize {
        self.looks.first().map_or(0, |look| look.files.held_out(share))
    }

    /// Some training pictures that can be decoded, spread over the folder: at most `most`.
    pub fn sample(&self, most: usize) -> Vec<PathBuf> {
        let Some(look) = self.looks.first() else { return vec![] };
        let step = look.seen.len().div_ceil(most).max(1);
        look.seen.keys().step_by(step).map(|index| self.train.join(&look.files.paths()[*index])).collect()
    }

    /// Of the splits that hold out `share` of the training pictures, or of the one that the folders make, the one that needs
    /// the least tolerance. None: whichever is taken, one of its parts has no picture that can be read.
    pub fn readable_split(&self, share: Option<Part>) -> Option<ReadableSplit> {
        let tolerance = |seed| -> Option<f64> {
            let parts = match (&self.looks[..], share) {
                ([look], Some(share)) => look.parts(HoldOut { share, seed }).to_vec(),
                (looks, _) => looks.iter().map(Look::whole).collect(),
            };
            let needed: Option<Vec<f64>> = parts.iter().map(Unreadable::tolerance).collect();
            Some(needed?.into_iter().fold(0.0, f64::max))
        };
        let seeds = if self.faults().is_empty() { 1 } else { SEEDS };
        let splits = (0..seeds).filter_map(|seed| Some(ReadableSplit { seed, max_bad: tolerance(seed)? }));
        splits.min_by(|a, b| a.max_bad.total_cmp(&b.max_bad).then(a.seed.cmp(&b.seed)))
    }
}

impl Look {
    fn at(folder: &Path) -> Result<Self, DataError> {
        let files = Files::open(folder)?;
        let step = files.len().div_ceil(SAMPLE);
        let began = Instant::now();
        let looked: Vec<(usize, Result<SeenPicture, DataError>)> = (0..files.len().div_ceil(step))
            .into_par_iter()
            .filter(|_| began.elapsed() < LONGEST)
            .map(|nth| (nth * step, look(&files, nth * step)))
            .collect();
        let (mut seen, mut faults, mut first) = (BTreeMap::new(), BTreeMap::new(), None);
        for (index, found) in looked {
            match found {
                Ok(found) => drop(seen.insert(index, found)),
                Err(error) => {
                    faults.insert(index, error.to_string());
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if seen.is_empty() => Err(error),
            _ => Ok(Self { files, seen, faults }),
        }
    }

    fn is_complete(&self) -> bool {
        self.seen.len() + self.faults.len() == self.files.len()
    }

    fn whole(&self) -> Unreadable {
        let (bad, looked) = (self.faults.len(), self.seen.len() + self.faults.len());
        Unreadable { bad, looked, is_complete: self.is_complete() }
    }

    /// What is known of both parts of a split. Of a folder that was only sampled: what the sample says of the whole.
    fn parts(&self, hold_out: HoldOut) -> [Unreadable; 2] {
        if self.faults.is_empty() || !self.is_complete() {
            return [self.whole(); 2];
        }
        let bad: BTreeSet<&PathBuf> = self.faults.keys().map(|index| &self.files.paths()[*index]).collect();
        [Split::Train, Split::Val].map(|split| {
            let part = self.files.clone().part(hold_out, split);
            let bad = part.paths().iter().filter(|path| bad.contains(path)).count();
            Unreadable { bad, looked: part.len(), is_complete: true }
        })
    }
}

/// How many pictures of a part cannot be read.
#[derive(Clone, Copy)]
struct Unreadable {
    bad: usize,
    looked: usize,
    /// Whether all of the part were looked at.
    is_complete: bool,
}

impl Unreadable {
    /// The share in steps of a hundredth that must be tolerated: of a sample, twice what was found and a hundredth. None:
    /// nothing can be read.
    fn tolerance(&self) -> Option<f64> {
        let Self { bad, looked, is_complete } = *self;
        let is_enough = |percent: &u32| {
            let share = f64::from(*percent) / 100.0;
            if is_complete {
                part_of(share, looked) >= bad
            } else {
                share >= 2.0 * bad as f64 / looked as f64 + 0.01
            }
        };
        match bad {
            0 if looked > 0 => Some(0.0),
            _ if bad == looked => None,
            _ => (1..100).find(is_enough).map(|percent| f64::from(percent) / 100.0),
        }
    }
}

fn look(files: &Files, index: usize) -> Result<SeenPicture, DataError> {
    let image = files.image(index)?;
    Ok(SeenPicture { short_side: image.width.min(image.height), is_gray: is_gray(&image) })
}

fn smallest_class(files: &Files) -> usize {
    let mut counts = vec![0; files.classes().len()];
    for label in (0..files.len()).filter_map(|index| files.label(index)) {
        counts[label as usize] += 1;
    }
    counts.into_iter().min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_is_the_least_that_suffices() {
        let of = |bad, looked, is_complete| Unreadable { bad, looked, is_complete }.tolerance();
        assert_eq!((of(0, 3, true), of(0, 256, false)), (Some(0.0), Some(0.0)));
        assert_eq!(
            (of(3, 12, true), of(1, 3, true), of(29, 100, true)),
            (Some(0.25), Some(0.34), Some(0.29))
        );
        assert_eq!((of(5, 100, false), of(1, 256, false)), (Some(0.11), Some(0.02)));
        assert_eq!((of(1, 1, true), of(8, 8, false), of(60, 100, false)), (None, None, None));
    }
}
