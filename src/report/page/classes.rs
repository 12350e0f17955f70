//! What classifiers made of each class: the share that they knew, and which classes they took for which.

use super::table::table;
use crate::{
    metrics::accuracy::MeanStd,
    report::{
        class_counts::ClassCounts,
        results::{ProbeResult, SupervisedResult},
        table::{TextTable, cell_text},
    },
    text::counted,
};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// Most classes of a confusion matrix that is shown; of more, the most frequent confusions are listed.
const SQUARE: usize = 25;
/// Most confusions in a list.
const LISTED: usize = 20;
/// Most classes in a table of accuracies; of more, those that are known least.
const CLASSES: usize = 100;
/// Most confusion matrices.
const TABLES: usize = 12;
/// Most characters of the name of a class.
const NAME: usize = 24;
/// Shades of a cell, beyond none.
const SHADES: f64 = 9.0;

/// A classifier, with the counts of each of its seeds.
struct Classifier<'a> {
    dataset: &'a str,
    /// Its experiment and, of a probe, the protocol.
    origin: [&'a str; 2],
    /// Backbone and layer, or stage.
    label: String,
    seeds: Vec<&'a ClassCounts>,
}

/// Accuracies and confusions by class, for each set of classes; None without any.
pub(super) fn classes(probes: &[ProbeResult], supervised: &[SupervisedResult]) -> Option<Markup> {
    let all = classifiers(probes, supervised);
    let mut sets: Vec<(&str, &[String])> = vec![];
    for classifier in &all {
        let set = (classifier.dataset, classifier.classes());
        if !sets.contains(&set) {
            sets.push(set);
        }
    }
    let confused = || all.iter().filter(|classifier| classifier.sum().confusion.is_some());
    let omitted = confused().count().saturating_sub(TABLES);
    let mut left = TABLES;
    (!all.is_empty()).then(|| {
        html! {
            p.about {
                "Validation images; of the layers of a linear probe, the best one. Confusion matrices add up the images of \
                 all seeds."
            }
            @for (dataset, names) in sets {
                h3 { (dataset) }
                @let own = all.iter().filter(|one| (one.dataset, one.classes()) == (dataset, names)).collect::<Vec<_>>();
                (table(&accuracies(names, &own)))
                @for classifier in own { @if let Some(confusion) = classifier.confusion(&mut left) { (confusion) } }
            }
            @if omitted > 0 { p { (omitted) " more confusion matrices are not shown: report on fewer runs to see all." } }
        }
    })
}

fn classifiers<'a>(probes: &'a [ProbeResult], supervised: &'a [SupervisedResult]) -> Vec<Classifier<'a>> {
    let mut all: Vec<Classifier> = vec![];
    let mut add = |dataset: &'a str, origin: [&'a str; 2], label: String, counts: &'a ClassCounts| {
        if counts.classes.is_empty() {
            return;
        }
        let same = |known: &&mut Classifier| {
            (known.dataset, known.origin, &known.label) == (dataset, origin, &label)
                && known.classes() == counts.classes
        };
        match all.iter_mut().find(same) {
            Some(known) => known.seeds.push(counts),
            None => all.push(Classifier { dataset, origin, label, seeds: vec![counts] }),
        }
    };
    for result in probes {
        for row in &result.rows {
            for layer in &row.layers {
                let label = format!("{} {}", row.backbone, layer.layer);
                let origin = [result.experiment.as_str(), result.protocol.as_str()];
                layer.classes.iter().for_each(|counts| add(&result.dataset, origin, label.clone(), counts));
            }
        }
    }
    for result in supervised {
        add(&result.dataset, [&result.experiment, ""], result.stage.clone(), &result.classes);
    }
    all
}

/// Share of each class that each classifier knew, in percent.
fn accuracies(names: &[String], all: &[&Classifier]) -> TextTable {
    let seeds = all.iter().map(|classifier| classifier.seeds.len()).max().unwrap_or(1);
    let values: Vec<Vec<Option<MeanStd>>> = all.iter().map(|classifier| classifier.accuracies()).collect();
    let mean = |class: usize| {
        let known: Vec<f64> = values.iter().filter_map(|column| Some(column[class]?.mean)).collect();
        MeanStd::of(&known).map_or(f64::INFINITY, |mean| mean.mean)
    };
    let mut shown: Vec<usize> = (0..names.len()).collect();
    if names.len() > CLASSES {
        shown.sort_by(|a, b| mean(*a).total_cmp(&mean(*b)));
        shown.truncate(CLASSES);
    }
    // Experiments and protocols are named where there are several.
    let differs = |part: usize| {
        let named = all.iter().map(|classifier| classifier.origin[part]).filter(|name| !name.is_empty());
        named.collect::<BTreeSet<_>>().len() > 1
    };
    let told: Vec<usize> = (0..2).filter(|part| differs(*part)).collect();
    let label = |classifier: &&Classifier| {
        let origin = told.iter().map(|part| classifier.origin[*part]).filter(|name| !name.is_empty());
        let origin = origin.collect::<Vec<_>>().join(", ");
        if origin.is_empty() { classifier.label.clone() } else { format!("{origin}: {}", classifier.label) }
    };
    let row = |class: &usize| {
        let cells = values.iter().map(|column| cell_text(column[*class].as_ref(), seeds));
        std::iter::once(names[*class].clone()).chain(cells).collect()
    };
    let columns = std::iter::once("class".to_string()).chain(all.iter().map(label));
    let few = if shown.len() < names.len() {
        format!("; the {CLASSES} of {} classes that are known least", names.len())
    } else {
        String::new()
    };
    let title = format!("Top-1 accuracy in % by class{few}");
    TextTable { title, ..TextTable::new(columns, shown.iter().map(row)) }
}

impl Classifier<'_> {
    fn classes(&self) -> &[String] {
        self.seeds.first().map_or(&[], |counts| &counts.classes)
    }

    /// Over seeds, in percent.
    fn accuracies(&self) -> Vec<Option<MeanStd>> {
        let by_seed: Vec<Vec<Option<f64>>> =
            self.seeds.iter().map(|counts| counts.accuracies().collect()).collect();
        let values = |class: usize| by_seed.iter().filter_map(|seed| seed[class]).collect::<Vec<_>>();
        (0..self.classes().len()).map(|class| MeanStd::of(&values(class)).map(MeanStd::percent)).collect()
    }

    /// The counts of all seeds together.
    fn sum(&self) -> ClassCounts {
        let mut seeds = self.seeds.iter();
        let first = seeds.next().map(|counts| (*counts).clone()).unwrap_or_default();
        seeds.fold(first, |sum, counts| sum.plus(counts).unwrap_or(sum))
    }

    /// Its confusion matrix, or a list of the most frequent ones; None without counts or if none is `left`.
    fn confusion(&self, left: &mut usize) -> Option<Markup> {
        let sum = self.sum();
        let rows = sum.confusion.as_ref()?;
        *left = left.checked_sub(1)?;
        let seeds = match self.seeds.len() {
            1 => String::new(),
            seeds => format!(", {} added up", counted(seeds, "seed")),
        };
        Some(match sum.classes.len() <= SQUARE {
            true => square(&format!("{}: confusion matrix{seeds}", self.label), &sum, rows),
            false => table(&most_frequent(
                format!("{}: the most frequent confusions{seeds}", self.label),
                &sum,
                rows,
            )),
        })
    }
}

/// Rows true, columns predicted.
fn square(title: &str, counts: &ClassCounts, rows: &[Vec<u64>]) -> Markup {
    html! {
        figure.table {
            figcaption { (title) }
            div.scroll role="region" tabindex="0" aria-label=(title) {
                table.confusion {
                    thead {
                        tr {
                            td { "true ↓ predicted →" }
                            @for name in &counts.classes { th scope="col" { span { (shortened(name)) } } }
                            th scope="col" { "images" }
                        }
                    }
                    tbody {
                        @for (at, (name, row)) in counts.classes.iter().zip(rows).enumerate() {
                            tr {
                                th scope="row" { (shortened(name)) }
                                @for (to, count) in row.iter().enumerate() {
                                    td class=(cell_class(*count, counts.images[at], at == to)) { @if *count > 0 { (count) } }
                                }
                                td { (counts.images[at]) }
                            }
                        }
                    }
                }
            }
            p.notes { "Numbers: images. The darker, the larger the share of the class; right answers are framed." }
        }
    }
}

/// `s0` (none) to `s9` (all), and whether the answer is right.
fn cell_class(count: u64, images: u64, is_right: bool) -> String {
    let shade = (SHADES * count as f64 / images.max(1) as f64).ceil();
    format!("s{shade}{}", if is_right { " right" } else { "" })
}

fn most_frequent(title: String, counts: &ClassCounts, rows: &[Vec<u64>]) -> TextTable {
    let mut wrong: Vec<(u64, usize, usize)> = vec![];
    for (at, row) in rows.iter().enumerate() {
        let others = row.iter().enumerate().filter(|(to, count)| *to != at && **count > 0);
        wrong.extend(others.map(|(to, count)| (*count, at, to)));
    }
    wrong.sort_by_key(|(count, at, to)| (std::cmp::Reverse(*count), *at, *to));
    let row = |(count, at, to): &(u64, usize, usize)| {
        let share = 100.0 * *count as f64 / counts.images[*at].max(1) as f64;
        let names = [*at, *to].map(|class| counts.classes[class].clone());
        [names.as_slice(), &[count.to_string(), format!("{share:.1}")]].concat()
    };
    let columns = ["class", "taken for", "images", "% of the class"];
    TextTable { title, ..TextTable::new(columns, wrong.iter().take(LISTED).map(row)) }
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.into();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(confusion: &[&[u64]]) -> ClassCounts {
        let rows: Vec<Vec<u64>> = confusion.iter().map(|row| row.to_vec()).collect();
        ClassCounts {
            classes: (0..rows.len()).map(|class| format!("class{class}")).collect(),
            images: rows.iter().map(|row| row.iter().sum()).collect(),
            correct: rows.iter().enumerate().map(|(class, row)| row[class]).collect(),
            confusion: Some(rows),
        }
    }

    fn supervised(seed: u64, classes: ClassCounts) -> SupervisedResult {
        SupervisedResult {
            kind: crate::report::ResultKind::Supervised,
            experiment: "e".into(),
            stage: "<labels>".into(),
            seed,
            dataset: "photos".into(),
            classes,
            from: Default::default(),
        }
    }

    #[test]
    fn seeds_are_added_up_and_names_are_escaped() {
        let results =
            [supervised(0, counts(&[&[8, 2], &[0, 5]])), supervised(1, counts(&[&[6, 4], &[5, 0]]))];
        let page = classes(&[], &results).unwrap().into_string();
        assert!(page.contains("&lt;labels&gt;: confusion matrix, 2 seeds added up"), "{page}");
        assert!(page.contains(r#"<td class="s7 right">14</td><td class="s3">6</td>"#), "{page}");
        assert!(page.contains(r#"<td class="s5">5</td><td class="s5 right">5</td>"#), "{page}");
        // 80 and 60 %; 100 and 0 %.
        assert!(page.contains("70.0 ± 14.1") && page.contains("50.0 ± 70.7"), "{page}");
        assert!(!page.contains("<labels>"));
    }

    #[test]
    fn of_many_classes_the_frequent_confusions_are_listed() {
        let mut rows = vec![vec![0u64; 40]; 40];
        (0..40).for_each(|class| rows[class][class] = 10);
        rows[3][7] = 30;
        let rows: Vec<&[u64]> = rows.iter().map(Vec::as_slice).collect();
        let page = classes(&[], &[supervised(0, counts(&rows))]).unwrap().into_string();
        assert!(!page.contains("class=\"confusion\""), "{page}");
        assert!(
            page.contains("<th scope=\"row\">class3</th><td>class7</td><td>30</td><td>75.0</td>"),
            "{page}"
        );
        assert!(classes(&[], &[supervised(0, ClassCounts::default())]).is_none());
    }
}
