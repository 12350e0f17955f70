//! What a command hands back to the program.

/// Output text and exit code of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub text: String,
    pub exit: u8,
}

impl CommandOutput {
    /// Success.
    pub(super) fn ok(text: impl ToString) -> Self {
        Self { text: text.to_string(), exit: 0 }
    }
}
