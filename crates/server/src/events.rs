//! The stream of a run's events: server-sent events, made of the operation `runs.events`.
//!
//! Each event has its number as its id, so a client that reconnects sends the last one in the header `Last-Event-ID` and
//! misses nothing.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{FutureExt, StreamExt, future::ready, stream};
use trunkline::{
    Redacted,
    operations::{
        Caller,
        run_queries::{RunPosition, WatchRun},
    },
};
use trunkline_core::{Error, ErrorKind, Result};
use trunkline_engine::RunEventView;

use crate::{app::App, response::ApiResult};

/// The id of the last event that a client of a stream has.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The maximum number of open streams.
pub(crate) const MAX_STREAMS: usize = 128;
/// The time between two comments that keep an idle stream open.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Streams the events of a run after the one in the header `Last-Event-ID`, after the one that the query names, or all of
/// them.
pub(crate) async fn events(app: Arc<App>, caller: Caller, position: RunPosition, headers: HeaderMap) -> ApiResult {
    let last = headers.get(LAST_EVENT_ID);
    let after = last.map(|last| last.to_str().ok().and_then(|last| last.trim().parse().ok()));
    let Some(after) = after.unwrap_or(Some(position.after)) else {
        // A run that does not exist is reported first.
        app.runtime.find_run(&position.run).await?;
        let message = "`Last-Event-ID` has to be the id of an event of this stream";
        return Err(Error::new(ErrorKind::InvalidInput, message).into());
    };
    let Ok(permit) = app.streams.clone().try_acquire_owned() else {
        let error = Error::new(ErrorKind::RateLimited, format!("{MAX_STREAMS} event streams are open already"));
        return Err(error.hint("close a stream, or poll the run instead").into());
    };
    let mut events = app.runtime.stream::<WatchRun>(&caller, RunPosition { after, ..position }).await?;
    // The operation has an event that exists, and the end of a run that has ended, ready for the first poll.
    let first = match events.next().now_or_never() {
        // 204 stops a browser from reconnecting (HTML standard, server-sent events).
        Some(None) if last.is_some() => return Ok(StatusCode::NO_CONTENT.into_response()),
        first => first.flatten(),
    };
    let sent = stream::iter(first)
        .chain(events)
        .map(sent)
        .take_while(|event| ready(event.is_some()))
        .filter_map(ready)
        .take_until(app.closing.clone().cancelled_owned())
        .map(move |event| {
            // Held as long as the stream is open.
            let _permit = &permit;
            Ok::<_, Infallible>(event)
        });
    let mut response = Sse::new(sent).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // No cache stores the stream, and no proxy buffers it.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}

/// Returns an event as it is sent, or `None` if the stream has to end.
fn sent(event: Result<Redacted<RunEventView>>) -> Option<Event> {
    match event {
        Ok(event) => Event::default().id(event.get().seq.to_string()).json_data(event).ok(),
        Err(error) => {
            tracing::warn!("an event stream ends early: {error}");
            None
        }
    }
}
