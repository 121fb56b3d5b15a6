//! The TCP listener of the server. It limits the number of open connections, and closes a connection that is idle for
//! too long, so that silent callers cannot use up all connections.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

/// The maximum number of open connections; the next one waits to be accepted.
pub(crate) const MAX_CONNECTIONS: usize = 512;
/// How long a connection may be idle. Longer than any response takes, because a caller that waits for one sends
/// nothing.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a closed connection still discards what the caller sends. Without it, the operating system could reset the
/// connection, and the caller would lose the response (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

pub(crate) struct LimitedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle_timeout: Duration,
}

impl LimitedListener {
    pub(crate) fn new(listener: TcpListener, max_connections: usize, idle_timeout: Duration) -> Self {
        LimitedListener { listener, permits: Arc::new(Semaphore::new(max_connections)), idle_timeout }
    }
}

impl Listener for LimitedListener {
    type Io = CallerStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CallerStream, SocketAddr) {
        let permit = self.permits.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let deadline = Box::pin(tokio::time::sleep(self.idle_timeout));
        let idle_timeout = self.idle_timeout;
        (CallerStream { stream, idle_timeout, deadline, is_closing: false, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The connection of a caller, which fails with [`io::ErrorKind::TimedOut`] when it has been idle for too long.
pub(crate) struct CallerStream {
    stream: TcpStream,
    idle_timeout: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Whether the connection is closed for writing.
    is_closing: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for CallerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            ready => {
                let until = Instant::now() + self.idle_timeout;
                self.deadline.as_mut().reset(until);
                ready
            }
        }
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        // A caller that reads a long response is not idle.
        if let Poll::Ready(Ok(1..)) = written {
            let until = Instant::now() + self.idle_timeout;
            self.deadline.as_mut().reset(until);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closing {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_closing = true;
            self.deadline.as_mut().reset(Instant::now() + LINGER);
        }
        loop {
            let mut discarded = [0; 4096];
            let mut buffer = ReadBuf::new(&mut discarded);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && !self.deadline.is_elapsed() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.deadline.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Starts a server with these limits, and returns its address.
    async fn serve(max_connections: usize, idle_timeout: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        tokio::spawn(axum::serve(LimitedListener::new(listener, max_connections, idle_timeout), router).into_future());
        address
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_and_makes_room_for_another() {
        let address = serve(8, Duration::from_millis(200)).await;
        let mut silent = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h").await.unwrap();
            silent.push(stream);
        }
        // This one is not accepted until the others are closed.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("here"), "{response}");
        let mut rest = Vec::new();
        // Closed or reset, but not left open.
        let _ = silent[0].read_to_end(&mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains("200"));
    }
}
