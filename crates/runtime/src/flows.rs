//! Saved flows. A flow is saved under its name with its connections and a default input, so its name is enough to run it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::PoisonError,
};

use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, NextStep, Result, Secret};
use trunkline_engine::{AcceptOutcome, RunHandle};
use trunkline_flow::{Flow, Trigger};
use trunkline_store::{FlowToSave, SavedFlow};

use crate::{
    flow_checks::fits,
    runtime::{Cause, NewRun, Runtime, with_default_input},
    subscriptions::event_of,
    token::{hash, random},
};

/// Options of [`Runtime::save_flow`].
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// The connection for each connection that the flow declares. One that is missing keeps the connection of the flow that
    /// is replaced. No other connection is bound: the document may be a stranger's.
    pub bindings: BTreeMap<String, String>,
    /// The default input, which the input of a run is laid over; `None` leaves it unchanged.
    pub input: Option<Map<String, Value>>,
    /// Whether the trigger of the flow starts runs. Without it, a flow that replaces an active one is active if it starts by
    /// the same ([`activation_reason`]), and every other one is not.
    pub active: Option<bool>,
    /// Replace the flow of this name.
    pub replace: bool,
}

impl Runtime {
    /// Checks a flow and saves it under its name. It gets the connections and the activity that the options name, and
    /// keeps those of the flow that it replaces, but it gets nothing else.
    ///
    /// # Errors
    ///
    /// `config` with a diagnostic for everything that is wrong with the flow or its bindings. Unless it is saved as
    /// inactive, also if a connection that it declares has no binding, and if its trigger can never start a run with
    /// the saved input. `conflict` if a flow of this name exists and `replace` is
    /// not set, or if another caller changed the flow that is replaced while this one was checked.
    pub async fn save_flow(&self, flow: &Flow, options: SaveOptions) -> Result<SavedFlow> {
        let plan = self.plan_to_save(flow, self.previous(flow.name()).await?, &options).await?;
        Diagnostic::accept(&format!("flow {}", flow.name()), &plan.found)?;
        self.save_planned(plan, options).await
    }

    /// Links and checks a flow that is to be saved, also one that could be read only in part. `previous` is the saved flow
    /// of its name.
    ///
    /// # Errors
    ///
    /// `store` if the store cannot be read. What is wrong with the flow is not an error but a diagnostic.
    pub(crate) async fn plan_to_save(
        &self,
        flow: &Flow,
        previous: Option<SavedFlow>,
        options: &SaveOptions,
    ) -> Result<SavePlan> {
        let (flow, mut found) = self.link_readable(flow).await?;
        let connections = bindings_to_save(&flow, previous.as_ref(), options.bindings.clone());
        found.extend(self.check_flow(&flow, &connections).await?);
        let active = match options.active {
            Some(active) => active,
            None => self.stays_active(&flow, previous.as_ref(), &connections).await?,
        };
        let given = options.input.clone();
        let input = given.or_else(|| Some(previous.as_ref()?.input.clone())).unwrap_or_default();
        let was_subscribed = match &previous {
            Some(previous) => self.is_subscribed(previous).await?,
            None => false,
        };
        if options.active != Some(false) {
            let faults = self.binding_faults(&flow, &connections, true, None).await?.into_iter();
            found.extend(faults.chain(flow.check_saved_input(&input)).map(|one| one.next(NextStep::SaveFlowInactive)));
        }
        if let Some(error) = self.check_public_url(&flow).err().filter(|_| active) {
            found.push(Diagnostic { pointer: "/trigger/event".into(), ..Diagnostic::from(&error) });
        }
        let has_secret = previous.as_ref().is_some_and(|one| one.has_secret) && !was_subscribed;
        found.extend(secret_fault(&flow, has_secret).filter(|_| active));
        Ok(SavePlan { flow, previous, connections, input, active, was_subscribed, found })
    }

    /// Saves a flow whose plan has no errors.
    pub(crate) async fn save_planned(&self, plan: SavePlan, options: SaveOptions) -> Result<SavedFlow> {
        let SavePlan { flow, previous, connections, input, active, was_subscribed, found: _ } = plan;
        let flow = &flow;
        let replaced = previous.as_ref().filter(|_| options.replace);
        let restart = match replaced {
            Some(previous) => self.watches_another(previous, flow, &connections).await?,
            None => false,
        };
        let stays = was_subscribed && active && self.stays_subscribed(flow, &connections).await?;
        if was_subscribed && !stays && options.replace {
            self.unsubscribe(flow.name()).await?;
        }
        // A flow that is not subscribed yet is active only when it is.
        let subscribes = active && event_of(flow).is_some();
        let (name, version, document) = (flow.name().to_owned(), flow.version().to_owned(), flow.document().clone());
        let called = called_versions(flow);
        let active = active && (stays || !subscribes);
        let new = FlowToSave { name, version, document, connections, input, active, restart, called };
        self.flows().save_flow(new, replaced).await?;
        let saved = self.flows().saved_flow(flow.name()).await?;
        if !subscribes {
            return Ok(saved);
        }
        self.subscribe(&saved, flow).await?;
        self.flows().activate_flow(&saved, &called_versions(flow), false).await?;
        self.flows().saved_flow(flow.name()).await
    }

    /// Returns the saved flow that one of this name would replace.
    pub(crate) async fn previous(&self, name: &str) -> Result<Option<SavedFlow>> {
        match self.flows().saved_flow(name).await {
            Ok(previous) => Ok(Some(previous)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether a flow is active if that is not chosen: if it replaces an active one and starts by the same, see
    /// [`activation_reason`], or if it has no trigger to activate.
    async fn stays_active(
        &self,
        flow: &Flow,
        previous: Option<&SavedFlow>,
        connections: &BTreeMap<String, String>,
    ) -> Result<bool> {
        let Some(previous) = previous else { return Ok(flow.trigger().is_none()) };
        if !previous.active || flow.trigger().is_none() {
            return Ok(previous.active);
        }
        match self.flow_of(previous).await {
            Ok(before) => Ok(activation_reason(previous, &before, flow, connections).is_none()),
            Err(error) if error.kind() == ErrorKind::Config => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns what a user has to know before a flow is saved: that its trigger begins again with a first look at its
    /// list, although it has looked at one before; and that it is not active any more, if that is not `chosen`.
    ///
    /// # Errors
    ///
    /// `store` if the saved flows or the journal cannot be read.
    pub(crate) async fn trigger_warnings(&self, plan: &SavePlan, chosen: Option<bool>) -> Result<Vec<Diagnostic>> {
        let SavePlan { flow, previous, connections, active, .. } = plan;
        let mut warnings = Vec::from_iter(self.first_look_warning(flow, connections).await?);
        if let (None, false, Some(previous)) = (chosen, *active, previous.as_ref().filter(|one| one.active)) {
            let before = self.flow_of(previous).await.ok();
            let reason = before.and_then(|before| activation_reason(previous, &before, flow, connections));
            let reason = reason.unwrap_or("the flow that is replaced cannot be read");
            let message = format!("the flow was active, and is not any more: {reason}");
            let step = NextStep::ActivateFlow { flow: flow.name().to_owned() };
            warnings.push(Diagnostic::warning("/trigger", message).next(step));
        }
        Ok(warnings)
    }

    /// Links a flow with the saved flows that it calls.
    ///
    /// # Errors
    ///
    /// `config` with a diagnostic for each called flow that is not saved, or that calls itself in a circle.
    pub async fn link(&self, flow: &Flow) -> Result<Flow> {
        let (linked, found) = self.link_readable(flow).await?;
        Diagnostic::accept(&format!("flow {}", flow.name()), &found)?;
        Ok(linked)
    }

    /// Links a flow with those of the flows it calls that are saved. Returns it with a finding for each of the others.
    async fn link_readable(&self, flow: &Flow) -> Result<(Flow, Vec<Diagnostic>)> {
        let names = |flow: &Flow| flow.calls().map(str::to_owned).collect::<Vec<_>>();
        let (mut saved, mut wanted) = (BTreeMap::new(), names(flow));
        while let Some(name) = wanted.pop() {
            if saved.contains_key(&name) {
                continue;
            }
            match self.saved_flow(&name).await {
                Ok((_, called)) => {
                    wanted.extend(names(&called));
                    saved.insert(name, called);
                }
                Err(error) if error.kind() == ErrorKind::Store => return Err(error),
                // Reported below, where the step that calls it is known.
                Err(_) => {}
            }
        }
        let (linked, found) = flow.link_readable(&|name| saved.get(name).cloned());
        let advised = |one: Diagnostic| match one.next.is_empty() {
            true => one.hint("a saved flow calls saved flows").next(NextStep::SaveFlow).next(NextStep::ListFlows),
            false => one,
        };
        Ok((linked, found.into_iter().map(advised).collect()))
    }

    /// Returns a flow that is linked with the flows that it calls: as it is, or linked with saved flows.
    pub(crate) async fn linked(&self, flow: &Flow) -> Result<Flow> {
        if flow.calls().all(|name| flow.linked().contains_key(name)) {
            return Ok(flow.clone());
        }
        self.link(flow).await
    }

    /// Returns a saved flow and its parsed document, which is not linked with the flows it calls.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such flow.
    pub async fn saved_flow(&self, name: &str) -> Result<(SavedFlow, Flow)> {
        let saved = self.flows().saved_flow(name).await?;
        let flow = self.flow_of(&saved).await?;
        Ok((saved, flow))
    }

    /// Returns the parsed document of a saved flow, which is not linked with the flows it calls. Each version is read once.
    ///
    /// # Errors
    ///
    /// `config` if this version of Trunkline cannot read the document, or `store`.
    pub async fn flow_of(&self, saved: &SavedFlow) -> Result<Flow> {
        let flows = || self.flow_cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flow) = flows().get(&saved.version) {
            return Ok(flow.clone());
        }
        let flow = Flow::from_value(self.journal().flow(&saved.version).await?).map_err(|found| {
            let what = format!("the saved flow {}", saved.name);
            let error = Diagnostic::into_error(&what, &found);
            error.unwrap_or_else(|| Error::new(ErrorKind::Config, format!("{what} cannot be read")))
        })?;
        flows().put(saved.version.clone(), flow.clone());
        Ok(flow)
    }

    /// Lets the trigger of a saved flow start runs, or stops it from doing so. Running runs continue.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such flow, `config` if it cannot be activated: a connection is missing, the secret of a
    /// signed webhook, or a part of the input. `conflict` if another caller changed the flow while it was checked.
    pub async fn activate_flow(&self, name: &str, active: bool) -> Result<()> {
        self.set_activity(name, active, None).await
    }

    /// Like [`Runtime::activate_flow`], of a flow that has to be as the caller has `seen` it.
    pub(crate) async fn set_activity(&self, name: &str, active: bool, seen: Option<SavedFlow>) -> Result<()> {
        if !active {
            self.flows().deactivate_flow(name, seen.as_ref()).await?;
            let saved = self.flows().saved_flow(name).await?;
            return if self.is_subscribed(&saved).await? { self.unsubscribe(name).await } else { Ok(()) };
        }
        let saved = match seen {
            Some(seen) => seen,
            None => self.flows().saved_flow(name).await?,
        };
        let flow = self.flow_of(&saved).await?;
        let (flow, mut found) = self.link_readable(&flow).await?;
        found.extend(self.check_flow(&flow, &saved.connections).await?);
        found.extend(self.binding_faults(&flow, &saved.connections, true, Some(name)).await?);
        found.extend(flow.check_saved_input(&saved.input));
        found.extend(secret_fault(&flow, saved.has_secret));
        Diagnostic::accept(&format!("flow {name}"), &found)?;
        self.subscribe(&saved, &flow).await?;
        // Due times while the flow was inactive do not count as missed. New items of a polled list still count as new.
        let restart = !saved.active && matches!(flow.trigger(), Some(Trigger::Schedule(_)));
        self.flows().activate_flow(&saved, &called_versions(&flow), restart).await
    }

    /// Removes a saved flow and the deduplication keys of its trigger. Its runs stay.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such flow, and those of the service that sends the event of its trigger.
    pub async fn remove_flow(&self, name: &str) -> Result<()> {
        self.remove_seen_flow(name, None).await
    }

    /// Like [`Runtime::remove_flow`], of a flow that has to be as the caller has `seen` it.
    pub(crate) async fn remove_seen_flow(&self, name: &str, seen: Option<&SavedFlow>) -> Result<()> {
        let is_subscribed = async { self.is_subscribed(&self.flows().saved_flow(name).await?).await };
        match is_subscribed.await {
            Ok(true) => self.unsubscribe(name).await?,
            Ok(false) => {}
            // A flow that is damaged can be removed: what it is subscribed to is not known any more.
            Err(error) if error.kind() == ErrorKind::Store && error.store_fault().is_none() => {}
            Err(error) => return Err(error),
        }
        self.flows().remove_flow(name, seen).await?;
        // A journal on a storage of its own knows nothing of saved flows.
        self.journal().forget_trigger(name).await
    }

    /// Gives the webhook of a saved flow a new address and returns its path below the address of the server. The
    /// previous address stops working. The path cannot be shown again: only its hash is stored.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such flow, `config` if it has no webhook.
    pub async fn new_webhook_address(&self, name: &str) -> Result<Secret> {
        let (_, flow) = self.saved_flow(name).await?;
        if !matches!(flow.trigger(), Some(Trigger::Webhook(_))) {
            return Err(Error::new(ErrorKind::Config, format!("flow {name} has no webhook"))
                .hint("its `trigger` says what starts it"));
        }
        let token = random();
        self.redactor().add(&token);
        self.flows().set_webhook_token(name, hash(token.expose()).to_vec()).await?;
        Ok(format!("/webhooks/{name}/{}", token.expose()).into())
    }

    /// Starts a run of a saved flow. `input` and `bindings` are laid over those saved with it. An inactive flow can be
    /// started this way too: only its trigger is off.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such flow; otherwise as [`Runtime::start`].
    pub async fn start_saved(&self, name: &str, input: Value, bindings: BTreeMap<String, String>) -> Result<RunHandle> {
        let (saved, flow) = self.saved_flow(name).await?;
        let mut connections = saved.connections;
        connections.extend(bindings);
        self.start_bound(&self.link(&flow).await?, with_default_input(saved.input, input), connections).await
    }

    /// Accepts a run without starting it, unless an earlier run was started for the same trigger event.
    /// [`Engine::begin`](trunkline_engine::Engine::begin) starts the run.
    ///
    /// # Errors
    ///
    /// As [`Runtime::start`], but for the checks of a saved flow, which was checked when it was saved.
    pub async fn accept_run(&self, new: NewRun, cause: Cause<'_>) -> Result<AcceptOutcome> {
        let NewRun { flow, input, bindings, is_saved, once } = new;
        let flow = &self.linked(&flow).await?;
        if !is_saved {
            self.accept(flow, &bindings).await?;
        }
        match cause {
            Cause::FailedStart(reason) => {
                let mut connected = BTreeMap::new();
                for (binding, name) in bindings {
                    // The failure handler may need none of them, and one of them may be the reason.
                    if let Ok(one) = self.connect(&name).await {
                        connected.insert(binding, one);
                    }
                }
                let accepted = self.engine().accept_failed(flow, input, connected, reason).await?;
                Ok(AcceptOutcome::New(Box::new(accepted)))
            }
            Cause::Trigger(event) => {
                self.engine().accept_triggered(flow, input, self.connect_all(&bindings).await?, event).await
            }
            Cause::Caller(flush) => {
                let connected = self.connect_all(&bindings).await?;
                match once {
                    Some(once) => self.engine().accept_once(flow, input, connected, &once).await,
                    None => {
                        Ok(AcceptOutcome::New(Box::new(self.engine().accept(flow, input, connected, flush).await?)))
                    }
                }
            }
        }
    }

    /// Completes the bindings of a run that a caller starts from a document: a declared connection that is not bound gets
    /// the only connection of its connector, if there is exactly one. It is not used for saved flows, which run without
    /// a caller.
    pub(crate) async fn all_bindings(
        &self,
        flow: &Flow,
        mut bindings: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        if flow.connections().keys().all(|binding| bindings.contains_key(binding)) {
            return Ok(bindings);
        }
        let known = self.connections().connections().await?;
        for (binding, connector) in flow.connections() {
            let mut fitting = known.iter().filter(|one| fits(one, connector));
            if let (false, Some(only), None) = (bindings.contains_key(binding), fitting.next(), fitting.next()) {
                bindings.insert(binding.clone(), only.name.clone());
            }
        }
        Ok(bindings)
    }
}

/// A flow that is to be saved, as it is linked, with everything that is wrong with it.
pub(crate) struct SavePlan {
    pub(crate) flow: Flow,
    previous: Option<SavedFlow>,
    pub(crate) connections: BTreeMap<String, String>,
    input: Map<String, Value>,
    active: bool,
    was_subscribed: bool,
    pub(crate) found: Vec<Diagnostic>,
}

/// Returns why a flow that replaces an active one has to be activated again: what starts it, or what it reaches, is not
/// what its user has agreed to. `before` is the document of the active one, and `connections` are those of the new one.
pub fn activation_reason(
    previous: &SavedFlow,
    before: &Flow,
    flow: &Flow,
    connections: &BTreeMap<String, String>,
) -> Option<&'static str> {
    let kind = |flow: &Flow| flow.trigger().map(std::mem::discriminant);
    let polled = |flow: &Flow, connections: &BTreeMap<String, String>| match flow.trigger() {
        Some(Trigger::Poll(poll)) => connections.get(&poll.action().binding).cloned(),
        _ => None,
    };
    if kind(before) != kind(flow) {
        return Some("another kind of trigger starts it");
    }
    if polled(before, &previous.connections) != polled(flow, connections) {
        return Some("its trigger watches another connection");
    }
    let known: BTreeSet<_> = previous.connections.values().collect();
    let has_more = connections.values().any(|name| !known.contains(name));
    has_more.then_some("it uses connections that it did not use before")
}

/// Returns the versions of the flows that a flow calls, by their names.
fn called_versions(flow: &Flow) -> BTreeMap<String, String> {
    flow.linked().iter().map(|(name, called)| (name.clone(), called.version().to_owned())).collect()
}

/// Returns the bindings that a flow is saved with: those that are given, and those of the flow that it replaces.
fn bindings_to_save(
    flow: &Flow,
    previous: Option<&SavedFlow>,
    given: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut bindings = previous.map(|one| one.connections.clone()).unwrap_or_default();
    bindings.retain(|binding, _| flow.connections().contains_key(binding));
    bindings.extend(given);
    bindings
}

/// Returns the error of a webhook that requires signatures and has no secret to check them with.
fn secret_fault(flow: &Flow, has_secret: bool) -> Option<Diagnostic> {
    let Some(Trigger::Webhook(webhook)) = flow.trigger() else { return None };
    if webhook.signature.is_none() || has_secret {
        return None;
    }
    let message = "the flow cannot be active: its webhook requires signatures, and no secret is saved for it";
    let name = flow.name().to_owned();
    let found = Diagnostic::error("/trigger/webhook/signature", message).next(NextStep::SaveFlowInactive);
    Some(found.next(NextStep::SetWebhookSecret { flow: name.clone() }).next(NextStep::ActivateFlow { flow: name }))
}
