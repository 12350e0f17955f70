//! Error messages for users.

use crate::{
    hub::HubError, spec::SpecError, text, train::collective::StartError, weight_source::UnknownWeights,
};
use std::{error::Error, fmt, fmt::Write};

/// A usage error: the request is invalid, and the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub String);

/// An error with its exit code; `Display` gives the complete message.
#[derive(Debug)]
pub struct Failure<'a> {
    error: &'a anyhow::Error,
}

impl<'a> Failure<'a> {
    /// Determines the exit code from the chain of causes.
    pub fn of(error: &'a anyhow::Error) -> Self {
        Self { error }
    }

    /// 2 for an invalid spec or usage, 1 for all other errors.
    pub fn exit(&self) -> u8 {
        let malformed = |e: &(dyn Error + 'static)| {
            matches!(e.downcast_ref(), Some(HubError::Address(_))) || e.is::<UnknownWeights>()
        };
        let theirs = self
            .error
            .chain()
            .any(|e| e.is::<SpecError>() || e.is::<Usage>() || e.is::<StartError>() || malformed(e));
        if theirs { 2 } else { 1 }
    }
}

/// Escapes control characters with [`text::message`], since the message may quote file contents.
impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::message(&self.chain()?))
    }
}

impl Failure<'_> {
    fn chain(&self) -> Result<String, fmt::Error> {
        if let Some(spec) = self.error.downcast_ref::<SpecError>() {
            return Ok(spec.to_string());
        }
        let mut text = format!("error: {}", self.error);
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Some errors include their cause in their own text.
            if !said.contains(&cause) {
                write!(text, "\n  because: {cause}")?;
            }
            said = cause;
        }
        if self.error.chain().any(|e| OUT_OF_MEMORY.iter().any(|name| e.to_string().contains(name))) {
            write!(text, "\n  the GPU is out of memory: {MEMORY_ADVICE}")?;
        }
        Ok(text)
    }
}

/// How the driver, cuBLAS and cuDNN report a lack of memory.
const OUT_OF_MEMORY: [&str; 3] =
    ["ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"];
const MEMORY_ADVICE: &str = "lower train.batch (raise train.iter_size to keep the effective batch) or the picture \
                             size, use `--precision bf16`, or check with `nvidia-smi` for other processes";

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_listed_once() {
        let error =
            Err::<(), _>(anyhow!("disk full")).context("cannot write a.npy: disk full").context("no prior");
        let error = error.unwrap_err();
        let failure = Failure::of(&error);
        assert_eq!(failure.to_string(), "error: no prior\n  because: cannot write a.npy: disk full");
        assert_eq!(failure.exit(), 1);
    }

    #[test]
    fn what_a_file_says_cannot_control_the_terminal() {
        let error = anyhow!("it holds a tensor `a\u{1b}[2J`").context("x".repeat(5000));
        let text = Failure::of(&error).to_string();
        assert!(text.ends_with("…\n  because: it holds a tensor `a\\u{1b}[2J`"), "{text}");
        assert!(text.len() < 1200, "{text}");
    }

    #[test]
    fn a_full_gpu_says_what_to_do() {
        let error = anyhow!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")").context("step 3");
        assert!(Failure::of(&error).to_string().ends_with("for other processes"));
    }

    #[test]
    fn usage_is_the_users_fault_at_any_depth() {
        let error = anyhow::Error::from(Usage("no such data set".into())).context("cannot verify");
        assert_eq!(Failure::of(&error).exit(), 2);
    }
}
