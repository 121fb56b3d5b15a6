//! Connections and their vault in memory.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use trunkline_core::{Connection, Error, Result, Schema, Secret, SignIn, Timestamp, Vault, VaultEntry, async_trait};
use trunkline_engine::{EventLog, RunEvent, RunIndex, RunStatus};

use crate::{
    connections::{
        connection_store::{
            ConnectionStore, ConnectionSummary, ConnectionUse, FlowUse, Replacement, SeenConnection, SignInEvent,
            was_changed,
        },
        in_use::{bound, must_be_unused},
        secrets::mask,
    },
    lookup::not_found::no_connection,
    memory::memory_store::{MemoryStore, StoredConnection, Tables},
};

/// The number of sign-in events kept for each connection.
const EVENTS: usize = 200;

impl Tables {
    fn unknown(&self, name: &str) -> Error {
        no_connection(name, &self.connections.keys().cloned().collect::<Vec<_>>())
    }

    /// Writes a connection in place of the one of its name.
    fn put(&mut self, connection: &Connection, masked: Value) {
        let (now, name) = (Timestamp::now(), connection.name.clone());
        let known = self.connections.get(&name).map(|known| (known.created_at, known.updated_at));
        let (created_at, before) = known.unwrap_or((now, Timestamp::EPOCH));
        let (connection, updated_at) = (connection.clone(), now.max(before + Duration::from_millis(1)));
        self.connections.insert(name, StoredConnection { connection, masked, created_at, updated_at });
    }

    fn seen(&self, name: &str) -> Option<SeenConnection> {
        let StoredConnection { masked, updated_at, .. } = self.connections.get(name)?;
        let (document, updated_at) = (masked.clone(), *updated_at);
        Some(SeenConnection { document, is_signed_in: self.vault.contains_key(name), updated_at })
    }

    /// Returns the saved flows by the connections they use.
    fn flow_uses(&self) -> BTreeMap<String, Vec<FlowUse>> {
        let mut uses: BTreeMap<String, Vec<FlowUse>> = BTreeMap::new();
        for (flow, stored) in &self.flows {
            for name in bound(stored.saved.connections.clone()) {
                uses.entry(name).or_default().push(FlowUse { flow: flow.clone(), active: stored.saved.active });
            }
        }
        uses
    }

    fn note_sign_in(&mut self, connection: &str, sign_in: &SignIn) {
        self.last_sign_in += 1;
        let (id, connection, at) = (self.last_sign_in, connection.to_owned(), Timestamp::now());
        let same = |event: &&SignInEvent| event.connection == connection;
        if self.sign_ins.iter().filter(same).count() == EVENTS
            && let Some(oldest) = self.sign_ins.iter().position(|event| event.connection == connection)
        {
            self.sign_ins.remove(oldest);
        }
        self.sign_ins.push(SignInEvent { id, connection, at, state: sign_in.state.clone() });
    }
}

impl MemoryStore {
    /// Returns the unfinished runs by the connections they use, newest first.
    async fn run_uses(&self) -> Result<BTreeMap<String, Vec<ConnectionUse>>> {
        let mut uses: BTreeMap<String, Vec<ConnectionUse>> = BTreeMap::new();
        for run in self.runs.runs().await? {
            if !matches!(run.status, RunStatus::Running | RunStatus::Failed) {
                continue;
            }
            let mut bindings = BTreeMap::new();
            let mut visit = |event| {
                if let RunEvent::Started { connections, .. } = event {
                    bindings = connections;
                }
            };
            self.runs.replay(&run.id, &mut visit).await?;
            for name in bound(bindings) {
                let (id, flow, status) = (run.id.clone(), run.flow.clone(), run.status);
                uses.entry(name).or_default().push(ConnectionUse { run: id, flow, status });
            }
        }
        Ok(uses)
    }
}

#[async_trait]
impl ConnectionStore for MemoryStore {
    async fn save_connections(&self, connections: &[(&Connection, &Schema)], replace: Replacement) -> Result<()> {
        let masked = connections.iter().map(|(connection, settings)| Ok(mask(connection, settings)?.document));
        let masked = masked.collect::<Result<Vec<_>>>()?;
        let mut tables = self.lock().await;
        for (connection, _) in connections {
            if let Some(now) = tables.seen(&connection.name) {
                replace.check(&connection.name, &now)?;
            }
        }
        connections.iter().zip(masked).for_each(|((connection, _), masked)| tables.put(connection, masked));
        Ok(())
    }

    async fn replace_connection(
        &self,
        previous: &Connection,
        connection: &Connection,
        settings: &Schema,
    ) -> Result<()> {
        let masked = mask(connection, settings)?.document;
        let mut tables = self.lock().await;
        match tables.connections.get(&connection.name) {
            None => return Err(tables.unknown(&connection.name)),
            Some(known) if known.connection.document() != previous.document() => {
                return Err(was_changed(&connection.name));
            }
            Some(_) => tables.put(connection, masked),
        }
        Ok(())
    }

    async fn connection(&self, name: &str) -> Result<Connection> {
        let tables = self.lock().await;
        let found = tables.connections.get(name).map(|stored| stored.connection.clone());
        found.ok_or_else(|| tables.unknown(name))
    }

    async fn connections(&self) -> Result<Vec<ConnectionSummary>> {
        let tables = self.lock().await;
        let (mut runs, mut flows) = (self.run_uses().await?, tables.flow_uses());
        let summary = |(name, stored): (&String, &StoredConnection)| ConnectionSummary {
            name: name.clone(),
            connector: stored.connection.connector.clone(),
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            sign_in: tables.vault.get(name).map(|(_, sign_in)| sign_in.clone()),
            used_by: runs.remove(name).unwrap_or_default(),
            damaged: None,
            flows: flows.remove(name).unwrap_or_default(),
        };
        Ok(tables.connections.iter().map(summary).collect())
    }

    async fn seen_connection(&self, name: &str) -> Result<SeenConnection> {
        let tables = self.lock().await;
        tables.seen(name).ok_or_else(|| tables.unknown(name))
    }

    async fn remove_connection(
        &self,
        name: &str,
        force: bool,
        seen: Option<&SeenConnection>,
    ) -> Result<Option<Secret>> {
        let mut tables = self.lock().await;
        if let (Some(seen), Some(now)) = (seen, tables.seen(name)) {
            seen.check(name, &now)?;
        }
        if !force {
            let runs = self.run_uses().await?.remove(name).unwrap_or_default();
            must_be_unused(name, &runs, &tables.flow_uses().remove(name).unwrap_or_default())?;
        }
        if tables.connections.remove(name).is_none() {
            return Err(tables.unknown(name));
        }
        tables.sign_ins.retain(|event| event.connection != name);
        Ok(tables.vault.remove(name).map(|(entry, _)| entry.content))
    }

    async fn sign_in_events(&self, connection: Option<&str>, after: u64, most: usize) -> Result<Vec<SignInEvent>> {
        let tables = self.lock().await;
        let asked = |event: &&SignInEvent| event.id > after && connection.is_none_or(|name| event.connection == name);
        Ok(tables.sign_ins.iter().filter(asked).take(most).cloned().collect())
    }
}

#[async_trait]
impl Vault for MemoryStore {
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
        Ok(self.lock().await.vault.get(connection).map(|(entry, _)| entry.clone()))
    }

    async fn replace(&self, connection: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        let mut tables = self.lock().await;
        if !tables.connections.contains_key(connection) {
            return Err(no_connection(connection, &[]));
        }
        let before = tables.vault.get(connection);
        if before.map_or(0, |(entry, _)| entry.version) != expected {
            return Ok(false);
        }
        let differs = before.is_none_or(|(_, before)| before.state.differs(&sign_in.state));
        let entry = VaultEntry { version: expected + 1, content: content.clone() };
        tables.vault.insert(connection.to_owned(), (entry, sign_in.clone()));
        if differs {
            tables.note_sign_in(connection, sign_in);
        }
        Ok(true)
    }
}
