//! Subscriptions of flows to the events of services.
//!
//! A flow that names an event has a webhook whose URL its service gets. The subscription is recorded before the service is
//! asked for it and forgotten only when the service has removed it. So after a crash the same URL is subscribed again,
//! and no subscription is left behind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Error, ErrorKind, EventSpec, NextStep, Result, Schema, Secret};
use trunkline_flow::{EventTrigger, Flow, Trigger};
use trunkline_store::SavedFlow;

use crate::{
    runtime::Runtime,
    token::{hash, random},
};

/// A subscription of a flow, as the store has it: sealed, because the URL has the token of the webhook.
#[derive(Clone, Serialize, Deserialize)]
struct Subscription {
    connection: String,
    /// The name of the event at its vendor.
    event: String,
    address: String,
    /// The action that ends it.
    unsubscribe: String,
    /// The id at the service; nothing while it is not known whether the service has it.
    id: Option<Value>,
}

/// Returns the event that starts runs of a flow.
pub(crate) fn event_of(flow: &Flow) -> Option<&EventTrigger> {
    match flow.trigger()? {
        Trigger::Event(event) => Some(event),
        _ => None,
    }
}

impl Runtime {
    fn event_spec(&self, flow: &Flow, event: &EventTrigger) -> Result<&EventSpec> {
        let connector = flow.connections().get(event.binding()).map_or("", String::as_str);
        self.registry().connector(connector)?.event(event.name())
    }

    /// Returns the input of a run for an event that was sent to the webhook of a flow; nothing if the filter leaves it
    /// out.
    ///
    /// # Errors
    ///
    /// `invalid_input` if it is not the event that the flow is subscribed to, or if the filter cannot be evaluated.
    pub fn event_input(
        &self,
        flow: &Flow,
        event: &EventTrigger,
        sent: Value,
        delivery: Value,
    ) -> Result<Option<Value>> {
        let spec = self.event_spec(flow, event)?;
        Schema::from(spec.schema.clone()).accept(&format!("the event {}", spec.name), &sent)?;
        let input = json!({ "event": sent, "delivery": delivery });
        let matches = event.matches(spec.filter.as_deref(), &input, flow.tables())?;
        Ok(matches.then_some(input))
    }

    /// Fails if a flow names an event, and no service could send it: the public URL of the server is not known.
    pub(crate) fn check_public_url(&self, flow: &Flow) -> Result<()> {
        match event_of(flow) {
            Some(event) if self.public_url("").is_none() => {
                let message = format!(
                    "flow {} cannot be active: the public URL is not known to which {} is sent",
                    flow.name(),
                    event.name()
                );
                let error = Error::new(ErrorKind::Config, message);
                Err(error.advise([NextStep::SetOption { name: "public-url".to_owned() }, NextStep::SaveFlowInactive]))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether a saved flow has, or may have, a subscription.
    pub(crate) async fn is_subscribed(&self, saved: &SavedFlow) -> Result<bool> {
        // Of a flow that this version cannot read, the document is enough.
        Ok(saved.has_secret && self.journal().flow(&saved.version).await?["trigger"].get("event").is_some())
    }

    async fn subscription(&self, name: &str) -> Result<Option<Subscription>> {
        let kept = self.flows().webhook_secret(name).await?;
        Ok(kept.and_then(|kept| serde_json::from_str(kept.expose()).ok()))
    }

    async fn keep_subscription(&self, name: &str, subscription: &Subscription) -> Result<()> {
        let kept = Secret::from(json!(subscription).to_string());
        self.flows().set_webhook_secret(name, Some(&kept)).await
    }

    /// Returns whether the subscription of a flow stays right for another version of it.
    pub(crate) async fn stays_subscribed(&self, flow: &Flow, connections: &BTreeMap<String, String>) -> Result<bool> {
        let (Some(event), Some(known)) = (event_of(flow), self.subscription(flow.name()).await?) else {
            return Ok(false);
        };
        let at_vendor = self.event_spec(flow, event)?.at_vendor();
        Ok(self.fits(&known, flow.name(), connections.get(event.binding()), at_vendor))
    }

    fn fits(&self, known: &Subscription, flow: &str, connection: Option<&String>, event: &str) -> bool {
        let base = self.public_url(&format!("/webhooks/{flow}/"));
        connection == Some(&known.connection)
            && event == known.event
            && base.is_some_and(|base| known.address.starts_with(&base))
    }

    /// Subscribes a flow to the event that it names, or renews its subscription. Other flows have none.
    ///
    /// # Errors
    ///
    /// `config` if the public URL is not known, and those of the service.
    pub(crate) async fn subscribe(&self, saved: &SavedFlow, flow: &Flow) -> Result<()> {
        let Some(event) = event_of(flow) else { return Ok(()) };
        self.check_public_url(flow)?;
        let (name, spec) = (&saved.name, self.event_spec(flow, event)?);
        let Some(connection) = saved.connections.get(event.binding()) else { return Ok(()) };
        let mut known = self.subscription(name).await?;
        if known.as_ref().is_some_and(|known| !self.fits(known, name, Some(connection), spec.at_vendor())) {
            self.unsubscribe(name).await?;
            known = None;
        }
        let mut subscription = match known {
            Some(known) => known,
            None => {
                let token = random();
                self.redactor().add(&token);
                self.flows().set_webhook_token(name, hash(token.expose()).to_vec()).await?;
                let address = self.public_url(&format!("/webhooks/{name}/{}", token.expose())).unwrap_or_default();
                let (connection, event) = (connection.clone(), spec.at_vendor().to_owned());
                Subscription { connection, event, address, unsubscribe: spec.unsubscribe.clone(), id: None }
            }
        };
        let connected = self.connect(connection).await?;
        let input = json!({ "address": subscription.address, "events": [subscription.event] });
        let repeatable = connected.connector().effect(&spec.subscribe, &input)?.repeatable();
        if subscription.id.is_some() && !repeatable {
            return Ok(());
        }
        self.keep_subscription(name, &subscription).await?;
        let output = connected.run(&spec.subscribe, input, &Runtime::context(&connected)).await.map_err(|error| {
            let message =
                format!("flow {name} stays inactive: {connection} cannot be subscribed to {}: {error}", spec.name);
            Error::new(error.kind(), message).source(error).next(NextStep::ActivateFlow { flow: name.clone() })
        })?;
        subscription.id = output.get("id").cloned();
        self.keep_subscription(name, &subscription).await
    }

    /// Ends the subscription of a flow, if it has one.
    ///
    /// # Errors
    ///
    /// Those of the service. The subscription is not forgotten then, so that this can be repeated.
    pub(crate) async fn unsubscribe(&self, name: &str) -> Result<()> {
        let Some(Subscription { connection, event, address, unsubscribe, id }) = self.subscription(name).await? else {
            return Ok(());
        };
        match self.connect(&connection).await {
            Ok(connected) => {
                let input = id.map_or_else(|| json!({ "address": address }), |id| json!({ "id": id }));
                let ended = connected.run(&unsubscribe, input, &Runtime::context(&connected)).await;
                ended.map_err(|error| {
                    let message = format!("{connection} still sends {event} to flow {name}: {error}");
                    Error::new(error.kind(), message).source(error).hint("repeat it when the connection works")
                })?;
            }
            // The connection was removed by force, and nothing can be asked of its service any more.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.flows().set_webhook_secret(name, None).await
    }
}
