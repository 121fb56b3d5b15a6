//! A file of an operation table while it is parsed.

use std::ops::Range;

use trunkline_core::{Diagnostic, SourceLocation};

/// A file while it is parsed, and its findings.
pub(crate) struct TableFile<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    pub(crate) findings: Vec<Diagnostic>,
}

impl TableFile<'_> {
    /// Returns the location of a byte of the file.
    pub(crate) fn location(&self, offset: usize) -> SourceLocation {
        SourceLocation::of(self.path, self.text, offset)
    }

    /// Reports an error at a byte of the file.
    pub(crate) fn error(&mut self, pointer: impl Into<String>, offset: usize, message: impl Into<String>) {
        self.findings.push(Diagnostic::error(pointer, message).at(self.location(offset)));
    }

    /// Reports an error of the TOML reader.
    pub(crate) fn toml_error(&mut self, pointer: String, error: &toml::de::Error, within: Range<usize>) {
        // A missing key has no location of its own: that of its row is the nearest.
        let span = error.span().filter(|span| span.start != 0 || within.start == 0).unwrap_or(within);
        self.error(pointer, span.start, error.message().trim().replace('\n', ", "));
    }
}
