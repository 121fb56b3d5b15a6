//! `runs items`: the outcome of each item of a run, printed page by page.

use std::{borrow::Cow, io::Write, process::ExitCode};

use serde_json::Value;
use trunkline::{
    Runtime,
    core::Result,
    engine::Item,
    operations::{
        Caller,
        run_queries::{ItemQuery, ListItems},
    },
};

use crate::{
    args::ItemStatus,
    next_step::{word, worded},
    output::{Output, exit, plain, time},
};

impl ItemStatus {
    fn as_str(self) -> &'static str {
        match self {
            ItemStatus::Done => "done",
            ItemStatus::Skipped => "skipped",
            ItemStatus::Failed => "failed",
            ItemStatus::Unknown => "unknown",
        }
    }
}

const COLUMNS: [&str; 8] = ["step", "key", "status", "reason", "kind", "hint", "failed_step", "at"];

/// Returns the query for the first page of a run's items.
pub(crate) fn query(run: String, status: Option<ItemStatus>, step: Option<String>) -> ItemQuery {
    ItemQuery { run, status: status.map(|status| status.as_str().to_owned()), step, from: None }
}

/// Prints the items of all pages from the one of this query on.
pub(crate) async fn items(runtime: &Runtime, mut query: ItemQuery, csv: bool, output: &Output) -> Result<ExitCode> {
    if csv {
        print_record(COLUMNS.map(Cow::Borrowed));
    }
    let mut count = 0u64;
    loop {
        let page = runtime.execute::<ListItems>(&Caller::owner(), query.clone()).await?;
        count += page.items.len() as u64;
        for item in page.items {
            match (csv, output.is_json()) {
                (true, _) => print_record(cells(&item)),
                (_, true) => output.json_line(&worded(&item)),
                _ => output.show(&Value::Null, || line(&item)),
            }
        }
        query.from = page.next;
        if query.from.is_none() {
            break;
        }
    }
    if count == 0 && !csv {
        output.info("no items");
    }
    Ok(exit::DONE.into())
}

/// Formats an item as text.
fn line(item: &Item) -> String {
    let outcome = &item.outcome;
    let mut text = format!("{}  {:<7}  {}", time(item.at), outcome.status(), item.step.join(&item.key));
    text += &outcome.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
    if let Some(error) = outcome.error() {
        text += &error.step().map(|step| format!("\n  in {step}")).unwrap_or_default();
        text += &error.advice_in(word).map(|advice| format!("\n  next: {advice}")).unwrap_or_default();
    }
    plain(&text)
}

fn cells(item: &Item) -> [Cow<'_, str>; 8] {
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
    ]
}

/// Prints a record of CSV (RFC 4180).
fn print_record<const N: usize>(cells: [Cow<'_, str>; N]) {
    let cells: Vec<_> = cells.iter().map(|cell| quoted(cell)).collect();
    // A write fails if the reader has closed the pipe.
    let _ = write!(std::io::stdout(), "{}\r\n", cells.join(","));
}

/// Quotes a cell. Keys and reasons come from other systems, so a cell that a spreadsheet would read as a formula starts
/// with a single quote.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = format!("{}{}", if formula { "'" } else { "" }, cell.replace('"', "\"\""));
    if cell.contains([',', '"', '\r', '\n', '\t']) || formula { format!("\"{cell}\"") } else { cell }
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
            ("\r=1", "\"'\r=1\""),
            ("a=1", "a=1"),
        ] {
            assert_eq!(quoted(cell), written);
        }
    }
}
