//! Streams of events: server-sent events, made of the operations `runs.events` and `runs.watch`.
//!
//! Each event has an id, so a client that reconnects sends the last one in the header `Last-Event-ID` and misses nothing.
//! A page whose `EventSource` cannot send a token puts a ticket into the URL.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{FutureExt, Stream, StreamExt, future::ready, stream};
use percent_encoding::percent_decode_str;
use tokio::sync::OwnedSemaphorePermit;
use trunkline::{
    Redacted,
    operations::{
        Caller,
        event_watch::{WatchAllRuns, WatchQuery},
        run_queries::{RunPosition, WatchRun},
    },
};
use trunkline_core::{Error, ErrorKind, Result};
use trunkline_engine::RunEventView;

use crate::{app::App, response::ApiResult};

/// The id of the last event that a client of a stream has.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The path of the events of all runs.
pub(crate) const EVENTS: &str = "/rest/v1/events";
/// The maximum number of open streams.
pub(crate) const MAX_STREAMS: usize = 1024;
/// The time between two comments that keep an idle stream open.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Marks a response that is a stream of events.
#[derive(Clone, Copy)]
pub(crate) struct EventStream;

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
    let permit = permit(&app)?;
    let mut events = app.runtime.stream::<WatchRun>(&caller, RunPosition { after, ..position }).await?;
    // The operation has an event that exists, and the end of a run that has ended, ready for the first poll.
    let first = match events.next().now_or_never() {
        // 204 stops a browser from reconnecting (HTML standard, server-sent events).
        Some(None) if last.is_some() => return Ok(StatusCode::NO_CONTENT.into_response()),
        first => first.flatten(),
    };
    let sent = stream::iter(first).chain(events).map(|event: Result<Redacted<RunEventView>>| {
        event.map(|event| Event::default().id(event.get().seq.to_string()).json_data(event).ok())
    });
    Ok(response(&app, permit, sent))
}

/// Streams the events of all runs after the one in the header `Last-Event-ID`, after the one that the query names, or
/// from now on.
pub(crate) async fn all_events(app: Arc<App>, caller: Caller, query: WatchQuery, headers: HeaderMap) -> ApiResult {
    let last = headers.get(LAST_EVENT_ID).map(|last| last.to_str().unwrap_or_default().trim().to_owned());
    let permit = permit(&app)?;
    let query = WatchQuery { after: last.or(query.after), ..query };
    let events = app.runtime.stream::<WatchAllRuns>(&caller, query).await?;
    let sent = events.map(|event| event.map(|event| Event::default().id(event.id()).json_data(&event).ok()));
    Ok(response(&app, permit, sent))
}

fn permit(app: &App) -> Result<OwnedSemaphorePermit> {
    app.streams.clone().try_acquire_owned().map_err(|_| {
        let error = Error::new(ErrorKind::RateLimited, format!("{MAX_STREAMS} event streams are open already"));
        error.hint("close a stream, or poll the run instead")
    })
}

/// Returns a response that sends events until there are no more, one of them fails, or the server stops.
fn response(
    app: &App,
    permit: OwnedSemaphorePermit,
    events: impl Stream<Item = Result<Option<Event>>> + Send + 'static,
) -> Response {
    let logged = |event: Result<Option<Event>>| {
        event.unwrap_or_else(|error| {
            tracing::warn!("an event stream ends early: {error}");
            None
        })
    };
    let sent = events
        .map(logged)
        .take_while(|event| ready(event.is_some()))
        .filter_map(ready)
        .take_until(app.closing.clone().cancelled_owned())
        .map(move |event| {
            // Held as long as the stream is open.
            let _permit = &permit;
            Ok::<_, Infallible>(event)
        });
    let mut response = Sse::new(sent).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    response.extensions_mut().insert(EventStream);
    // No cache stores the stream, and no proxy buffers it.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    response
}

/// Takes the ticket out of the URL of a request for a stream of events. Returns it with the run that the path names, if
/// it does. Other requests have no ticket.
pub(crate) fn take_ticket(request: &mut Request) -> Option<(String, Option<String>)> {
    let uri = request.uri();
    let (path, query) = (uri.path(), uri.query()?);
    let run = match path {
        EVENTS => None,
        _ => {
            let run = path.strip_prefix("/rest/v1/runs/")?.strip_suffix("/events")?;
            Some(percent_decode_str(run).decode_utf8().ok()?.into_owned())
        }
    };
    let is_ticket = |pair: &&str| pair.starts_with("ticket=");
    let ticket = query.split('&').find(is_ticket).filter(|_| request.method() == Method::GET)?;
    let ticket = ticket.trim_start_matches("ticket=").to_owned();
    // A second ticket stays, and is refused like any unknown parameter.
    let mut left: Vec<_> = query.split('&').collect();
    left.remove(left.iter().position(is_ticket)?);
    let uri = if left.is_empty() { path.to_owned() } else { format!("{path}?{}", left.join("&")) };
    *request.uri_mut() = uri.parse::<Uri>().ok()?;
    Some((ticket, run))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::{brake::Brake, test_app::TestApp};

    /// The sabotage twin: when the first stream is closed, there is room for the second one.
    #[tokio::test]
    async fn the_number_of_streams_is_limited_and_leaving_frees_a_place() {
        // It has room for one stream.
        let app = TestApp::new(Brake::default());
        let open = async || app.call(TestApp::request(super::Method::GET, super::EVENTS, &Value::Null)).await;
        let first = open().await;
        let refused = open().await;
        let has_header = refused.headers().contains_key("retry-after");
        assert_eq!((first.status().as_u16(), refused.status().as_u16(), has_header), (200, 429, true));
        drop(first);
        assert_eq!(open().await.status(), 200);
    }
}
