//! The arrows between modules point down: a file uses lower floors, and siblings listed above its own module on the
//! same floor, never a higher one. The table in `src/lib.rs` is the law; this test reads it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules of one floor; `apart` when they may not use one another at all.
#[derive(Debug, PartialEq)]
struct Floor {
    modules: Vec<String>,
    apart: bool,
}

/// Reads the rows `| 2 siblings that do not see one another | [`a`], [`b`] |` of the crate's map.
fn floors(map: &str) -> Vec<Floor> {
    let rows = map
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter(|r| r.starts_with(char::is_numeric));
    rows.map(|row| Floor {
        modules: row.split('`').skip(1).step_by(2).map(String::from).collect(),
        apart: row.contains("do not see one another"),
    })
    .collect()
}

/// Why `from` may not use `to`; None when it may.
fn objection(floors: &[Floor], from: &str, to: &str) -> Option<String> {
    let place = |module: &str| {
        let floor = floors.iter().position(|f| f.modules.iter().any(|m| m == module))?;
        Some((floor, floors[floor].modules.iter().position(|m| m == module)?))
    };
    let Some((to_floor, to_order)) = place(to) else {
        return Some(format!("`{to}` is on no floor of the map"));
    };
    let Some((floor, order)) = place(from) else {
        return Some(format!("`{from}` is on no floor of the map"));
    };
    if from == to || to_floor < floor {
        return None;
    }
    if to_floor > floor {
        return Some(format!("`{to}` is on floor {to_floor}, above `{from}` on floor {floor}"));
    }
    if floors[floor].apart {
        return Some(format!("`{from}` and `{to}` are siblings that do not see one another"));
    }
    (to_order > order).then(|| format!("`{to}` is listed after its sibling `{from}`"))
}

/// Source without comments and without the text of strings, so that only code is read.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |i| i + 2),
            '"' => string(rest),
            // A quote as a character: it opens no string.
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            _ => 0,
        };
        if skipped == 0 {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

/// Length of the string literal that `rest` begins with. Raw strings with quotes inside are not told apart: what is
/// between their quotes is then read as code, which can only make this test stricter.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return i + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The top-level modules that `text` names as `crate::module` or inside `crate::{…}`; from the binary and from tests
/// inside the crate, `hueristic::` is the same.
fn uses(text: &str) -> Vec<String> {
    let code = code(text);
    let starts = |prefix: &'static str| code.match_indices(prefix).map(move |(i, _)| i + prefix.len());
    let mut found = vec![];
    for start in starts("crate::").chain(starts("hueristic::")) {
        let path = &code[start..];
        match path.strip_prefix('{') {
            Some(group) => found.extend(heads(group)),
            None => found.push(head(path)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn head(path: &str) -> String {
    path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// First segments of the members of a `use` group, up to its closing brace.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut member, mut members) = (0, String::new(), vec![]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(std::mem::take(&mut member)),
            _ => {}
        }
        member.push(if c == ',' { ' ' } else { c });
    }
    members.push(member);
    members.iter().map(|m| head(m)).collect()
}

/// All Rust files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

/// `train/fit.rs` and `train.rs` belong to `train`; the crate's own two files stand above all floors.
fn module(relative: &Path) -> Option<String> {
    let first = relative.iter().next()?.to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib" && name != "main").then(|| name.to_string())
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn map() -> String {
    fs::read_to_string(source().join("lib.rs")).unwrap()
}

/// Everything wrong with one file.
fn faults(floors: &[Floor], module: &str, text: &str) -> Vec<String> {
    uses(text).iter().filter_map(|to| objection(floors, module, to)).collect()
}

#[test]
fn no_arrow_points_up() {
    let floors = floors(&map());
    let mut wrong = vec![];
    for file in files(&source()) {
        let relative = file.strip_prefix(source()).unwrap();
        let Some(module) = module(relative) else { continue };
        let text = fs::read_to_string(&file).unwrap();
        wrong.extend(
            faults(&floors, &module, &text).iter().map(|f| format!("src/{}: {f}", relative.display())),
        );
    }
    assert!(wrong.is_empty(), "upward arrows:\n{}", wrong.join("\n"));
}

#[test]
fn the_map_names_every_module() {
    let map = map();
    let mut declared: Vec<&str> =
        map.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut listed: Vec<String> = floors(&map).into_iter().flat_map(|f| f.modules).collect();
    declared.sort();
    listed.sort();
    assert_eq!(declared, listed, "src/lib.rs declares and lists different modules");
    assert!(listed.len() >= 10, "the table in src/lib.rs could not be read");
}

#[test]
fn upward_arrows_are_caught() {
    let floors = floors(
        "//! | 0 ground | [`rng`], [`color`] |\n//! | 2 siblings that do not see one another | [`data`], [`metrics`] |\n\
         //! | 5 top | [`spec`], [`experiment`] |\n",
    );
    let wrong = |module: &str, text: &str| faults(&floors, module, text).len();
    // Up a floor, in each way of writing it.
    assert_eq!(wrong("rng", "use crate::experiment::Experiment;"), 1);
    assert_eq!(wrong("color", "use crate::{rng::{Rng, at}, spec::{a, b}, experiment};"), 2);
    assert_eq!(wrong("rng", "fn f() { crate::experiment::run() }"), 1);
    assert_eq!(wrong("data", "use hueristic::experiment::Experiment;"), 1);
    assert_eq!(wrong("rng", "let c = '\"'; crate::spec::f(); let d = '\"';"), 1);
    // Siblings.
    assert_eq!(wrong("rng", "use crate::color::bins;"), 1);
    assert_eq!(wrong("color", "use crate::rng::Rng;"), 0);
    assert_eq!(wrong("metrics", "use crate::data::Batch;"), 1);
    // Down, itself, comments and strings.
    assert_eq!(wrong("spec", "use crate::{data::{self, source}, rng::Rng, spec::hash};"), 0);
    assert_eq!(
        wrong("rng", "// crate::spec\n/* crate::spec */ let s = \"crate::spec \\\" crate::spec\";"),
        0
    );
    // A module that the map does not know.
    assert_eq!(wrong("rng", "use crate::utils::helper;"), 1);
}
