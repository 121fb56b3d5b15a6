//! Text that others wrote: keys of items, names of files, messages of services, titles of connectors in a folder. It
//! must not control what shows it: a terminal, a log, a browser or a spreadsheet.
//!
//! [`ForeignText`] is the one place that renders such text. A value in JSON stays as it is, since a program reads it.
//!
//! ```
//! use trunkline_core::ForeignText;
//!
//! let title = ForeignText("harbour\u{1b}[2J\nrun 7: succeeded");
//! assert_eq!(title.to_string(), "harbour\u{fffd}[2J run 7: succeeded");
//! assert_eq!(ForeignText(" =1+1").csv_cell(), "' =1+1");
//! ```

use std::fmt;

/// Text that others wrote. As it is displayed, it is one line without control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignText<'a>(
    /// The text.
    pub &'a str,
);

impl ForeignText<'_> {
    /// Returns the text with its lines, for a text that consists of several lines of ours.
    pub fn lines(self) -> String {
        let lines: Vec<_> = self.0.split('\n').map(|line| ForeignText(line).to_string()).collect();
        lines.join("\n")
    }

    /// Returns the text for an HTML page, also for the value of an attribute.
    pub fn html(self) -> String {
        let mut escaped = String::new();
        for c in self.to_string().chars() {
            match c {
                '&' => escaped += "&amp;",
                '<' => escaped += "&lt;",
                '>' => escaped += "&gt;",
                '"' => escaped += "&quot;",
                '\'' => escaped += "&#39;",
                c => escaped.push(c),
            }
        }
        escaped
    }

    /// Returns the text as a cell of CSV before quoting. A cell that a spreadsheet would read as a formula, also behind
    /// blanks, starts with a single quote (OWASP, "CSV Injection"). Line breaks and tabs stay.
    pub fn csv_cell(self) -> String {
        let is_blank = |c: char| c.is_whitespace() || is_unsafe(c);
        let first = self.0.trim_start_matches(is_blank).chars().next();
        let begins = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
        let is_formula = self.0.starts_with(['\t', '\r', '\n']) || first.is_some_and(|first| begins.contains(&first));
        let text = self.0.replace("\r\n", "\n");
        let cell = text.chars().map(|c| match c {
            '\n' | '\t' => c,
            '\r' => '\n',
            c => shown(c),
        });
        is_formula.then_some('\'').into_iter().chain(cell).collect()
    }

    /// Returns the text of a JSON document in which characters that could control a terminal are escaped. The value stays
    /// the same.
    pub fn json(self) -> String {
        let mut escaped = String::new();
        for c in self.0.chars() {
            match c {
                // Outside of strings; within them, it is escaped already.
                '\n' => escaped.push(c),
                c if is_unsafe(c) => {
                    c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped += &format!("\\u{unit:04x}"));
                }
                c => escaped.push(c),
            }
        }
        escaped
    }
}

impl fmt::Display for ForeignText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.0.chars().map(shown).collect();
        f.pad(&text)
    }
}

/// Returns what is shown of a character: a space for a line break or a tab, and the replacement character for any other
/// that could control what shows it.
fn shown(c: char) -> char {
    match c {
        '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    }
}

/// Returns whether a character is a control character (C0, C1), or has no width, or changes the direction or the lines of
/// the text around it.
fn is_unsafe(c: char) -> bool {
    let has_no_width = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || has_no_width
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 12] = [
        "\u{1b}[2J",
        "\u{9b}31m",
        "\u{7}",
        "\u{7f}",
        "\u{202e}",
        "\u{2066}",
        "\u{200f}",
        "\u{61c}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\u{2029}",
    ];

    #[test]
    fn no_form_has_a_character_that_controls_what_shows_it() {
        for hostile in HOSTILE {
            let text = format!("a{hostile}b\r\nc");
            let foreign = ForeignText(&text);
            for (form, shown) in [
                ("line", foreign.to_string()),
                ("lines", foreign.lines()),
                ("html", foreign.html()),
                ("csv", foreign.csv_cell()),
            ] {
                let unsafe_ones: Vec<_> = shown.chars().filter(|c| is_unsafe(*c) && *c != '\n').collect();
                assert!(unsafe_ones.is_empty(), "{form} of {text:?}: {shown:?}");
                assert!(shown.starts_with('a') && shown.ends_with('c'), "{form}: {shown:?}");
            }
            assert!(!foreign.to_string().contains('\n'));
            let json = ForeignText(&serde_json::to_string(&text).unwrap()).json();
            assert!(!json.contains(is_unsafe), "{json:?}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text, "the value is exact");
            // The twin: the text itself has them.
            assert!(text.contains(is_unsafe));
        }
        assert_eq!(ForeignText("Malmö, 写真 👍 ok").to_string(), "Malmö, 写真 👍 ok");
        assert_eq!(ForeignText("<b a=\"x\">'&").html(), "&lt;b a=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!(format!("{:<5}|", ForeignText("ab")), "ab   |");
    }

    #[test]
    fn a_cell_is_not_a_formula_also_behind_blanks_and_in_full_width() {
        for formula in [
            "=1",
            "+1",
            "-1",
            "@x",
            " =1",
            "\t=1",
            "\r=1",
            "\n=1",
            "\u{a0}=1",
            "\u{feff}=1",
            "\u{3000}@x",
            "＝1",
            "＋1",
            "－1",
            "＠x",
            "\tx",
        ] {
            assert!(ForeignText(formula).csv_cell().starts_with('\''), "{formula:?}");
        }
        for plain in ["", "a=1", "1-1", "x@y", "'x", " a", "(1)"] {
            assert_eq!(ForeignText(plain).csv_cell(), plain);
        }
    }
}
