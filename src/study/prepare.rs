//! From folders of pictures to pairs that differ in nothing but their colors: same photograph, same size, same crop.

use super::pictures::SIDE;
use crate::{
    data::{
        dataset::{Dataset, RgbImage},
        folder::Files,
        transforms::{CropWindow, crop_into, resize},
    },
    rng::Rng,
    score::{LabPicture, MethodSpec, ScoredMethod},
};
use anyhow::{Context, Result, bail, ensure};
use rand::seq::index::sample;
use std::path::{Path, PathBuf};

/// Most faults that a message names.
const NAMED: usize = 20;
/// Channels of a gray picture differ by at most so much: JPEG rounds.
const GRAY: u8 = 10;

/// A folder of pictures by one algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoloredFolder {
    pub name: String,
    pub dir: PathBuf,
}

/// Photographs and their counterparts in every folder.
pub struct PairedFolders {
    real: Files,
    /// Indices of the photographs that are used.
    used: Vec<usize>,
    recolored: Vec<ScoredMethod>,
    random: ScoredMethod,
    /// Pictures of algorithms without a photograph.
    pub unpaired: usize,
}

/// The square pictures of one photograph.
pub struct PairPictures {
    pub real: RgbImage,
    pub random: RgbImage,
    pub recolored: Vec<RgbImage>,
}

impl PairedFolders {
    /// Pairs the photographs of a folder, or `pairs` of them drawn at random, with those of the algorithms, by their path below the
    /// folder without extension.
    ///
    /// # Errors
    /// An unreadable folder; photographs without counterpart, which are named; fewer photographs than `pairs`.
    pub fn open(real: &Path, recolored: &[RecoloredFolder], pairs: Option<usize>, seed: u64) -> Result<Self> {
        let files = Files::open(real)?;
        let mut left_out = vec![];
        let mut open = |spec: &MethodSpec| ScoredMethod::open(spec, real, &files, seed, &mut left_out);
        let of = |folder: &RecoloredFolder| MethodSpec::Folder {
            name: folder.name.clone(),
            dir: folder.dir.clone(),
        };
        let recolored: Vec<_> = recolored.iter().map(|folder| open(&of(folder))).collect::<Result<_>>()?;
        let random = open(&MethodSpec::Random(real.into()))?;
        let used =
            used(files.len(), pairs, seed).with_context(|| format!("cannot use {}", real.display()))?;
        let missing: Vec<String> =
            recolored.iter().flat_map(|method| missing(method, &files, &used)).collect();
        let unpaired = left_out.len().saturating_sub(recolored.iter().map(lacking).sum());
        refuse(missing, "lack a counterpart")?;
        Ok(Self { real: files, used, recolored, random, unpaired })
    }

    /// Names of the photographs.
    pub fn names(&self) -> Vec<String> {
        let name = |index: &usize| self.real.paths()[*index].display().to_string();
        self.used.iter().map(name).collect()
    }

    /// The pictures of the photograph at `place` of the names, or what is wrong with them, one text each.
    pub fn read(&self, place: usize) -> Result<PairPictures, Vec<String>> {
        let index = self.used[place];
        let image = self.real.image(index).map_err(|error| vec![error.to_string()])?;
        let full = LabPicture::of(image);
        let real = square(full.image.clone())
            .map_err(|error| vec![format!("{}: {error}", self.real.name(index))])?;
        let (recolored, faults): (Vec<_>, Vec<_>) = (self.recolored.iter())
            .map(|method| self.recolored(method, index, &full, &real))
            .partition(Result::is_ok);
        let mut faults: Vec<String> = faults.into_iter().filter_map(Result::err).collect();
        let random = self.random(index, &real).map_err(|fault| faults.push(fault));
        match random {
            Ok(random) if faults.is_empty() => {
                Ok(PairPictures { real, random, recolored: recolored.into_iter().flatten().collect() })
            }
            _ => Err(faults),
        }
    }

    /// The square picture of an algorithm.
    fn recolored(
        &self,
        method: &ScoredMethod,
        index: usize,
        full: &LabPicture,
        real: &RgbImage,
    ) -> Result<RgbImage, String> {
        let told = |reason: String| format!("{}: {}: {reason}", method.name(), self.real.name(index));
        let prediction = method
            .predict(index, full)
            .map_err(|left_out| format!("{}: {}", left_out.path, left_out.reason))?;
        let pixels = prediction.ok_or_else(|| told("no counterpart".into()))?.pixels;
        let image = RgbImage { width: full.image.width, height: full.image.height, pixels };
        let image = square(image).map_err(|error| told(error.to_string()))?;
        if image == *real {
            let why = match is_gray(real) {
                true => "it is gray; remove it from the photographs",
                false => "is the folder that of the photographs?",
            };
            return Err(told(format!("the colored picture is the photograph itself: {why}")));
        }
        Ok(image)
    }

    /// The square picture with the colors of a random other photograph, of the whole set, as `score` has it.
    fn random(&self, index: usize, real: &RgbImage) -> Result<RgbImage, String> {
        let name = self.real.name(index);
        let prediction = self.random.predict(index, &LabPicture::of(real.clone()));
        let prediction = prediction.map_err(|left_out| format!("{}: {}", left_out.path, left_out.reason))?;
        let pixels = prediction.ok_or_else(|| format!("{name}: no random colors"))?.pixels;
        let image = RgbImage { width: SIDE, height: SIDE, pixels };
        if image == *real {
            return Err(format!(
                "{name}: stays the same with the colors of another photograph: remove gray photographs"
            ));
        }
        Ok(image)
    }
}

/// Indices of `pairs` of `count` photographs, or of all.
fn used(count: usize, pairs: Option<usize>, seed: u64) -> Result<Vec<usize>> {
    let Some(pairs) = pairs else { return Ok((0..count).collect()) };
    ensure!(pairs <= count, "it has {count} photographs, --pairs asks for {pairs}");
    let rng = &mut Rng::new(seed).split("study").split("pairs").at(0, 0);
    let mut used = sample(rng, count, pairs).into_vec();
    used.sort_unstable();
    Ok(used)
}

/// Photographs of the study without a picture by `method`.
fn missing(method: &ScoredMethod, files: &Files, used: &[usize]) -> Vec<String> {
    let ScoredMethod::Folder { name, matches, .. } = method else { return vec![] };
    let lacks = |index: &&usize| matches[**index].is_none();
    used.iter()
        .filter(lacks)
        .map(|index| format!("{name} has no picture of {}", files.name(*index)))
        .collect()
}

/// Photographs of the whole folder without a picture by `method`.
fn lacking(method: &ScoredMethod) -> usize {
    let ScoredMethod::Folder { matches, .. } = method else { return 0 };
    matches.iter().filter(|place| place.is_none()).count()
}

/// An error that names `faults`, if there are any.
///
/// # Errors
/// Any fault.
pub fn refuse(faults: Vec<String>, what: &str) -> Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(NAMED);
    let named: String = faults.iter().take(NAMED).map(|fault| format!("\n  {fault}")).collect();
    let more = if more > 0 { format!("\n  … and {more} more") } else { String::new() };
    bail!("{} of the pictures {what}; nothing was written:{named}{more}", faults.len())
}

/// The center square of a picture at [`SIDE`] pixels: the short side is scaled as Pillow does it.
fn square(image: RgbImage) -> Result<RgbImage> {
    let image = resize(image, SIDE)?;
    let window = CropWindow::center(image.width, image.height, SIDE);
    let mut pixels = vec![0; 3 * SIDE * SIDE];
    crop_into(&image, window, SIDE, &mut pixels);
    Ok(RgbImage { width: SIDE, height: SIDE, pixels })
}

/// Whether a picture has no color, up to rounding.
pub fn is_gray(image: &RgbImage) -> bool {
    let pixels = image.pixels.as_chunks::<3>().0.iter();
    pixels.into_iter().all(|[r, g, b]| r.max(g).max(b) - r.min(g).min(b) <= GRAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_centered_and_scaled() {
        let stripes = |width: usize, height: usize| {
            let pixel = |i: usize| {
                if (width / 2 - 1..=width / 2).contains(&(i % width)) { [250, 0, 0] } else { [9; 3] }
            };
            RgbImage { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
        };
        let image = square(stripes(400, 256)).unwrap();
        assert_eq!(
            (image.width, image.height, &image.pixels[3 * 127..3 * 129]),
            (256, 256, &[250, 0, 0, 250, 0, 0][..])
        );
        assert_eq!(square(stripes(100, 50)).unwrap().pixels.len(), 3 * 256 * 256);
        assert!(square(stripes(2, 1)).unwrap().pixels.iter().any(|value| *value > 200));
    }

    #[test]
    fn gray_is_up_to_rounding() {
        let image = |pixel: [u8; 3]| RgbImage { width: 1, height: 2, pixels: [[7, 7, 7], pixel].concat() };
        assert!(is_gray(&image([100, 110, 105])) && !is_gray(&image([100, 111, 105])));
    }

    #[test]
    fn pairs_are_drawn_without_repetition() {
        let drawn = used(100, Some(60), 3).unwrap();
        assert!(drawn.len() == 60 && drawn.windows(2).all(|pair| pair[0] < pair[1]) && drawn[59] < 100);
        assert_ne!(drawn, used(100, Some(60), 4).unwrap());
        assert!(used(10, Some(11), 0).unwrap_err().to_string().contains("--pairs asks for 11"));
    }
}
