//! The events of a run as server-sent events: past events first, then new ones, until the run ends.
//!
//! The id of each event is its number in the run, so a browser that lost the connection continues where it was. A
//! stream holds at most one page of events in memory: for a slow reader, the journal is read slowly.

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
use trunkline_core::{CancellationToken, Error, ErrorKind, Redactor};
use trunkline_engine::{RunEventView, RunStatus, Watch};

use crate::{app::App, response::ApiResult};

/// The maximum number of open streams.
pub(crate) const MAX_STREAMS: usize = 128;
/// The time between two comments that keep an idle stream open.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// An open stream.
struct EventStream {
    watch: Watch,
    first: Option<RunEventView>,
    closing: CancellationToken,
    redactor: Redactor,
    _permit: OwnedSemaphorePermit,
}

impl EventStream {
    /// Returns the next event, or `None` when the run has ended or the server stops.
    async fn next(&mut self) -> Option<Event> {
        let event = match self.first.take() {
            Some(first) => first,
            None => tokio::select! {
                event = self.watch.next() => match event {
                    Ok(event) => event?,
                    Err(error) => {
                        tracing::warn!("an event stream ends early: {error}");
                        return None;
                    }
                },
                () = self.closing.cancelled() => return None,
            },
        };
        let sent = Event::default().id(event.seq.to_string());
        sent.json_data(self.redactor.redact_json(&event)).ok()
    }
}

/// Streams the events of a run after the one in the header `Last-Event-ID`, or all of them.
pub(crate) async fn events(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> ApiResult {
    let id = app.runtime.find_run(&id).await?;
    let last = headers.get("last-event-id");
    let after = last.map(|last| last.to_str().ok().and_then(|last| last.trim().parse().ok()));
    let Some(after) = after.unwrap_or(Some(0)) else {
        let message = "`Last-Event-ID` has to be the id of an event of this stream";
        return Err(Error::new(ErrorKind::InvalidInput, message).into());
    };
    let Ok(permit) = app.streams.clone().try_acquire_owned() else {
        let error = Error::new(ErrorKind::RateLimited, format!("{MAX_STREAMS} event streams are open already"));
        return Err(error.hint("close a stream, or poll the run instead").into());
    };
    let mut watch = app.runtime.engine().watch(&id, after).await?;
    let first = watch.now().await?;
    if last.is_some() && first.is_none() && watch.status() != RunStatus::Running {
        // 204 stops a browser from reconnecting (HTML standard, server-sent events).
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let stream = EventStream {
        watch,
        first,
        closing: app.closing.clone(),
        redactor: app.runtime.redactor().clone(),
        _permit: permit,
    };
    let events = stream::unfold(stream, |mut stream| async {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // No cache stores the stream, and no proxy buffers it.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}
