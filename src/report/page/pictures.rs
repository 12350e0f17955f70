//! Pictures: random samples of the panels that runs drew, of colorized examples, and histograms of colors, as JPEG within a
//! budget of bytes.

use super::run::RunRecord;
use crate::{
    report::colors::{self, ColorResult, ColorTable},
    rng::Rng,
    text::counted,
    train::panel::RgbTile,
};
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{RgbImage, codecs::jpeg::JpegEncoder, imageops::FilterType};
use maud::{Markup, html};
use rand::seq::index;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Most panels of a page, and examples of one comparison of colorizers.
const PANELS: usize = 12;
const EXAMPLES: usize = 6;
/// Qualities of JPEG and widths in pixels, the first that fits is taken.
const FORMS: [(u8, u32); 6] = [(85, 960), (75, 960), (75, 640), (60, 480), (50, 320), (40, 160)];
/// Bytes of the text around a picture.
const AROUND: usize = 1_500;

/// One picture of the page.
struct Picture {
    caption: String,
    tile: RgbTile,
}

/// Samples of the pictures below, drawn with `seed`, in at most `budget` bytes; None if there are none.
///
/// # Errors
/// Examples of an evaluation that cannot be read.
pub(super) fn pictures(
    runs: &[RunRecord],
    results: &[ColorResult],
    seed: u64,
    budget: usize,
) -> Result<Option<Markup>> {
    let rng = Rng::new(seed).split("pictures");
    let (mut pictures, mut about) = (vec![], vec![]);
    for (at, table) in colors::tables(results)?.iter().enumerate() {
        comparison(table, &rng.split(&format!("examples {at}")), &mut pictures, &mut about)?;
    }
    panels(runs, &rng.split("panels"), &mut pictures, &mut about);
    if pictures.is_empty() && about.is_empty() {
        return Ok(None);
    }
    let (figures, omitted) = figures(&pictures, budget);
    if omitted > 0 {
        let all = counted(pictures.len(), "picture");
        about.push(format!("{omitted} of {all} left out to keep the page small"));
    }
    Ok(Some(html! {
        p.about { "Random samples (seed " (seed) "): " (about.join("; ")) "." }
        div.pictures { @for figure in figures { (figure) } }
    }))
}

/// Examples and histograms of the methods of one table.
fn comparison(
    table: &ColorTable,
    rng: &Rng,
    pictures: &mut Vec<Picture>,
    about: &mut Vec<String>,
) -> Result<()> {
    let all = table.examples()?;
    let numbers: Vec<String> =
        sample(rng, all.len(), EXAMPLES).into_iter().map(|at| all[at].clone()).collect();
    if let Some(tile) = table.comparison_of(&numbers)? {
        about.push(format!("{} of {} colorized examples", numbers.len(), all.len()));
        pictures.push(Picture { caption: format!("{}: {}", table.header(), numbers.join(", ")), tile });
    }
    let caption = "Predicted colors: a to the right, b upwards; saturation shows how often, logarithmically";
    pictures.push(Picture { caption: caption.into(), tile: table.map()? });
    Ok(())
}

/// The newest panel of each name and run, sampled. One that cannot be decoded is counted and left out.
fn panels(runs: &[RunRecord], rng: &Rng, pictures: &mut Vec<Picture>, about: &mut Vec<String>) {
    let newest: Vec<(&RunRecord, PathBuf)> = runs
        .iter()
        .flat_map(|run| newest_panels(&run.dir).into_iter().map(move |path| (run, path)))
        .collect();
    let chosen = sample(rng, newest.len(), PANELS);
    if newest.is_empty() {
        return;
    }
    let picture = |at: &usize| {
        let (run, path) = &newest[*at];
        let image = image::open(path).ok()?.into_rgb8();
        let tile = (image.width() as usize, image.height() as usize, image.into_raw());
        let stem = path.file_stem()?.to_string_lossy().into_owned();
        let (name, step) = stem.rsplit_once('-').unwrap_or((&stem, "0"));
        let step = step.trim_start_matches('0');
        Some(Picture {
            caption: format!("{}: {name}, step {}", run.name(), if step.is_empty() { "0" } else { step }),
            tile,
        })
    };
    let found: Vec<Picture> = chosen.iter().filter_map(picture).collect();
    about.push(format!("{} of {} panels that runs drew, of each the newest", found.len(), newest.len()));
    if found.len() < chosen.len() {
        about.push(format!("{} panels cannot be read", chosen.len() - found.len()));
    }
    pictures.extend(found);
}

/// `pictures/NAME-STEP.png` with the highest step of each name.
fn newest_panels(run: &Path) -> Vec<PathBuf> {
    let mut newest = BTreeMap::<String, PathBuf>::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(run.join("pictures"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "png")) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((name, _)) = stem.rsplit_once('-') {
            newest.insert(name.into(), path);
        }
    }
    newest.into_values().collect()
}

/// At most `most` of `count` indices, drawn at random, in ascending order.
fn sample(rng: &Rng, count: usize, most: usize) -> Vec<usize> {
    let mut drawn = index::sample(&mut rng.at(0, 0), count, most.min(count)).into_vec();
    drawn.sort_unstable();
    drawn
}

/// Pictures in `budget` bytes, which are divided evenly among those not yet encoded; and how many had no room.
fn figures(pictures: &[Picture], budget: usize) -> (Vec<Markup>, usize) {
    let (mut left, mut figures) = (budget, vec![]);
    for (at, picture) in pictures.iter().enumerate() {
        let share = left / (pictures.len() - at);
        let Some((jpeg, width, height)) = encoded(&picture.tile, share) else { continue };
        left -= jpeg.len() + AROUND;
        let source = format!("data:image/jpeg;base64,{jpeg}");
        figures.push(html! {
            figure {
                img src=(source) width=(width) height=(height) alt=(picture.caption);
                figcaption { (picture.caption) }
            }
        });
    }
    let omitted = pictures.len() - figures.len();
    (figures, omitted)
}

/// The picture in the best form of at most `share` bytes as base64, with its width and height.
fn encoded((width, height, rgb): &RgbTile, share: usize) -> Option<(String, u32, u32)> {
    let whole = RgbImage::from_raw(*width as u32, *height as u32, rgb.clone())?;
    FORMS.iter().find_map(|(quality, widest)| {
        let width = whole.width().min(*widest);
        let height =
            (u64::from(whole.height()) * u64::from(width) / u64::from(whole.width()).max(1)).max(1) as u32;
        let small = match width == whole.width() {
            true => whole.clone(),
            false => image::imageops::resize(&whole, width, height, FilterType::Triangle),
        };
        let jpeg = jpeg(&small, *quality).ok()?;
        let text = STANDARD.encode(jpeg);
        (text.len() + AROUND <= share).then_some((text, width, height))
    })
}

fn jpeg(image: &RgbImage, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(image)
        .context("cannot encode a picture")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(side: usize) -> RgbTile {
        let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u8;
        (side, side, (0..3 * side * side).map(value).collect())
    }

    #[test]
    fn the_budget_is_kept_and_divided() {
        let pictures: Vec<_> =
            (0..8).map(|i| Picture { caption: format!("{i}"), tile: noise(600) }).collect();
        for budget in [3_000_000, 400_000, 60_000, 9_000, 0] {
            let (figures, omitted) = figures(&pictures, budget);
            let bytes: usize = figures.iter().map(|figure| figure.0.len()).sum();
            assert!(bytes <= budget, "{bytes} of {budget}");
            assert_eq!(figures.len() + omitted, 8);
            assert!(omitted == 0 || budget < 400_000, "{omitted} left out of {budget} bytes");
        }
    }

    #[test]
    fn samples_are_random_by_seed_and_hold_each_once() {
        let of = |seed| sample(&Rng::new(seed), 100, 8);
        assert_eq!(of(1), of(1));
        assert!(of(1) != of(2) && of(1) != (0..8).collect::<Vec<_>>());
        assert!(of(3).windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(sample(&Rng::new(0), 3, 8), [0, 1, 2]);
    }
}
