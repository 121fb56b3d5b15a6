//! The events of all runs and the changes of sign-ins, for watchers of a whole data directory.
//!
//! Most watchers have seen everything, and wait for the same next page. So the latest pages are shared: each is read, and
//! written as JSON, once for all watchers. A watcher holds its place and no events.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Mutex;
use trunkline_core::{Error, ErrorKind, Redactor, Result, SignInState, Timestamp};
use trunkline_engine::{AllRuns, AnyRunEvent, Engine, EventPlace, WatchedPage};

use crate::Ports;

/// How long a page without events is that of all watchers at its place.
pub(crate) const POLL: Duration = Duration::from_millis(250);
/// The number of pages that are shared.
const MOST_PAGES: usize = 8;

/// A place in the order of all events. It is written `WRITE.SEQ.SIGN_IN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchPlace {
    runs: EventPlace,
    /// The id of the last change of a sign-in.
    sign_in: u64,
}

impl fmt::Display for WatchPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.runs, self.sign_in)
    }
}

impl FromStr for WatchPlace {
    type Err = Error;

    fn from_str(text: &str) -> Result<WatchPlace> {
        let parts = text.rsplit_once('.').and_then(|(runs, at)| Some((runs.parse().ok()?, at.parse().ok()?)));
        let (runs, sign_in) = parts.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "no event has this id").hint("pass the id of an event of this stream")
        })?;
        Ok(WatchPlace { runs, sign_in })
    }
}

/// An event as it is shown to watchers of all runs.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WatchedEvent")]
struct Shown {
    /// The id of the event. A watcher that continues after it misses nothing and gets nothing twice.
    id: String,
    /// What the event says.
    #[serde(flatten)]
    what: Said,
}

/// What an event is about.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "of", rename_all = "snake_case")]
enum Said {
    /// The stream begins: what happens from now on follows.
    Start,
    /// Events that came after the place where the watcher continues may be missing: they are no longer in order. Lists of
    /// runs show what has happened.
    Missed,
    /// An event of a run.
    Run(Box<AnyRunEvent>),
    /// A change in the state of a sign-in.
    Connection(ConnectionChange),
}

/// A change in the sign-in state of a connection.
#[derive(Serialize, JsonSchema)]
struct ConnectionChange {
    /// The connection.
    connection: String,
    /// When the state changed.
    at: Timestamp,
    /// The new state.
    #[serde(flatten)]
    state: SignInState,
}

/// An event of any run, or a change of the sign-in of a connection. It is JSON already, with known secrets redacted.
#[derive(Clone, Debug)]
pub struct WatchedEvent {
    place: WatchPlace,
    flow: Option<String>,
    json: Arc<RawValue>,
}

impl WatchedEvent {
    fn new(redactor: &Redactor, place: WatchPlace, what: Said) -> Result<WatchedEvent> {
        let flow = if let Said::Run(event) = &what { Some(event.flow.clone()) } else { None };
        let shown = redactor.redact_json(&Shown { id: place.to_string(), what });
        let json = to_raw_value(&shown)
            .map_err(|error| Error::new(ErrorKind::Internal, "an event cannot be written as JSON").source(error))?;
        Ok(WatchedEvent { place, flow, json: json.into() })
    }

    /// Returns the id of the event: a watcher that continues after it misses nothing.
    pub fn id(&self) -> String {
        self.place.to_string()
    }

    /// Returns whether a watcher of this flow gets the event. It gets those that are not about a run, too.
    pub(crate) fn is_of(&self, flow: &str) -> bool {
        self.flow.as_ref().is_none_or(|own| own == flow)
    }
}

impl Serialize for WatchedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl JsonSchema for WatchedEvent {
    fn schema_name() -> Cow<'static, str> {
        Shown::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Shown::json_schema(generator)
    }
}

/// Events that follow a place, and the place where the next ones begin.
pub(crate) struct SharedPage {
    pub(crate) events: Vec<WatchedEvent>,
    pub(crate) next: WatchPlace,
}

/// The latest pages.
#[derive(Default)]
pub(crate) struct Pages(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    runs: Option<AllRuns>,
    pages: VecDeque<(WatchPlace, Instant, Arc<SharedPage>)>,
}

impl Pages {
    /// Returns the page after a place. Without a place, it has one event, which says that the stream begins.
    ///
    /// # Errors
    ///
    /// `config` if the journal keeps no order of the events of all runs, `store` if it cannot be read.
    pub(crate) async fn page(
        &self,
        ports: &Ports,
        engine: &Engine,
        after: Option<WatchPlace>,
    ) -> Result<Arc<SharedPage>> {
        let mut latest = self.0.lock().await;
        latest.pages.retain(|(_, read, page)| !page.events.is_empty() || read.elapsed() < POLL);
        if let Some((.., page)) = latest.pages.iter().find(|(place, ..)| Some(*place) == after) {
            return Ok(page.clone());
        }
        let runs = latest.runs.get_or_insert_with(|| engine.all_runs());
        let page = Arc::new(read(ports, runs, after).await?);
        if let Some(place) = after {
            latest.pages.truncate(MOST_PAGES - 1);
            latest.pages.push_front((place, Instant::now(), page.clone()));
        }
        Ok(page)
    }
}

async fn read(ports: &Ports, runs: &mut AllRuns, after: Option<WatchPlace>) -> Result<SharedPage> {
    let WatchedPage { events, next, missed } = runs.page(after.map(|after| after.runs)).await?;
    let changes = ports.connections.sign_in_events(None, after.map_or(0, |after| after.sign_in), usize::MAX).await?;
    let Some(after) = after else {
        let place = WatchPlace { runs: next, sign_in: changes.last().map_or(0, |last| last.id) };
        return Ok(SharedPage { events: vec![WatchedEvent::new(&ports.redactor, place, Said::Start)?], next: place });
    };
    let mut place = after;
    let mut said = Vec::new();
    if missed {
        said.push(WatchedEvent::new(&ports.redactor, place, Said::Missed)?);
    }
    for (runs, event) in events {
        place.runs = runs;
        said.push(WatchedEvent::new(&ports.redactor, place, Said::Run(Box::new(event)))?);
    }
    place.runs = next;
    for change in changes {
        place.sign_in = change.id;
        let change = ConnectionChange { connection: change.connection, at: change.at, state: change.state };
        said.push(WatchedEvent::new(&ports.redactor, place, Said::Connection(change))?);
    }
    Ok(SharedPage { events: said, next: place })
}
