//! Flows that are kept by name: with their connections and what every run gets, so that a name is all it takes to run one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use serde_json::{Map, Value};
use trunkline_core::{ConnectorSpec, Diagnostic, Error, ErrorKind, Result, Secret};
use trunkline_engine::{AcceptOutcome, Flow, Flush, GrantedScopes, Journal, RunHandle, Trigger, TriggerEvent};
use trunkline_store::{ConnectionSummary, FlowToSave, SavedFlow};

use crate::{
    Runtime,
    serve::{hash, random},
};

/// What starts a run of a kept flow.
#[derive(Clone, Copy)]
pub(crate) enum Cause<'a> {
    /// Something that is handed to one run only.
    Trigger(&'a TriggerEvent),
    /// Somebody, who hears of the run at once or only when it has ended.
    CallOutput(Flush),
}

/// How many versions of flows are held in memory.
const MOST_FLOWS: usize = 1000;

/// How a flow is to be kept.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// Which connection fills which slot. A slot that is not named keeps the one it has, or gets the only one that fits.
    pub slots: BTreeMap<String, String>,
    /// What every run gets beside what it is started with; nothing leaves it as it is.
    pub input: Option<Map<String, Value>>,
    /// Keep it without letting its trigger start runs.
    pub inactive: bool,
    /// Replace the flow of this name.
    pub replace: bool,
}

impl Runtime {
    /// Checks a flow and keeps it under its name. A flow that replaces an inactive one stays inactive.
    pub async fn save_flow(&self, flow: &Flow, keeping: SaveOptions) -> Result<SavedFlow> {
        let flow = &self.link(flow).await?;
        let before = match self.store.saved_flow(flow.name()).await {
            Ok(before) => Some(before),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(wrong) = keeping.slots.keys().find(|slot| !flow.connections().contains_key(*slot)) {
            return Err(Error::new(ErrorKind::Config, format!("flow {} has no slot {wrong}", flow.name())));
        }
        let mut slots = before.as_ref().map(|one| one.connections.clone()).unwrap_or_default();
        slots.retain(|slot, _| flow.connections().contains_key(slot));
        slots.extend(keeping.slots);
        let connections = self.all_slots(flow, slots).await?;
        self.accept(flow, &connections).await?;
        let active = !keeping.inactive && before.as_ref().is_none_or(|one| one.active);
        if active {
            self.check_slots(flow, &connections).await?;
            check_secret(flow, before.as_ref().is_some_and(|one| one.has_secret))?;
        }
        let input = keeping.input.or_else(|| Some(before?.input)).unwrap_or_default();
        let (name, version, document) = (flow.name().to_owned(), flow.version().to_owned(), flow.document().clone());
        let kept = FlowToSave { name, version, document, connections, input, active };
        self.store.save_flow(kept, keeping.replace).await?;
        self.store.saved_flow(flow.name()).await
    }

    /// A flow together with the kept flows it calls.
    pub async fn link(&self, flow: &Flow) -> Result<Flow> {
        if flow.calls().next().is_none() {
            return Ok(flow.clone());
        }
        let names = |flow: &Flow| flow.calls().map(str::to_owned).collect::<Vec<_>>();
        let (mut kept, mut wanted) = (BTreeMap::new(), names(flow));
        while let Some(name) = wanted.pop() {
            if kept.contains_key(&name) {
                continue;
            }
            match self.saved_flow(&name).await {
                Ok((_, called)) => {
                    wanted.extend(names(&called));
                    kept.insert(name, called);
                }
                Err(error) if error.kind() == ErrorKind::Store => return Err(error),
                // It is missed below, where the step is known that calls it.
                Err(_) => {}
            }
        }
        flow.link(&|name| kept.get(name).cloned()).map_err(|found| {
            let what = format!("flow {}", flow.name());
            let error = Diagnostic::into_error(&what, &found).unwrap_or_else(|| Error::new(ErrorKind::Config, what));
            error.hint(
                "a kept flow calls kept flows: `trunkline flow add FILE` keeps one, `trunkline flow list` shows them",
            )
        })
    }

    /// A kept flow, and the flow itself, not linked with those it calls.
    pub async fn saved_flow(&self, name: &str) -> Result<(SavedFlow, Flow)> {
        let kept = self.store.saved_flow(name).await?;
        let flow = self.flow_of(&kept).await?;
        Ok((kept, flow))
    }

    /// The flow that is kept here, read once a version.
    pub(crate) async fn flow_of(&self, kept: &SavedFlow) -> Result<Flow> {
        let flows = || self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flow) = flows().get(&kept.version) {
            return Ok(flow.clone());
        }
        let flow = Flow::from_value(self.store.flow(&kept.version).await?).map_err(|found| {
            let what = format!("the kept flow {}", kept.name);
            let error = Diagnostic::into_error(&what, &found);
            error.unwrap_or_else(|| Error::new(ErrorKind::Config, format!("{what} cannot be read")))
        })?;
        let mut flows = flows();
        if flows.len() >= MOST_FLOWS {
            flows.clear();
        }
        flows.insert(kept.version.clone(), flow.clone());
        Ok(flow)
    }

    /// Lets the trigger of a kept flow start runs, or no more. Runs at work go on.
    pub async fn activate_flow(&self, name: &str, active: bool) -> Result<()> {
        let (kept, flow) = self.saved_flow(name).await?;
        if active {
            self.accept(&self.link(&flow).await?, &kept.connections).await?;
            self.check_slots(&flow, &kept.connections).await?;
            check_secret(&flow, kept.has_secret)?;
        }
        // Times at which it was not to run are not missed; what came to a list meanwhile is still new.
        let anew = active && !kept.active && matches!(flow.trigger(), Some(Trigger::Schedule(_)));
        self.store.activate_flow(name, active, anew).await
    }

    /// Gives the webhook of a kept flow another address, below that of `trunkline serve`; the one before ends. It is told
    /// once: only a hash of it is kept.
    pub async fn new_webhook_address(&self, name: &str) -> Result<Secret> {
        let (_, flow) = self.saved_flow(name).await?;
        if !matches!(flow.trigger(), Some(Trigger::Webhook(_))) {
            return Err(Error::new(ErrorKind::Config, format!("flow {name} has no webhook"))
                .hint("its `trigger` says what starts it"));
        }
        let token = random();
        self.store.set_webhook_token(name, hash(token.expose()).to_vec()).await?;
        Ok(format!("/webhooks/{name}/{}", token.expose()).into())
    }

    /// Begins a run of a kept flow. `input` and `slots` go before what is kept with it. That it is not active keeps only
    /// its trigger from starting runs.
    pub async fn start_saved(&self, name: &str, input: Value, slots: BTreeMap<String, String>) -> Result<RunHandle> {
        let (kept, flow) = self.saved_flow(name).await?;
        let mut connections = kept.connections;
        connections.extend(slots);
        self.start(&self.link(&flow).await?, with_kept(kept.input, input), connections).await
    }

    /// Accepts a run of a kept flow, unless what its trigger has seen was handed to an earlier one.
    pub(crate) async fn accept_saved(
        &self,
        kept: SavedFlow,
        flow: &Flow,
        input: Value,
        cause: Cause<'_>,
    ) -> Result<AcceptOutcome> {
        let flow = &self.link(flow).await?;
        let (input, slots) = (with_kept(kept.input, input), self.all_slots(flow, kept.connections).await?);
        let slots = self.fill(&slots).await?;
        match cause {
            Cause::Trigger(fired) => self.engine.accept_triggered(flow, input, slots, fired).await,
            Cause::CallOutput(flush) => {
                Ok(AcceptOutcome::New(Box::new(self.engine.accept(flow, input, slots, flush).await?)))
            }
        }
    }

    /// The slots of a flow, and in those that nobody filled the only connection that fits, if there is just one.
    pub(crate) async fn all_slots(
        &self,
        flow: &Flow,
        mut slots: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        if flow.connections().keys().all(|slot| slots.contains_key(slot)) {
            return Ok(slots);
        }
        let known = self.store.connections().await?;
        for (slot, connector) in flow.connections() {
            let mut fitting = known.iter().filter(|one| fits(one, connector));
            if let (false, Some(only), None) = (slots.contains_key(slot), fitting.next(), fitting.next()) {
                slots.insert(slot.clone(), only.name.clone());
            }
        }
        Ok(slots)
    }

    /// Everything that is wrong with a flow in the light of the connectors, and of what the connections in these slots were
    /// granted. A slot that is not named gets the only connection that fits; one that is not there, or of another connector,
    /// is left for who fills the slots.
    pub async fn check_flow(&self, flow: &Flow, slots: &BTreeMap<String, String>) -> Result<Vec<Diagnostic>> {
        let slots = self.all_slots(flow, slots.clone()).await?;
        let known = self.store.connections().await?;
        let mut granted = GrantedScopes::new();
        for (slot, name) in &slots {
            let connection = known.iter().find(|one| one.name == *name);
            let connector = flow.connections().get(slot);
            let Some((one, connector)) = connection.zip(connector).filter(|(one, connector)| fits(one, connector))
            else {
                continue;
            };
            let document = self.store.masked_connection(name).await?;
            let scopes = granted_by_server(one).or_else(|| {
                let connector = self.registry.connector(connector).ok()?;
                asked_for(&document, &connector.spec().connection)
            });
            granted.extend(scopes.map(|scopes| (slot.clone(), scopes)));
        }
        Ok(flow.check_granted(&self.registry, &granted))
    }

    /// Refuses a flow with which something is wrong.
    pub(crate) async fn accept(&self, flow: &Flow, slots: &BTreeMap<String, String>) -> Result<()> {
        Diagnostic::accept(&format!("flow {}", flow.name()), &self.check_flow(flow, slots).await?)
    }

    /// Whether every slot is filled with a connection of its connector. Nothing is connected for it.
    async fn check_slots(&self, flow: &Flow, slots: &BTreeMap<String, String>) -> Result<()> {
        let known = self.store.connections().await?;
        for (slot, connector) in flow.connections() {
            let found = slots.get(slot).map(|name| (name, known.iter().find(|one| one.name == *name)));
            let message = match found {
                Some((_, Some(one))) if fits(one, connector) => continue,
                Some((name, Some(one))) => {
                    format!("{name} is a connection of {}, but the slot {slot} needs one to {connector}", one.connector)
                }
                Some((name, None)) => {
                    format!("the slot {slot} is to be filled by {name}, but there is no such connection")
                }
                None => format!("nothing fills the slot {slot}, which needs a connection to {connector}"),
            };
            let message = format!("flow {} cannot be active: {message}", flow.name());
            return Err(Error::new(ErrorKind::Config, message).hint(format!(
                "`trunkline flow add FILE --replace --connection {slot}=NAME` fills it; `trunkline connection list` shows them \
                 all; --inactive keeps the flow as it is"
            )));
        }
        Ok(())
    }
}

/// Whether a webhook that wants signatures can tell a good one.
fn check_secret(flow: &Flow, has_secret: bool) -> Result<()> {
    match flow.trigger() {
        Some(Trigger::Webhook(webhook)) if webhook.signature.is_some() && !has_secret => {
            let name = flow.name();
            let message =
                format!("flow {name} cannot be active: its webhook wants signatures, and no secret is kept for it");
            Err(Error::new(ErrorKind::Config, message).hint(format!(
                "keep it with --inactive, then `trunkline flow secret {name} FILE` and `trunkline flow activate {name}`"
            )))
        }
        _ => Ok(()),
    }
}

/// What the login server said it granted, if that was after the settings were saved last.
fn granted_by_server(connection: &ConnectionSummary) -> Option<BTreeSet<String>> {
    let sign_in = connection.sign_in.as_ref().filter(|one| one.last_success >= Some(connection.updated_at))?;
    Some(sign_in.scopes.clone()?.into_iter().collect())
}

/// The `scopes` of a connection's settings; nothing if it has none, or leaves it to the login server.
fn asked_for(document: &Value, schema: &Value) -> Option<BTreeSet<String>> {
    let scopes = document.get("scopes").or_else(|| schema.pointer("/properties/scopes/default"))?.as_str()?;
    let scopes: BTreeSet<_> = scopes.split_whitespace().map(str::to_owned).collect();
    (!scopes.is_empty()).then_some(scopes)
}

fn fits(connection: &ConnectionSummary, connector: &str) -> bool {
    ConnectorSpec::name_in(&connection.connector) == connector
}

/// What a run gets: its own input over what is kept. Anything but an object stays as it is.
pub(crate) fn with_kept(mut kept: Map<String, Value>, input: Value) -> Value {
    match input {
        Value::Object(own) => {
            kept.extend(own);
            kept.into()
        }
        other => other,
    }
}
