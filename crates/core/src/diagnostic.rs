//! What is wrong with something a person wrote, and where: validation returns all of them at once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is stopped.
    Warning,
    /// It cannot work like this.
    Error,
}

/// A place in a file, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceLocation {
    /// The file's path as the user gave it, or as it stands in the project.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl SourceLocation {
    /// The place of a byte offset in a text.
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

/// One finding about a document: a connection, a flow, a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// JSON pointer (RFC 6901) to the value at fault; empty for the document as a whole.
    pub pointer: String,
    /// File, line and column, where the document came from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<SourceLocation>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at this JSON pointer.
    pub fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            pointer: pointer.into(),
            place: None,
            message: message.into(),
            hint: None,
        }
    }

    /// A warning at this JSON pointer.
    pub fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(pointer, message) }
    }

    /// Says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where in a file it is.
    pub fn at(mut self, place: SourceLocation) -> Self {
        self.place = Some(place);
        self
    }

    /// `Ok` if nothing is worse than a warning, else [`Diagnostic::into_error`].
    pub fn accept(what: &str, found: &[Diagnostic]) -> Result<()> {
        Diagnostic::into_error(what, found).map_or(Ok(()), Err)
    }

    /// All errors among the findings as one [`Error`] of kind `config`; `what` names the document. `None` if nothing is
    /// worse than a warning.
    pub fn into_error(what: &str, found: &[Diagnostic]) -> Option<Error> {
        let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
        let first = errors.first()?;
        let message = match errors.len() {
            1 => format!("{what}: {first}"),
            many => {
                let hint = |one: &Diagnostic| one.hint.as_ref().map_or_else(String::new, |hint| format!(" -- {hint}"));
                let lines: Vec<_> = errors.iter().map(|one| format!("\n  {one}{}", hint(one))).collect();
                format!("{what} has {many} faults:{}", lines.concat())
            }
        };
        let error = Error::new(ErrorKind::Config, message);
        Some(match (&first.hint, errors.len()) {
            (Some(hint), 1) => error.hint(hint.clone()),
            _ => error,
        })
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

/// What a failed check says: the setting the error names, what was seen, what to do.
impl From<&Error> for Diagnostic {
    fn from(error: &Error) -> Self {
        let found = Diagnostic::error(error.context("setting").unwrap_or_default(), error.message());
        match error.advice() {
            Some(hint) => found.hint(hint),
            None => found,
        }
    }
}
