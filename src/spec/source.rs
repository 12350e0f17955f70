//! Texts that a spec is made of, and places in them: the base file, the file, the `--set` arguments.

use std::fmt::Write as _;

/// A text and what to call it in a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// A path as the user wrote it, or `--set …`.
    pub name: String,
    pub text: String,
    /// Whether line and column mean anything to the reader: true for files, false for an argument.
    pub is_file: bool,
}

/// A stretch of one line in one source. `layer` is the index of the source; a higher layer overrides a lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub layer: usize,
    /// From 1.
    pub line: usize,
    /// From 0, in characters.
    pub column: usize,
    /// In characters, at least 1 when drawn.
    pub width: usize,
}

impl Source {
    /// Line `number`, from 1; empty beyond the end.
    pub fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number.saturating_sub(1)).unwrap_or("")
    }

    /// The arrow, the line and the caret under `place`, with `note` beside the caret.
    pub fn excerpt(&self, place: Place, note: &str) -> String {
        let line = self.line(place.line);
        let (margin, number) = match self.is_file {
            true => (" ".repeat(place.line.to_string().len()), place.line.to_string()),
            false => (" ".into(), " ".into()),
        };
        let mut out = format!("{margin}--> {}", self.name);
        if self.is_file {
            // Writing to a String cannot fail.
            let _ = write!(out, ":{}:{}", place.line, place.column + 1);
        }
        let caret = caret(line, place);
        let line = format!("{number} | {line}");
        let _ = write!(out, "\n{margin} |\n{}\n{margin} | {caret}", line.trim_end());
        if !note.is_empty() {
            let _ = write!(out, " {note}");
        }
        out
    }
}

/// Blank up to the column (tabs kept, so that the caret stays under its text), then carets within the line.
fn caret(line: &str, place: Place) -> String {
    let blank = line.chars().chain(std::iter::repeat(' ')).take(place.column);
    let room = line.chars().count().saturating_sub(place.column);
    let width = place.width.clamp(1, room.max(1));
    blank.map(|c| if c == '\t' { '\t' } else { ' ' }).chain(std::iter::repeat_n('^', width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_its_text() {
        let source = Source { name: "a.yaml".into(), text: "a:\n\tbé: 10\n".into(), is_file: true };
        let place = Place { layer: 0, line: 2, column: 5, width: 9 };
        let want = " --> a.yaml:2:6\n  |\n2 | \tbé: 10\n  | \t    ^^ too many";
        assert_eq!(source.excerpt(place, "too many"), want);
    }

    #[test]
    fn a_place_beyond_the_text_still_draws() {
        let source = Source { name: "a.yaml".into(), text: String::new(), is_file: true };
        let place = Place { layer: 0, line: 7, column: 3, width: 2 };
        assert_eq!(source.excerpt(place, ""), " --> a.yaml:7:4\n  |\n7 |\n  |    ^");
    }
}
