//! What is told of a run that failed: code, message, hint.

mod from;

use std::error::Error;

use serde::Serialize;

use crate::exit_code::ExitCode;

/// A failure, ready to be told.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: ExitCode,
    /// Lowercase, names file, offset, transaction or address where known; each cause once.
    pub message: String,
    pub hint: String,
}

/// Result with a [`Failure`].
pub type Result<T> = std::result::Result<T, Failure>;

/// A [`Failure`] in JSON.
#[derive(Debug, Serialize)]
pub struct FailureBody {
    code: &'static str,
    message: String,
    hint: String,
}

impl Failure {
    /// With the hint of the code's row.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: code.row().hint.to_owned() }
    }

    /// The message is the error's and those of its causes.
    pub fn of(code: ExitCode, error: &dyn Error) -> Self {
        Self::new(code, chain(error))
    }

    /// A command line that clap takes and that makes no sense all the same.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// The run was told to stop.
    pub fn interrupted() -> Self {
        Self::new(ExitCode::Interrupted, "interrupted")
    }

    /// With a better hint, if there is one.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !hint.is_empty() {
            self.hint = hint;
        }
        self
    }

    /// For JSON.
    pub fn body(&self) -> FailureBody {
        FailureBody {
            code: self.code.word(),
            message: self.message.clone(),
            hint: self.hint.clone(),
        }
    }
}

/// An error and its causes in one line, each once: some errors already tell their cause.
pub fn chain(error: &dyn Error) -> String {
    let mut message = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = one_line(&error.to_string());
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

/// What comes from a peer or a file name must not steer the terminal.
pub fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    /// Causes follow, without repetition, and control characters are gone.
    #[test]
    fn each_cause_is_told_once() {
        let inner = Layer("no such\u{1b}[31m file\n", None);
        let middle = Layer("open x", Some(Box::new(inner)));
        let repeating = Layer("read manifest: open x", Some(Box::new(middle)));
        assert_eq!(chain(&repeating), "read manifest: open x: no such [31m file");
    }
}
