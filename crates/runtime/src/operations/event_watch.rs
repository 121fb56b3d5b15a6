//! The events of all runs as a stream, and tickets for callers that cannot send a token.

use std::sync::Arc;

use futures::{StreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{Effect, Result, Timestamp, async_trait};

use super::{AnyOperation, Caller, Operation, OutputStream, Role, StreamOperation, operation::single};
use crate::{
    Runtime,
    tickets::LIFETIME,
    watching::{POLL, SharedPage, WatchPlace, WatchedEvent},
};

/// Which events to watch.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchQuery {
    /// Only runs of this flow. Changes of sign-ins are always among the events.
    #[serde(default)]
    pub flow: Option<String>,
    /// The id of the last event that the caller has: the events after it follow. Without it, those from now on.
    #[serde(default)]
    pub after: Option<String>,
}

/// `runs.watch`
pub struct WatchAllRuns;

/// A watcher: the page that it is at, and the number of its events that it has passed on.
struct Watcher {
    runtime: Runtime,
    flow: Option<String>,
    page: Arc<SharedPage>,
    passed: usize,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<WatchedEvent>, Option<Watcher>)> {
        loop {
            while let Some(event) = self.page.events.get(self.passed).cloned() {
                self.passed += 1;
                if self.flow.as_deref().is_none_or(|flow| event.is_of(flow)) {
                    return Some((Ok(event), Some(self)));
                }
            }
            if self.page.events.is_empty() {
                tokio::time::sleep(POLL).await;
            }
            match self.runtime.watched(Some(self.page.next)).await {
                Ok(page) => (self.page, self.passed) = (page, 0),
                Err(error) => return Some((Err(error), None)),
            }
        }
    }
}

#[async_trait]
impl StreamOperation for WatchAllRuns {
    type Input = WatchQuery;
    type Item = WatchedEvent;
    const NAME: &'static str = "runs.watch";
    const ABOUT: &'static str = "Streams the events of all runs and the changes of sign-ins, as they come.";
    const ROLE: Role = Role::Viewer;
    const EFFECT: Effect = Effect::Read;

    /// Events are read in the order in which the store got them, from any process. The stream ends only with an error.
    async fn open(runtime: &Runtime, _: &Caller, input: WatchQuery) -> Result<OutputStream<WatchedEvent>> {
        let WatchQuery { flow, after } = input;
        let after = after.map(|after| after.parse::<WatchPlace>()).transpose()?;
        let runtime = runtime.clone();
        let page = runtime.watched(after).await?;
        let watcher = Watcher { runtime, flow, page, passed: 0 };
        Ok(stream::unfold(Some(watcher), async |watcher: Option<Watcher>| watcher?.next().await).boxed())
    }
}

/// Which stream a ticket is for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// The run whose events the ticket is for, as the path of the stream will name it. Without it, the ticket is for the
    /// events of all runs.
    #[serde(default)]
    pub run: Option<String>,
}

/// A ticket for a stream of events.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EventTicket {
    /// The ticket. It opens one stream, once.
    pub ticket: String,
    /// The time from which it opens nothing.
    pub expires_at: Timestamp,
}

/// `event_tickets.get`
pub struct GetEventTicket;

#[async_trait]
impl Operation for GetEventTicket {
    type Input = TicketRequest;
    type Output = EventTicket;
    const NAME: &'static str = "event_tickets.get";
    const ABOUT: &'static str =
        "Returns a ticket for a stream of events, for a web page that cannot send a token with it.";
    const ROLE: Role = Role::Viewer;
    const EFFECT: Effect = Effect::Read;

    async fn run(runtime: &Runtime, caller: &Caller, input: TicketRequest) -> Result<EventTicket> {
        let ticket = runtime.tickets().issue(caller.clone(), input.run)?;
        Ok(EventTicket { ticket, expires_at: runtime.now() + LIFETIME })
    }
}

/// Returns the operations of this module that are not streams.
pub(super) fn table() -> Vec<(&'static str, Box<dyn AnyOperation>)> {
    vec![(GetEventTicket::NAME, single::<GetEventTicket>())]
}

impl Runtime {
    /// Returns the caller that a ticket was issued to for the events of a run, or without one for those of all runs. Returns `None` if
    /// there is no such ticket, or if it was used, is a minute old, or is for another stream. It cannot be used again.
    pub fn redeem_ticket(&self, ticket: &str, run: Option<&str>) -> Option<Caller> {
        self.tickets().redeem(ticket, run)
    }
}
