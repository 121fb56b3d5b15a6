//! Connections of callers: so many at once, and none that says nothing for ever.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

/// How many callers are connected at once; who comes with one more waits.
pub(super) const MOST: usize = 512;
/// How long a caller may say nothing. Longer than any answer takes, for meanwhile nothing is to be said.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

pub(super) struct Patient {
    listener: TcpListener,
    room: Arc<Semaphore>,
    silence: Duration,
}

impl Patient {
    pub(super) fn new(listener: TcpListener, most: usize, silence: Duration) -> Self {
        Patient { listener, room: Arc::new(Semaphore::new(most)), silence }
    }
}

impl Listener for Patient {
    type Io = Caller;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Caller, SocketAddr) {
        let room = self.room.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let silent = Box::pin(tokio::time::sleep(self.silence));
        (Caller { stream, silence: self.silence, silent, _room: room }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The connection of a caller, cut when he has been silent for too long.
pub(super) struct Caller {
    stream: TcpStream,
    silence: Duration,
    silent: Pin<Box<Sleep>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Caller {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.silent.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            ready => {
                let until = Instant::now() + self.silence;
                self.silent.as_mut().reset(until);
                ready
            }
        }
    }
}

impl AsyncWrite for Caller {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        // Who takes what is said may listen for as long as there is something to say.
        if let Poll::Ready(Ok(1..)) = written {
            let until = Instant::now() + self.silence;
            self.silent.as_mut().reset(until);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Serves so many at once, with this patience.
    async fn served(most: usize, silence: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        tokio::spawn(axum::serve(Patient::new(listener, most, silence), router).into_future());
        address
    }

    #[tokio::test]
    async fn a_caller_who_says_nothing_is_cut_off_and_makes_room() {
        let address = served(8, Duration::from_millis(200)).await;
        let mut silent = Vec::new();
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h").await.unwrap();
            silent.push(stream);
        }
        // There is no room for this one until the others are cut off.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        let mut rest = Vec::new();
        // Closed or reset, but not left open.
        let _ = silent[0].read_to_end(&mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains("200"));
    }
}
