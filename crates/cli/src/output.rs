//! All output to the terminal, as text or as JSON. Results go to standard output; everything else goes to standard
//! error, through the redactor. Whatever is printed passes [`ForeignText`], so that text of others cannot control the
//! terminal; a value within a line of ours passes it before, so that it cannot begin a line either.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use trunkline::{
    core::{Diagnostic, Error, ForeignText, Result, Severity, Timestamp},
    engine::RunStatus,
};

use crate::{
    next_step::{describe, word, worded},
    redacting_stderr, stdout,
};

/// Exit codes of the process, which `--help` lists.
pub(crate) mod exit {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const ERROR: u8 = 1;
    pub(crate) const FAULTS: u8 = 3;
    pub(crate) const PARTIAL: u8 = 4;
    pub(crate) const FAILED: u8 = 5;
    pub(crate) const INTERRUPTED: u8 = 130;
    pub(crate) const TERMINATED: u8 = 143;
}

/// Returns the exit code for the status of a run.
pub(crate) fn exit_code(status: RunStatus) -> ExitCode {
    match status {
        RunStatus::Succeeded | RunStatus::Running => exit::DONE,
        RunStatus::Partial => exit::PARTIAL,
        RunStatus::Failed | RunStatus::Cancelled => exit::FAILED,
    }
    .into()
}

/// A warning as JSON.
#[derive(Serialize)]
struct Warning<'a> {
    warning: &'a str,
}

/// An error as JSON.
#[derive(Serialize)]
struct Failure<'a> {
    error: &'a Error,
}

/// Prints results in the form that the user chose. The first write that fails ends the command, see [`stdout`].
#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Output { json }
    }

    /// Returns whether results are printed as JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Returns whether standard error is a terminal, so that progress can be drawn there.
    pub(crate) fn is_interactive(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Prints a value as JSON, even without `--json`.
    pub(crate) fn json(self, value: &impl Serialize) {
        let text = if std::io::stdout().is_terminal() || !self.json {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let _ = stdout::print_line(&ForeignText(&text.unwrap_or_default()).json());
    }

    /// Prints one of several results, in a line of its own: as JSON with `--json`, and the text otherwise.
    ///
    /// # Errors
    ///
    /// `cancelled` if it cannot be written: no further result is wanted.
    pub(crate) fn line(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        if self.json {
            return self.json_line(value);
        }
        stdout::print_line(&ForeignText(text().trim_end()).lines())
    }

    /// Prints one of several results as a line of JSON, even without `--json`.
    ///
    /// # Errors
    ///
    /// `cancelled` if it cannot be written: no further result is wanted.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Result<()> {
        stdout::print_line(&ForeignText(&serde_json::to_string(value).unwrap_or_default()).json())
    }

    /// Prints a value as JSON with `--json`, and the text otherwise.
    pub(crate) fn show(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            return self.json(value);
        }
        let _ = stdout::print_line(&ForeignText(text().trim_end()).lines());
    }

    /// Prints a message to standard error, unless `--json` is set.
    pub(crate) fn info(self, text: &str) {
        if !self.json {
            redacting_stderr::print_line(text);
        }
    }

    /// Prints the URL of a sign-in to standard error, unless `--json` is set. This is the only output that bypasses the
    /// redactor: the URL contains the `state` of the sign-in, which is useless without the process that began it.
    pub(crate) fn sign_in_url(self, url: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr(), "  {}\n", ForeignText(url));
        }
    }

    /// Prints a remark on the result to standard error: as JSON with `--json`, and as text otherwise.
    pub(crate) fn note(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            return redacting_stderr::print_line(&redacting_stderr::json(value));
        }
        redacting_stderr::print_line(text().trim_end());
    }

    /// Prints a warning about something that succeeded.
    pub(crate) fn warn(self, text: &str) {
        self.note(&Warning { warning: text }, || format!("warning: {}", ForeignText(text)));
    }

    /// Prints the warnings of a check to standard error, unless `--json` is set.
    pub(crate) fn warnings(self, found: &[Diagnostic]) {
        if !found.is_empty() {
            self.info(Output::findings(found).trim_end());
        }
    }

    /// Reports the entries of a list that are damaged, and returns the exit code of the list.
    pub(crate) fn damaged<'a>(self, what: &str, total: usize, damaged: impl Iterator<Item = &'a String>) -> ExitCode {
        let count = damaged.map(|one| self.warn(one)).count();
        if count == 0 {
            return exit::DONE.into();
        }
        self.warn(&format!("{count} of {total} {what} cannot be read"));
        exit::FAULTS.into()
    }

    /// Prints an error with its advice.
    pub(crate) fn error(self, error: &Error) {
        self.note(&worded(&Failure { error }), || format!("error: {}", describe(error)));
    }

    /// Formats diagnostics, one below the other.
    pub(crate) fn findings(found: &[Diagnostic]) -> String {
        let mut text = String::new();
        for one in found {
            let severity = if one.severity == Severity::Error { "error" } else { "warning" };
            text += &format!("{severity}: {}\n", ForeignText(&one.to_string()));
            if let Some(hint) = one.advice_in(word) {
                text += &format!("  next: {}\n", ForeignText(&hint));
            }
        }
        text
    }
}

/// Formats a table with a heading and without rules.
pub(crate) fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(heading);
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| ForeignText(cell).to_string()));
    }
    table.trim_fmt()
}

/// Formats a time as date and time of day (UTC).
pub(crate) fn time(time: Timestamp) -> String {
    jiff::Timestamp::from(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
