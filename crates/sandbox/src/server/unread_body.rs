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

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, middleware::from_fn, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Reads a response without a body. Returns whether it ends the connection, or `None` if there is none.
    async fn response(stream: &mut TcpStream) -> Option<bool> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        Some(String::from_utf8_lossy(&head).to_lowercase().contains("\r\nconnection: close"))
    }

    /// Sends requests whose late bodies no handler reads, and another request after each. Returns how many of the others
    /// are lost.
    async fn lost(is_protected: bool) -> usize {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || StatusCode::OK)).fallback(async || StatusCode::NOT_FOUND);
        let router = if is_protected { router.layer(from_fn(read_rest)) } else { router };
        tokio::spawn(axum::serve(listener, router).into_future());
        let one = async |length: usize| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = stream.write_all(&vec![b'x'; length]).await;
            if response(&mut stream).await == Some(true) {
                stream = TcpStream::connect(address).await.unwrap();
            }
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            response(&mut stream).await.is_none()
        };
        let lengths = (0..40).map(|number| [200, 70_000, 1_000_000][number % 3]);
        futures::future::join_all(lengths.map(one)).await.into_iter().filter(|is_lost| *is_lost).count()
    }

    #[tokio::test]
    async fn no_request_after_an_unread_body_is_lost() {
        assert_eq!(lost(true).await, 0);
        // The sabotage twin.
        assert!(lost(false).await > 0, "no request was lost without the middleware");
    }
}
