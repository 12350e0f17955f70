//! The ColorChecker of the paper's Figure 13: 24 patches with nothing in them but lightness. A network that knows colors by what
//! things are cannot recover them; one that maps lightness to color would.

use super::{output::AnalysisOutput, photographs::tile};
use crate::{
    color::{gray::Gray, lab::srgb8_to_lab},
    colorize::{
        montage::to_gray,
        picture::{self, Options},
    },
    data::source::RgbImage,
    pretext::colorizer::Colorizer,
    report::table::TextTable,
};
use anyhow::Result;

/// All files that [`add`] makes.
pub const FILES: [&str; 2] = ["chart.png", "chart.csv"];

/// Names and 8-bit sRGB values of the patches, row by row: the usual published table of the chart (BabelColor, under D65).
const PATCHES: [(&str, [u8; 3]); 24] = [
    ("dark skin", [115, 82, 68]),
    ("light skin", [194, 150, 130]),
    ("blue sky", [98, 122, 157]),
    ("foliage", [87, 108, 67]),
    ("blue flower", [133, 128, 177]),
    ("bluish green", [103, 189, 170]),
    ("orange", [214, 126, 44]),
    ("purplish blue", [80, 91, 166]),
    ("moderate red", [193, 90, 99]),
    ("purple", [94, 60, 108]),
    ("yellow green", [157, 188, 64]),
    ("orange yellow", [224, 163, 46]),
    ("blue", [56, 61, 150]),
    ("green", [70, 148, 73]),
    ("red", [175, 54, 60]),
    ("yellow", [231, 199, 31]),
    ("magenta", [187, 86, 149]),
    ("cyan", [8, 133, 161]),
    ("white", [243, 243, 242]),
    ("neutral 8", [200, 200, 200]),
    ("neutral 6.5", [160, 160, 160]),
    ("neutral 5", [122, 122, 121]),
    ("neutral 3.5", [85, 85, 85]),
    ("black", [52, 52, 52]),
];

/// Patches in a row.
const COLUMNS: usize = 6;
/// Share of a patch's pitch that the black frame around it takes.
const FRAME: f64 = 0.2;
const BLACK: [u8; 3] = [20, 20, 20];

/// The chart, and where its patches lie.
struct Chart {
    image: RgbImage,
    /// Distance between the corners of two patches, and side of a patch, in pixels.
    pitch: usize,
    side: usize,
}

impl Chart {
    /// A chart whose short side has about `short` pixels.
    fn new(short: usize) -> Self {
        let rows = PATCHES.len() / COLUMNS;
        let pitch = (short / rows).max(10);
        let side = pitch - (FRAME * pitch as f64).round() as usize;
        let (width, height) = (COLUMNS * pitch, rows * pitch);
        let mut chart =
            Self { image: RgbImage { width, height, pixels: BLACK.repeat(width * height) }, pitch, side };
        for (patch, (_, rgb)) in PATCHES.iter().enumerate() {
            for pixel in chart.pixels_of(patch) {
                chart.image.pixels[3 * pixel..][..3].copy_from_slice(rgb);
            }
        }
        chart
    }

    /// Indices of the pixels of a patch.
    fn pixels_of(&self, patch: usize) -> Vec<usize> {
        let frame = (self.pitch - self.side) / 2;
        let (x, y) = (patch % COLUMNS * self.pitch + frame, patch / COLUMNS * self.pitch + frame);
        let row = |y: usize| (x..x + self.side).map(move |x| y * self.image.width + x);
        (y..y + self.side).flat_map(row).collect()
    }
}

/// One patch, in Lab.
struct PatchColor {
    name: &'static str,
    truth: [f32; 3],
    /// Mean over its pixels of the predicted a and b.
    predicted: [f32; 2],
}

impl PatchColor {
    fn error(&self) -> f64 {
        let [da, db] = [0, 1].map(|i| self.predicted[i] - self.truth[i + 1]);
        f64::from(da.hypot(db))
    }

    fn chroma(&self) -> f64 {
        f64::from(self.truth[1].hypot(self.truth[2]))
    }
}

/// Colorizes the chart as large as the network sees pictures, and adds the figure, the table and a line on what was recovered.
///
/// # Errors
/// Non-finite colors.
pub fn add((colorizer, options): (&Colorizer, &Options), output: &mut AnalysisOutput) -> Result<()> {
    let short = match options.size {
        picture::InputSize::Short(side) => side,
        picture::InputSize::Full => picture::SHORT_SIDE,
    };
    let chart = Chart::new(short);
    let colored = picture::color(colorizer, &chart.image, &[], options)?;
    let ab = colored.ab.pixels();
    let patches: Vec<PatchColor> = PATCHES
        .iter()
        .enumerate()
        .map(|(patch, (name, rgb))| {
            let pixels = chart.pixels_of(patch);
            let mean = |i: usize| pixels.iter().map(|pixel| ab[*pixel][i]).sum::<f32>() / pixels.len() as f32;
            PatchColor { name, truth: srgb8_to_lab(*rgb), predicted: [mean(0), mean(1)] }
        })
        .collect();
    let tiles = [to_gray(&chart.image, Gray::Lightness), colored.rgb, chart.image];
    output.add_panel(FILES[0], &[tiles.iter().map(tile).collect()], &["gray", "colorized", "chart"])?;
    output.files.push((FILES[1], table(&patches).csv().into_bytes()));
    output.text += &summary(&patches);
    Ok(())
}

fn table(patches: &[PatchColor]) -> TextTable {
    let titles = ["patch", "L", "a", "b", "predicted a", "predicted b", "distance"];
    let row = |patch: &PatchColor| {
        let [l, a, b] = patch.truth;
        let values = [l, a, b, patch.predicted[0], patch.predicted[1], patch.error() as f32];
        std::iter::once(patch.name.to_string()).chain(values.map(|v| format!("{v:.2}"))).collect()
    };
    TextTable::new(titles, patches.iter().map(row))
}

/// How far the predicted colors are from the true ones, beside those of a chart left gray.
fn summary(patches: &[PatchColor]) -> String {
    let mean = |of: fn(&PatchColor) -> f64| patches.iter().map(of).sum::<f64>() / patches.len() as f64;
    let recovered = recovered(patches);
    let said = match recovered {
        ..0.0 => "The prediction is worse than gray.".into(),
        share => format!("{:.0} % of the variance of color is recovered.", 100.0 * share),
    };
    format!(
        "ColorChecker: predicted colors are {:.1} ab units from the true ones on average; gray is {:.1} away. \
         {said}\n",
        mean(PatchColor::error),
        mean(PatchColor::chroma),
    )
}

/// Share of the patches' squared chroma that the prediction explains: 1 for true colors, 0 for gray, negative for worse.
fn recovered(patches: &[PatchColor]) -> f64 {
    let sum = |of: fn(&PatchColor) -> f64| patches.iter().map(|patch| of(patch).powi(2)).sum::<f64>();
    1.0 - sum(PatchColor::error) / sum(PatchColor::chroma)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches(share: f32) -> Vec<PatchColor> {
        let of = |(name, rgb): &(&'static str, [u8; 3])| {
            let truth = srgb8_to_lab(*rgb);
            PatchColor { name, truth, predicted: [share * truth[1], share * truth[2]] }
        };
        PATCHES.iter().map(of).collect()
    }

    #[test]
    fn true_colors_recover_all_and_gray_nothing() {
        assert_eq!(recovered(&patches(1.0)), 1.0);
        assert_eq!(recovered(&patches(0.0)), 0.0);
        assert!((recovered(&patches(0.5)) - 0.75).abs() < 1e-6);
        assert!(recovered(&patches(-1.0)) < 0.0);
        let said = summary(&patches(0.0));
        let (error, gray) = said.split_once("; gray is ").unwrap();
        let number = gray.split(' ').next().unwrap();
        assert!(error.contains(&format!("are {number} ab units")) && said.contains(" 0 % of"), "{said}");
    }

    #[test]
    fn every_patch_lies_in_its_place_with_black_around_it() {
        for short in [16, 64, 255] {
            let chart = Chart::new(short);
            let mut inside = 0;
            for (patch, (name, rgb)) in PATCHES.iter().enumerate() {
                let pixels = chart.pixels_of(patch);
                assert!(!pixels.is_empty());
                inside += pixels.len();
                assert!(pixels.iter().all(|p| chart.image.pixels[3 * p..][..3] == *rgb), "{name} at {short}");
            }
            let black = chart.image.pixels.as_chunks::<3>().0.iter().filter(|rgb| **rgb == BLACK).count();
            assert_eq!(black + inside, chart.image.width * chart.image.height);
            assert_eq!(chart.image.pixels[..3], BLACK);
        }
    }
}
