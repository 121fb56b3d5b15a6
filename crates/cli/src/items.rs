//! `runs items`: the outcome of each item of a run, printed page by page.

use std::{borrow::Cow, io::IsTerminal, process::ExitCode};

use csv_core::{QuoteStyle, Terminator, Writer, WriterBuilder};
use trunkline::{
    Redacted, Runtime,
    core::{ForeignText, Result},
    engine::{FoundItem, Item},
    operations::{
        Caller, PageQuery,
        run_queries::{FindItems, ItemQuery, ItemSearch, ListItems},
    },
};

use crate::{
    next_step::{word, worded},
    output::{Output, exit, time},
    stdout,
};

const COLUMNS: [&str; 10] = ["step", "key", "status", "reason", "kind", "hint", "failed_step", "at", "label", "result"];

/// Returns the query for the first page of a run's items.
pub(crate) fn query(run: String, status: Option<String>, step: Option<String>) -> ItemQuery {
    ItemQuery { run, status, step, limit: Some(PageQuery::MOST), cursor: None }
}

/// Prints the items of all pages from the one of this query on.
pub(crate) async fn items(runtime: &Runtime, mut query: ItemQuery, csv: bool, output: &Output) -> Result<ExitCode> {
    let mut records = CsvRecords::new();
    if csv {
        records.print(COLUMNS.map(Cow::Borrowed))?;
    }
    let mut count = 0u64;
    loop {
        let page = runtime.execute::<ListItems>(&Caller::owner(), query.clone()).await?;
        count += page.get().items.len() as u64;
        let redactor = runtime.redactor();
        for item in &page.get().items {
            match csv {
                true => records.print(cells(item).map(|cell| redactor.redact(&cell).into_owned().into()))?,
                false => {
                    let item = Redacted::new(item, redactor);
                    output.line(&worded(&item), || item.text(|item| line(item)))?;
                }
            }
        }
        query.cursor.clone_from(&page.get().next);
        if query.cursor.is_none() {
            break;
        }
    }
    if count == 0 && !csv {
        output.info("no items");
    }
    Ok(exit::DONE.into())
}

/// Prints the items of all runs that have this key, label or id.
pub(crate) async fn find(runtime: &Runtime, key: String, prefix: bool, output: &Output) -> Result<ExitCode> {
    let search = ItemSearch { key: key.clone(), prefix, limit: Some(PageQuery::MOST), cursor: None };
    let found = runtime.execute::<FindItems>(&Caller::owner(), search).await?;
    output.show(&worded(&found), || {
        found.text(|found| {
            if found.items.is_empty() {
                return format!("no item of a run has the key, the label or the id {}", ForeignText(&key));
            }
            let lines =
                found.items.iter().map(|FoundItem { run, flow, item }| format!("{run}  {flow}  {}", line(item)));
            let older =
                found.next.as_ref().map(|_| "there are older ones; `runs items` lists all items of a run".to_owned());
            lines.chain(older).collect::<Vec<_>>().join("\n")
        })
    });
    Ok(exit::DONE.into())
}

/// Returns what an item has become as text: a text as it is, anything else as JSON.
fn result(item: &Item) -> Option<String> {
    item.result.as_ref().map(|result| result.as_str().map_or_else(|| result.to_string(), str::to_owned))
}

/// Formats an item as text.
fn line(item: &Item) -> String {
    let outcome = &item.outcome;
    let mut text = format!("{}  {:<7}  {}", time(item.at), outcome.status(), item.step.join(&item.key));
    text += &item.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    text += &result(item).map(|result| format!(" -> {result}")).unwrap_or_default();
    text += &outcome.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
    text = ForeignText(&text).to_string();
    if let Some(error) = outcome.error() {
        text += &error.step().map(|step| format!("\n  in {}", ForeignText(step))).unwrap_or_default();
        let advice = error.advice_in(word).map(|advice| format!("\n  next: {}", ForeignText(&advice)));
        text += &advice.unwrap_or_default();
    }
    text
}

fn cells(item: &Item) -> [Cow<'_, str>; 10] {
    let error = item.outcome.error();
    [
        item.step.as_str().into(),
        item.key.as_str().into(),
        item.outcome.status().into(),
        item.outcome.reason().unwrap_or_default().into(),
        error.map(|error| error.kind().as_str()).unwrap_or_default().into(),
        error.and_then(|error| error.advice_in(word)).unwrap_or_default().into(),
        error.and_then(|error| error.step()).unwrap_or_default().into(),
        time(item.at).into(),
        item.label.as_deref().unwrap_or_default().into(),
        result(item).unwrap_or_default().into(),
    ]
}

/// Writes records of CSV (RFC 4180). Keys and reasons come from other systems, so each cell is a
/// [`ForeignText::csv_cell`], and one line on a terminal.
struct CsvRecords {
    /// Quotes a cell only where that is necessary.
    bare: Writer,
    quoted: Writer,
    record: Vec<u8>,
    is_terminal: bool,
}

impl CsvRecords {
    fn new() -> CsvRecords {
        let writer = |style| WriterBuilder::new().quote_style(style).terminator(Terminator::CRLF).build();
        let (bare, quoted) = (writer(QuoteStyle::Necessary), writer(QuoteStyle::Always));
        CsvRecords { bare, quoted, record: Vec::new(), is_terminal: std::io::stdout().is_terminal() }
    }

    /// Returns a record with its line break.
    fn record<const N: usize>(&mut self, cells: [Cow<'_, str>; N]) -> &[u8] {
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

    fn print<const N: usize>(&mut self, cells: [Cow<'_, str>; N]) -> Result<()> {
        stdout::print(self.record(cells))
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
            let record = CsvRecords::new().record([cell.into(), "end".into()]).to_vec();
            assert_eq!(String::from_utf8(record).unwrap(), format!("{written},end\r\n"));
        }
        let record = CsvRecords::new().record(["a,\"".into(), "=".into(), "".into()]).to_vec();
        assert_eq!(record, b"\"a,\"\"\",\"'=\",\r\n");
    }
}
