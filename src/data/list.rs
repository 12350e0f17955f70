//! Text files that name images, one `path[ label]` a line.
//!
//! Blank lines and lines that open with `#` are passed over. A line that ends like an image file is a path alone;
//! otherwise its last word is the label, so that paths may hold spaces. Labels are all numbers (0, 1, …: then the
//! classes are called `0`, `1`, …) or all names (then sorted). Whether the files exist is found out when they are
//! read, image by image.

use super::{
    error::DataError,
    folder::{Files, is_image, sorted},
};
use std::path::{Path, PathBuf};

/// Labels above this are taken for a mistake (a size or a timestamp in the label's place).
const MAX_LABEL: u32 = 1 << 20;

/// Opens a list; paths are relative to `root`, by default the list's own folder. `classes`, from the training
/// split, fixes the numbering of a validation split.
///
/// Errors: a missing or empty list, a line without a label among lines with one, names mixed with numbers.
pub fn open(list: &Path, root: Option<&Path>, classes: Option<&[String]>) -> Result<Files, DataError> {
    let lines = read(list)?;
    let root = root.or(list.parent()).unwrap_or(Path::new("")).to_owned();
    let (labels, classes) = number(list, &lines, classes)?;
    Ok(Files::listed(root, lines.into_iter().map(|line| line.path).collect(), labels, classes))
}

struct Line {
    number: usize,
    path: PathBuf,
    label: Option<String>,
}

fn read(list: &Path) -> Result<Vec<Line>, DataError> {
    if !list.is_file() {
        let expected = "a text file with one `path[ label]` a line".into();
        return Err(DataError::Missing { path: list.into(), expected });
    }
    let text = std::fs::read_to_string(list).map_err(|source| DataError::Io { path: list.into(), source })?;
    let lines: Vec<Line> = text.lines().enumerate().filter_map(|(i, line)| parse(i + 1, line)).collect();
    if lines.is_empty() {
        let expected = "one `path[ label]` a line".into();
        return Err(DataError::Empty { path: list.into(), expected });
    }
    Ok(lines)
}

fn parse(number: usize, line: &str) -> Option<Line> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let split = if is_image(Path::new(line)) { None } else { line.rsplit_once(char::is_whitespace) };
    let (path, label) = split.map_or((line, None), |(path, label)| (path.trim_end(), Some(label.to_owned())));
    Some(Line { number, path: path.into(), label })
}

/// A number per line and the class names; both empty when no line has a label.
fn number(
    list: &Path,
    lines: &[Line],
    known: Option<&[String]>,
) -> Result<(Vec<u32>, Vec<String>), DataError> {
    let fault =
        |line: usize, reason: &str| DataError::List { path: list.into(), line, reason: reason.into() };
    let labelled = lines.iter().filter(|line| line.label.is_some()).count();
    if labelled == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    if let Some(line) = lines.iter().find(|line| line.label.is_none()) {
        return Err(fault(line.number, "no label, but other lines have one; label every line or none"));
    }
    let names: Vec<String> = lines.iter().filter_map(|line| line.label.clone()).collect();
    let numeric = names.iter().filter(|name| name.parse::<u32>().is_ok()).count();
    if numeric == names.len() {
        let labels: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        if let Some(at) = labels.iter().position(|&label| label >= MAX_LABEL) {
            return Err(fault(lines[at].number, "the label is too large to be a class number"));
        }
        let classes = labels.iter().max().map_or(0, |&max| max as usize + 1);
        let classes = classes.max(known.map_or(0, <[String]>::len));
        return Ok((labels, (0..classes).map(|c| c.to_string()).collect()));
    }
    if let Some(at) = names.iter().position(|name| name.parse::<u32>().is_ok()).filter(|_| numeric > 0) {
        return Err(fault(lines[at].number, "the label is a number, but others are names; use one kind"));
    }
    let classes = known.map_or_else(|| sorted(&names), <[String]>::to_vec);
    let labels = names.iter().zip(lines).map(|(name, line)| {
        let at = classes.binary_search(name).map_err(|_| {
            fault(
                line.number,
                &format!("class `{name}` is not among the {} of the training list", classes.len()),
            )
        });
        at.map(|at| at as u32)
    });
    Ok((labels.collect::<Result<_, _>>()?, classes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::Dataset;

    fn open_text(text: &str, classes: Option<&[String]>) -> Result<Files, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list.txt");
        std::fs::write(&list, text).unwrap();
        open(&list, None, classes)
    }

    #[test]
    fn names_are_sorted_and_paths_may_hold_spaces() {
        let files = open_text("# comment\nmy photos/a b.jpg zebra\n\nc.png\tant\n", None).unwrap();
        assert_eq!(files.classes(), ["ant", "zebra"]);
        assert_eq!((files.label(0), files.label(1)), (Some(1), Some(0)));
        assert!(files.name(0).ends_with("my photos/a b.jpg"));
    }

    #[test]
    fn numbers_stay_and_a_line_that_ends_like_an_image_has_no_label() {
        let files = open_text("a.jpg 3\nb.jpg 0\n", None).unwrap();
        assert_eq!((files.label(0), files.classes().len()), (Some(3), 4));
        let files = open_text("a b.jpg\nc.jpg\n", None).unwrap();
        assert_eq!((files.label(0), files.classes().len(), files.len()), (None, 0, 2));
        assert!(files.name(0).ends_with("a b.jpg"));
    }

    #[test]
    fn mistakes_name_the_line() {
        for (text, line, part) in [
            ("a.jpg 1\nb.jpg\n", 2, "label every line"),
            ("a.jpg cat\nb.jpg 4\n", 2, "one kind"),
            ("a.jpg 99999999\n", 1, "too large"),
        ] {
            let error = open_text(text, None).unwrap_err().to_string();
            assert!(error.contains(&format!("list.txt:{line}: ")) && error.contains(part), "{error}");
        }
        let known = ["ant".to_string(), "bee".to_string()];
        let error = open_text("a.jpg ant\nb.jpg cow\n", Some(&known)).unwrap_err().to_string();
        assert!(error.contains(":2: class `cow`"), "{error}");
    }
}
