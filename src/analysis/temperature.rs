//! The paper's Figure 4: one prediction, decoded from its mean to its mode (Zhang, Isola and Efros 2016, section 2.3,
//! equation 5), and what each temperature is worth where the true colors are known.

use super::{
    output::AnalysisOutput,
    photographs::{self, Photograph, SHOWN, tile},
};
use crate::{
    color::{bins::Bins, decode::Decode},
    colorize::{
        inputs::InputPicture,
        montage::to_gray,
        picture::{self, ColorizedPicture, Options},
    },
    metrics::color::{ColorScores, ImageScores},
    pretext::colorizer::{Colorizer, OutputKind},
    report::table::TextTable,
    score::LabPicture,
    text::counted,
    train::panel::RgbTile,
};
use anyhow::{Result, ensure};

/// All files that [`run`] makes.
pub const FILES: [&str; 2] = ["temperature.png", "temperature.csv"];

/// The temperatures of the paper's figure, between the mean (1) and the mode.
pub const PAPER: [f32; 5] = [0.77, 0.58, 0.38, 0.29, 0.14];

/// Bin spacing of the rebalanced metric in ab units, as in the paper.
const GRID: f32 = 10.0;

/// One decoding over all photographs.
struct Column {
    title: String,
    options: Options,
    /// Sum over photographs of the mean chroma, in ab units.
    chroma: f64,
    scores: ColorScores,
}

/// Decodes the prediction for every photograph at each of `temperatures`, and by mean and mode.
///
/// # Errors
/// A network that predicts no distribution over bins, or non-finite colors; no readable photograph.
pub fn run(
    (colorizer, options): (&Colorizer, &Options),
    inputs: &[InputPicture],
    temperatures: &[f32],
) -> Result<AnalysisOutput> {
    let OutputKind::Distribution(_) = colorizer.output() else {
        anyhow::bail!("these weights predict one color per pixel, which has no temperature")
    };
    let mut columns = columns(&photographs::unscaled(options), temperatures);
    let (bins, mut rows, mut photographs, mut colored) = (Bins::new(GRID), vec![], 0, 0);
    let mut output = AnalysisOutput::default();
    photographs::for_each(inputs, (colorizer, options.size), &mut output, |photograph| {
        let results = decodings(colorizer, &photograph, &mut columns, &bins)?;
        photographs += 1;
        colored += usize::from(photograph.is_colored());
        if rows.len() < SHOWN {
            rows.push(row(&photograph, &results, options));
        }
        Ok(())
    })?;
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    output.add_panel(FILES[0], &rows, &[&["gray"], &*titles, &["original"]].concat())?;
    let table = table(&columns, photographs, colored);
    output.files.push((FILES[1], table.csv().into_bytes()));
    output.text = table.text();
    Ok(output)
}

fn columns(options: &Options, temperatures: &[f32]) -> Vec<Column> {
    let column = |title: String, decode| Column {
        title,
        options: Options { decode, ..options.clone() },
        chroma: 0.0,
        scores: ColorScores::new(None),
    };
    let between = temperatures.iter().map(|t| column(format!("T = {t}"), Decode::Annealed(*t)));
    std::iter::once(column("mean".into(), Decode::Mean))
        .chain(between)
        .chain([column("mode".into(), Decode::Mode)])
        .collect()
}

/// Runs the network once, paints the result by every column, and adds the measures.
fn decodings(
    colorizer: &Colorizer,
    photograph: &Photograph,
    columns: &mut [Column],
    bins: &Bins,
) -> Result<Vec<ColorizedPicture>> {
    let Photograph { name, image } = photograph;
    let Some(first) = columns.first() else { return Ok(vec![]) };
    let predicted = picture::predict(colorizer, image, &[], &first.options)?;
    let truth = photograph.is_colored().then(|| LabPicture::of(image.clone()).ab());
    let add = |column: &mut Column| {
        let painted = picture::paint(colorizer, image, &predicted, &column.options)?;
        let ab = painted.ab.pixels();
        ensure!(!ab.is_empty(), "the picture has no pixels");
        column.chroma += ab.iter().map(|[a, b]| f64::from(a.hypot(*b))).sum::<f64>() / ab.len() as f64;
        if let Some(truth) = &truth {
            let scores = ImageScores::of(name, &ab, truth, bins)?;
            column.scores.push(scores.with_pictures(&painted.rgb.pixels, &image.pixels)?);
        }
        Ok(painted)
    };
    columns.iter_mut().map(add).collect()
}

fn row(photograph: &Photograph, results: &[ColorizedPicture], options: &Options) -> Vec<RgbTile> {
    let gray = tile(&to_gray(&photograph.image, options.gray));
    let painted = results.iter().map(|result| tile(&result.rgb));
    std::iter::once(gray).chain(painted).chain([tile(&photograph.image)]).collect()
}

fn table(columns: &[Column], photographs: usize, colored: usize) -> TextTable {
    let titles = ["decoding", "chroma", "colorfulness", "AuC %", "AuC rebal. %", "RMSE"];
    let rows = columns.iter().map(|column| {
        let chroma = format!("{:.1}", column.chroma / photographs.max(1) as f64);
        let scores = column.scores.summary().map(|scores| {
            let areas = [100.0 * scores.auc, 100.0 * scores.auc_empirical, scores.rmse];
            let colorfulness = scores.colorfulness.map_or("–".into(), |value| format!("{value:.1}"));
            [vec![colorfulness], areas.map(|value| format!("{value:.1}")).to_vec()].concat()
        });
        let scores = scores.unwrap_or_else(|| vec!["–".into(); 4]);
        [vec![column.title.clone(), chroma], scores].concat()
    });
    let scores = match colored {
        0 => "None has color, so that nothing is scored.".into(),
        colored => format!("Scores: over the {colored} with color."),
    };
    let notes =
        format!("\nChroma: mean over {}, in ab units. {scores}\n", counted(photographs, "photograph"));
    TextTable { notes, ..TextTable::new(titles, rows) }
}
