//! Source texts of a spec and positions in them: the base file, the file, the `--set` arguments.

use std::{
    fmt::Write as _,
    path::{Component, Path, PathBuf},
};

/// A text and its display name.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceText {
    /// A path as spelled by the user, or `--set …`.
    pub name: String,
    pub text: String,
    /// Whether to show line and column: true for files, false for arguments.
    pub is_file: bool,
    /// Base folder of its relative paths; empty: the working directory.
    pub folder: PathBuf,
}

/// A range within one line of a source. `layer` is the index of the source; higher layers override lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSpan {
    pub layer: usize,
    /// From 1.
    pub line: usize,
    /// From 0, in characters.
    pub column: usize,
    /// In characters; 0: the extent of the value that starts there.
    pub width: usize,
}

impl SourceSpan {
    /// The same range in a layer that is so many above, unless that of an argument, which is above all files.
    pub(super) fn above(self, layers: usize) -> Self {
        let layer = if self.layer < layers { self.layer + layers } else { self.layer };
        Self { layer, ..self }
    }
}

/// Maximum number of characters shown of a line.
const MAX_SHOWN: usize = 200;
/// Characters shown before the position in a truncated line.
const BEFORE: usize = 60;

impl SourceText {
    /// Source of a file.
    pub fn file(path: &Path, text: String) -> Self {
        let parts = path.parent().into_iter().flat_map(Path::components);
        let folder = parts.filter(|part| *part != Component::CurDir).collect();
        Self { name: path.display().to_string(), text, is_file: true, folder }
    }

    /// Source of a command-line argument.
    pub fn argument(set: &str) -> Self {
        Self { name: format!("--set {set}"), text: set.into(), ..Self::default() }
    }

    /// The name and, for files, line and column.
    pub fn place(&self, place: SourceSpan) -> String {
        let name = crate::text::excerpt(&self.name);
        if self.is_file { format!("{name}:{}:{}", place.line, place.column + 1) } else { name }
    }

    /// Line `number`, from 1; empty beyond the end.
    fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number.saturating_sub(1)).unwrap_or("")
    }

    /// Source excerpt: position, line, and caret with `note`.
    pub fn excerpt(&self, place: SourceSpan, note: &str) -> String {
        let (margin, number) = match self.is_file {
            true => (" ".repeat(place.line.to_string().len()), place.line.to_string()),
            false => (" ".into(), " ".into()),
        };
        let mut out = format!("{margin}--> {}", self.place(place));
        let (line, place) = excerpt_line(self.line(place.line), place);
        let caret = caret(&line, place);
        let line = format!("{number} | {line}");
        // Writing to a String cannot fail.
        let _ = write!(out, "\n{margin} |\n{}\n{margin} | {caret}", line.trim_end());
        if !note.is_empty() {
            let _ = write!(out, " {note}");
        }
        out
    }
}

/// The line, truncated around the position if it is long, and the position within the result.
fn excerpt_line(line: &str, place: SourceSpan) -> (String, SourceSpan) {
    let rest = line.chars().skip(place.column).collect::<String>();
    let width = if place.width == 0 { extent(&rest) } else { place.width };
    let length = line.chars().count();
    if length <= MAX_SHOWN {
        return (line.into(), SourceSpan { width, ..place });
    }
    let start = if place.column <= BEFORE { 0 } else { place.column.min(length) - BEFORE };
    let (before, after) =
        (["", "…"][usize::from(start > 0)], ["", "…"][usize::from(start + MAX_SHOWN < length)]);
    let part: String = line.chars().skip(start).take(MAX_SHOWN).collect();
    let column = place.column - start + before.chars().count();
    let room = (MAX_SHOWN + start).saturating_sub(place.column);
    (format!("{before}{part}{after}"), SourceSpan { column, width: width.min(room), ..place })
}

/// Blanks up to the column (tabs are kept for alignment), then carets within the line.
fn caret(line: &str, place: SourceSpan) -> String {
    let blank = line.chars().chain(std::iter::repeat(' ')).take(place.column);
    let room = line.chars().count().saturating_sub(place.column);
    let width = place.width.clamp(1, room.max(1));
    blank.map(|c| if c == '\t' { '\t' } else { ' ' }).chain(std::iter::repeat_n('^', width)).collect()
}

/// Length of the quoted scalar or bracketed collection at the start of `rest`; without a closing character, the whole
/// line.
fn extent(rest: &str) -> usize {
    let whole = rest.trim_end().chars().count();
    let end = |close: char| rest.chars().skip(1).position(|c| c == close).map_or(whole, |i| i + 2);
    match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => end(quote),
        Some('{' | '[') => brackets(rest).unwrap_or(whole),
        _ => rest.split(" #").next().unwrap_or(rest).trim_end().chars().count(),
    }
}

fn brackets(rest: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, c) in rest.chars().enumerate() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(i + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_its_text() {
        let source = SourceText::file(Path::new("a.yaml"), "a:\n\tbé: 10\n".into());
        let place = SourceSpan { layer: 0, line: 2, column: 5, width: 9 };
        let want = " --> a.yaml:2:6\n  |\n2 | \tbé: 10\n  | \t    ^^ too many";
        assert_eq!(source.excerpt(place, "too many"), want);
    }

    #[test]
    fn a_place_beyond_the_text_still_draws() {
        let source = SourceText::file(Path::new("a.yaml"), String::new());
        let place = SourceSpan { layer: 0, line: 7, column: 3, width: 2 };
        assert_eq!(source.excerpt(place, ""), " --> a.yaml:7:4\n  |\n7 |\n  |    ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}: wrong, {}", "k".repeat(300), "z".repeat(300));
        let source = SourceText::file(Path::new("a.yaml"), text);
        let said = source.excerpt(SourceSpan { layer: 0, line: 1, column: 302, width: 5 }, "note");
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() < 220), "{said}");
        let [line, caret] = [lines[2], lines[3]].map(|line| line.chars().collect::<Vec<_>>());
        let at = caret.iter().position(|c| *c == '^').unwrap();
        assert_eq!(line[at..at + 5].iter().collect::<String>(), "wrong", "{said}");
        assert!(
            lines[2].starts_with("1 | …kkk") && lines[2].ends_with("z…") && lines[3].ends_with("^^^^^ note")
        );
        let first = source.excerpt(SourceSpan { layer: 0, line: 1, column: 0, width: 300 }, "");
        assert!(first.lines().all(|line| line.chars().count() < 220), "{first}");
    }
}
