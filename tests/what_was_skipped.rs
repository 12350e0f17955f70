//! Not a test: the last program of `cargo test`, by its name, says how many tests were skipped, and why.

mod skipping;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    time::Duration,
};

/// Names that are shown of each reason.
const SHOWN: usize = 3;
/// What runs have left that did not come this far.
const STALE: Duration = Duration::from_secs(24 * 3600);

fn main() {
    // nextest asks every program for its tests; there are none.
    if env::args().any(|argument| argument == "--list") {
        return;
    }
    let record = skipping::record();
    let lines = fs::read_to_string(&record).unwrap_or_default();
    println!("\n{}\n", summary(&lines));
    let _ = fs::remove_file(&record);
    if let Some(folder) = record.parent() {
        sweep(folder);
    }
    check();
}

/// `3 tests skipped: no GPU (2: a, b); no data (1: c)`.
fn summary(lines: &str) -> String {
    let mut reasons: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (why, test) in lines.lines().filter_map(|line| line.split_once('\t')) {
        reasons.entry(why).or_default().insert(test);
    }
    let tests: BTreeSet<&str> = reasons.values().flatten().copied().collect();
    let one = |(why, tests): (&&str, &BTreeSet<&str>)| {
        let more = if tests.len() > SHOWN { ", …" } else { "" };
        let named: Vec<&str> = tests.iter().copied().take(SHOWN).collect();
        format!("{why} ({}: {}{more})", tests.len(), named.join(", "))
    };
    match tests.len() {
        0 => "no test was skipped".into(),
        1 => format!("1 test skipped: {}", reasons.iter().map(one).collect::<String>()),
        n => format!("{n} tests skipped: {}", reasons.iter().map(one).collect::<Vec<_>>().join("; ")),
    }
}

fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The summary itself is right: a program without a harness is its own test.
fn check() {
    assert_eq!(summary(""), "no test was skipped");
    assert_eq!(summary("no GPU\ta\nno GPU\ta\n"), "1 test skipped: no GPU (1: a)");
    let many = "no GPU\td\nno GPU\ta\nno data\te\nno GPU\tb\nno GPU\tc\n";
    assert_eq!(summary(many), "5 tests skipped: no GPU (4: a, b, c, …); no data (1: e)");
}
