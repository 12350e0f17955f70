//! Data sets paired with another one, image by image: reference colors, or finished colorizations of the same images.

use super::{
    dataset::{Dataset, RgbImage},
    error::DataError,
    folder::Files,
};
use crate::rng::Rng;
use rand::RngExt;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Pairs each image of one set with a random image of another.
pub struct RandomPairs {
    other: Arc<dyn Dataset>,
    picks: Vec<usize>,
}

impl RandomPairs {
    /// Draws `len` images from the non-empty `other`, with replacement.
    pub fn new(other: Arc<dyn Dataset>, len: usize, rng: &Rng) -> Self {
        let pick = |i: usize| rng.at(0, i as u64).random_range(0..other.len());
        Self { picks: (0..len).map(pick).collect(), other }
    }
}

impl Dataset for RandomPairs {
    fn len(&self) -> usize {
        self.picks.len()
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn label(&self, _: usize) -> Option<u32> {
        None
    }
    fn name(&self, index: usize) -> String {
        self.other.name(self.picks[index])
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        self.other.image(self.picks[index])
    }
    fn fingerprint(&self) -> String {
        self.other.fingerprint()
    }
}

/// For each image of `set`, the file below `dir` with the same stem, in any format. A duplicate image of the set
/// matches the same file both times.
///
/// # Errors
/// A missing folder or one without images, two files with one stem, images without a file, two images that
/// match one file.
pub fn match_by_stem(set: &dyn Dataset, dir: &Path) -> Result<Files, DataError> {
    let fault = |reason: String| DataError::Table { path: dir.into(), reason };
    let pictures = Files::open(dir)?;
    let mut found: HashMap<String, PathBuf> = HashMap::new();
    for path in pictures.paths() {
        if let Some(first) = found.insert(stem(path), path.clone()) {
            let (first, second) = (first.display(), path.display());
            return Err(fault(format!("{first} and {second} have the same stem; keep one file per image")));
        }
    }
    let mut owners: HashMap<String, String> = HashMap::new();
    let mut picture_of = |image: String| {
        let stem = stem(Path::new(&image));
        let picture = found.get(&stem).cloned().ok_or_else(|| missing(&stem, set.len()))?;
        let owner = owners.entry(stem).or_insert_with(|| image.clone());
        if *owner == image { Ok(picture) } else { Err(shared(&picture, owner, &image)) }
    };
    let paths: Result<Vec<_>, String> = (0..set.len()).map(|i| picture_of(set.name(i))).collect();
    Ok(Files::listed(dir.into(), paths.map_err(fault)?))
}

fn missing(stem: &str, images: usize) -> String {
    format!("no file has the stem `{stem}`; each of the {images} images needs one")
}

fn shared(picture: &Path, first: &str, second: &str) -> String {
    format!("{} matches both {first} and {second}; give the images different names", picture.display())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (i, name) in names.iter().enumerate() {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_pixel(2, 2, image::Rgb([10 * i as u8; 3])).save(path).unwrap();
        }
        dir
    }

    #[test]
    fn pictures_are_found_by_their_stems_in_the_order_of_the_set() {
        let (set, dir) = (folder(&["a/x.png", "b/y.jpg"]), folder(&["y.png", "deep/x.bmp", "z.png"]));
        let set = Files::open(set.path()).unwrap();
        let found = match_by_stem(&set, dir.path()).unwrap();
        let firsts: Vec<u8> = (0..2).map(|i| found.image(i).unwrap().pixels[0]).collect();
        assert_eq!(firsts, [10, 0]);
    }

    #[test]
    fn what_is_missing_or_twice_is_named() {
        let set = folder(&["x.png", "y.png"]);
        let set = Files::open(set.path()).unwrap();
        let fault = |names: &[&str]| match_by_stem(&set, folder(names).path()).unwrap_err().to_string();
        assert!(fault(&["x.png", "z.png"]).contains("no file has the stem `y`"));
        assert!(fault(&["x.png", "x.jpg", "y.png"]).contains("have the same stem"));
    }

    #[test]
    fn an_image_listed_twice_has_its_picture_twice_and_namesakes_are_told_apart() {
        let (set, dir) = (folder(&["a/x.png", "b/x.png", "b/y.png"]), folder(&["x.png", "y.png"]));
        let listed = |paths: &[&str]| {
            let set = Files::listed(set.path().into(), paths.iter().map(PathBuf::from).collect());
            match_by_stem(&set, dir.path())
        };
        let found = listed(&["b/y.png", "a/x.png", "b/y.png"]).unwrap();
        assert_eq!(found.paths(), ["y.png", "x.png", "y.png"].map(PathBuf::from));
        let error = listed(&["a/x.png", "b/x.png"]).unwrap_err().to_string();
        assert!(error.contains("x.png matches both") && error.contains("a/x.png"), "{error}");
    }

    #[test]
    fn random_picks_follow_the_seed() {
        let other = folder(&["a.png", "b.png", "c.png"]);
        let other: Arc<dyn Dataset> = Arc::new(Files::open(other.path()).unwrap());
        let names = |seed| {
            let set = RandomPairs::new(other.clone(), 20, &Rng::new(seed));
            (0..20).map(|i| set.name(i)).collect::<Vec<_>>()
        };
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
        assert_eq!(names(1).iter().collect::<std::collections::HashSet<_>>().len(), 3);
    }
}
