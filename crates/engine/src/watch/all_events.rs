//! The events of all runs, as they are sent to subscribers of more than one.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{ErrorKind, Result, RunId};
use trunkline_flow::Flow;

use crate::{
    journal::{EventPage, EventPlace},
    supervisor::Engine,
    watch::RunEventView,
};

/// The number of runs whose flows are held: those of the latest events.
const MOST_FLOWS: usize = 32;

/// An event of any run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AnyRunEvent {
    /// The run.
    pub run: RunId,
    /// The name of the run's flow.
    pub flow: String,
    /// The event.
    #[serde(flatten)]
    pub event: RunEventView,
}

/// A page of the events of all runs.
#[derive(Clone, Debug)]
pub struct WatchedPage {
    /// The events with their places, in the order in which they were stored.
    pub events: Vec<(EventPlace, AnyRunEvent)>,
    /// The place after which the next page begins.
    pub next: EventPlace,
    /// Whether events may be missing before these, see [`EventPage::missed`].
    pub missed: bool,
}

/// Reads the events of all runs, and holds what it knows of the runs that they belong to.
pub struct AllRuns {
    engine: Engine,
    flows: VecDeque<(RunId, Option<Flow>)>,
}

impl AllRuns {
    /// Returns the events that have come after a place. Without a place, there are none, and the next page begins now.
    ///
    /// # Errors
    ///
    /// As [`EventLog::all_events`](crate::EventLog::all_events).
    pub async fn page(&mut self, after: Option<EventPlace>) -> Result<WatchedPage> {
        let EventPage { events, next, missed } = self.engine.journal().all_events(after).await?;
        let mut shown = Vec::new();
        for placed in events {
            let seq = placed.place.seq;
            let event = RunEventView::new(seq, placed.event, self.flow_of(&placed.run).await?);
            shown.push((placed.place, AnyRunEvent { run: placed.run, flow: placed.flow, event }));
        }
        Ok(WatchedPage { events: shown, next, missed })
    }

    /// Returns the flow that a run is pinned to, if that can still be read.
    async fn flow_of(&mut self, run: &RunId) -> Result<Option<&Flow>> {
        let known = match self.flows.iter().position(|(of, _)| of == run) {
            Some(known) => known,
            None => {
                let flow = match self.engine.pinned(run).await {
                    // The run was removed in the meantime.
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    found => found?.1,
                };
                self.flows.truncate(MOST_FLOWS - 1);
                self.flows.push_front((run.clone(), flow));
                0
            }
        };
        Ok(self.flows[known].1.as_ref())
    }
}

impl Engine {
    /// Returns a reader of the events of all runs.
    pub fn all_runs(&self) -> AllRuns {
        AllRuns { engine: self.clone(), flows: VecDeque::new() }
    }
}
