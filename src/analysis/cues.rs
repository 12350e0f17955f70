//! Low-level cues (the paper's Figure 13): how far predicted colors move if lightness, contrast or sharpness of the same photograph
//! change, all of which leave what it shows as it is.
//!
//! The paper shows one picture and gives no amounts; here the change is measured in ab units over any number of photographs, with
//! intervals by bootstrap over them. Lightness is shifted, contrast is scaled around the photograph's mean lightness, and blur is
//! Gaussian, all in L and at the network's input size; what leaves 0…100 is cut off.

use super::{
    cue_change::{Cue, CueChange},
    cues_plot,
    output::AnalysisOutput,
    photographs::{self, Photograph, SHOWN, tile},
};
use crate::{
    color::lab::lab_to_srgb8,
    colorize::{
        inputs::InputPicture,
        picture::{self, ColorizedPicture, Options},
    },
    data::source::RgbImage,
    pretext::colorizer::Colorizer,
    report::{canvas, table::TextTable},
    text::counted,
    train::panel::RgbTile,
};
use anyhow::Result;

/// All files that [`add`] makes.
pub const FILES: [&str; 6] =
    ["lightness.png", "contrast.png", "blur.png", "cues.csv", "cues.svg", "cues.png"];

/// Measures every cue on the photographs, and adds tables, plot and pictures.
///
/// # Errors
/// No readable photograph; non-finite colors.
pub fn add(
    (colorizer, options): (&Colorizer, &Options),
    inputs: &[InputPicture],
    output: &mut AnalysisOutput,
) -> Result<()> {
    let mut changes: Vec<CueChange> = Cue::ALL
        .into_iter()
        .flat_map(|cue| cue.amounts().iter().map(move |amount| (cue, *amount)))
        .map(|(cue, amount)| CueChange::new(cue, amount))
        .collect();
    let mut rows: Vec<Vec<RgbTile>> = vec![];
    let unscaled = photographs::unscaled(options);
    photographs::for_each(inputs, (colorizer, options.size), output, |photograph| {
        let tiles = measure((colorizer, &unscaled), &photograph, &mut changes)?;
        if rows.len() < SHOWN {
            rows.push(tiles);
        }
        Ok(())
    })?;
    add_pictures(&changes, &rows, output)?;
    let table = table(&changes);
    output.files.push((FILES[3], table.csv().into_bytes()));
    output.text += &table.text();
    let plot = cues_plot::CuePlot::new(&changes);
    output.files.push((FILES[4], canvas::svg(&plot)?.into_bytes()));
    output.files.push((FILES[5], canvas::png(&plot)?));
    Ok(())
}

/// Colorizes a photograph under every change; returns the results.
fn measure(
    (colorizer, options): (&Colorizer, &Options),
    photograph: &Photograph,
    changes: &mut [CueChange],
) -> Result<Vec<RgbTile>> {
    let image = &photograph.image;
    let (pixels, _) = image.pixels.as_chunks::<3>();
    let lightness: Vec<f32> = pixels.iter().map(|rgb| options.gray.lightness(*rgb)).collect();
    let colored = |lightness: &[f32]| -> Result<ColorizedPicture> {
        let pixels = lightness.iter().flat_map(|l| lab_to_srgb8([*l, 0.0, 0.0]).0).collect();
        picture::color(colorizer, &RgbImage { pixels, ..*image }, &[], options)
    };
    let unchanged = colored(&lightness)?.ab.pixels();
    let mut tiles = vec![];
    for change in changes {
        let result = colored(&change.cue.change(&lightness, image.width, change.amount))?;
        let ab = result.ab.pixels();
        let of_pixels = |of: &dyn Fn(usize) -> f32| {
            (0..ab.len()).map(|i| f64::from(of(i))).sum::<f64>() / ab.len() as f64
        };
        change.chromas.push(of_pixels(&|i| ab[i][0].hypot(ab[i][1])));
        change.distances.push(of_pixels(&|i| (ab[i][0] - unchanged[i][0]).hypot(ab[i][1] - unchanged[i][1])));
        tiles.push(tile(&result.rgb));
    }
    Ok(tiles)
}

/// One panel a cue: a row for each photograph, a column for each amount.
fn add_pictures(changes: &[CueChange], rows: &[Vec<RgbTile>], output: &mut AnalysisOutput) -> Result<()> {
    for (cue, file) in Cue::ALL.into_iter().zip(FILES) {
        let own = |row: &Vec<RgbTile>| {
            let tiles = row.iter().zip(changes).filter(|(_, change)| change.cue == cue);
            tiles.map(|(tile, _)| tile.clone()).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<RgbTile>> = rows.iter().map(own).collect();
        let titles: Vec<String> = cue.amounts().iter().map(|amount| cue.title(*amount)).collect();
        output.add_panel(file, &rows, &titles.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn table(changes: &[CueChange]) -> TextTable {
    let titles = ["cue", "amount", "moved by", "95 % low", "95 % high", "chroma"];
    let row = |change: &CueChange| {
        let ends =
            change.interval().map_or([None, None], |interval| [Some(interval.low), Some(interval.high)]);
        let ends = ends.map(|end| end.map_or("–".into(), |value| format!("{value:.2}")));
        let values = [change.distance(), change.chroma()].map(|value| format!("{value:.2}"));
        let [distance, chroma] = values;
        let [low, high] = ends;
        vec![change.cue.name().into(), change.amount.to_string(), distance, low, high, chroma]
    };
    let photographs = changes.first().map_or(0, |change| change.distances.len());
    let notes = format!(
        "\nMoved by: mean distance in ab units between the colors predicted with and without the change, over {}; \
         chroma: of what is predicted.\n",
        counted(photographs, "photograph")
    );
    TextTable { notes, ..TextTable::new(titles, changes.iter().map(row)) }
}
