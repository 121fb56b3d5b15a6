//! `runs items`: the outcome of each item of a run, printed page by page.

use std::{borrow::Cow, io::IsTerminal, process::ExitCode};

use trunkline::{
    CsvRecords, ITEM_COLUMNS, Redacted, Runtime,
    core::{ForeignText, Result},
    engine::{FoundItem, Item},
    item_cells, item_result,
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

/// Returns the query for the first page of a run's items.
pub(crate) fn query(run: String, status: Option<String>, step: Option<String>) -> ItemQuery {
    ItemQuery { run, status, step, limit: Some(PageQuery::MOST), cursor: None }
}

/// Prints the items of all pages from the one of this query on.
pub(crate) async fn items(runtime: &Runtime, mut query: ItemQuery, csv: bool, output: &Output) -> Result<ExitCode> {
    let mut records = CsvRecords::new(std::io::stdout().is_terminal());
    if csv {
        stdout::print(records.record(ITEM_COLUMNS.map(Cow::Borrowed)))?;
    }
    let mut count = 0u64;
    loop {
        let page = runtime.execute::<ListItems>(&Caller::owner(), query.clone()).await?;
        count += page.get().items.len() as u64;
        let redactor = runtime.redactor();
        for item in &page.get().items {
            match csv {
                true => {
                    let hint = item.outcome.error().and_then(|error| error.advice_in(word));
                    let cells = item_cells(item, time(item.at), hint);
                    stdout::print(records.record(cells.map(|cell| redactor.redact(&cell).into_owned().into())))?;
                }
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

/// Formats an item as text.
fn line(item: &Item) -> String {
    let outcome = &item.outcome;
    let mut text = format!("{}  {:<7}  {}", time(item.at), outcome.status(), item.step.join(&item.key));
    text += &item.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    text += &item_result(item).map(|result| format!(" -> {result}")).unwrap_or_default();
    text += &outcome.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
    text = ForeignText(&text).to_string();
    if let Some(error) = outcome.error() {
        text += &error.step().map(|step| format!("\n  in {}", ForeignText(step))).unwrap_or_default();
        let advice = error.advice_in(word).map(|advice| format!("\n  next: {}", ForeignText(&advice)));
        text += &advice.unwrap_or_default();
    }
    text
}
