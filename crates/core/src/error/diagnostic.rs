//! Findings on a document that a user wrote: what is wrong, and where.
//!
//! A [`Diagnostic`] names the value by JSON pointer and, if the document came from a file, by line and column.
//! Validation returns all findings at once; [`Diagnostic::accept`] turns them into one error where only that is wanted.

use std::{cmp::Ordering, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AdviceMembers, Error, ErrorKind, NextStep, Result, joined};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document can be used as it is.
    Warning,
    /// The document cannot be used.
    Error,
}

/// A position in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SourceLocation {
    /// The file's path as the user gave it, or relative to the project.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl SourceLocation {
    /// Returns the location of a byte offset in the text of a file.
    pub fn of(file: &str, text: &str, offset: usize) -> SourceLocation {
        let before = &text[..text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        SourceLocation {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// One finding on a document: a connection, a flow or an operation row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// The JSON pointer (RFC 6901) of the value; empty for the document as a whole.
    pub pointer: String,
    /// File, line and column, if the document came from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<SourceLocation>,
    /// What is wrong.
    pub message: String,
    /// Whether a limit of Trunkline was exceeded, which the message names with its number.
    #[serde(default, skip_serializing_if = "is_false")]
    pub limit: bool,
    /// What the user can do about it. In JSON, `hint` is a text, and `next` the data if there is more than a text.
    #[serde(flatten, with = "as_advice")]
    #[schemars(with = "AdviceMembers")]
    pub next: Vec<NextStep>,
}

impl Diagnostic {
    /// The largest number of errors, and of warnings, that are reported on one document.
    pub const MOST: usize = 100;

    /// Returns the first [`Diagnostic::MOST`] errors and as many warnings, with a finding that there are more if so. A
    /// document with thousands of faults has a few causes, and its report should not cost more than the document.
    pub fn bounded(found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let (mut kept, mut counts) = (Vec::new(), [0, 0]);
        for one in found {
            let count = &mut counts[usize::from(one.severity == Severity::Warning)];
            *count += 1;
            match (*count).cmp(&(Diagnostic::MOST + 1)) {
                Ordering::Less => kept.push(one),
                Ordering::Equal => {
                    let message = format!("there are more findings like the first {} of them", Diagnostic::MOST);
                    let more = Diagnostic { pointer: String::new(), message, place: None, limit: false, ..one };
                    kept.push(more.hint("correct these, and check the document again"));
                }
                Ordering::Greater => {}
            }
        }
        kept
    }

    /// Returns an error at this JSON pointer.
    pub fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            pointer: pointer.into(),
            place: None,
            message: message.into(),
            limit: false,
            next: Vec::new(),
        }
    }

    /// Returns an error at this JSON pointer: a limit of Trunkline is exceeded. The message names it with its number.
    pub fn over_limit(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic { limit: true, ..Diagnostic::error(pointer, message) }
    }

    /// Returns a warning at this JSON pointer.
    pub fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(pointer, message) }
    }

    /// Sets what the user can do about it, as plain advice. It replaces all earlier advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.next = vec![NextStep::Text { text: hint.into() }];
        self
    }

    /// Adds what the user can do about it, after all earlier advice.
    pub fn next(mut self, step: impl Into<NextStep>) -> Self {
        self.next.push(step.into());
        self
    }

    /// Returns what the user can do about it in the neutral wording, if that is known.
    pub fn advice(&self) -> Option<String> {
        self.advice_in(NextStep::to_string)
    }

    /// Returns what the user can do about it in the wording of a door, if that is known. `word` words one step.
    pub fn advice_in(&self, word: impl Fn(&NextStep) -> String) -> Option<String> {
        joined(&self.next, word)
    }

    /// Sets the location in a file.
    pub fn at(mut self, place: SourceLocation) -> Self {
        self.place = Some(place);
        self
    }

    /// Accepts a document if none of its findings is worse than a warning. `what` names the document.
    ///
    /// # Errors
    ///
    /// The error of [`Diagnostic::into_error`].
    pub fn accept(what: &str, found: &[Diagnostic]) -> Result<()> {
        Diagnostic::into_error(what, found).map_or(Ok(()), Err)
    }

    /// Returns all errors among the findings as one [`Error`], or `None` if no finding is worse than a warning. Its kind is
    /// `limit` if the document exceeds limits and has no other error, and else `config`. `what` names the document.
    pub fn into_error(what: &str, found: &[Diagnostic]) -> Option<Error> {
        let errors: Vec<_> = found.iter().filter(|finding| finding.severity == Severity::Error).collect();
        let first = errors.first()?;
        let kind = if errors.iter().all(|one| one.limit) { ErrorKind::Limit } else { ErrorKind::Config };
        let error = match errors.len() {
            // Its place names the file.
            1 if first.place.is_some() => Error::new(kind, first.to_string()).advise(first.next.clone()),
            1 => Error::new(kind, format!("{what}: {first}")).advise(first.next.clone()),
            many => {
                let hint = |one: &Diagnostic| one.advice().map_or_else(String::new, |hint| format!(" -- {hint}"));
                let lines = errors.iter().map(|one| format!("{one}{}", hint(one)));
                Error::of_lines(kind, &format!("{what} has {many} errors:"), lines)
            }
        };
        Some(error.with_findings(found.to_vec()))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)
    }
}

/// The finding of a failed check: the setting that the error names, its message and its hint.
impl From<&Error> for Diagnostic {
    fn from(error: &Error) -> Self {
        let found = Diagnostic::error(error.setting_pointer().unwrap_or_default(), error.message());
        Diagnostic { limit: error.kind() == ErrorKind::Limit, next: error.next_steps().to_vec(), ..found }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

mod as_advice {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{AdviceMembers, NextStep};

    pub(super) fn serialize<S: Serializer>(next: &[NextStep], serializer: S) -> Result<S::Ok, S::Error> {
        AdviceMembers::of(next).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NextStep>, D::Error> {
        AdviceMembers::deserialize(deserializer).map(AdviceMembers::into_steps)
    }
}
