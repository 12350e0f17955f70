//! What a person reads of an error: lines of a length that can be read, nothing that controls the terminal, and no
//! structures of Rust.

use hueristic::cli::Failure;

/// A line that is cut has a mark more, and the first one a word before it.
const LONGEST_LINE: usize = 1010;

/// What came out, or nothing where an error did, whose message is checked.
pub fn checked<T, E: Into<anyhow::Error>>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| check(&Failure::of(&error.into()).to_string())).ok()
}

fn check(message: &str) {
    for line in message.lines() {
        assert!(line.chars().count() <= LONGEST_LINE, "a message has a line without end: {message:.400}");
        let controls = line.contains(|c: char| c.is_control() && c != '\t');
        assert!(!controls, "a message controls the terminal: {message:?}");
        let shows = !is_quoted(line) && shows_a_structure(&own(line));
        assert!(!shows, "a message shows a structure of Rust: {message}");
    }
}

/// `12 | …`, a line of a spec, or ` --> --set …`, an override.
fn is_quoted(line: &str) -> bool {
    let text = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    text.starts_with("| ") || text.starts_with("--> --set ")
}

/// What the program says itself: without what it quotes between backticks.
fn own(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// `Name {` or `Some(`, as `{:?}` prints them.
fn shows_a_structure(message: &str) -> bool {
    let names_it = |before: &str| {
        let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        word.starts_with(|c: char| c.is_ascii_uppercase()) && word.contains(|c: char| c.is_ascii_lowercase())
    };
    message.match_indices(" { ").any(|(at, _)| names_it(&message[..at])) || message.contains("Some(")
}
