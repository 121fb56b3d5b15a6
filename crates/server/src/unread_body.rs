//! Bodies that a response did not wait for, such as the body of a request without the token.
//!
//! The next request of a keep-alive connection begins after the body of the previous one. So the rest of a body is read
//! before the response is sent, up to a limit. If there is more, the response says `Connection: close`, and the caller
//! does not send its next request into a connection that ends (RFC 9112, section 9.6).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot::{Receiver, Sender, channel, error::TryRecvError};

/// How many bytes of a body are read after the response is known.
const MAX_REST: u64 = 4 * 1024 * 1024;
/// How long the rest of a body may take.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

/// Middleware for every request: reads the rest of its body, or announces that the connection ends.
pub(crate) async fn read_rest(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // A caller that waits for `100 Continue` sends no body after a final response, unless the body is asked for.
    let waits = request.headers().contains_key(header::EXPECT);
    let (sender, rest) = channel();
    let request = request.map(|body| Body::new(LentBody { body, back: Some(sender) }));
    let mut response = next.run(request).await;
    if !is_complete(rest, waits).await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads what is left of a body, and returns whether its end was reached.
async fn is_complete(mut rest: Receiver<Body>, waits: bool) -> bool {
    let mut body = match rest.try_recv() {
        Ok(body) => body,
        // The body was dropped at its end.
        Err(TryRecvError::Closed) => return true,
        // The handler still holds the body.
        Err(TryRecvError::Empty) => return false,
    };
    if waits || body.size_hint().lower() > MAX_REST {
        return false;
    }
    let reading = async {
        let mut left = MAX_REST;
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let length = frame.ok()?.data_ref().map_or(0, |data| data.len() as u64);
            left = left.checked_sub(length)?;
        }
        Some(())
    };
    matches!(tokio::time::timeout(REST_TIMEOUT, reading).await, Ok(Some(())))
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
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

#[cfg(test)]
mod tests;
