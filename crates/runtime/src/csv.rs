//! The outcomes of items as CSV (RFC 4180).

use std::borrow::Cow;

use csv_core::{QuoteStyle, Terminator, Writer, WriterBuilder};
use trunkline_core::ForeignText;
use trunkline_engine::Item;

/// The columns of items.
pub const ITEM_COLUMNS: [&str; 10] =
    ["step", "key", "status", "reason", "kind", "hint", "failed_step", "at", "label", "result"];

/// Returns what an item has become as text: a text as it is, anything else as JSON.
pub fn item_result(item: &Item) -> Option<String> {
    item.result.as_ref().map(|result| result.as_str().map_or_else(|| result.to_string(), str::to_owned))
}

/// Returns the cells of an item. `at` is its time as it is shown, `hint` the advice of its error.
pub fn item_cells(item: &Item, at: String, hint: Option<String>) -> [Cow<'_, str>; 10] {
    let error = item.outcome.error();
    [
        item.step.as_str().into(),
        item.key.as_str().into(),
        item.outcome.status().into(),
        item.outcome.reason().unwrap_or_default().into(),
        error.map(|error| error.kind().as_str()).unwrap_or_default().into(),
        hint.unwrap_or_default().into(),
        error.and_then(|error| error.step()).unwrap_or_default().into(),
        at.into(),
        item.label.as_deref().unwrap_or_default().into(),
        item_result(item).unwrap_or_default().into(),
    ]
}

/// Writes records of CSV (RFC 4180). Keys and reasons come from other systems, so each cell is a
/// [`ForeignText::csv_cell`], and one line on a terminal.
pub struct CsvRecords {
    /// Quotes a cell only where that is necessary.
    bare: Writer,
    quoted: Writer,
    record: Vec<u8>,
    is_terminal: bool,
}

impl CsvRecords {
    /// Returns a writer. On a terminal, a cell is one line.
    pub fn new(is_terminal: bool) -> CsvRecords {
        let writer = |style| WriterBuilder::new().quote_style(style).terminator(Terminator::CRLF).build();
        let (bare, quoted) = (writer(QuoteStyle::Necessary), writer(QuoteStyle::Always));
        CsvRecords { bare, quoted, record: Vec::new(), is_terminal }
    }

    /// Returns a record with its line break.
    pub fn record<const N: usize>(&mut self, cells: [Cow<'_, str>; N]) -> &[u8] {
        let cells = cells.map(|cell| {
            let cell = ForeignText(&cell).csv_cell();
            if self.is_terminal { ForeignText(&cell).to_string() } else { cell }
        });
        // Each cell at most doubles, and has two quotes and the two bytes after it.
        self.record.resize(cells.iter().map(|cell| 2 * cell.len() + 4).sum(), 0);
        let mut end = 0;
        for (number, cell) in cells.iter().enumerate() {
            let is_guarded = cell.starts_with('\'') || cell.contains('\t');
            let writer = if is_guarded { &mut self.quoted } else { &mut self.bare };
            end += writer.field(cell.as_bytes(), &mut self.record[end..]).2;
            let rest = &mut self.record[end..];
            let (_, ending) = if number + 1 < N { writer.delimiter(rest) } else { writer.terminator(rest) };
            end += ending;
        }
        &self.record[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_are_not_formulas() {
        for (cell, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@x", "\"'@x\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\n=1\""),
            (" =1", "\"' =1\""),
            ("＝1", "\"'＝1\""),
            ("a\u{1b}[2J\u{202e}", "a\u{fffd}[2J\u{fffd}"),
            ("a=1", "a=1"),
        ] {
            let record = CsvRecords::new(false).record([cell.into(), "end".into()]).to_vec();
            assert_eq!(String::from_utf8(record).unwrap(), format!("{written},end\r\n"));
        }
        let record = CsvRecords::new(false).record(["a,\"".into(), "=".into(), "".into()]).to_vec();
        assert_eq!(record, b"\"a,\"\"\",\"'=\",\r\n");
    }
}
