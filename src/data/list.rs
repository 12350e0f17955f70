//! Text files that list images, one `path[ label]` per line, separated by spaces, a tab, a comma or a semicolon;
//! either field may be quoted.
//!
//! Skipped: blank lines, lines that start with `#` unless they name an existing file, and a header line
//! (`path,label`). A path ends in an image extension and may contain spaces and commas; the rest of the line is the
//! label. Without an image extension, the last word is the label. Labels are all numbers (classes are then called
//! `0`, `1`, …) or all names (then sorted); with a mixture the images are unlabeled, and stages that need labels
//! report the line. Whether a file exists is checked when it is read.

use super::{
    error::DataError,
    folder::Files,
    labels::{Labels, MAX_LABEL},
    walk::is_image,
};
use crate::text::{self, excerpt};
use std::path::{Path, PathBuf};

/// Expected format, for errors about a missing or empty list.
const EXPECTED: &str = "a text file with one `path[ label]` a line";
/// Field separators besides spaces and tabs.
const FIELD: [char; 2] = [',', ';'];

/// Opens a list; paths are relative to `root`, by default the list's own folder.
///
/// # Errors
/// A missing or empty list, a line without a path or with more than one label, a column before the path.
pub fn open(list: &Path, root: Option<&Path>) -> Result<Files, DataError> {
    let root = root.or(list.parent()).unwrap_or(Path::new("")).to_owned();
    let lines = read(list, &root)?;
    let labels = labels(list, &lines)
        .unwrap_or_else(|(line, reason)| Labels::missing(fault(list, line, reason).to_string()));
    let paths = lines.into_iter().map(|line| line.path).collect();
    Ok(Files::listed(root, paths).labeled(labels))
}

fn fault(list: &Path, line: usize, reason: String) -> DataError {
    DataError::List { path: list.into(), line, reason }
}

struct ListLine {
    number: usize,
    path: PathBuf,
    label: Option<String>,
}

fn read(list: &Path, root: &Path) -> Result<Vec<ListLine>, DataError> {
    if !list.is_file() {
        return Err(DataError::Missing { path: list.into(), expected: EXPECTED.into() });
    }
    let text = text::read(list).map_err(|source| DataError::Io { path: list.into(), source })?;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (path, label) = parse(line.trim(), root).map_err(|reason| fault(list, at + 1, reason))?;
        if !line.trim_start().starts_with('#') || root.join(&path).is_file() {
            lines.push(ListLine { number: at + 1, path: path.into(), label });
        }
    }
    if has_header(list, root, &lines)? {
        let header = lines.remove(0);
        tracing::info!("{}:{}: skipped the header line", list.display(), header.number);
    }
    if lines.is_empty() {
        return Err(DataError::Empty { path: list.into(), expected: EXPECTED.into() });
    }
    Ok(lines)
}

/// Whether the first line is a header: it has no image extension and is no existing file, but the next line has an
/// image extension. Errors: the first column is unnamed, so it is not the path.
fn has_header(list: &Path, root: &Path, lines: &[ListLine]) -> Result<bool, DataError> {
    let [first, second, ..] = lines else { return Ok(false) };
    let named =
        is_image(&first.path) || first.kind() == LabelKind::Number || root.join(&first.path).is_file();
    if named || !is_image(&second.path) {
        return Ok(false);
    }
    if first.path.to_string_lossy().starts_with(FIELD) {
        let reason =
            "a column without a name before the paths; write the list without it (pandas: `index=False`)";
        return Err(fault(list, first.number, reason.into()));
    }
    Ok(true)
}

/// The path and the label of a line.
fn parse(line: &str, root: &Path) -> Result<(String, Option<String>), String> {
    let (path, rest) = match quoted(line) {
        Some((path, rest)) => (path, rest),
        None => {
            let (path, rest) = line.split_at(path_end(line, root));
            (path.to_owned(), rest)
        }
    };
    // comments are not split into fields
    if line.starts_with('#') && !root.join(&path).is_file() {
        return Ok((path, None));
    }
    if path.is_empty() {
        return Err("a label without a path before it".into());
    }
    Ok((path, label(rest)?))
}

/// End of the path in an unquoted line: after the last word with an image extension, else before the last word.
fn path_end(line: &str, root: &Path) -> usize {
    let separator = |c: char| c.is_whitespace() || FIELD.contains(&c);
    let ends = line.char_indices().rev().filter(|(_, c)| separator(*c)).map(|(at, _)| at);
    let pictures =
        std::iter::once(line.len()).chain(ends).find(|end| is_image(Path::new(line[..*end].trim_end())));
    let last_word = || {
        let at = line
            .rfind(char::is_whitespace)
            .or_else(|| line.rfind(FIELD).filter(|_| !root.join(line).is_file()));
        at.unwrap_or(line.len())
    };
    let end = pictures.unwrap_or_else(last_word);
    line[..end].trim_end().len()
}

/// The quoted text at the start of a line (doubled quotes are unescaped), and the remainder.
fn quoted(line: &str) -> Option<(String, &str)> {
    let quote = line.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut text = String::new();
    let mut rest = &line[1..];
    loop {
        let (part, after) = rest.split_once(quote)?;
        text += part;
        if !after.starts_with(quote) {
            let ends =
                after.is_empty() || after.starts_with(|c: char| c.is_whitespace() || FIELD.contains(&c));
            return ends.then_some((text, after));
        }
        text.push(quote);
        rest = &after[1..];
    }
}

/// Parses the label after a path.
fn label(rest: &str) -> Result<Option<String>, String> {
    let text = rest.trim();
    let (separator, text) = match text.chars().next().filter(|c| FIELD.contains(c)) {
        Some(field) => (field, text[1..].trim()),
        None if rest.contains('\t') => ('\t', text),
        None => (' ', text),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let (label, after) = quoted(text).unwrap_or((text.to_owned(), ""));
    let numbers = || text.split_whitespace().all(|word| word.parse::<f64>().is_ok());
    let several = match separator {
        ' ' => text.contains(' ') && numbers(),
        _ => !after.is_empty() || (label == text && text.contains(separator)),
    };
    if several {
        return Err(format!(
            "more than a label after the path: `{}`; a line has a path and one label",
            excerpt(text)
        ));
    }
    Ok(Some(label))
}

/// Type of a label.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LabelKind {
    Absent,
    Number,
    Name,
}

impl ListLine {
    fn kind(&self) -> LabelKind {
        match &self.label {
            None => LabelKind::Absent,
            Some(label) if label.parse::<i64>().is_ok() => LabelKind::Number,
            Some(_) => LabelKind::Name,
        }
    }
}

/// The labels, or none if no line has one. Errors: a line that differs from the others or is not a class, with the
/// reason.
fn labels(list: &Path, lines: &[ListLine]) -> Result<Labels, (usize, String)> {
    if let Some(odd) = odd_one_out(lines) {
        return Err((odd.number, unlike_the_others(odd)));
    }
    let texts: Vec<String> = lines.iter().filter_map(|line| line.label.clone()).collect();
    Ok(match lines[0].kind() {
        LabelKind::Absent => Labels::default(),
        LabelKind::Name => Labels::named(list, &texts),
        LabelKind::Number => {
            let numbers =
                lines.iter().zip(&texts).map(|(line, text)| class(text).map_err(|e| (line.number, e)));
            Labels::numbered(list, numbers.collect::<Result<_, (usize, String)>>()?)
        }
    })
}

/// A line of the rarest kind, if there are several; on a tie, the kind that appears later.
fn odd_one_out(lines: &[ListLine]) -> Option<&ListLine> {
    let count = |kind| lines.iter().filter(|line| line.kind() == kind).count();
    let mut first: Vec<&ListLine> = vec![];
    for line in lines {
        if first.iter().all(|seen| seen.kind() != line.kind()) {
            first.push(line);
        }
    }
    first
        .into_iter()
        .rev()
        .min_by_key(|line| count(line.kind()))
        .filter(|line| count(line.kind()) < lines.len())
}

fn unlike_the_others(odd: &ListLine) -> String {
    let label = odd.label.as_deref().map(excerpt).unwrap_or_default();
    match odd.kind() {
        LabelKind::Absent => "no label, but other lines have one; label every line or none".into(),
        LabelKind::Number => format!("the label `{label}` is a number, but others are not; use one kind"),
        LabelKind::Name => {
            format!("the label `{label}` is a name, but other lines have numbers or none; use one kind")
        }
    }
}

fn class(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) if (0..i64::from(MAX_LABEL)).contains(&number) => Ok(number as u32),
        Ok(number) if number < 0 => Err(format!(
            "label {number} is not a class number; leave the labels out if the images are unlabeled"
        )),
        _ => Err(format!("the label `{}` is too large to be a class number", excerpt(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::Dataset;

    /// Why the pictures of a list are unlabeled.
    fn why(text: &str) -> String {
        let files = open_text(text).unwrap();
        assert!(files.classes().is_empty() && (0..files.len()).all(|i| files.label(i).is_none()));
        files.why_unlabeled().unwrap_or_default().to_owned()
    }

    fn open_text(text: &str) -> Result<Files, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list.txt");
        std::fs::write(&list, text).unwrap();
        std::fs::write(dir.path().join("#1.png"), "").unwrap();
        open(&list, None)
    }

    /// Path and class name of each line.
    fn entries(text: &str) -> Vec<(String, Option<String>)> {
        let files = open_text(text).unwrap();
        let class = |i| Some(files.classes()[files.label(i)? as usize].clone());
        files.paths().iter().enumerate().map(|(i, path)| (path.display().to_string(), class(i))).collect()
    }

    #[test]
    fn names_are_sorted_and_paths_may_hold_spaces() {
        let files = open_text("# comment\nmy photos/a b.jpg zebra\n\nc.png\tant\n").unwrap();
        assert_eq!(files.classes(), ["ant", "zebra"]);
        assert_eq!((files.label(0), files.label(1)), (Some(1), Some(0)));
        assert!(files.name(0).ends_with("my photos/a b.jpg"));
    }

    #[test]
    fn numbers_stay_and_a_line_that_ends_like_an_image_has_no_label() {
        let files = open_text("a.jpg 3\nb.jpg 0\n").unwrap();
        assert_eq!((files.label(0), files.classes().len()), (Some(3), 4));
        let files = open_text("a b.jpg\nc.jpg\n").unwrap();
        assert_eq!((files.label(0), files.classes().len(), files.len()), (None, 0, 2));
        assert!(files.name(0).ends_with("a b.jpg"));
    }

    #[test]
    fn tabs_commas_quotes_marks_and_line_ends_are_no_part_of_path_or_label() {
        for (line, path, label) in [
            ("p/0.png,0", "p/0.png", Some("0")),
            ("p/0.png;cat", "p/0.png", Some("cat")),
            ("p/0.png , cat", "p/0.png", Some("cat")),
            ("p/0.png\tbig cat", "p/0.png", Some("big cat")),
            ("p/a, b.png,cat", "p/a, b.png", Some("cat")),
            ("p/a, b.png", "p/a, b.png", None),
            ("p/0.png,", "p/0.png", None),
            ("p/0.png\ttench, Tinca tinca", "p/0.png", Some("tench, Tinca tinca")),
            ("\"p/a \"\"b\"\".png\",\"tench, Tinca\"", "p/a \"b\".png", Some("tench, Tinca")),
            ("'p/a b.png' cat", "p/a b.png", Some("cat")),
            ("\"p/0.png\"", "p/0.png", None),
            ("'tis/0.png cat", "'tis/0.png", Some("cat")),
            ("images/0001 cat", "images/0001", Some("cat")),
            ("images/0001,cat", "images/0001", Some("cat")),
            ("#1.png", "#1.png", None),
            ("#1.png cat", "#1.png", Some("cat")),
        ] {
            for text in [format!("{line}\n"), format!("\u{feff}{line}\r\n# a, comment, with, commas\r\n")] {
                assert_eq!(entries(&text), [(path.to_string(), label.map(str::to_owned))], "{text:?}");
            }
        }
        assert_eq!(entries("p/0.png\n#2.png\n").len(), 1, "no such file: a comment");
    }

    #[test]
    fn labels_that_cannot_be_used_are_told_by_the_line_that_is_not_as_the_others() {
        for (text, line, part) in [
            ("a.jpg 1\nb.jpg\n", 2, "label every line"),
            ("a.jpg\nb.jpg 1\nc.jpg 2\n", 1, "label every line"),
            ("a.jpg\nb.jpg\nc.jpg cat\n", 3, "the label `cat`"),
            ("a.jpg cat\nb.jpg 4\n", 2, "one kind"),
            ("a.jpg 0\nb.jpg 1\nc.jpg cat\n", 3, "the label `cat` is a name"),
            ("a.jpg 7\nb.jpg ant\nc.jpg cat\n", 1, "the label `7` is a number"),
            ("a.jpg 0\nb.jpg 1\nc.jpg -1\n", 3, "label -1 is not a class number"),
            ("a.jpg -1\nb.jpg -1\n", 1, "leave the labels out"),
            ("a.jpg 99999999\n", 1, "too large"),
            ("a.jpg 4294967297\n", 1, "too large"),
        ] {
            let why = why(text);
            assert!(why.contains(&format!("list.txt:{line}: ")) && why.contains(part), "{why}");
        }
        assert_eq!(open_text("a.jpg 0\nb.jpg\nc.jpg -1\n").unwrap().len(), 3, "the pictures are there");
        assert_eq!(why("a.jpg\nb.jpg\n"), "", "nothing like labels is there");
    }

    #[test]
    fn a_first_line_that_names_the_columns_is_no_picture() {
        for header in [
            "path,label",
            "Path,Label",
            "filename class",
            "image_path\tlabel",
            "\"file\";\"label\"",
            "path, label",
            "image name,label",
        ] {
            let expected =
                [("a.png", "1"), ("b c.png", "0")].map(|(p, l)| (p.to_owned(), Some(l.to_owned())));
            assert_eq!(entries(&format!("# made by hand\n\n{header}\na.png,1\n\"b c.png\",0\n")), expected);
        }
        let names = entries("path,label\r\na.png,cat\r\nb.png,dog\r\n");
        assert_eq!((names.len(), names[0].1.as_deref()), (2, Some("cat")));
        assert_eq!(entries("path\na.png\n"), [("a.png".to_owned(), None)]);
        // pictures without an ending: a number is no name of a column, a file that is there is no header
        assert_eq!(entries("0001 1\na.png 0\n").len(), 2);
        assert_eq!(entries("list.txt cat\na.png dog\n").len(), 2);
        assert_eq!(entries("0001 cat\n0002 dog\n").len(), 2);
        assert_eq!(entries("0001 cat\n").len(), 1);
        assert_eq!(entries("a.png cat\n0001 dog\n").len(), 2);
    }

    #[test]
    fn a_line_that_is_no_path_and_label_is_refused() {
        for (text, line, part) in [
            ("a.jpg,1,2,30,40,cat\n", 1, "more than a label"),
            ("a.jpg 0 1\n", 1, "more than a label"),
            (",cat\n", 1, "without a path"),
            (",path,label\n0,a.png,1\n1,b.png,0\n", 1, "index=False"),
            ("# by pandas\n;path;label\n0;a.png;1\n", 2, "column without a name"),
            ("path,label,split\na.png,1,train\n", 2, "more than a label"),
        ] {
            let error = open_text(text).unwrap_err().to_string();
            assert!(error.contains(&format!("list.txt:{line}: ")) && error.contains(part), "{error}");
        }
    }
}
