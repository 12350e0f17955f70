//! Differences between colorization methods on the images that both saw. With one seed their error is that of the paired bootstrap
//! (Efron 1979), which is smaller than the methods' own errors suggest, since what is hard for one method is hard for the
//! other; with several, the standard deviation over seeds.

use super::{
    colors::{ColorResult, ColorTable},
    score::{COLUMNS, in_display_units},
    table::TextTable,
};
use crate::metrics::{
    accuracy::MeanStd,
    bootstrap::{Interval, share_below},
    color::ColorMeasure,
};

/// The measures of which Markdown and page show the differences; the sheet has all.
const SHOWN: [ColorMeasure; 3] = [ColorMeasure::Auc, ColorMeasure::AucEmpirical, ColorMeasure::AucPrior];

/// One method less another.
struct Difference {
    seeds: usize,
    mean: f64,
    /// Standard error with one seed, standard deviation with several.
    spread: Option<f64>,
    /// 95 % interval and the share of resamples in which the first method is below the second; with one seed.
    resampled: Option<(Interval, f64)>,
}

impl Difference {
    /// None unless some seed has both methods on the same images.
    fn of(a: &[&ColorResult], b: &[&ColorResult], measure: ColorMeasure) -> Option<Self> {
        let (mut values, mut resampled) = (vec![], None);
        for a in a {
            let Some(b) = b.iter().find(|b| b.seed == a.seed) else { continue };
            let Some(differences) = a.replicates.less(&b.replicates, measure) else { continue };
            values.push(a.summary.get(measure)? - b.summary.get(measure)?);
            let below = share_below(&differences, &vec![0.0; differences.len()]);
            resampled = Interval::of(&differences).zip(below);
        }
        let over_seeds = MeanStd::of(&values)?;
        let resampled = resampled.filter(|_| values.len() == 1);
        let spread = resampled.map(|(interval, _)| interval.std).or(over_seeds.std);
        Some(Self { seeds: values.len(), mean: over_seeds.mean, spread, resampled })
    }

    /// Whether the 95 % interval leaves out 0.
    fn told_apart(&self) -> bool {
        self.resampled.is_some_and(|(interval, _)| interval.low > 0.0 || interval.high < 0.0)
    }
}

impl ColorTable<'_> {
    /// One table for each area: each method less those before it. Empty without a pair.
    pub(super) fn differences(&self) -> Vec<TextTable> {
        let columns = COLUMNS.into_iter().filter(|(measure, ..)| SHOWN.contains(measure));
        columns
            .filter_map(|(measure, title, decimals)| self.differences_of(measure, title, decimals))
            .collect()
    }

    fn differences_of(&self, measure: ColorMeasure, title: &str, decimals: usize) -> Option<TextTable> {
        let pair = |later: usize, before: usize| {
            let (a, b) = (&self.methods[later].1, &self.methods[before].1);
            (before < later).then(|| Difference::of(a, b, measure))
        };
        let text = |difference: Difference| {
            let shown = |value: f64| in_display_units(measure, value);
            let spread = difference.spread.map_or(String::new(), |s| format!(" ± {:.decimals$}", shown(s)));
            let mark = if difference.told_apart() { "*" } else { "" };
            format!("{:+.decimals$}{spread}{mark}", shown(difference.mean))
        };
        let count = self.methods.len();
        let row = |later: usize| {
            let cells = (0..count - 1).map(|before| match pair(later, before) {
                None => String::new(),
                Some(difference) => difference.map_or("–".into(), text),
            });
            std::iter::once(self.methods[later].0.clone()).chain(cells).collect()
        };
        if !(1..count).any(|later| (0..later).any(|before| pair(later, before).flatten().is_some())) {
            return None;
        }
        let columns =
            std::iter::once("less").chain(self.methods[..count - 1].iter().map(|(name, _)| &**name));
        let title =
            format!("{title}: rows less columns, on the same images, {}", self.spread_of_differences());
        Some(TextTable { title, ..TextTable::new(columns, (1..count).map(row)) })
    }

    fn spread_of_differences(&self) -> String {
        match self.seeds() {
            1 => "± standard error by paired bootstrap; * where the 95 % interval leaves out 0".into(),
            seeds => format!("mean ± std over {seeds} seeds"),
        }
    }
}

/// The differences of all pairs in every measure as one CSV sheet; areas in percent. Empty without a pair.
pub fn csv(tables: &[ColorTable]) -> String {
    let columns = [
        "dataset",
        "pixels",
        "measure",
        "method",
        "less",
        "seeds",
        "difference",
        "spread",
        "low",
        "high",
        "share below 0",
    ];
    let rows: Vec<_> = tables.iter().flat_map(sheet_rows).collect();
    if rows.is_empty() { String::new() } else { TextTable::new(columns, rows).csv() }
}

fn sheet_rows(table: &ColorTable) -> Vec<Vec<String>> {
    let mut rows = vec![];
    for measure in ColorMeasure::ALL.into_iter().filter(|measure| *measure != ColorMeasure::TruthColorfulness)
    {
        for (later, (a, ours)) in table.methods.iter().enumerate() {
            for (b, theirs) in &table.methods[..later] {
                let Some(difference) = Difference::of(ours, theirs, measure) else { continue };
                let about = [
                    table.dataset.into(),
                    table.pixels.to_string(),
                    measure.name().into(),
                    a.clone(),
                    b.clone(),
                ];
                rows.push(about.into_iter().chain(numbers(&difference, measure)).collect());
            }
        }
    }
    rows
}

fn numbers(difference: &Difference, measure: ColorMeasure) -> [String; 6] {
    let shown =
        |value: Option<f64>| value.map_or(String::new(), |v| format!("{:.4}", in_display_units(measure, v)));
    let (interval, below) = difference.resampled.unzip();
    [
        difference.seeds.to_string(),
        shown(Some(difference.mean)),
        shown(difference.spread),
        shown(interval.map(|i| i.low)),
        shown(interval.map(|i| i.high)),
        below.map_or(String::new(), |share| format!("{share:.4}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::colors::{Histogram, tables};
    use serde_json::json;

    /// AuC `auc` on `images`, and its resamples.
    fn result(method: &str, seed: u64, images: &str, auc: f64, resamples: &[f64]) -> ColorResult {
        let summary = json!({ "images": 3, "pixels": 12, "auc": auc, "auc_thresholds": auc, "auc_empirical": auc,
            "auc_empirical_thresholds": auc, "occupied_bins": 2, "effective_empirical": 9.0, "rmse": 20.0 });
        let histogram = json!({ "counts": vec![0; Histogram::SIDE * Histogram::SIDE] });
        let replicates = json!({ "images": images, "values": { "auc": resamples } });
        serde_json::from_value(
            json!({ "kind": "color_evaluation", "experiment": "e", "seed": seed, "dataset": "photos",
            "pixels": 56, "method": method, "summary": summary, "intervals": {}, "replicates": replicates,
            "histogram": histogram, "truth": histogram, "cell": 4.0 }),
        )
        .unwrap()
    }

    fn shown(results: &[ColorResult]) -> Vec<String> {
        tables(results).unwrap()[0].differences().iter().map(TextTable::markdown).collect()
    }

    #[test]
    fn with_one_seed_by_resamples() {
        let results = [
            result("gray", 0, "x", 0.75, &[0.5, 0.75, 1.0, 0.75]),
            result("better", 0, "x", 0.875, &[0.625, 0.875, 1.125, 0.875]),
            result("alike", 0, "x", 0.75, &[0.75, 0.5, 1.0, 0.75]),
            result("elsewhere", 0, "y", 0.5, &[0.5, 0.5, 0.5, 0.5]),
        ];
        let [table] = &shown(&results)[..] else { panic!("AuC alone has resamples") };
        for row in [
            "| better | +12.50 ± 0.00* |  |  |",
            "| alike | +0.00 ± 20.41 | -12.50 ± 20.41 |  |",
            "| elsewhere | – | – | – |",
        ] {
            assert!(table.contains(row), "{row}: {table}");
        }
        let sheet = csv(&tables(&results).unwrap());
        assert!(
            sheet.contains("\nphotos,56,auc,better,gray,1,12.5000,0.0000,12.5000,12.5000,0.0000\n"),
            "{sheet}"
        );
        assert!(sheet.contains(",alike,gray,1,0.0000,20.4124,-23.1250,23.1250,0.2500\n"), "{sheet}");
    }

    #[test]
    fn with_several_seeds_by_seed() {
        let results = [
            result("gray", 0, "x", 0.5, &[0.5, 0.6]),
            result("gray", 1, "x", 0.6, &[0.5, 0.6]),
            result("full", 0, "x", 0.6, &[0.5, 0.6]),
            result("full", 1, "x", 0.8, &[0.5, 0.6]),
        ];
        let [table] = &shown(&results)[..] else { panic!("one table") };
        assert!(
            table.contains("mean ± std over 2 seeds") && table.contains("| full | +15.00 ± 7.07 |"),
            "{table}"
        );
    }

    #[test]
    fn without_resamples_there_is_nothing() {
        let results = ["a", "b"].map(|method| result(method, 0, "x", 0.5, &[]));
        assert!(shown(&results).is_empty());
        assert_eq!(csv(&tables(&results).unwrap()), "");
    }
}
