//! Variants of a stage: results for the same cells of a table whose specs differ. Each gets a row of its own, named by the
//! keys that differ ([`super::differing`]). Results of the same spec are seeds of one row, or
//! duplicates, which the tables refuse.

use super::{
    colors::ColorResult,
    differing::{Member, legend, names_of_keys, suffixes},
    monitor::MonitorResult,
    results::{Collected, DIVERGED, ProbeResult, SupervisedResult},
    transfer::{TransferResult, TransferRow},
};
use std::{collections::HashSet, path::Path};

/// What the letters in the names of rows mean, a line for each; empty without any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Legends {
    pub probes: String,
    pub colors: String,
    pub transfers: String,
    pub monitors: String,
    pub supervised: String,
}

/// Names the variants among all results.
pub(super) fn name_variants(found: &mut Collected) -> Legends {
    Legends {
        probes: name_of_kind(&mut found.probes),
        colors: name_of_kind(&mut found.colors),
        transfers: name_of_kind(&mut found.transfers),
        monitors: name_of_kind(&mut found.monitors),
        supervised: name_of_kind(&mut found.supervised),
    }
}

/// A result that fills cells of a table.
trait Tabled {
    fn from(&self) -> &Path;
    fn seed(&self) -> u64;
    /// Row and column of each of its values, whatever the seed.
    fn cells(&self) -> Vec<String>;
    /// The names of its rows.
    fn names(&mut self) -> Vec<&mut String>;
}

fn name_of_kind<R: Tabled>(results: &mut [R]) -> String {
    let members = |group: Vec<usize>| {
        let member = |at: usize| Member::of(results[at].from(), results[at].seed(), at);
        group.into_iter().map(member).collect::<Option<Vec<_>>>()
    };
    // Without its spec, a result is only what its names say.
    let groups: Vec<Vec<Member>> = groups(results).into_iter().filter_map(members).collect();
    let names = names_of_keys(&groups);
    let mut letters: Vec<String> = vec![];
    for members in groups {
        for (suffix, at) in suffixes(&members, &names, &mut letters) {
            results[at].names().into_iter().for_each(|name| add_suffix(name, &suffix));
        }
    }
    legend(&letters).join("  \n")
}

/// Indices of results that share cells, directly or through others.
fn groups<R: Tabled>(results: &[R]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(HashSet<String>, Vec<usize>)> = vec![];
    for (at, result) in results.iter().enumerate() {
        let mut own: (HashSet<String>, Vec<usize>) = (result.cells().into_iter().collect(), vec![]);
        let (meeting, apart) = groups.into_iter().partition(|(cells, _)| !cells.is_disjoint(&own.0));
        groups = apart;
        let meeting: Vec<(HashSet<String>, Vec<usize>)> = meeting;
        for (cells, members) in meeting {
            own.0.extend(cells);
            own.1.extend(members);
        }
        own.1.push(at);
        groups.push(own);
    }
    groups.sort_by_key(|(_, members)| members[0]);
    groups.into_iter().map(|(_, members)| members).collect()
}

/// `colorization (diverged)` → `colorization lr=1e-3 (diverged)`.
fn add_suffix(name: &mut String, suffix: &str) {
    let mark = if name.ends_with(DIVERGED) { DIVERGED } else { "" };
    name.truncate(name.len() - mark.len());
    *name = format!("{name} {suffix}{mark}");
}

/// A row's name without the mark of what diverged, which is no difference of the spec.
fn unmarked(name: &str) -> &str {
    name.strip_suffix(DIVERGED).unwrap_or(name)
}

impl Tabled for ProbeResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        let layers = self.rows.iter().flat_map(|row| row.layers.iter().map(move |layer| (row, layer)));
        let table = (&self.experiment, &self.dataset, &self.protocol);
        layers.map(|(row, layer)| format!("{:?}", (table, unmarked(&row.backbone), &layer.layer))).collect()
    }
    fn names(&mut self) -> Vec<&mut String> {
        self.rows.iter_mut().map(|row| &mut row.backbone).collect()
    }
}

impl Tabled for TransferResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        let table = (&self.experiment, &self.dataset, &self.protocol);
        let cell = |row: &TransferRow| {
            format!("{:?}", (table, unmarked(&row.backbone), row.task, &row.variant, row.input, row.metric))
        };
        self.rows.iter().map(cell).collect()
    }
    fn names(&mut self) -> Vec<&mut String> {
        self.rows.iter_mut().map(|row| &mut row.backbone).collect()
    }
}

impl Tabled for ColorResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        vec![format!("{:?}", (&self.dataset, self.pixels, self.gray, unmarked(&self.method)))]
    }
    fn names(&mut self) -> Vec<&mut String> {
        vec![&mut self.method]
    }
}

impl Tabled for SupervisedResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        vec![format!("{:?}", (&self.experiment, &self.dataset, unmarked(&self.stage)))]
    }
    fn names(&mut self) -> Vec<&mut String> {
        vec![&mut self.stage]
    }
}

impl Tabled for MonitorResult {
    fn from(&self) -> &Path {
        &self.from
    }
    fn seed(&self) -> u64 {
        self.seed
    }
    fn cells(&self) -> Vec<String> {
        vec![format!("{:?}", (&self.experiment, unmarked(&self.stage)))]
    }
    fn names(&mut self) -> Vec<&mut String> {
        vec![&mut self.stage]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_stands_before_the_mark() {
        let mut name = format!("colorization{DIVERGED}");
        add_suffix(&mut name, "lr=1e-3");
        assert_eq!(name, "colorization lr=1e-3 (diverged)");
    }
}
