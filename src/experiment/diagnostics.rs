//! Mistakes in a spec that a typed value does not show, at the keys that they are about.

use crate::spec::{Diagnostic, Document, On};

/// An error and the key path it refers to.
#[derive(Debug)]
pub struct LocatedDiagnostic {
    pub path: Vec<String>,
    pub on: On,
    pub fault: Box<Diagnostic>,
}

impl LocatedDiagnostic {
    /// The error with its position in the document.
    pub fn of(self, document: &Document) -> Diagnostic {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        document.located(&path, self.on, *self.fault)
    }

    fn new<'a>(path: impl IntoIterator<Item = &'a str>, on: On, fault: Diagnostic) -> Self {
        Self { path: path.into_iter().map(String::from).collect(), on, fault: Box::new(fault) }
    }
    pub fn key<'a>(path: impl IntoIterator<Item = &'a str>, fault: Diagnostic) -> Self {
        Self::new(path, On::Key, fault)
    }
    pub fn value<'a>(path: impl IntoIterator<Item = &'a str>, fault: Diagnostic) -> Self {
        Self::new(path, On::Value, fault)
    }
}

/// A mistake that shows in the plan of a stage.
pub struct StageFault {
    stage: String,
    mistake: LocatedDiagnostic,
}

impl StageFault {
    /// A mistake at the end of a path.
    pub fn new(stage: &str, path: &[&str], on: On, said: Diagnostic) -> Self {
        Self { stage: stage.into(), mistake: LocatedDiagnostic::new(path.iter().copied(), on, said) }
    }

    /// Each mistake once, at its line; with the stages that have it if the line does not tell them, as at the top of the file
    /// and at an anchor.
    pub fn located(faults: Vec<Self>, document: &Document) -> Vec<Diagnostic> {
        let mut found: Vec<(Diagnostic, Vec<String>, bool)> = vec![];
        for Self { stage, mistake } in faults {
            let below = mistake.path.first().is_some_and(|first| first == "stages");
            let said = mistake.of(document);
            let tells = below && document.shows_below(&["stages", &stage], &said);
            let same = |known: &&mut (Diagnostic, Vec<String>, bool)| {
                known.0.at == said.at && known.0.message == said.message
            };
            match found.iter_mut().find(same) {
                Some((_, stages, _)) => stages.extend(Some(stage).filter(|stage| !stages.contains(stage))),
                None => found.push((said, vec![stage], tells)),
            }
        }
        let named = |(said, stages, tells): (Diagnostic, Vec<String>, bool)| {
            let names: Vec<String> = stages.iter().map(|name| format!("`{name}`")).collect();
            let message = match (names.as_slice(), tells) {
                ([_], true) => said.message,
                ([one], false) => format!("stage {one}: {}", said.message),
                (all, _) => format!("stages {}: {}", all.join(", "), said.message),
            };
            Diagnostic { message, ..said }
        };
        found.into_iter().map(named).collect()
    }
}
