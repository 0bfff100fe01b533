//! The only place that prints: one JSON document or text on stdout, the rest on stderr.

use std::io::Write as _;

use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::failure::{Failure, FailureBody};
use crate::progress;

/// Whether and how results are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// One JSON document on stdout.
    pub json: bool,
    /// No progress and no text but errors.
    pub quiet: bool,
}

#[derive(Serialize)]
struct ErrorDocument {
    error: FailureBody,
}

impl Output {
    /// A line of the result, for people.
    pub fn line(self, text: impl AsRef<str>) {
        if !self.json && !self.quiet {
            print(text.as_ref());
        }
    }

    /// Something that a person should know though the run goes on.
    pub fn warning(self, text: impl AsRef<str>) {
        if !self.quiet {
            tell("warning", text.as_ref());
        }
    }

    /// The result, for machines.
    pub fn document(self, document: &impl Serialize) {
        if self.json {
            match serde_json::to_string_pretty(document) {
                Ok(text) => print(&text),
                Err(error) => tell("error", &format!("cannot tell the result: {error}")),
            }
        }
    }

    /// The failure of one of several databases: it has its place in the document, too.
    pub fn failure_of(self, database: &str, failure: &Failure) {
        tell("error", &format!("{database}: {}", failure.message));
        tell("hint", &failure.hint);
    }

    /// The same from a place where nothing may be locked, such as a panic's hook.
    pub fn failure_at_once(self, failure: &Failure) {
        let document = serde_json::to_string(&ErrorDocument { error: failure.body() });
        let _ = match document {
            Ok(text) if self.json => writeln!(std::io::stdout(), "{text}"),
            _ => {
                let Failure { message, hint, .. } = failure;
                writeln!(std::io::stderr(), "error: {message}\nhint: {hint}")
            }
        };
    }

    /// The end of a run that failed as a whole, before it had a document.
    pub fn failure(self, failure: &Failure) {
        if self.json {
            self.document(&ErrorDocument { error: failure.body() });
        } else {
            tell("error", &failure.message);
            if !failure.hint.is_empty() {
                tell("hint", &failure.hint);
            }
        }
    }
}

/// How a command ended that has told its result itself.
pub type Ended = crate::failure::Result<ExitCode>;

/// A line on stdout, at once. A reader that went away is no reason to fail.
pub fn print(text: &str) {
    progress::suspend(|| {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    });
}

/// A line on stderr.
pub fn tell(kind: &str, text: &str) {
    progress::suspend(|| {
        let _ = writeln!(std::io::stderr().lock(), "{kind}: {text}");
    });
}
