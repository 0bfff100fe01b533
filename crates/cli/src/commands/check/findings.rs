//! What the checks have found: told as it comes, and as one document at the end.

use serde::Serialize;

use crate::exit_code::ExitCode;
use crate::failure::{Failure, FailureBody, one_line};
use crate::output::{Ended, Output, tell};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warning,
    Error,
}

/// What one check found. The names of the fields are a contract.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// What a run would end with.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: &'a [Finding],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureBody>,
}

/// All findings so far.
pub struct Findings {
    output: Output,
    all: Vec<Finding>,
    errors: Vec<Failure>,
}

/// A check, of one database or of the whole.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    name: &'static str,
    database: Option<&'a str>,
}

impl Check<'static> {
    /// A check of the whole.
    pub const fn new(name: &'static str) -> Self {
        Self { name, database: None }
    }
}

impl<'a> Check<'a> {
    /// A check of a database.
    pub const fn of(name: &'static str, database: &'a str) -> Self {
        Self { name, database: Some(database) }
    }
}

impl Findings {
    pub fn new(output: Output) -> Self {
        Self { output, all: Vec::new(), errors: Vec::new() }
    }

    /// All is well.
    pub fn ok(&mut self, check: Check<'_>, message: impl AsRef<str>) {
        self.add(check, Status::Ok, message.as_ref(), None, None);
    }

    /// A backup would work, but a person should know this.
    pub fn warning(&mut self, check: Check<'_>, message: impl AsRef<str>, hint: &str) {
        self.add(check, Status::Warning, message.as_ref(), Some(hint), None);
    }

    /// A backup would fail.
    pub fn error(&mut self, check: Check<'_>, failure: impl Into<Failure>) {
        let failure = failure.into();
        let (hint, code) = (Some(failure.hint.as_str()), Some(failure.code.word()));
        self.add(check, Status::Error, &failure.message, hint, code);
        let of = check.database.map_or_else(String::new, |database| format!("{database}: "));
        let message = one_line(&format!("{}: {of}{}", check.name, failure.message));
        self.errors.push(Failure { message, ..failure });
    }

    /// How many checks ended with a warning.
    pub fn warnings(&self) -> usize {
        self.all.iter().filter(|finding| finding.status == Status::Warning).count()
    }

    fn add(
        &mut self,
        check: Check<'_>,
        status: Status,
        message: &str,
        hint: Option<&str>,
        code: Option<&'static str>,
    ) {
        let message = one_line(message);
        let hint = hint.filter(|hint| !hint.is_empty()).map(one_line);
        let (word, name) = (status.word(), check.name);
        let of = check.database.map_or_else(String::new, |name| format!("{}: ", one_line(name)));
        self.output.line(format!("{word:<8} {name:<18} {of}{message}"));
        if let Some(hint) = &hint {
            self.output.line(format!("{:<27} hint: {hint}", ""));
        }
        let database = check.database.map(str::to_owned);
        self.all.push(Finding { check: name, status, database, message, hint, code });
    }

    /// The document, and how the run ends.
    pub fn end(self) -> Ended {
        let failure = self.failure();
        if self.output.quiet && self.errors.len() > 1 {
            self.errors.iter().for_each(|failure| tell("error", &failure.message));
        }
        let (ok, error) = (failure.is_none(), failure.as_ref().map(Failure::body));
        self.output.document(&Document { ok, checks: &self.all, error });
        match failure {
            None => {
                let (all, warnings) = (self.all.len(), self.warnings());
                self.output.line(match warnings {
                    0 => format!("all {all} checks are ok"),
                    _ => format!("{all} checks, {warnings} with a warning, none failed"),
                });
                Ok(ExitCode::Ok)
            }
            Some(failure) if self.output.json => Ok(failure.code),
            Some(failure) => Err(failure),
        }
    }

    /// The only error, or what the errors have in common.
    fn failure(&self) -> Option<Failure> {
        let first = self.errors.first()?;
        let (count, all) = (self.errors.len(), self.all.len());
        if count == 1 {
            return Some(first.clone());
        }
        let message = format!("{count} of {all} checks failed");
        if self.errors.iter().all(|failure| failure.code == first.code) {
            let message = format!("{message}: {}", first.message);
            return Some(Failure { message, ..first.clone() });
        }
        Some(Failure::new(ExitCode::CheckFailed, message))
    }
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
