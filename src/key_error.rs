//! An error about the value of a key of a spec that only those can detect who know what the value is used for. It names
//! the key; whoever holds the text shows its line.

/// What is wrong with the value of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}`: {reason}{}{advice}", .keys.join("."), if .advice.is_empty() { "" } else { ": " })]
pub struct KeyError {
    /// Path of the key, from the section of the stage on: `data`, `crop`.
    pub keys: Vec<String>,
    pub reason: String,
    /// What to do; empty if the reason says it.
    pub advice: String,
    /// Whether it is shown at the value, not at its key.
    pub is_at_value: bool,
}

impl KeyError {
    /// An error about the value at the end of a path.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>, reason: impl Into<String>) -> Self {
        let keys = keys.into_iter().map(String::from).collect();
        Self { keys, reason: reason.into(), advice: String::new(), is_at_value: false }
    }

    /// The same with what to do.
    pub fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }

    /// The same, shown at the value.
    pub fn at_value(self) -> Self {
        Self { is_at_value: true, ..self }
    }
}
