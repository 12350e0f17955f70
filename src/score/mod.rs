//! Color scores of several methods on the same true pictures, one [`ScoreRow`] each. [`score_folders`] reads pictures
//! from folders; predictions in memory are scored with `metrics::color`, and [`row`] and [`compare`] build the same
//! [`ScoreTable`]. Pictures are scored unchanged: without resizing and without replacing the lightness.

mod method;

pub use method::{LabPicture, Prediction, ScoredMethod, gray, with_lightness};

use crate::{
    color::{bins::Bins, prior::Prior},
    data::{folder::Files, source::Dataset},
    metrics::{
        bootstrap::{Bootstrap, share_below},
        color::{ColorMeasure, ColorScoreError, ColorScores, ColorSummary, ImageScores, intervals},
    },
    report::{Comparison, LeftOut, ScoreRow, ScoreTable},
};
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use rayon::prelude::*;
use std::{collections::HashSet, path::PathBuf};

/// Grid spacing of the paper's bins, used for rebalancing.
const GRID: f32 = 10.0;
/// Metrics on which methods are compared.
const COMPARED: [ColorMeasure; 3] = [ColorMeasure::Auc, ColorMeasure::AucEmpirical, ColorMeasure::AucPrior];

/// Inputs of a scoring run.
#[derive(Clone, Debug)]
pub struct ScoreSpec {
    pub truth: PathBuf,
    /// The rows, in order; not empty.
    pub methods: Vec<MethodSpec>,
    /// A prior over the paper's 313 bins.
    pub prior: Option<PathBuf>,
    pub bootstrap: Option<Bootstrap>,
    /// Seed of the random pictures.
    pub seed: u64,
}

/// Source of a method's colors.
#[derive(Clone, Debug)]
pub enum MethodSpec {
    /// Pictures with the names of the true ones.
    Folder { name: String, dir: PathBuf },
    /// No color.
    Gray,
    /// The colors of random pictures from a folder.
    Random(PathBuf),
}

/// Scores all methods on all pictures of the truth folder, in parallel over pictures.
///
/// Pictures that are unreadable, of another size or without counterpart are left out and listed in the table. Errors:
/// an unreadable folder or prior; a method without any matching picture; a method without any scored picture.
pub fn score_folders(spec: &ScoreSpec, progress: &ProgressBar) -> Result<ScoreTable> {
    let bins = Bins::new(GRID);
    let prior = spec.prior.as_ref().map(|path| Prior::read(path, &bins)).transpose()?;
    let truth = Files::open(&spec.truth)?;
    let prior_name = spec.prior.as_ref().map(|path| path.display().to_string());
    let mut table = ScoreTable::new(spec.truth.display().to_string(), prior_name, spec.bootstrap);
    let mut methods = Vec::new();
    for method in &spec.methods {
        methods.push(ScoredMethod::open(method, &spec.truth, &truth, spec.seed, &mut table.left_out)?);
    }
    let scored = score(&methods, &truth, &bins, prior.as_ref().map(|p| &*p.probabilities), progress);
    table.left_out.extend(scored.left_out);
    let named: Vec<_> = methods.iter().map(|m| m.name().to_owned()).zip(scored.methods).collect();
    progress.set_message("resampling");
    fill(&mut table, &named)?;
    progress.finish_and_clear();
    Ok(table)
}

/// Adds the row of every method and the comparison of every pair.
///
/// Errors: a method without a scored image.
pub fn fill(table: &mut ScoreTable, methods: &[(String, ColorScores)]) -> Result<()> {
    let bootstrap = table.bootstrap;
    let replicates: Vec<_> = methods
        .iter()
        .map(|(_, scores)| bootstrap.map_or(Vec::new(), |bootstrap| scores.replicates(&bootstrap)))
        .collect();
    for ((name, scores), replicates) in methods.iter().zip(&replicates) {
        let row = row(name, scores, replicates);
        table.rows.push(row.with_context(|| nothing_scored(name, &table.left_out))?);
    }
    let Some(bootstrap) = bootstrap else { return Ok(()) };
    for (i, a) in methods.iter().enumerate() {
        for (j, b) in methods.iter().enumerate().skip(i + 1) {
            let known = [&*replicates[i], &*replicates[j]];
            table.comparisons.extend(compare(a, b, known, &bootstrap));
        }
    }
    Ok(())
}

fn nothing_scored(method: &str, left_out: &[LeftOut]) -> String {
    let own = |l: &&LeftOut| l.method.as_deref().is_none_or(|m| m == method);
    let first = left_out.iter().find(own).map(|l| format!("; first, {}: {}", l.path, l.reason));
    format!("no picture of {method} could be scored{}", first.unwrap_or_default())
}

/// The row of a method; None without images. `replicates` are its [`ColorScores::replicates`], or empty.
pub fn row(method: &str, scores: &ColorScores, replicates: &[ColorSummary]) -> Option<ScoreRow> {
    Some(ScoreRow { method: method.to_owned(), summary: scores.summary()?, intervals: intervals(replicates) })
}

/// Compares two methods on the images that both were scored on, matched by name. `known` are their replicates over all
/// of their images, reused if the sets of images are equal.
fn compare(
    a: &(String, ColorScores),
    b: &(String, ColorScores),
    known: [&[ColorSummary]; 2],
    bootstrap: &Bootstrap,
) -> Vec<Comparison> {
    let [first, second] =
        [a, b].map(|(_, scores)| scores.images().iter().map(ImageScores::name).collect::<Vec<_>>());
    if first == second {
        return comparisons([&a.0, &b.0], known, first.len());
    }
    let second: HashSet<&str> = second.into_iter().collect();
    let both: HashSet<&str> = first.into_iter().filter(|name| second.contains(name)).collect();
    let [x, y] = [a, b].map(|(_, scores)| scores.only(&both).replicates(bootstrap));
    comparisons([&a.0, &b.0], [&x, &y], both.len())
}

fn comparisons(names: [&str; 2], replicates: [&[ColorSummary]; 2], images: usize) -> Vec<Comparison> {
    let compared = |measure: ColorMeasure| {
        let values = |r: &[ColorSummary]| r.iter().map(|s| s.get(measure)).collect::<Option<Vec<f64>>>();
        let a_below_b = share_below(&values(replicates[0])?, &values(replicates[1])?)?;
        Some(Comparison { measure, a: names[0].into(), b: names[1].into(), a_below_b, images })
    };
    COMPARED.into_iter().filter_map(compared).collect()
}

/// Result of [`score`].
#[derive(Debug)]
pub struct MethodScores {
    /// One per method, in order.
    pub methods: Vec<ColorScores>,
    pub left_out: Vec<LeftOut>,
}

/// Scores `methods` on every image of `truth`, in parallel over images. The result does not depend on the number of
/// threads. `prior` is the probability of each of `bins`.
pub fn score(
    methods: &[ScoredMethod],
    truth: &dyn Dataset,
    bins: &Bins,
    prior: Option<&[f64]>,
    progress: &ProgressBar,
) -> MethodScores {
    progress.set_length(truth.len() as u64);
    let one = |index: usize| {
        let scored = score_image(methods, truth, index, bins);
        progress.inc(1);
        scored
    };
    let images: Vec<_> = (0..truth.len()).into_par_iter().map(one).collect();
    let mut scored =
        MethodScores { methods: vec![ColorScores::new(prior); methods.len()], left_out: Vec::new() };
    for image in images {
        match image {
            Err(left_out) => scored.left_out.push(left_out),
            Ok(results) => {
                for (scores, result) in scored.methods.iter_mut().zip(results) {
                    match result {
                        Ok(Some(image)) => scores.push(image),
                        Ok(None) => {}
                        Err(left_out) => scored.left_out.push(left_out),
                    }
                }
            }
        }
    }
    scored
}

/// The scores of each method on one image (None: no counterpart), or why the true picture is unusable.
type ImageResults = Result<Vec<Result<Option<ImageScores>, LeftOut>>, LeftOut>;

fn score_image(methods: &[ScoredMethod], truth: &dyn Dataset, index: usize, bins: &Bins) -> ImageResults {
    let name = truth.name(index);
    let picture = match truth.image(index) {
        Ok(image) => LabPicture::of(image),
        Err(error) => {
            let reason = method::reason(error);
            return Err(LeftOut { method: None, path: name, reason });
        }
    };
    let truth_ab = picture.ab();
    let results = methods.iter().map(|method| {
        let Some(prediction) = method.predict(index, &picture)? else { return Ok(None) };
        let left_out = |error: ColorScoreError| LeftOut {
            method: Some(method.name().to_owned()),
            path: name.clone(),
            reason: error.to_string(),
        };
        let scores = ImageScores::of(&name, &prediction.ab, &truth_ab, bins).map_err(left_out)?;
        scores.with_pictures(&prediction.pixels, &picture.image.pixels).map(Some).map_err(left_out)
    });
    Ok(results.collect())
}
