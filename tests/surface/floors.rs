//! Layering of modules: a file may use modules of lower floors and siblings listed before its own on the same floor.
//! The table in `src/lib.rs` defines the floors. Within a module, files must not have circular dependencies, except as
//! far as `CIRCLES` still allows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Modules of one floor; `apart` if they must not use one another.
#[derive(Debug, PartialEq)]
struct Floor {
    modules: Vec<String>,
    apart: bool,
}

/// Parses rows like `| 2 siblings that do not see one another | [`a`], [`b`] |` of the crate's map.
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

/// Why `from` must not use `to`; None if it may.
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

/// Removes comments and string contents from source code.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |i| i + 2),
            '"' => string(rest),
            // A quote character literal does not start a string.
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

/// Length of the string literal at the start of `rest`. Raw strings with inner quotes are not recognized: their
/// contents are then read as code, which can only make this test stricter.
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

/// Top-level modules that `text` refers to as `crate::module` or in `crate::{…}`; `hueristic::` is equivalent in the
/// binary and in tests within the crate.
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

/// First path segments of the members of a `use` group, up to its closing brace.
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

/// `train/fit.rs` and `train.rs` belong to `train`; the crate's two root files are above all floors.
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

/// All violations of one file.
fn faults(floors: &[Floor], module: &str, text: &str) -> Vec<String> {
    uses(text).iter().filter_map(|to| objection(floors, module, to)).collect()
}

/// Size of the largest dependency circle allowed in a module; other modules may have none. These numbers must only
/// decrease.
const CIRCLES: [(&str, usize); 8] = [
    ("backbones", 7),
    ("device", 3),
    ("hub", 2),
    ("ops", 2),
    ("score", 2),
    ("spec", 3),
    ("transfer", 4),
    ("yaml", 2),
];

/// Code of each file by module path, `data::voc` for `data/voc/mod.rs`, without tests.
type House = BTreeMap<Vec<String>, String>;

fn house() -> House {
    let kept = |file: &PathBuf| file.file_stem().is_some_and(|stem| stem != "tests");
    let read = |file: PathBuf| {
        let relative = file.strip_prefix(source()).unwrap();
        module(relative)?;
        Some((module_path(relative), untested(&code(&fs::read_to_string(&file).unwrap()))))
    };
    files(&source()).into_iter().filter(kept).filter_map(read).collect()
}

fn module_path(relative: &Path) -> Vec<String> {
    let parts = relative.with_extension("");
    let parts = parts.iter().map(|part| part.to_str().unwrap().to_string());
    parts.filter(|part| part != "mod").collect()
}

/// Code before `mod tests`, without paths in visibilities. In inline modules, `super` is the file itself.
fn untested(code: &str) -> String {
    let (mut out, mut tested, mut inline) = (String::new(), false, false);
    for line in code.lines() {
        let line = match line.split_once("pub(in ") {
            Some((before, after)) => format!("{before}{}", after.split_once(')').unwrap().1),
            None => line.into(),
        };
        let begins = !line.starts_with(' ') && line.contains("mod ") && line.ends_with('{');
        if begins && tested {
            break;
        }
        inline = (inline || begins) && line != "}";
        out += &if inline { line.replacen("super::", "self::", 1) } else { line.clone() };
        out.push('\n');
        tested = line.starts_with("#[cfg(") && line.contains("test");
    }
    out
}

/// Tokens: names, `::` and single characters.
fn tokens(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let length = match head(rest).len() {
            0 if rest.starts_with("::") => 2,
            0 => rest.chars().next()?.len_utf8(),
            name => name,
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}

/// Every path in the code, with `use` groups expanded.
fn paths(code: &str) -> BTreeSet<Vec<&str>> {
    let (mut found, mut path, mut joined, mut renamed) = (BTreeSet::new(), vec![], false, false);
    // Path prefix of every open brace.
    let mut groups: Vec<Vec<&str>> = vec![];
    for token in tokens(code) {
        let is_name = !head(token).is_empty();
        match token {
            "::" => {}
            "{" if joined => groups.push(std::mem::take(&mut path)),
            _ if joined => path.push(token),
            _ => {
                found.insert(std::mem::take(&mut path));
                match token {
                    "{" => groups.push(vec![]),
                    "}" => drop(groups.pop()),
                    _ => {}
                }
                if is_name && token != "as" && !renamed {
                    path = groups.last().cloned().unwrap_or_default();
                    path.push(token);
                }
                renamed = token == "as";
            }
        }
        joined = token == "::";
    }
    found.retain(|path| path.len() > 1);
    found
}

/// The file that a path in another file refers to; None if it leaves the crate.
fn target<'h>(house: &'h House, from: &[String], path: &[&str]) -> Option<&'h Vec<String>> {
    let up = path.iter().take_while(|name| **name == "super").count();
    let child = [from, &[path[0].to_string()]].concat();
    let (base, rest) = match path[0] {
        "crate" => (&from[..0], &path[1..]),
        "self" => (from, &path[1..]),
        "super" => (&from[..from.len().checked_sub(up)?], &path[up..]),
        _ if house.contains_key(&child) => (from, path),
        _ => return None,
    };
    let whole: Vec<String> = base.iter().cloned().chain(rest.iter().map(|name| name.to_string())).collect();
    let file = (1..=whole.len()).rev().find_map(|n| house.get_key_value(&whole[..n]));
    file.map(|(file, _)| file).filter(|file| file.as_slice() != from)
}

type Arrows<'h> = BTreeMap<&'h Vec<String>, BTreeSet<&'h Vec<String>>>;

/// The files that a file depends on.
fn reached<'h>(arrows: &Arrows<'h>, from: &'h Vec<String>) -> BTreeSet<&'h Vec<String>> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        next.extend(arrows[file].iter().filter(|to| seen.insert(**to)));
    }
    seen
}

/// For each file in a circle, the files it depends on that also depend on it.
fn circles(house: &House) -> Vec<BTreeSet<&Vec<String>>> {
    let arrows = |from: &Vec<String>, code: &str| -> BTreeSet<_> {
        paths(code).iter().filter_map(|path| target(house, from, path)).collect()
    };
    let arrows: BTreeMap<_, _> = house.iter().map(|(file, code)| (file, arrows(file, code))).collect();
    let reached: BTreeMap<_, _> = house.keys().map(|file| (file, reached(&arrows, file))).collect();
    let circle = |(file, to): (_, &BTreeSet<_>)| -> BTreeSet<&Vec<String>> {
        to.iter().filter(|other| reached[*other].contains(file)).copied().collect()
    };
    reached.iter().map(|(file, to)| circle((*file, to))).filter(|circle| !circle.is_empty()).collect()
}

#[test]
fn files_do_not_use_one_another_in_circles() {
    let house = house();
    assert!(house.len() > 100, "the sources could not be read");
    let allowed = |module: &str| CIRCLES.iter().find(|(name, _)| *name == module).map_or(1, |(_, n)| *n);
    let mut wrong = BTreeSet::new();
    for circle in circles(&house) {
        let module = &circle.first().unwrap()[0];
        if circle.len() > allowed(module) {
            let files: Vec<String> = circle.iter().map(|file| file.join("::")).collect();
            wrong.insert(format!(
                "{} files of {module}, at most {}: {}",
                files.len(),
                allowed(module),
                files.join(", ")
            ));
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(
        wrong.is_empty(),
        "circles; put what two files need into a third one below both:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn circles_are_found() {
    let found = |sources: &[(&str, &str)]| -> Vec<usize> {
        let path = |name: &str| module_path(Path::new(name));
        let house = sources.iter().map(|(name, text)| (path(name), untested(&code(text)))).collect();
        circles(&house).iter().map(BTreeSet::len).collect()
    };
    // In every notation: a parent and its child, siblings, a renamed group, a path in the code.
    assert_eq!(found(&[("a/mod.rs", "mod b; use b::f;"), ("a/b.rs", "use super::T;")]), [2, 2]);
    assert_eq!(
        found(&[("a/b.rs", "use super::c::T;"), ("a/c.rs", "use crate::{x, a::{b::{self, U}}};")]),
        [2, 2]
    );
    assert_eq!(
        found(&[("a/b.rs", "fn f() { super::c::g() }"), ("a/c.rs", "use super::{b::f as g};")]),
        [2, 2]
    );
    assert_eq!(
        found(&[("a.rs", "use b::f;"), ("a/b.rs", "mod x {\n    use super::f;\n}\nuse super::*;")]),
        [2, 2]
    );
    // One-way dependencies, names that are not paths, comments, visibilities, inline modules, tests.
    assert_eq!(found(&[("a/mod.rs", "pub use b::f;"), ("a/b.rs", "use std::a; use ::a::x;")]), [0; 0]);
    assert_eq!(
        found(&[("a.rs", "use b::f;"), ("a/b.rs", "pub(in crate::a) fn f() {} // crate::a::g")]),
        [0; 0]
    );
    assert_eq!(found(&[("a.rs", "use b::f;"), ("a/b.rs", "mod x {\n    use super::f;\n}")]), [0; 0]);
    assert_eq!(
        found(&[("a.rs", "use b::f;"), ("a/b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::f;\n}")]),
        [0; 0]
    );
    assert_eq!(
        found(&[("a.rs", "use b::f;"), ("a/c.rs", ""), ("a/b.rs", "use super::{c::g as h};")]),
        [0; 0]
    );
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
    let public = |line| str::strip_prefix(line, "pub ").unwrap_or(line);
    let mut declared: Vec<&str> =
        map.lines().filter_map(|l| public(l).strip_prefix("mod ")?.strip_suffix(';')).collect();
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
    // Upwards, in every notation.
    assert_eq!(wrong("rng", "use crate::experiment::Experiment;"), 1);
    assert_eq!(wrong("color", "use crate::{rng::{Rng, at}, spec::{a, b}, experiment};"), 2);
    assert_eq!(wrong("rng", "fn f() { crate::experiment::run() }"), 1);
    assert_eq!(wrong("data", "use hueristic::experiment::Experiment;"), 1);
    assert_eq!(wrong("rng", "let c = '\"'; crate::spec::f(); let d = '\"';"), 1);
    // Siblings.
    assert_eq!(wrong("rng", "use crate::color::bins;"), 1);
    assert_eq!(wrong("color", "use crate::rng::Rng;"), 0);
    assert_eq!(wrong("metrics", "use crate::data::Batch;"), 1);
    // Downwards, itself, comments and strings.
    assert_eq!(wrong("spec", "use crate::{data::{self, source}, rng::Rng, spec::hash};"), 0);
    assert_eq!(
        wrong("rng", "// crate::spec\n/* crate::spec */ let s = \"crate::spec \\\" crate::spec\";"),
        0
    );
    // A module that is missing from the map.
    assert_eq!(wrong("rng", "use crate::utils::helper;"), 1);
}
