//! The run index: rows of runs and items, which the transactions of their events keep up to date.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::from_str;
use trunkline_core::{Result, RunId, StepPath, Timestamp, async_trait};
use trunkline_engine::{
    FoundItem, FoundPlace, Item, ItemOutcome, PreviousOutcome, RememberedItem, RunEvent, RunFilter, RunIndex, RunPage,
    RunPlace, RunStatus, RunSummary,
};

use crate::{
    database::{Store, StoredOutcome, parse},
    journal::{STATUSES, named},
    sqlite::{authentication, column, completeness, text, time},
};

/// The most runs that one page looks at.
const LOOKED_AT: usize = 5000;

#[async_trait]
impl RunIndex for Store {
    async fn run_page(&self, filter: &RunFilter, after: Option<&RunPlace>, most: usize) -> Result<RunPage> {
        // A journal that can no longer write can still be read.
        let _ = self.flushed().await;
        let (filter, after) = (filter.clone(), after.cloned());
        let read =
            self.readers.read("listing the runs", move |store| page(store, &filter, after.as_ref(), most, LOOKED_AT));
        read.await
    }

    async fn runs_starting_with(&self, start: &str, most: usize) -> Result<Vec<RunId>> {
        let _ = self.flushed().await;
        let start = start.to_owned();
        let read = self.readers.read("looking for a run", move |store| {
            // No character is greater than the last one of Unicode, so the index on the id finds exactly these runs.
            let mut statement = store.prepare_cached(
                "SELECT id FROM good_runs WHERE id >= ?1 AND id < ?1 || char(1114111) ORDER BY id LIMIT ?2",
            )?;
            statement.query_map(params![start, most as i64], |row| Ok(RunId::from(row.get::<_, String>(0)?)))?.collect()
        });
        read.await
    }

    async fn item(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<ItemOutcome>> {
        self.inner.writer.check()?;
        let item = (run.clone(), step.clone(), key.to_owned());
        let queued = self.inner.pending.lock().items.get(&item).map(|(_, outcome)| outcome.clone());
        if let Some(outcome) = queued {
            return parse(run, &outcome).map(Some);
        }
        let kept = self.readers.look("reading an item", |store| {
            let mut statement =
                store.prepare_cached("SELECT outcome FROM good_items WHERE run = ?1 AND step = ?2 AND key = ?3")?;
            statement.query_row([run.as_str(), step.as_str(), key], |row| row.get::<_, String>(0)).optional()
        });
        kept?.map(|outcome| parse(run, &outcome)).transpose()
    }

    async fn items(
        &self,
        run: &RunId,
        status: Option<&str>,
        after: Option<(StepPath, String)>,
        most: usize,
    ) -> Result<Vec<Item>> {
        let _ = self.flushed().await;
        let (id, status) = (run.clone(), status.map(str::to_owned));
        let read = self.readers.read("listing the items of a run", move |store| {
            if after.is_none() {
                completeness::complete(store, &id)?;
            }
            let behind = if after.is_some() { "AND (step, key) > (?3, ?4)" } else { "" };
            let mut statement = store.prepare_cached(&format!(
                "SELECT step, key, outcome, finished_at FROM good_items
                 WHERE run = ?1 AND (?2 IS NULL OR status = ?2) {behind} ORDER BY step, key LIMIT ?5"
            ))?;
            let (step, key) = after.unzip();
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let found = params![id.as_str(), status, step.as_ref().map(StepPath::as_str), key, most];
            statement.query_map(found, ItemRow::read)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        read.await?.into_iter().map(|row| row.item(run)).collect()
    }

    async fn find_items(
        &self,
        keys: &[String],
        prefix: bool,
        after: Option<&FoundPlace>,
        most: usize,
    ) -> Result<Vec<FoundItem>> {
        let _ = self.flushed().await;
        let (wanted, after) = (keys.to_vec(), after.cloned());
        let read = self.readers.read("looking for an item", move |store| {
            // No character is greater than the last one of Unicode.
            let last = if prefix { "|| char(1114111)" } else { "" };
            let mut statement = store.prepare_cached(&format!(
                "SELECT items.step, items.key, outcome, items.finished_at, items.run, flow FROM (
                     SELECT run, step, key FROM main.items WHERE key BETWEEN ?1 AND ?1 {last} UNION
                     SELECT run, step, key FROM main.item_names WHERE name BETWEEN ?1 AND ?1 {last}
                 ) AS hit CROSS JOIN good_items AS items
                     ON items.run = hit.run AND items.step = hit.step AND items.key = hit.key
                 CROSS JOIN good_runs AS runs ON runs.id = items.run
                 WHERE ?2 IS NULL OR (-items.finished_at, items.run, items.step, items.key) > (-?2, ?3, ?4, ?5)
                 ORDER BY items.finished_at DESC, items.run, items.step, items.key LIMIT ?6"
            ))?;
            let after = after.as_ref();
            let at = after.map(|(at, ..)| column(at.0));
            let [run, step, last] = match after {
                Some((_, run, step, key)) => [Some(run.as_str()), Some(step.as_str()), Some(&**key)],
                None => [None; 3],
            };
            let mut found = Vec::new();
            for key in &wanted {
                let row = |row: &Row<'_>| Ok((ItemRow::read(row)?, row.get(4)?, row.get(5)?));
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                let rows = statement.query_map(params![key, at, run, step, last, most], row)?;
                found.extend(rows.collect::<rusqlite::Result<Vec<(ItemRow, String, String)>>>()?);
            }
            Ok(found)
        });
        let item = |(row, run, flow): (ItemRow, String, String)| {
            let run = RunId::from(run);
            let item = row.item(&run)?;
            Ok(FoundItem { run, flow, item })
        };
        let mut found: Vec<FoundItem> = read.await?.into_iter().map(item).collect::<Result<_>>()?;
        found.retain(|found| found.item.is_named(keys, prefix));
        found.sort_by_cached_key(FoundItem::place);
        found.dedup_by_key(|found| found.place());
        found.truncate(most);
        Ok(found)
    }

    async fn remembered(
        &self,
        flow: &str,
        keys: &[String],
        after: Option<RememberedItem>,
        most: usize,
    ) -> Result<Vec<RememberedItem>> {
        let _ = self.flushed().await;
        let (flow, keys) = (flow.to_owned(), if keys.is_empty() { None } else { Some(text(&keys)?) });
        let connections = after.as_ref().map(|after| text(&after.connections)).transpose()?;
        let read = self.readers.read("reading what is remembered of items", move |store| {
            let behind = if after.is_some() { "AND (step, key, connections) > (?3, ?4, ?5)" } else { "" };
            let mut statement = store.prepare_cached(&format!(
                "SELECT connections, step, key, run, unknown FROM good_done_once
                 WHERE flow = ?1 AND (?2 IS NULL OR key IN (SELECT value FROM json_each(?2))) {behind}
                 ORDER BY step, key, connections LIMIT ?6"
            ))?;
            let (step, key) = after.map(|after| (after.step.as_str().to_owned(), after.key)).unzip();
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let row = |row: &Row<'_>| {
                let connections = from_str(&row.get::<_, String>(0)?);
                Ok(RememberedItem {
                    connections: connections.map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))?,
                    step: StepPath::from(&*row.get::<_, String>(1)?),
                    key: row.get(2)?,
                    run: RunId::from(row.get::<_, String>(3)?),
                    unknown: row.get(4)?,
                })
            };
            statement.query_map(params![flow, keys, step, key, connections, most], row)?.collect()
        });
        read.await
    }

    async fn forget(&self, flow: &str, keys: &[String]) -> Result<u64> {
        // A run whose end is queued has ended.
        self.flushed().await?;
        let (flow, keys) = (flow.to_owned(), if keys.is_empty() { None } else { Some(text(&keys)?) });
        let forget = self.inner.writer.run(move |store| {
            // With `flow = ?1`, SQLite would put ?1 in place of the column where the MAC is checked, for all rows.
            let active = "SELECT id FROM good_runs WHERE +flow = ?1 AND +status = ?2 LIMIT 1";
            let mut active = store.prepare_cached(active)?;
            let active = active.query_row([&*flow, RunStatus::Running.as_str()], |row| row.get::<_, String>(0));
            if let Some(run) = active.optional()? {
                return Err(RememberedItem::in_use(&flow, &RunId::from(run)).into());
            }
            let mut forget = store.prepare_cached(
                "DELETE FROM done_once WHERE flow = ?1 AND unknown = 0
                     AND (?2 IS NULL OR key IN (SELECT value FROM json_each(?2)))",
            )?;
            Ok(forget.execute(params![flow, keys])? as u64)
        });
        forget.await
    }

    async fn before(&self, run: &RunId, step: &StepPath, key: &str) -> Result<Option<PreviousOutcome>> {
        self.arrived(run).await?;
        self.readers.look("reading what was done once", |store| {
            let mut statement = store.prepare_cached(
                "SELECT done_once.run, fingerprint, done_once.unknown FROM good_done_once AS done_once
                 JOIN good_runs AS runs USING (flow, connections)
                 WHERE runs.id = ?1 AND step = ?2 AND key = ?3",
            )?;
            let before = |row: &Row<'_>| {
                Ok(PreviousOutcome {
                    run: RunId::from(row.get::<_, String>(0)?),
                    fingerprint: row.get(1)?,
                    unknown: row.get(2)?,
                })
            };
            statement.query_row([run.as_str(), step.as_str(), key], before).optional()
        })
    }
}

/// An item as it is stored.
struct ItemRow {
    step: String,
    key: String,
    outcome: String,
    at: i64,
}

impl ItemRow {
    /// Reads the columns step, key, outcome, finished_at.
    fn read(row: &Row<'_>) -> rusqlite::Result<ItemRow> {
        Ok(ItemRow { step: row.get(0)?, key: row.get(1)?, outcome: row.get(2)?, at: row.get(3)? })
    }

    fn item(self, run: &RunId) -> Result<Item> {
        let StoredOutcome { outcome, label, result } = parse(run, &self.outcome)?;
        Ok(Item { step: StepPath::from(&*self.step), key: self.key, outcome, label, result, at: time(self.at) })
    }
}

/// Returns the statement that lists runs: of one flow, or of one status, or all. Each has an index of its own, in the
/// order of the list.
fn list(filter: &RunFilter) -> String {
    let of = match filter {
        RunFilter { flow: Some(_), .. } => "flow = ?1",
        RunFilter { status: Some(_), .. } => "status = ?1",
        _ => "?1 IS NULL",
    };
    format!(
        "SELECT {COLUMNS}, intact FROM all_runs WHERE {of} AND started_at >= ?2 AND (started_at, id) < (?3, ?4)
         ORDER BY started_at DESC, id DESC"
    )
}

/// Reads a page of the list. The filter looks at `looked_at` runs at most; the next page goes on behind them.
fn page(
    store: &Connection,
    filter: &RunFilter,
    after: Option<&RunPlace>,
    most: usize,
    looked_at: usize,
) -> rusqlite::Result<RunPage> {
    let until = filter.until.into_iter().chain(filter.ended_before).min().unwrap_or(Timestamp::MAX);
    // No id is smaller than the empty one.
    let end = (until, RunId::from(""));
    let (before, id) = after.into_iter().chain([&end]).min().unwrap_or(&end);
    let of = filter.flow.as_deref().or(filter.status.map(RunStatus::as_str));
    let mut statement = store.prepare_cached(&list(filter))?;
    let since = filter.since.map_or(0, column);
    let mut rows = statement.query(params![of, since, column(*before), id.as_str()])?;
    let (mut found, mut place) = (RunPage::default(), None);
    for looked in 0.. {
        let Some(row) = rows.next()? else { break };
        if looked == looked_at || found.runs.len() == most {
            found.next = place;
            break;
        }
        if row.get::<_, Option<bool>>(INTACT)? != Some(true) {
            let run = authentication::text_of(&row.get(0)?);
            found.damaged.push(authentication::note(&authentication::damaged_row("runs", &run)));
            continue;
        }
        let run = summary(row)?;
        place = Some((run.started_at, run.id.clone()));
        let mut message = Ok(None);
        let fits = filter.matches(&run, || {
            message = error_message(store, &run.id);
            message.as_ref().ok().cloned().flatten()
        });
        message?;
        if fits {
            found.runs.push(run);
        }
    }
    Ok(found)
}

/// Returns the message of the error that has stopped a run: that of its last end. Only a search reads it. There is no index
/// on it: it is one look-up for each run with an error that the search looks at.
fn error_message(store: &Connection, run: &RunId) -> rusqlite::Result<Option<String>> {
    let mut statement = store.prepare_cached(
        "SELECT event, intact FROM all_events WHERE run = ?1 AND kind = 'finished' ORDER BY seq DESC LIMIT 1",
    )?;
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<bool>>(1)?));
    let end = statement.query_row([run.as_str()], read).optional()?.filter(|(_, intact)| *intact == Some(true));
    // What is damaged is not searched; a reader of the run gets the error.
    let event = end.and_then(|(event, _)| from_str::<RunEvent>(&event).ok());
    Ok(event.and_then(|event| Some(event.end()??.message().to_owned())))
}

/// Returns the row of one run.
pub(super) fn summary_of(store: &Connection, run: &RunId) -> rusqlite::Result<Option<RunSummary>> {
    let mut statement = store.prepare_cached(&format!("SELECT {COLUMNS} FROM good_runs WHERE id = ?1"))?;
    statement.query_row([run.as_str()], summary).optional()
}

/// The columns of [`summary`].
const COLUMNS: &str =
    "id, flow, version, status, started_at, finished_at, trigger, error, done, skipped, failed, unknown";

/// The column behind them.
const INTACT: usize = 12;

fn summary(row: &Row<'_>) -> rusqlite::Result<RunSummary> {
    let mut items = BTreeMap::new();
    for (index, status) in STATUSES.into_iter().enumerate() {
        let count: i64 = row.get(8 + index)?;
        if count > 0 {
            items.insert(status.to_owned(), count.unsigned_abs());
        }
    }
    Ok(RunSummary {
        id: RunId::from(row.get::<_, String>(0)?),
        flow: row.get(1)?,
        version: row.get(2)?,
        status: named(row.get(3)?)?,
        started_at: time(row.get(4)?),
        finished_at: row.get::<_, Option<i64>>(5)?.map(time),
        trigger: row.get(6)?,
        error: row.get::<_, Option<String>>(7)?.map(named).transpose()?,
        items,
    })
}

#[cfg(test)]
mod tests;
