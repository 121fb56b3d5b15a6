//! One place for what goes to the terminal: text for a person, or JSON; answers on standard output, the rest on standard
//! error, where the second net is before it.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use serde_json::json;
use trunkline::core::{Diagnostic, Error, Severity, Timestamp};

use super::redacting_stderr;

/// What the process ends with; `--help` tells the same.
pub(crate) mod exit {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const ERROR: u8 = 1;
    pub(crate) const FAULTS: u8 = 3;
    pub(crate) const PARTIAL: u8 = 4;
    pub(crate) const FAILED: u8 = 5;
    pub(crate) const INTERRUPTED: u8 = 130;
    pub(crate) const TERMINATED: u8 = 143;
}

/// Shows answers as the user wants them.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Output { json }
    }

    /// Whether answers are JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether somebody looks at standard error, so that progress may be drawn.
    pub(crate) fn is_watched(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Prints a value as JSON, whatever the user wants otherwise.
    pub(crate) fn json(self, value: &impl Serialize) {
        let text = if std::io::stdout().is_terminal() || !self.json {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        // Nothing can be said to a reader who is gone.
        let _ = writeln!(std::io::stdout(), "{}", text.unwrap_or_default());
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn line(self, value: &impl Serialize) {
        let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string(value).unwrap_or_default());
    }

    /// Prints a line of an answer that is told as it comes.
    pub(crate) fn text(self, line: &str) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    /// Prints a value as JSON if the user wants that, else the text.
    pub(crate) fn show(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            return self.json(value);
        }
        let _ = writeln!(std::io::stdout(), "{}", text().trim_end());
    }

    /// Says something on the way, to a person only.
    pub(crate) fn say(self, text: &str) {
        if !self.json {
            redacting_stderr::say(text);
        }
    }

    /// Shows a person an address to open, on standard error. It holds what binds the answer to this sign-in, and is of no
    /// use without that: the only thing that is said past the net.
    pub(crate) fn address(self, address: &str) {
        if !self.json {
            let _ = writeln!(std::io::stderr(), "  {address}\n");
        }
    }

    /// Says on standard error what the answer on standard output leaves to be done, as JSON if the user wants that.
    pub(crate) fn note(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            return redacting_stderr::say(&redacting_stderr::json(value));
        }
        redacting_stderr::say(text().trim_end());
    }

    /// Says what somebody should know although it worked.
    pub(crate) fn warn(self, text: &str) {
        self.note(&json!({ "warning": text }), || format!("warning: {}", plain(text)));
    }

    /// Says why it did not work and what to do.
    pub(crate) fn error(self, error: &Error) {
        self.note(&json!({ "error": error }), || format!("error: {}", plain(&format!("{error:?}"))));
    }

    /// Findings, one under the other.
    pub(crate) fn findings(found: &[Diagnostic]) -> String {
        let mut text = String::new();
        for one in found {
            let severity = if one.severity == Severity::Error { "error" } else { "warning" };
            text += &format!("{severity}: {one}\n");
            if let Some(hint) = &one.hint {
                text += &format!("  next: {hint}\n");
            }
        }
        plain(&text)
    }
}

/// Takes control characters out of text that came from elsewhere: it must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// A table with a heading and no lines.
pub(crate) fn table(heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(heading);
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    table.trim_fmt()
}

/// A time as date and time of day (UTC).
pub(crate) fn time(time: Timestamp) -> String {
    jiff::Timestamp::from(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
