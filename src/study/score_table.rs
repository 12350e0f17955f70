//! Scores as tables: text, Markdown, CSV.

use super::{
    design::StudyDesign,
    score::{AlgorithmScore, StudyScores, by_success},
};
use crate::{
    metrics::bootstrap::Interval,
    report::{
        published::{Benchmark, PublishedBlock},
        table::TextTable,
    },
    text::counted,
};
use anyhow::Result;

const COLUMNS: [&str; 8] =
    ["algorithm", "fooled %", "±", "95 % interval", "± over pairs", "trials", "participants", "vigilance %"];
/// The column of published figures, among those after the first.
const PUBLISHED: [Option<&str>; COLUMNS.len() - 1] = [Some("fooled"), None, None, None, None, None, None];
const NONE: &str = "–";

/// The table of all algorithms, with `published` above the figures of the paper.
///
/// # Errors
/// An invalid file of published figures, which is compiled in.
pub fn table(scores: &StudyScores, published: bool) -> Result<TextTable> {
    let block = if published { PublishedBlock::of(Benchmark::RealVersusFake, &PUBLISHED)? } else { None };
    let mut table = TextTable::new(COLUMNS, scores.algorithms.iter().map(row));
    table.title = title(scores);
    table.groups.extend(block.as_ref().map(PublishedBlock::rows));
    let notes = scores.algorithms.iter().filter_map(omissions).map(|line| line + "  \n").collect::<String>();
    let block = block.map_or(String::new(), |block| format!("\n{}", block.notes()));
    table.notes = format!("\n{notes}{}\n{block}", required(scores));
    Ok(table)
}

fn title(scores: &StudyScores) -> String {
    format!(
        "Real versus fake: % of trials in which the photograph was called fake, 50 if it cannot be told; ± bootstrap over \
         participants and their trials ({} replicates, seed {})",
        scores.bootstrap.replicates, scores.bootstrap.seed
    )
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn cell(share: Option<f64>) -> String {
    share.map_or(NONE.into(), percent)
}

fn row(score: &AlgorithmScore) -> Vec<String> {
    let interval = |i: Interval| format!("{} to {}", percent(i.low), percent(i.high));
    vec![
        score.algorithm.clone(),
        cell(score.fooled),
        cell(score.over_participants.map(|i| i.std)),
        score.over_participants.map_or(NONE.into(), interval),
        cell(score.over_pairs.map(|i| i.std)),
        score.trials.scored.to_string(),
        score.participants.scored.to_string(),
        cell(score.vigilance.share()),
    ]
}

/// What is not scored, and why; None if everything is.
fn omissions(score: &AlgorithmScore) -> Option<String> {
    let (people, trials) = (&score.participants, &score.trials);
    let parts = [
        (people.incomplete, "participant", "unfinished"),
        (people.inattentive, "participant", "below the required vigilance"),
        (people.without_trials, "participant", "without a trial that counts"),
        (trials.exposure_off, "trial", "with an exposure off by more than a frame"),
        (trials.too_early, "trial", "answered before both pictures can have been shown"),
        (trials.hidden, "trial", "hidden while shown"),
        (trials.reload, "trial", "interrupted by a reload"),
    ];
    let told = |(count, one, why): (usize, &str, &str)| {
        (count > 0).then(|| format!("{} {why}", counted(count, one)))
    };
    let parts: Vec<String> = parts.into_iter().filter_map(told).collect();
    (!parts.is_empty()).then(|| format!("{}: not scored: {}", score.algorithm, parts.join(", ")))
}

fn required(scores: &StudyScores) -> String {
    let vigilance = match scores.required_vigilance {
        0.0 => "No vigilance was required.".into(),
        share => format!("Required vigilance: {} %.", percent(share)),
    };
    let all =
        if scores.all_trials { " All answers are scored, also those with other exposures." } else { "" };
    format!("Vigilance: share of trials in which the Random baseline was called fake. {vigilance}{all}")
}

/// One-sided p-values: row A, column B, the share of replicates in which A fooled less often than B. None with fewer than two
/// algorithms that have participants.
pub fn comparison_table(scores: &StudyScores) -> Option<TextTable> {
    let names: Vec<&String> = scores
        .algorithms
        .iter()
        .filter(|score| score.fooled.is_some())
        .map(|score| &score.algorithm)
        .collect();
    if names.len() < 2 {
        return None;
    }
    let p = |a: &String, b: &String| {
        let found = scores.comparisons.iter().find(|compared| compared.a == *a && compared.b == *b);
        found.map_or(NONE.into(), |compared| format!("{:.4}", compared.a_below_b))
    };
    let row = |a: &&String| [vec![(*a).clone()], names.iter().map(|b| p(a, b)).collect()].concat();
    let columns = std::iter::once("A \\ B".into()).chain(names.iter().map(|name| (*name).clone()));
    let mut table = TextTable::new(columns.collect::<Vec<String>>(), names.iter().map(row));
    table.title =
        "One-sided p of \"A fools more often than B\": the share of replicates in which A is below B".into();
    Some(table)
}

/// A line for each algorithm, shares from 0 to 1.
pub fn algorithms_csv(scores: &StudyScores) -> String {
    let columns = [
        "algorithm",
        "fooled",
        "mean",
        "std",
        "low",
        "high",
        "pairs_std",
        "pairs_low",
        "pairs_high",
        "trials",
        "exposure_off",
        "too_early",
        "hidden",
        "reload",
        "participants",
        "incomplete",
        "inattentive",
        "without_trials",
        "vigilance_shown",
        "vigilance_detected",
    ];
    TextTable::new(columns, scores.algorithms.iter().map(csv_row)).csv()
}

fn csv_row(score: &AlgorithmScore) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.6}"));
    let (people, pairs) = (score.over_participants, score.over_pairs);
    let shares = [
        score.fooled,
        people.map(|i| i.mean),
        people.map(|i| i.std),
        people.map(|i| i.low),
        people.map(|i| i.high),
        pairs.map(|i| i.std),
        pairs.map(|i| i.low),
        pairs.map(|i| i.high),
    ];
    let counts = csv_counts(score);
    let cells = shares.map(number).into_iter().chain(counts.map(|count| count.to_string()));
    std::iter::once(score.algorithm.clone()).chain(cells).collect()
}

fn csv_counts(score: &AlgorithmScore) -> [usize; 11] {
    let AlgorithmScore { participants, trials, vigilance, .. } = score;
    [
        trials.scored,
        trials.exposure_off,
        trials.too_early,
        trials.hidden,
        trials.reload,
        participants.scored,
        participants.incomplete,
        participants.inattentive,
        participants.without_trials,
        vigilance.shown,
        vigilance.detected,
    ]
}

/// A line for each pair, those that fooled most often first.
pub fn pairs_csv(scores: &StudyScores, design: &StudyDesign) -> String {
    let row = |score: &AlgorithmScore| -> Vec<Vec<String>> {
        let cells = |pair: super::score::PairScore| {
            let name = design.photographs[pair.photograph].clone();
            vec![score.algorithm.clone(), name, pair.fooled.to_string(), pair.shown.to_string()]
        };
        by_success(&score.pairs).into_iter().map(cells).collect()
    };
    TextTable::new(["algorithm", "photograph", "fooled", "shown"], scores.algorithms.iter().flat_map(row))
        .csv()
}
