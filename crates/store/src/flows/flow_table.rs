//! Saved flows: the version that new runs get, their connections and default input, and the secrets of their webhooks.
//!
//! A flow that is replaced keeps its name, the address of its webhook, and the deduplication keys of its trigger.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Map;
use trunkline_core::{Error, Result, Secret, Timestamp, async_trait};

use crate::{
    database::Store,
    encryption::{AssociatedData, Sealed},
    flows::flow_store::{
        FlowStore, FlowToSave, SavedFlow, TriggerDelivery, TriggerFinding, TriggerStarts, exists_already, was_changed,
    },
    journal::{forget, pin},
    lookup::not_found::no_flow,
    sqlite::{
        WorkError, WorkResult,
        authentication::{self, damaged_row},
        manifest::{self, Manifest, Record},
        now, seal_in, signed, text, time,
    },
};

/// The field of a webhook's encrypted secret.
pub(crate) const SECRET: &str = "secret";

#[async_trait]
impl FlowStore for Store {
    async fn save_flow(&self, flow: FlowToSave, previous: Option<&SavedFlow>) -> Result<()> {
        let document = flow.document.to_string();
        let [connections, input] = [serde_json::to_string(&flow.connections), serde_json::to_string(&flow.input)]
            .map(|text| text.unwrap_or_else(|_| "{}".to_owned()));
        let previous = previous.cloned();
        let saved = self.inner.writer.run(move |store| {
            // The webhook of a flow stays.
            let manifest = Manifest::read(store)?;
            manifest.check(store, Record::Flow(&flow.name))?;
            match (current(store, &flow.name)?, &previous) {
                (Some(_), None) => return Err(exists_already(&flow.name).into()),
                (Some(now), Some(previous)) if !previous.is_unchanged(&now) => {
                    return Err(was_changed(&flow.name).into());
                }
                (None, Some(_)) => return Err(no_flow(&flow.name, &names(store)?).into()),
                _ => {}
            }
            check_called(store, &manifest, &flow.called)?;
            pin(store, &flow.version, &document)?;
            store
                .prepare_cached(
                    "INSERT INTO kept_flows (name, version, connections, input, active, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (name) DO UPDATE
                     SET version = excluded.version, connections = excluded.connections, input = excluded.input,
                         active = excluded.active, updated_at = excluded.updated_at,
                         through = CASE WHEN ?7 THEN NULL ELSE through END",
                )?
                .execute(params![flow.name, flow.version, connections, input, flow.active, now(), flow.restart])?;
            store.prepare_cached("DELETE FROM findings WHERE flow = ?1")?.execute([&flow.name])?;
            Ok(manifest.save(store, &[Record::Flow(&flow.name)])?)
        });
        saved.await
    }

    async fn saved_flows(&self) -> Result<Vec<SavedFlow>> {
        self.flow_page(None, usize::MAX).await
    }

    async fn flow_page(&self, after: Option<&str>, most: usize) -> Result<Vec<SavedFlow>> {
        let (after, most) = (after.map(str::to_owned), signed(most as u64));
        let read = self.readers.read("listing the flows", move |store| {
            let sql = format!("{} WHERE ?1 IS NULL OR name > ?1 ORDER BY name LIMIT ?2", select("all"));
            let mut statement = store.prepare_cached(&sql)?;
            let flows = statement.query_map(params![after, most], saved)?.collect::<rusqlite::Result<Vec<_>>>()?;
            let manifest = Manifest::read(store).map_err(WorkError::into_sqlite)?;
            let checked = |flow: SavedFlow| match manifest.check(store, Record::Flow(&flow.name)) {
                Err(WorkError::Sqlite(error)) => Err(error),
                Err(WorkError::Refused(error)) if flow.damaged.is_none() => Ok(damaged(flow.name, &error)),
                _ => Ok(flow),
            };
            flows.into_iter().map(checked).collect()
        });
        read.await
    }

    async fn saved_flow(&self, name: &str) -> Result<SavedFlow> {
        let read = self.readers.look("reading a flow", |store| {
            manifest::check(store, Record::Flow(name))?;
            match current(store, name)? {
                Some(flow) => Ok((Some(flow), Vec::new())),
                None => Ok((None, names(store)?)),
            }
        });
        let (flow, known) = read?;
        flow.ok_or_else(|| no_flow(name, &known))
    }

    async fn activate_flow(&self, checked: &SavedFlow, called: &BTreeMap<String, String>, restart: bool) -> Result<()> {
        let sql = "UPDATE kept_flows SET active = TRUE, updated_at = ?3,
                          through = CASE WHEN ?2 THEN NULL ELSE through END WHERE name = ?1";
        let (flow, called) = (checked.clone(), called.clone());
        self.change_flow(&checked.name, move |store, name| {
            if current(store, name)?.is_some_and(|now| !flow.is_same_flow(&now)) {
                return Err(was_changed(name).into());
            }
            check_called(store, &Manifest::read(store)?, &called)?;
            Ok(store.prepare_cached(sql)?.execute(params![name, restart, now()])?)
        })
        .await
    }

    async fn deactivate_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        let sql = "UPDATE kept_flows SET active = FALSE, updated_at = ?2 WHERE name = ?1";
        let seen = seen.cloned();
        self.change_flow(name, move |store, name| {
            if seen.is_some() {
                SavedFlow::check(seen.as_ref(), current(store, name)?.as_ref())?;
            }
            Ok(store.prepare_cached(sql)?.execute(params![name, now()])?)
        })
        .await
    }

    async fn remove_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        let (name, seen) = (name.to_owned(), seen.cloned());
        let removed = self.inner.writer.run(move |store| {
            // Not checked unless it was seen: a damaged flow can be removed too.
            if seen.is_some() {
                SavedFlow::check(seen.as_ref(), current(store, &name)?.as_ref())?;
            }
            let manifest = Manifest::read(store)?;
            forget(store, &name)?;
            match store.prepare_cached("DELETE FROM kept_flows WHERE name = ?1")?.execute([&name])? {
                0 => Err(no_flow(&name, &names(store)?).into()),
                _ => Ok(manifest.save(store, &[Record::Flow(&name)])?),
            }
        });
        removed.await
    }

    async fn set_findings(&self, name: &str, findings: Vec<TriggerFinding>) -> Result<()> {
        let findings = serde_json::to_string(&findings).unwrap_or_else(|_| "[]".to_owned());
        // The earlier row is not looked at: it is replaced as a whole, whatever a disk has made of it.
        let sql = "INSERT OR REPLACE INTO findings (flow, findings) SELECT name, ?2 FROM kept_flows WHERE name = ?1";
        self.change_flow(name, move |store, name| Ok(store.prepare_cached(sql)?.execute(params![name, findings])?))
            .await
    }

    async fn set_starts(&self, name: &str, starts: TriggerStarts) -> Result<()> {
        let starts = serde_json::to_string(&starts).unwrap_or_else(|_| "{}".to_owned());
        // As with findings, the earlier row is not looked at.
        let sql = "INSERT OR REPLACE INTO starts (flow, starts) SELECT name, ?2 FROM kept_flows WHERE name = ?1";
        self.change_flow(name, move |store, name| Ok(store.prepare_cached(sql)?.execute(params![name, starts])?)).await
    }

    async fn add_deliveries(&self, name: &str, deliveries: Vec<TriggerDelivery>) -> Result<()> {
        self.change_flow(name, move |store, name| {
            // A row that a disk has changed is replaced, and does not keep later deliveries from being recorded.
            let sql = "SELECT deliveries FROM all_deliveries WHERE flow = ?1 AND intact";
            let known: Option<String> = store.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
            let mut all: Vec<TriggerDelivery> =
                known.and_then(|known| serde_json::from_str(&known).ok()).unwrap_or_default();
            all.extend(deliveries);
            all.drain(..all.len().saturating_sub(TriggerDelivery::MOST));
            let sql = "INSERT OR REPLACE INTO deliveries (flow, deliveries)
                       SELECT name, ?2 FROM kept_flows WHERE name = ?1";
            Ok(store.prepare_cached(sql)?.execute(params![name, text(&all)?])?)
        })
        .await
    }

    async fn deliveries(&self, name: &str) -> Result<Vec<TriggerDelivery>> {
        let known = self.readers.look("reading the deliveries to a trigger", |store| {
            let sql = "SELECT deliveries FROM good_deliveries WHERE flow = ?1";
            store.prepare_cached(sql)?.query_row([name], |row| row.get::<_, String>(0)).optional()
        });
        let read =
            |known: String| serde_json::from_str(&known).map_err(|error| damaged_row("deliveries", name).source(error));
        Ok(known?.map(read).transpose()?.unwrap_or_default())
    }

    async fn set_webhook_token(&self, name: &str, hash: Vec<u8>) -> Result<()> {
        let sql = "INSERT INTO webhooks (flow, token_hash) SELECT name, ?2 FROM kept_flows WHERE name = ?1
                   ON CONFLICT (flow) DO UPDATE SET token_hash = excluded.token_hash";
        self.change_flow(name, move |store, name| Ok(store.prepare_cached(sql)?.execute(params![name, hash])?)).await
    }

    async fn set_webhook_secret(&self, name: &str, secret: Option<&Secret>) -> Result<()> {
        let sql = "INSERT INTO webhooks (flow, key_id, sealed) SELECT name, ?2, ?3 FROM kept_flows WHERE name = ?1
                   ON CONFLICT (flow) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed";
        let (seal, secret) = (self.inner.seal.clone(), secret.cloned());
        self.change_flow(name, move |store, name| {
            let place = AssociatedData { table: "webhooks", row: &[name], field: SECRET };
            let sealed = secret.map(|secret| seal_in(store, &seal, &place, secret.expose().as_bytes())).transpose()?;
            let (key, bytes) = sealed.map(|sealed| (sealed.key_id, sealed.bytes)).unzip();
            Ok(store.prepare_cached(sql)?.execute(params![name, key, bytes])?)
        })
        .await
    }

    async fn webhook_secret(&self, name: &str) -> Result<Option<Secret>> {
        let sealed = self.readers.look("reading a webhook's secret", |store| {
            manifest::check(store, Record::Flow(name))?;
            let mut statement =
                store.prepare_cached("SELECT key_id, sealed FROM webhooks WHERE flow = ?1 AND sealed IS NOT NULL")?;
            statement.query_row([name], |row| Ok(Sealed { key_id: row.get(0)?, bytes: row.get(1)? })).optional()
        });
        sealed?
            .map(|sealed| {
                self.inner.seal.open_text(&AssociatedData { table: "webhooks", row: &[name], field: SECRET }, &sealed)
            })
            .transpose()
    }
}

impl Store {
    /// Changes one flow. Fails with `not_found` if nothing was changed.
    async fn change_flow(
        &self,
        name: &str,
        change: impl FnOnce(&Connection, &str) -> WorkResult<usize> + Send + 'static,
    ) -> Result<()> {
        let name = name.to_owned();
        let changed = self.inner.writer.run(move |store| {
            let manifest = Manifest::read(store)?;
            manifest.check(store, Record::Flow(&name))?;
            match change(store, &name)? {
                0 => Err(no_flow(&name, &names(store)?).into()),
                _ => Ok(manifest.save(store, &[Record::Flow(&name)])?),
            }
        });
        changed.await
    }
}

/// Selects flows from the views that fail at a damaged row (`good`) or from those that do not (`all`).
fn select(views: &str) -> String {
    format!(
        "SELECT name, version, active, connections, input, through, token_hash, sealed IS NOT NULL, created_at, updated_at,
             coalesce(findings, '[]'),
             CASE WHEN kept_flows.intact IS NOT TRUE THEN 'kept_flows'
                  WHEN webhooks.flow IS NOT NULL AND webhooks.intact IS NOT TRUE THEN 'webhooks'
                  WHEN findings.flow IS NOT NULL AND findings.intact IS NOT TRUE THEN 'findings'
                  WHEN starts.flow IS NOT NULL AND starts.intact IS NOT TRUE THEN 'starts' END,
             coalesce(starts, '{{}}')
         FROM {views}_kept_flows AS kept_flows LEFT JOIN {views}_webhooks AS webhooks ON webhooks.flow = name
         LEFT JOIN {views}_findings AS findings ON findings.flow = name
         LEFT JOIN {views}_starts AS starts ON starts.flow = name"
    )
}

/// Returns what is known of a flow that is damaged.
fn damaged(name: String, error: &Error) -> SavedFlow {
    SavedFlow {
        name,
        version: String::new(),
        active: false,
        connections: BTreeMap::new(),
        input: Map::new(),
        through: None,
        token_hash: None,
        has_secret: false,
        findings: Vec::new(),
        starts: TriggerStarts::default(),
        damaged: Some(authentication::note(error)),
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
    }
}

fn saved(row: &Row<'_>) -> rusqlite::Result<SavedFlow> {
    if let Some(table) = row.get::<_, Option<String>>(11)? {
        let name = authentication::text_of(&row.get(0)?);
        return Ok(damaged(name.clone(), &authentication::damaged_row(&table, &name)));
    }
    fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
        let text: String = row.get(column)?;
        serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        })
    }
    Ok(SavedFlow {
        name: row.get(0)?,
        version: row.get(1)?,
        active: row.get(2)?,
        connections: json(row, 3)?,
        input: json(row, 4)?,
        through: row.get::<_, Option<i64>>(5)?.map(time),
        token_hash: row.get(6)?,
        has_secret: row.get(7)?,
        created_at: time(row.get(8)?),
        updated_at: time(row.get(9)?),
        findings: json(row, 10)?,
        damaged: None,
        starts: json(row, 12)?,
    })
}

fn current(store: &Connection, name: &str) -> rusqlite::Result<Option<SavedFlow>> {
    store.prepare_cached(&format!("{} WHERE name = ?1", select("good")))?.query_row([name], saved).optional()
}

/// Fails unless the flows that another one calls have the versions that it was checked with.
fn check_called(store: &Connection, manifest: &Manifest, called: &BTreeMap<String, String>) -> WorkResult<()> {
    for (name, version) in called {
        manifest.check(store, Record::Flow(name))?;
        if current(store, name)?.is_none_or(|now| now.version != *version) {
            return Err(was_changed(name).into());
        }
    }
    Ok(())
}

fn names(store: &Connection) -> rusqlite::Result<Vec<String>> {
    store.prepare_cached("SELECT name FROM kept_flows ORDER BY name")?.query_map([], |row| row.get(0))?.collect()
}
