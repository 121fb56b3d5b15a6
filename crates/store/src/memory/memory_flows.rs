//! Saved flows in memory.

use std::collections::BTreeMap;

use trunkline_core::{Result, Secret, Timestamp, async_trait};
use trunkline_engine::{FlowVersions, TriggerDeduplication};

use crate::{
    flows::flow_store::{
        FlowStore, FlowToSave, SavedFlow, TriggerDelivery, TriggerFinding, TriggerStarts, exists_already, was_changed,
    },
    lookup::not_found::no_flow,
    memory::memory_store::{MemoryStore, StoredFlow, Tables},
};

impl Tables {
    /// Changes one flow.
    fn change_flow<T>(&mut self, name: &str, change: impl FnOnce(&mut StoredFlow) -> T) -> Result<T> {
        let Some(flow) = self.flows.get_mut(name) else {
            return Err(no_flow(name, &self.flow_names()));
        };
        Ok(change(flow))
    }

    /// Fails unless the flows that another one calls have the versions that it was checked with.
    fn check_called(&self, called: &BTreeMap<String, String>) -> Result<()> {
        let is_other = |(name, version): &(&String, &String)| {
            self.flows.get(*name).is_none_or(|stored| stored.saved.version != **version)
        };
        called.iter().find(is_other).map_or(Ok(()), |(name, _)| Err(was_changed(name)))
    }

    fn flow_names(&self) -> Vec<String> {
        self.flows.keys().cloned().collect()
    }
}

#[async_trait]
impl FlowStore for MemoryStore {
    async fn save_flow(&self, flow: FlowToSave, previous: Option<&SavedFlow>) -> Result<()> {
        let mut tables = self.lock().await;
        let known = tables.flows.get(&flow.name).map(|stored| stored.saved.clone());
        match (&known, previous) {
            (Some(_), None) => return Err(exists_already(&flow.name)),
            (Some(known), Some(previous)) if !previous.is_unchanged(known) => return Err(was_changed(&flow.name)),
            (None, Some(_)) => return Err(no_flow(&flow.name, &tables.flow_names())),
            _ => {}
        }
        tables.check_called(&flow.called)?;
        self.runs.keep_version(&flow.version, &flow.document).await?;
        let now = Timestamp::now();
        let saved = SavedFlow {
            name: flow.name.clone(),
            version: flow.version,
            active: flow.active,
            connections: flow.connections,
            input: flow.input,
            through: known.as_ref().and_then(|known| known.through).filter(|_| !flow.restart),
            token_hash: known.as_ref().and_then(|known| known.token_hash.clone()),
            has_secret: known.as_ref().is_some_and(|known| known.has_secret),
            findings: Vec::new(),
            damaged: None,
            starts: known.as_ref().map(|known| known.starts.clone()).unwrap_or_default(),
            created_at: known.as_ref().map_or(now, |known| known.created_at),
            updated_at: now,
        };
        let known = tables.flows.remove(&flow.name);
        let (webhook_secret, deliveries) =
            known.map(|known| (known.webhook_secret, known.deliveries)).unwrap_or_default();
        tables.flows.insert(flow.name, StoredFlow { saved, webhook_secret, deliveries });
        Ok(())
    }

    async fn saved_flows(&self) -> Result<Vec<SavedFlow>> {
        Ok(self.lock().await.flows.values().map(|stored| stored.saved.clone()).collect())
    }

    async fn saved_flow(&self, name: &str) -> Result<SavedFlow> {
        let tables = self.lock().await;
        let found = tables.flows.get(name).map(|stored| stored.saved.clone());
        found.ok_or_else(|| no_flow(name, &tables.flow_names()))
    }

    async fn activate_flow(&self, checked: &SavedFlow, called: &BTreeMap<String, String>, restart: bool) -> Result<()> {
        let mut tables = self.lock().await;
        tables.check_called(called)?;
        tables.change_flow(&checked.name, |flow| {
            if !checked.is_same_flow(&flow.saved) {
                return Err(was_changed(&checked.name));
            }
            flow.saved.active = true;
            flow.saved.updated_at = Timestamp::now();
            if restart {
                flow.saved.through = None;
            }
            Ok(())
        })?
    }

    async fn deactivate_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        self.lock().await.change_flow(name, |flow| {
            SavedFlow::check(seen, Some(&flow.saved))?;
            flow.saved.active = false;
            flow.saved.updated_at = Timestamp::now();
            Ok(())
        })?
    }

    async fn remove_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        let mut tables = self.lock().await;
        SavedFlow::check(seen, tables.flows.get(name).map(|flow| &flow.saved))?;
        if tables.flows.remove(name).is_none() {
            return Err(no_flow(name, &tables.flow_names()));
        }
        self.runs.forget_trigger(name).await
    }

    async fn set_findings(&self, name: &str, findings: Vec<TriggerFinding>) -> Result<()> {
        self.lock().await.change_flow(name, |flow| flow.saved.findings = findings)
    }

    async fn set_starts(&self, name: &str, starts: TriggerStarts) -> Result<()> {
        self.lock().await.change_flow(name, |flow| flow.saved.starts = starts)
    }

    async fn add_deliveries(&self, name: &str, deliveries: Vec<TriggerDelivery>) -> Result<()> {
        self.lock().await.change_flow(name, |flow| {
            flow.deliveries.extend(deliveries);
            flow.deliveries.drain(..flow.deliveries.len().saturating_sub(TriggerDelivery::MOST));
        })
    }

    async fn deliveries(&self, name: &str) -> Result<Vec<TriggerDelivery>> {
        Ok(self.lock().await.flows.get(name).map(|flow| flow.deliveries.clone()).unwrap_or_default())
    }

    async fn set_webhook_token(&self, name: &str, hash: Vec<u8>) -> Result<()> {
        self.lock().await.change_flow(name, |flow| flow.saved.token_hash = Some(hash))
    }

    async fn set_webhook_secret(&self, name: &str, secret: Option<&Secret>) -> Result<()> {
        self.lock().await.change_flow(name, |flow| {
            flow.webhook_secret = secret.cloned();
            flow.saved.has_secret = secret.is_some();
        })
    }

    async fn webhook_secret(&self, name: &str) -> Result<Option<Secret>> {
        Ok(self.lock().await.flows.get(name).and_then(|stored| stored.webhook_secret.clone()))
    }
}
