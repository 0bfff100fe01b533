//! The only place that prints: one JSON document or text on stdout, the rest on stderr.

use std::io::{ErrorKind, Result, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::failure::{Failure, FailureBody};
use crate::{logging, progress};

/// Whether and how results are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// One JSON document on stdout.
    pub json: bool,
    /// Each document in one line: more may follow.
    pub lines: bool,
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

    /// How the run goes on, on stderr: it is no result.
    pub fn aside(self, text: impl AsRef<str>) {
        if !self.quiet {
            tell("progress", text.as_ref());
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
            let text = match self.lines {
                true => serde_json::to_string(document),
                false => serde_json::to_string_pretty(document),
            };
            match text {
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
                let lines = [logging::line("error", message), logging::line("hint", hint)];
                writeln!(std::io::stderr(), "{}", lines.join("\n"))
            }
        };
    }

    /// The end of a run that failed as a whole, before it had a document.
    pub fn failure(self, failure: &Failure) {
        if self.json {
            self.document(&ErrorDocument { error: failure.body() });
        }
        if !self.json || is_untold() {
            tell("error", &failure.message);
            if !failure.hint.is_empty() {
                tell("hint", &failure.hint);
            }
        }
    }
}

/// How a command ended that has told its result itself.
pub type Ended = crate::failure::Result<ExitCode>;

/// What could not be printed first.
static UNTOLD: OnceLock<Failure> = OnceLock::new();

/// A line on stdout, at once. The work goes on if that fails; [`end`] tells.
pub fn print(text: &str) {
    note(write(text));
}

/// A line on stdout, at once.
pub fn write(text: &str) -> Result<()> {
    progress::suspend(|| {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush())
    })
}

/// Notes how printing went. A reader that went away is no reason to fail.
pub fn note(printed: Result<()>) {
    if let Err(error) = printed
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = UNTOLD.set(unwritten(error).hint("what the run did is done; only this is missing"));
    }
}

/// Stdout cannot be written.
pub fn unwritten(error: std::io::Error) -> Failure {
    fs::Error::io("write to", Path::new("stdout"))(error).into()
}

/// Whether something could not be printed.
pub fn is_untold() -> bool {
    UNTOLD.get().is_some()
}

/// How the run ends: a result that nobody got is a failure, told where that is still possible.
pub fn end(code: ExitCode) -> ExitCode {
    let Some(failure) = UNTOLD.get() else { return code };
    tell("error", &failure.message);
    if code != ExitCode::Ok {
        return code;
    }
    tell("hint", &failure.hint);
    failure.code
}

/// A line on stderr, in the format of the log. What is of the kind `progress` is told as it is.
pub fn tell(kind: &str, text: &str) {
    let line = logging::line(kind, text);
    progress::suspend(|| {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    });
}
