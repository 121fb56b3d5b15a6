//! Bodies that a service did not read, such as the body of a request without a token.
//!
//! One middleware reads the rest of each body before the response is sent: the next request of a keep-alive connection
//! begins after it, and an error response reaches a client that is still sending.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::HeaderValue,
    middleware::Next,
};
use futures::StreamExt;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot::{Sender, channel};

use crate::http::HttpResponse;

/// How many bytes of a body are read after the response is known. Longer than any file of the simulated systems.
const MAX_REST: usize = 512 * 1024 * 1024;
/// How long the rest of a body may take.
const REST_TIMEOUT: Duration = Duration::from_secs(30);

/// The middleware: reads the rest of a body, or announces that the connection ends.
pub(super) async fn read_rest(request: Request, next: Next) -> HttpResponse {
    let (sender, mut rest) = channel();
    let request = request.map(|body| Body::new(LentBody { body, back: Some(sender) }));
    let mut response = next.run(request).await;
    if let Ok(body) = rest.try_recv()
        && tokio::time::timeout(REST_TIMEOUT, drain(body)).await != Ok(true)
    {
        response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    }
    response
}

/// Reads the rest of a body, and returns whether its end was reached.
async fn drain(body: Body) -> bool {
    let mut stream = body.into_data_stream();
    let mut left = MAX_REST;
    while let Some(chunk) = stream.next().await {
        match chunk.ok().and_then(|chunk| left.checked_sub(chunk.len())) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

/// A body that is given back when it is dropped before its end.
struct LentBody {
    body: Body,
    /// `None` after the end of the body.
    back: Option<Sender<Body>>,
}

impl HttpBody for LentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.back = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LentBody {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}
