//! The order of the events of all runs, for callers that watch more than one run.

use std::{fmt, str::FromStr};

use trunkline_core::{Error, ErrorKind, Result, RunId};

use crate::run::RunEvent;

/// A place in the order in which the events of all runs were stored. It is written `WRITE.SEQ`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    /// The number of the write that has stored the event, from 1. A write stores events of one run.
    pub write: u64,
    /// The number of the event in its run.
    pub seq: u64,
}

impl fmt::Display for EventPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.write, self.seq)
    }
}

impl FromStr for EventPlace {
    type Err = Error;

    fn from_str(text: &str) -> Result<EventPlace> {
        let parts = text.split_once('.').and_then(|(write, seq)| Some((write.parse().ok()?, seq.parse().ok()?)));
        let (write, seq) = parts
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("`{text}` is not the place of an event")))?;
        Ok(EventPlace { write, seq })
    }
}

/// An event of any run, with its place.
#[derive(Clone, Debug)]
pub struct PlacedEvent {
    /// The place of the event.
    pub place: EventPlace,
    /// The run.
    pub run: RunId,
    /// The name of the run's flow.
    pub flow: String,
    /// The event, as [`RunEvent::shown`] leaves it.
    pub event: RunEvent,
}

/// A page of the events of all runs.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// The events, in the order in which they were stored.
    pub events: Vec<PlacedEvent>,
    /// The place after which the next page begins.
    pub next: EventPlace,
    /// Whether events after the place that was asked for may be missing: the journal no longer has them.
    pub missed: bool,
}
