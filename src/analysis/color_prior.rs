//! The paper's Figure 3 for any set of pictures: the bins in gamut, how often each color occurs, and how that depends on
//! lightness; and the weights of the rebalanced loss that follow (Zhang, Isola and Efros 2016, section 2.2, equation 4).

use super::{color_counts::ColorCounts, color_prior_plot::PriorPlot, output::AnalysisOutput};
use crate::{
    color::{bins::Bins, prior::rebalance},
    colorize::inputs::InputPicture,
    progress::Progress,
    report::{canvas, table::TextTable},
    text::counted,
};
use anyhow::{Result, ensure};
use rayon::prelude::*;

/// All files that [`run`] makes.
pub const FILES: [&str; 3] = ["prior.svg", "prior.png", "prior.csv"];

/// Bin spacing, deviation of the smoothing and share of the uniform distribution, as in the paper.
const GRID: f32 = 10.0;
const SIGMA: f32 = 5.0;
const UNIFORM: f64 = 0.5;
/// Counts the colors of the pictures.
///
/// # Errors
/// No picture can be read; a plot that cannot be drawn.
pub fn run(inputs: &[InputPicture]) -> Result<AnalysisOutput> {
    let bar = Progress::new(inputs.len(), "counting");
    let bins = Bins::new(GRID);
    let counts = inputs.par_iter().fold(ColorCounts::default, |mut counts, input| {
        counts.add(input, &bins);
        bar.add(1);
        counts
    });
    let counts = counts.reduce(ColorCounts::default, ColorCounts::merge);
    let first = counts.failed.first().map(|(path, reason)| format!("{}: {reason}", path.display()));
    ensure!(counts.pictures > 0, "no picture can be read; first, {}", first.unwrap_or_default());
    let table = table(&counts, &bins);
    let plot = PriorPlot::new(&counts, &bins);
    let files = vec![
        (FILES[0], canvas::svg(&plot)?.into_bytes()),
        (FILES[1], canvas::png(&plot)?),
        (FILES[2], table.csv().into_bytes()),
    ];
    Ok(AnalysisOutput { text: summary(&counts, &bins), files, failed: counts.failed })
}

/// Every bin with its share of the pixels, each counted for the nearest bin; the share after the histogram in cells of 1 ab unit
/// was smoothed in the ab plane; and the weight in the loss, for which the uniform share is over the bins that then have any.
fn table(counts: &ColorCounts, bins: &Bins) -> TextTable {
    let all = counts.all();
    let smoothed = all.prior(bins, SIGMA);
    let share = |pixels: &u64| *pixels as f64 / all.pixels().max(1) as f64;
    let weights = rebalance(&smoothed, UNIFORM);
    let rows = bins.centers().iter().zip(counts.by_bin.iter().zip(smoothed.iter().zip(&weights)));
    let row = |([a, b], (pixels, (smoothed, weight))): (&[f32; 2], (&u64, (&f64, _)))| {
        vec![
            a.to_string(),
            b.to_string(),
            format!("{:e}", share(pixels)),
            format!("{smoothed:e}"),
            format!("{weight}"),
        ]
    };
    TextTable::new(["a", "b", "share", "smoothed share", "weight"], rows.map(row))
}

fn summary(counts: &ColorCounts, bins: &Bins) -> String {
    let all = counts.all();
    let seen = counts.by_bin.iter().filter(|pixels| **pixels > 0).count();
    let weights = rebalance(&all.prior(bins, SIGMA), UNIFORM);
    let (low, high) = weights.iter().fold((f32::MAX, 0f32), |(low, high), w| (low.min(*w), high.max(*w)));
    format!(
        "{} of {}: {:.1} % have a chroma below {GRID}; {seen} of {} bins occur.\nWeights of the rebalanced loss: \
         {low:.3} for the most frequent color, {high:.2} for the rarest.\n",
        counted(all.pixels() as usize, "pixel"),
        counted(counts.pictures, "picture"),
        100.0 * counts.pale as f64 / all.pixels().max(1) as f64,
        bins.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_prior_and_its_weights() {
        let mut counts = ColorCounts::default();
        counts.add_pixels(&[255, 0, 0, 128, 128, 128, 128, 128, 128, 128, 128, 128], &Bins::new(GRID));
        let bins = Bins::new(GRID);
        let table = table(&counts, &bins);
        assert_eq!(table.rows.len(), 313);
        let gray = table.rows.iter().find(|row| row[0] == "0" && row[1] == "0").unwrap();
        assert_eq!(gray[2], "7.5e-1");
        let sum: f64 = table.rows.iter().map(|row| row[3].parse::<f64>().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        let mean: f64 = table
            .rows
            .iter()
            .map(|row| row[3].parse::<f64>().unwrap() * row[4].parse::<f64>().unwrap())
            .sum();
        assert!((mean - 1.0).abs() < 1e-5, "the weights are 1 on average: {mean}");
        assert!(summary(&counts, &bins).contains("75.0 % have a chroma below 10; 2 of 313 bins occur"));
    }
}
