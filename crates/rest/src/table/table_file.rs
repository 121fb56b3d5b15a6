//! A file of an operation table while it is parsed.

use std::ops::Range;

use trunkline_core::{Diagnostic, SourceLocation};

/// The nesting at which the TOML parser gives up.
const TOML_NESTING: usize = 80;

/// Returns whether the TOML parser gave up because of the nesting: of brackets before the end of this byte's line, or of
/// the parts of a dotted key, whose place is not known. It is asked about texts that the parser has refused.
fn is_too_deep(text: &str, at: usize) -> bool {
    let at = text.floor_char_boundary(at);
    let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let (_, deepest) = text[..line_end].bytes().fold((0usize, 0), |(depth, deepest), byte| {
        let depth = match byte {
            b'[' | b'{' => depth + 1,
            b']' | b'}' => depth.saturating_sub(1),
            _ => depth,
        };
        (depth, deepest.max(depth))
    });
    let parts = |line: &str| line.split('=').next().unwrap_or_default().matches('.').count();
    deepest >= TOML_NESTING || text.lines().any(|line| parts(line) >= TOML_NESTING)
}

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

    /// Reports at a byte of the file that it exceeds a limit, which the message names with its number.
    pub(crate) fn limit(&mut self, offset: usize, message: impl Into<String>) {
        self.findings.push(Diagnostic::over_limit("", message).at(self.location(offset)));
    }

    /// Reports an error of the TOML reader.
    pub(crate) fn toml_error(&mut self, pointer: String, error: &toml::de::Error, within: Range<usize>) {
        // A missing key has no location of its own: that of its row is the nearest.
        let span = error.span().filter(|span| span.start != 0 || within.start == 0).unwrap_or(within);
        if is_too_deep(self.text, span.start) {
            let message = format!("values or keys are nested {TOML_NESTING} levels deep or more, which is the limit");
            return self.limit(span.start, message);
        }
        self.error(pointer, span.start, error.message().trim().replace('\n', ", "));
    }
}
