//! What happens in a run, as server-sent events: what was, and then what comes, until the run is over.
//!
//! Each event's id is its number in the run, so that a browser that lost the connection goes on where it was. Who watches
//! holds one page of events at most: one who reads slowly is read for slowly.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;
use trunkline_core::{CancellationToken, Error, ErrorKind};
use trunkline_engine::{RunEventView, RunStatus, Watch};

use super::{App, response::Answer};
use crate::redacted;

/// How many watch at the same time.
pub(super) const WATCHERS: usize = 128;
/// How often somebody who watches hears that the connection is still there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Somebody who watches.
struct Watcher {
    watch: Watch,
    first: Option<RunEventView>,
    closing: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next event; nothing when the run is over or the server stops.
    async fn next(&mut self) -> Option<Event> {
        let happened = match self.first.take() {
            Some(first) => first,
            None => tokio::select! {
                happened = self.watch.next() => match happened {
                    Ok(happened) => happened?,
                    Err(error) => {
                        tracing::warn!("a run cannot be watched any more: {error}");
                        return None;
                    }
                },
                () = self.closing.cancelled() => return None,
            },
        };
        let event = Event::default().id(happened.seq.to_string());
        event.json_data(redacted(&happened)).ok()
    }
}

/// The events of a run after that of `Last-Event-ID`.
pub(super) async fn events(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let id = app.runtime.find_run(&id).await?;
    let last = headers.get("last-event-id");
    let after = last.map(|last| last.to_str().ok().and_then(|last| last.trim().parse().ok()));
    let Some(after) = after.unwrap_or(Some(0)) else {
        let message = "`Last-Event-ID` is the number of an event, as the stream told it";
        return Err(Error::new(ErrorKind::InvalidInput, message).into());
    };
    let Ok(place) = app.watchers.clone().try_acquire_owned() else {
        let error = Error::new(ErrorKind::RateLimited, format!("{WATCHERS} callers watch runs already"));
        return Err(error.hint("close a stream, or ask for the run itself from time to time").into());
    };
    let mut watch = app.runtime.engine().watch(&id, after).await?;
    let first = watch.now().await?;
    if last.is_some() && first.is_none() && watch.status() != RunStatus::Running {
        // A browser would else connect again and again.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let watcher = Watcher { watch, first, closing: app.closing.clone(), _place: place };
    let told = stream::unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let mut response = Sse::new(told).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // Nobody keeps it, and no proxy holds it back until it is whole.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}
