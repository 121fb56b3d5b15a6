//! Accepts the connections of callers, and serves each of them with HTTP/1.
//!
//! A connection that the limits of [`Connections`] do not let in waits to be accepted. One of the reserve gets one
//! response: `/health` answers there, and everything else is asked to try again later.

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin, sync::Arc, task, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Request},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use trunkline_core::{CancellationToken, Error, ErrorKind, Redactor};

use crate::{
    caller_stream::CallerStream,
    connections::{CallerConnection, Connections, OpenConnection},
    events::EventStream,
    request::MAX_HEAD,
    response::{ErrorResponse, with_error},
};

/// The path that connections of the reserve serve.
pub(crate) const HEALTH: &str = "/health";
/// How long an idle connection that has to make room may still receive a request.
const LAST_MOMENT: Duration = Duration::from_millis(100);
/// The pause after an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The time between two lines of the log about errors of the listener.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Serves callers until `stop` is cancelled, and then until all connections are closed.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Arc<Connections>,
    stop: CancellationToken,
) {
    let accepting = async {
        let mut logged_at = None;
        loop {
            let (stream, address) = accept(&listener, &connections, &mut logged_at).await;
            let open = connections.admit(address).await;
            tokio::spawn(serve_one(stream, open, router.clone(), stop.clone()));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = connections.watch() => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    connections.all_closed().await;
}

/// Accepts the next connection. An error of the listener does not end it: connections are closed until there are enough
/// file descriptors. `logged_at` is the time of the last line of the log about one.
async fn accept(
    listener: &TcpListener,
    connections: &Connections,
    logged_at: &mut Option<Instant>,
) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The caller has gone already.
            Err(error) if is_of_caller(&error) => {}
            Err(error) => {
                if logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                    *logged_at = Some(Instant::now());
                    tracing::error!("no connection can be accepted, and the next attempt follows: {error}");
                }
                connections.make_room(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_caller(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection until it ends, or has to be closed.
async fn serve_one(stream: TcpStream, open: OpenConnection, router: Router, stop: CancellationToken) {
    let connection = open.connection.clone();
    let io = TokioIo::new(CallerStream::new(stream, connection.clone()));
    let (router, caller) = (TowerToHyperService::new(router), connection.clone());
    let service = service_fn(move |request| respond(request, caller.clone(), router.clone()));
    let mut served = std::pin::pin!(http1::Builder::new().max_buf_size(MAX_HEAD).serve_connection(io, service));
    tokio::select! {
        // The error of a connection is that of its caller.
        _ = served.as_mut() => return,
        () = connection.closing() => return,
        () = connection.ending() => {}
        () = stop.cancelled() => {}
    }
    // A response in progress is completed.
    served.as_mut().graceful_shutdown();
    loop {
        tokio::select! {
            _ = served.as_mut() => return,
            () = connection.closing() => return,
            () = tokio::time::sleep(LAST_MOMENT) => if !connection.has_request() { return },
        }
    }
}

/// Answers one request.
async fn respond(
    request: hyper::Request<Incoming>,
    connection: Arc<CallerConnection>,
    router: TowerToHyperService<Router>,
) -> Result<Response, Infallible> {
    connection.request_begins();
    let answering = Answering(connection.clone());
    let mut request: Request = request.map(|body| Body::new(AwaitedBody { body, connection: connection.clone() }));
    request.extensions_mut().insert(ConnectInfo(connection.address));
    let mut response = match connection.is_reserve && request.uri().path() != HEALTH {
        true => busy(),
        false => router.call(request).await?,
    };
    if response.extensions().get::<EventStream>().is_some() {
        connection.streams();
    }
    if connection.is_reserve {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Body::new(AnsweredBody { body, _answering: answering })))
}

/// Returns the response of a connection of the reserve. Nothing of the request was read but its head.
fn busy() -> Response {
    let error = Error::new(ErrorKind::Unavailable, "all connections of this server are busy")
        .hint("try again later, with fewer requests at the same time");
    let response = ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, error).into_response();
    with_error(response, &Redactor::default(), None)
}

/// The time from the head of a request to the end of its response.
struct Answering(Arc<CallerConnection>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// The body of a request, which notes when the server waits for it. A handler reads a body whole.
struct AwaitedBody {
    body: Incoming,
    connection: Arc<CallerConnection>,
}

impl HttpBody for AwaitedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            task::Poll::Pending => self.connection.body_awaited(),
            task::Poll::Ready(Some(Ok(_))) if !self.body.is_end_stream() => {}
            task::Poll::Ready(_) => self.connection.body_ends(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AwaitedBody {
    fn drop(&mut self) {
        self.connection.body_ends();
    }
}

/// The body of a response. The request ends with it.
struct AnsweredBody {
    body: Body,
    _answering: Answering,
}

impl HttpBody for AnsweredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
