//! What happens in a run, told event by event: what was, and then what comes, in whatever process it is worked on.
//!
//! Who watches reads the journal a page at a time and never holds more than that. Nothing is told of what steps yielded.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value;
use trunkline_core::{ErrorKind, Result, Timestamp};

use crate::{Engine, Flow, Journal, LogPage, Run, RunEvent, RunId, RunStatus, StepPath, time::milliseconds};

/// How often somebody who watches looks for more.
const LOOK: Duration = Duration::from_millis(250);

/// An event of a run as those are told of it who watch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunEventView {
    /// Its number in the run, from 1.
    pub seq: u64,
    /// When; some events have no time of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What happened, such as `step_finished`.
    pub event: String,
    /// The step's path in the flow, with `*` in place of keys: `files/*/asset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The key of the item it belongs to; with those of the items around it before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The path in this run, keys and all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<StepPath>,
    /// Which try, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
    /// What became of the item, or of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The kind of the error, such as `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Why it failed or was skipped, or what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Until when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How many items were found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// What services said although their calls succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl RunEventView {
    fn new(seq: u64, event: RunEvent, flow: Option<&Flow>) -> RunEventView {
        let event = serde_json::to_value(event.shown()).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let time = |name: &str| serde_json::from_value::<Timestamp>(event[name].clone()).ok();
        let number = |name: &str| event[name].as_u64();
        let kind = text(&event["event"]).unwrap_or_default();
        let path = event["step"].as_str().filter(|path| !path.is_empty()).map(StepPath::from);
        let place = path.as_ref().map(|path| match flow {
            Some(flow) => flow.place(path),
            None => crate::step_position::StepPosition { step: path.as_str().to_owned(), items: Vec::new() },
        });
        let around = place.as_ref().and_then(crate::step_position::StepPosition::item);
        let item = match (around, event["key"].as_str()) {
            (Some(around), Some(key)) => Some(format!("{around}/{key}")),
            (around, key) => key.map(str::to_owned).or(around),
        };
        let outcome = &event["outcome"];
        let error = [&event["error"], &outcome["error"]].into_iter().find(|error| error.is_object());
        let about = || match kind.as_str() {
            "started" => Some(format!("{}, version {}", text(&event["flow"])?, text(&event["version"])?)),
            _ => text(&outcome["reason"]).or_else(|| text(&event["name"])).or_else(|| text(&event["signal"])),
        };
        let tried = matches!(kind.as_str(), "step_started" | "step_finished" | "step_failed" | "step_retried");
        RunEventView {
            seq,
            at: time("at"),
            attempt: tried.then(|| number("attempt").and_then(|n| u32::try_from(n).ok()).unwrap_or(1)),
            took: time("began").and_then(|began| Some(milliseconds(time("at")?.since(began)))),
            status: text(&event["status"]).or_else(|| text(&outcome["status"])),
            kind: error.and_then(|error| text(&error["kind"])),
            message: error.and_then(|error| text(&error["message"])).or_else(about),
            until: time("until"),
            items: number("items"),
            warnings: serde_json::from_value(event["warnings"].clone()).unwrap_or_default(),
            step: place.map(|place| place.step),
            item,
            path,
            event: kind,
        }
    }
}

/// Follows a run. Dropped at any time, it leaves nothing behind.
pub struct Watch {
    journal: Arc<dyn Journal>,
    run: RunId,
    flow: Option<Flow>,
    after: u64,
    told: VecDeque<RunEventView>,
    status: RunStatus,
}

impl Watch {
    /// The next event, as soon as there is one; nothing once the run is over and everything has been told.
    pub async fn next(&mut self) -> Result<Option<RunEventView>> {
        loop {
            if let Some(told) = self.now().await? {
                return Ok(Some(told));
            }
            if self.status != RunStatus::Running {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The next event, if there is one already.
    pub async fn now(&mut self) -> Result<Option<RunEventView>> {
        if self.told.is_empty() {
            let (status, events) = self.journal.events(&self.run, self.after).await?;
            self.status = status;
            self.after = events.last().map_or(self.after, |(seq, _)| *seq);
            self.told =
                events.into_iter().map(|(seq, event)| RunEventView::new(seq, event, self.flow.as_ref())).collect();
        }
        Ok(self.told.pop_front())
    }

    /// How the run stood at the last look.
    pub fn status(&self) -> RunStatus {
        self.status
    }
}

impl Engine {
    /// Follows a run from the event after this number on: 0 for all of it.
    pub async fn watch(&self, id: &RunId, after: u64) -> Result<Watch> {
        let (status, flow) = self.pinned(id).await?;
        Ok(Watch { journal: self.journal().clone(), run: id.clone(), flow, after, told: VecDeque::new(), status })
    }

    /// A page of a run's process log: what actions were called with and what came of it, after the entry of this number.
    pub async fn log(&self, id: &RunId, after: u64) -> Result<LogPage> {
        let (_, flow) = self.pinned(id).await?;
        let mut page = self.journal().logged(id, after).await?;
        for (_, entry) in &mut page.entries {
            if let Some(place) = flow.as_ref().map(|flow| flow.place(&entry.path)) {
                (entry.item, entry.step) = (place.item(), place.step);
            }
        }
        Ok(page)
    }

    /// How a run stands, and the flow it is pinned to, if that can still be read.
    pub(crate) async fn pinned(&self, id: &RunId) -> Result<(RunStatus, Option<Flow>)> {
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
