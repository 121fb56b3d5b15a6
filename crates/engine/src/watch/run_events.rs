//! Watching a run: its past events, then new ones as they come, in whatever process the run is worked on.
//!
//! A [`Watch`] reads the journal page by page and never holds more than one page. It does not show the outputs of
//! steps.

use std::{collections::VecDeque, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trunkline_core::{ErrorKind, Result, RunId, StepPath, Timestamp};
use trunkline_flow::{Flow, StepPosition};

use crate::{
    journal::LogPage,
    run::{Run, RunEvent, RunState, RunStatus, time::milliseconds},
    supervisor::Engine,
};

/// How often a [`Watch`] looks for new events.
const POLL: Duration = Duration::from_millis(250);

/// A run event as it is sent to subscribers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct RunEventView {
    /// The number of the event in the run, from 1. An event `state` has that of the last event before it: it is not
    /// part of the run, and says that the run is queued, throttled, left, or running again.
    pub seq: u64,
    /// The time of the event; some events have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The name of the event, such as `step_finished`.
    pub event: String,
    /// The step's path in the flow, with `*` in place of keys: `files/*/asset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The key of the item it belongs to. The keys of enclosing items stand before it, separated by `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The path in this run, with the keys of items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<StepPath>,
    /// The number of the attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The duration, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
    /// The outcome of the item, the status of the run, or its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The kind of the error, such as `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Why it failed or was skipped; the flow of a `started` event; the name of a signal; the connection that is
    /// throttled, or the run that has to end before a queued one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The time until which the step waits, or the run is throttled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The number of items found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// The warnings of services whose calls succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl RunEventView {
    pub(super) fn new(seq: u64, event: RunEvent, flow: Option<&Flow>) -> RunEventView {
        let event = serde_json::to_value(event.shown()).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let time = |name: &str| serde_json::from_value::<Timestamp>(event[name].clone()).ok();
        let number = |name: &str| event[name].as_u64();
        let kind = text(&event["event"]).unwrap_or_default();
        let path = event["step"].as_str().filter(|path| !path.is_empty()).map(StepPath::from);
        let position = path.as_ref().map(|path| match flow {
            Some(flow) => flow.position(path),
            None => StepPosition { step: path.as_str().to_owned(), items: Vec::new() },
        });
        let around = position.as_ref().and_then(StepPosition::item);
        let item = match (around, event["key"].as_str()) {
            (Some(around), Some(key)) => Some(format!("{around}/{key}")),
            (around, key) => key.map(str::to_owned).or(around),
        };
        let outcome = &event["outcome"];
        let error = [&event["error"], &outcome["error"]].into_iter().find(|error| error.is_object());
        let subject = || match kind.as_str() {
            "started" => Some(format!("{}, version {}", text(&event["flow"])?, text(&event["version"])?)),
            _ => [&outcome["reason"], &event["reason"], &event["name"], &event["signal"]].into_iter().find_map(text),
        };
        let has_attempt = matches!(kind.as_str(), "step_started" | "step_finished" | "step_failed" | "step_retried");
        RunEventView {
            seq,
            at: time("at"),
            attempt: has_attempt.then(|| number("attempt").and_then(|n| u32::try_from(n).ok()).unwrap_or(1)),
            took: time("began").and_then(|began| Some(milliseconds(time("at")?.since(began)))),
            status: text(&event["status"]).or_else(|| text(&outcome["status"])),
            kind: error.and_then(|error| text(&error["kind"])),
            message: error.and_then(|error| text(&error["message"])).or_else(subject),
            until: time("until"),
            items: number("items"),
            warnings: serde_json::from_value(event["warnings"].clone()).unwrap_or_default(),
            step: position.map(|position| position.step),
            item,
            path,
            event: kind,
        }
    }
}

/// The events of a run as a stream, see [`Engine::watch`]. It can be dropped at any time.
pub struct Watch {
    engine: Engine,
    run: RunId,
    flow: Option<Flow>,
    after: u64,
    /// Events that were read and not returned yet.
    pending: VecDeque<RunEventView>,
    status: RunStatus,
    /// What the run does, as it was returned last.
    state: RunState,
}

impl Watch {
    /// Waits for the next event and returns it; nothing once the run has ended and all of its events were returned.
    ///
    /// # Errors
    ///
    /// `store` if the journal cannot be read. The call can be repeated.
    pub async fn next(&mut self) -> Result<Option<RunEventView>> {
        loop {
            if let Some(event) = self.now().await? {
                return Ok(Some(event));
            }
            if self.status != RunStatus::Running {
                return Ok(None);
            }
            if let Some(state) = self.engine.state_of(&self.run, self.status).await?
                && let Some(event) = self.changed(state)
            {
                return Ok(Some(event));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Returns an event for a state of the run that is new and that its events do not show: they do show its waits.
    fn changed(&mut self, state: RunState) -> Option<RunEventView> {
        let state = if matches!(state, RunState::Waiting { .. }) { RunState::Running } else { state };
        if state == self.state {
            return None;
        }
        let message = match &state {
            RunState::Throttled { connection, .. } => connection.clone(),
            RunState::Queued { behind, .. } => behind.as_ref().map(ToString::to_string),
            _ => None,
        };
        let event = RunEventView {
            seq: self.after,
            at: Some(self.engine.now()),
            event: "state".to_owned(),
            status: Some(state.as_str().to_owned()),
            until: state.until(),
            message,
            ..RunEventView::default()
        };
        self.state = state;
        Some(event)
    }

    /// Returns the next event, if there is one already.
    ///
    /// # Errors
    ///
    /// As [`next`](Watch::next).
    pub async fn now(&mut self) -> Result<Option<RunEventView>> {
        if self.pending.is_empty() {
            let (status, events) = self.engine.journal().events(&self.run, self.after).await?;
            self.status = status;
            self.after = events.last().map_or(self.after, |(seq, _)| *seq);
            self.pending =
                events.into_iter().map(|(seq, event)| RunEventView::new(seq, event, self.flow.as_ref())).collect();
        }
        Ok(self.pending.pop_front())
    }

    /// Returns the run's status when its events were last read.
    pub fn status(&self) -> RunStatus {
        self.status
    }
}

impl Engine {
    /// Watches a run from the event after this number on; 0 returns all events.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, and `store` if the journal cannot be read.
    pub async fn watch(&self, id: &RunId, after: u64) -> Result<Watch> {
        let (status, flow) = self.pinned(id).await?;
        let (engine, pending, state) = (self.clone(), VecDeque::new(), RunState::Running);
        Ok(Watch { engine, run: id.clone(), flow, after, pending, status, state })
    }

    /// Returns a page of a run's process log: the entries after the entry of this number; 0 for the oldest.
    ///
    /// # Errors
    ///
    /// `not_found` if there is no such run, and `store` if the journal cannot be read.
    pub async fn log(&self, id: &RunId, after: u64) -> Result<LogPage> {
        let (_, flow) = self.pinned(id).await?;
        let mut page = self.journal().logged(id, after).await?;
        for (_, entry) in &mut page.entries {
            if let Some(position) = flow.as_ref().map(|flow| flow.position(&entry.path)) {
                (entry.item, entry.step) = (position.item(), position.step);
            }
        }
        Ok(page)
    }

    /// Returns the status of a run, and the flow it is pinned to, if that can still be read.
    ///
    /// # Errors
    ///
    /// As [`watch`](Engine::watch).
    pub async fn pinned(&self, id: &RunId) -> Result<(RunStatus, Option<Flow>)> {
        let (status, events) = self.journal().events(id, 0).await?;
        let mut run = Run::new(id.clone());
        events.into_iter().take(1).for_each(|(_, event)| run.apply(event));
        match self.flow_of(&run).await {
            Ok(flow) => Ok((status, Some(flow))),
            Err(error) if matches!(error.kind(), ErrorKind::Config | ErrorKind::NotFound) => Ok((status, None)),
            Err(error) => Err(error),
        }
    }
}
