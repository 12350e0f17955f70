//! Runs of one fit whose specs differ, as those of a sweep: each is named by the keys that differ, as in reports.

use super::record::RunRecord;
use crate::{
    report::differing::{Member, legend, names_of_keys, suffixes},
    train::manifest::FitName,
};
use std::collections::BTreeMap;

/// Names the variants among runs; returns what the letters in their names mean, a line for each.
pub fn name_variants(runs: &mut [RunRecord]) -> Vec<String> {
    let mut fits: BTreeMap<FitName, Vec<Member>> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        fits.entry(run.name.clone()).or_default().extend(Member::of(&run.dir, run.seed, at));
    }
    let mut letters = vec![];
    for group in fits.into_values() {
        let names = names_of_keys(std::slice::from_ref(&group));
        for (variant, at) in suffixes(&group, &names, &mut letters) {
            runs[at].variant = Some(variant);
        }
    }
    legend(&letters)
}
