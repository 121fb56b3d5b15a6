//! All output to the terminal, as text or as JSON. Results go to standard output; everything else goes to standard
//! error, through the redactor. Whatever is printed passes [`ForeignText`], so that text of others cannot control the
//! terminal; a value within a line of ours passes it before, so that it cannot begin a line either.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets::NOTHING};
use serde::Serialize;
use trunkline::{
    core::{Diagnostic, Error, ForeignText, Result, Severity, Timestamp},
    engine::RunStatus,
};

use crate::{
    next_step::{word, worded},
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
    verbose: bool,
}

impl Output {
    pub(crate) fn new(json: bool, verbose: bool) -> Self {
        Output { json, verbose }
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
        self.note(&worded(&Failure { error }), || format!("error: {}", self.describe(error)));
    }

    /// Formats an error with its facts, its cause and its advice, on several lines. `-v` shows the causes of its cause.
    pub(crate) fn describe(self, error: &Error) -> String {
        let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        match (causes.next(), causes.count()) {
            (Some(first), more @ 1..) if !self.verbose => {
                let first = format!("{first} ({more} more: -v shows the causes of this)");
                error.clone().source(first).describe(word)
            }
            _ => error.describe(word),
        }
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

/// The width of a table that is not printed on a terminal, unless the variable COLUMNS says another one.
const WIDTH: u16 = 100;
/// Columns up to this width are wrapped only if there is no other way.
const NARROW: usize = 16;
/// Words up to this length are never divided: that of a date.
const SHORT: usize = 10;
/// The columns with ids and names that users copy. They are never divided, however long they are.
const IDS: [&str; 5] = ["Run", "Version", "Action", "In JSON", "Needed by runs"];
/// Longer words are not ids but names that users have chosen.
const LONGEST_ID: usize = 40;

/// Formats a table with a heading and without rules, as wide as the terminal at most. Long cells are wrapped.
pub(crate) fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = Table::new().width().or_else(columns).filter(|width| *width > 0);
    table_of(width.unwrap_or(WIDTH), heading, rows)
}

/// Formats a table of what was saved or has happened, or returns `none` if there is nothing.
pub(crate) fn list(none: &str, heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_some() { table(heading, rows) } else { none.to_owned() }
}

fn table_of(width: u16, heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    // A column in which no row has anything takes no room.
    let rows: Vec<_> = rows.into_iter().collect();
    let is_used = |column: usize| {
        column == 0 || rows.is_empty() || rows.iter().any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
    };
    let used: Vec<_> = (0..heading.len()).map(is_used).collect();
    fn in_use<T>(cells: impl IntoIterator<Item = T>, used: &[bool]) -> Vec<T> {
        cells.into_iter().zip(used).filter(|(_, used)| **used).map(|(cell, _)| cell).collect()
    }
    let heading = &in_use(heading.iter().copied(), &used)[..];
    let rows = rows.into_iter().map(|row| in_use(row, &used));
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width).set_header(heading);
    let lengths = |cell: &str| cell.split(' ').map(|word| word.chars().count()).collect::<Vec<_>>();
    let longest =
        |cell: &str| lengths(cell).into_iter().filter(|length| *length <= LONGEST_ID).max().unwrap_or_default();
    let mut words: Vec<_> = heading.iter().map(|cell| longest(cell)).collect();
    for row in rows {
        words.iter_mut().zip(&row).for_each(|(word, cell)| *word = longest(cell).max(*word));
        table.add_row(row.iter().map(|cell| ForeignText(cell).to_string()));
    }
    let content: Vec<_> = table.column_max_content_widths().into_iter().map(usize::from).collect();
    let least = |column: usize| match words[column] {
        word if IDS.contains(&heading[column]) => word.max(SHORT - 1).min(content[column]),
        word if word <= SHORT => word.min(content[column]),
        _ => SHORT - 1,
    };
    let narrow = |column: usize| if content[column] <= NARROW { content[column] } else { least(column) };
    let mut widths: Vec<_> = (0..content.len()).map(narrow).collect();
    // Each column has a blank on both sides.
    while widths.iter().sum::<usize>() + 2 * widths.len() > usize::from(width) {
        let wrapped = (0..widths.len()).filter(|column| widths[*column] > least(*column));
        // The first column has the names of the rows: it is wrapped last.
        let Some(widest) = wrapped.max_by_key(|column| (*column > 0, widths[*column])) else { break };
        widths[widest] = least(widest);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_constraint(match u16::try_from(widths[index] + 2) {
            Ok(least) if widths[index] < content[index] => ColumnConstraint::LowerBoundary(Width::Fixed(least)),
            _ => ColumnConstraint::ContentWidth,
        });
    }
    table.trim_fmt()
}

/// Formats a time as date and time of day (UTC).
pub(crate) fn time(time: Timestamp) -> String {
    jiff::Timestamp::from(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use trunkline::core::ErrorKind;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn a_table_is_as_wide_as_allowed_and_never_divides_an_id() {
        let (id, long) = ("1m8pwxgf9gm8xxd", "a-name-that-goes-on-and-on".repeat(4));
        // Where the widths of narrow columns do not fit, the widest are wrapped, and ids are not.
        let row = || vec![["fifteen-letters"; 6].map(str::to_owned).to_vec()];
        let table = table_of(80, &["Run", "A", "B", "C", "D", "Needed by runs"], row());
        assert!(table.lines().all(|line| line.width() <= 80), "{table}");
        assert_eq!(table.matches("fifteen-letters").count(), 2, "{table}");
        for (width, text) in [(80, &long), (100, &long), (80, &"資料".repeat(60)), (72, &"x y ".repeat(60))] {
            let row = [id, text, "succeeded", "2026-11-30 18:54:14", text].map(str::to_owned).to_vec();
            let table = table_of(width, &["Run", "Flow", "Status", "Started (UTC)", "Items"], [row]);
            let widest = table.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= usize::from(width) && widest + 8 > usize::from(width), "{widest}:\n{table}");
            assert!(table.contains(id) && table.contains("2026-11-30"), "{table}");
        }
        let row = || [["a".to_owned(), long.clone()].to_vec()];
        assert!(table_of(200, &["Name", "What"], row()).contains(&long), "nothing is wrapped where there is room");
        assert_eq!(table_of(80, &["Name", "What"], []).trim_end(), " Name  What");
        let row = ["a", "", "b"].map(str::to_owned).to_vec();
        assert_eq!(table_of(80, &["Name", "Used by", "What"], [row]).trim_end(), " Name  What\n a     b");
    }

    #[test]
    fn causes_beyond_the_first_are_shown_on_request() {
        let cause = |text: &str| Error::new(ErrorKind::Unavailable, text);
        let error = cause("not sent").source(cause("no connection").source(cause("refused").source(cause("errno"))));
        let (short, long) = (Output::new(false, false).describe(&error), Output::new(false, true).describe(&error));
        assert!(short.contains("because: no connection (2 more: -v shows the causes of this)"), "{short}");
        assert!(!short.contains("refused"), "{short}");
        assert!(long.contains("because: refused\n  because: errno") && !long.contains("-v"), "{long}");
        let one = cause("not sent").source(cause("no connection"));
        assert_eq!(Output::new(false, false).describe(&one), Output::new(false, true).describe(&one));
    }
}
