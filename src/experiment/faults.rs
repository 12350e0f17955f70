//! Collects all errors that would stop the stages of an experiment, so that one does not hide another.

use super::plan::StageRow;
use anyhow::{Error, Result, bail};

/// Several errors found at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", messages(.0).join("; "))]
struct MultipleErrors(Vec<Error>);

/// The text of every error.
fn messages(errors: &[Error]) -> Vec<String> {
    errors.iter().flat_map(each).map(|error| format!("{error:#}")).collect()
}

/// The errors that one holds, or the error itself.
pub fn each(error: &Error) -> Vec<&Error> {
    match error.downcast_ref() {
        Some(MultipleErrors(errors)) => errors.iter().flat_map(each).collect(),
        None => vec![error],
    }
}

/// All values, or all errors.
pub fn all<T>(results: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let (mut required, mut faults) = (vec![], vec![]);
    for result in results {
        match result {
            Ok(value) => required.push(value),
            Err(fault) => faults.push(fault),
        }
    }
    match faults.len() {
        0 => Ok(required),
        1 => Err(faults.remove(0)),
        _ => Err(MultipleErrors(faults).into()),
    }
}

/// As [`all`], for two results of different types.
pub fn both<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => Err(MultipleErrors(vec![a, b]).into()),
        (Err(fault), _) | (_, Err(fault)) => Err(fault),
    }
}

/// The errors collected so far.
#[derive(Default)]
pub struct StageErrors(Vec<StageError>);

/// An error, its stage and the affected rows.
struct StageError {
    stage: String,
    rows: Vec<String>,
    what: String,
}

impl StageErrors {
    /// Adds an error of a row, or of the whole stage.
    pub fn note(&mut self, stage: &str, row: Option<&StageRow>, error: Error) {
        let row = row.and_then(|row| row.name.as_ref());
        for what in messages(&[error]) {
            let known = self.0.iter_mut().find(|fault| fault.stage == stage && fault.what == what);
            match known {
                Some(fault) => fault.rows.extend(row.filter(|row| !fault.rows.contains(row)).cloned()),
                None => self.0.push(StageError {
                    stage: stage.into(),
                    rows: row.cloned().into_iter().collect(),
                    what,
                }),
            }
        }
    }

    /// Returns all collected errors as one.
    pub fn refuse(&self) -> Result<()> {
        let line = |StageError { stage, rows, what }: &StageError| {
            let rows: Vec<String> = rows.iter().map(|row| format!("`{row}`")).collect();
            let rows = if rows.is_empty() { String::new() } else { format!("{}: ", rows.join(", ")) };
            format!("stage `{stage}` cannot start: {rows}{what}")
        };
        let lines: Vec<String> = self.0.iter().map(line).collect();
        match lines.as_slice() {
            [] => Ok(()),
            [one] => bail!("{one}"),
            all => bail!("{} errors, nothing was run:\n  {}", all.len(), all.join("\n  ")),
        }
    }
}
