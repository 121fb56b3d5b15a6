//! TCP connections that break after a given number of bytes.
//!
//! A fault such as a lost response cannot be expressed as an HTTP response. So the listener wraps each connection in a
//! [`ThrottledStream`], and the fault injector sets through its [`ByteLimit`] how many more bytes it may send before it
//! breaks.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

const UNLIMITED: i64 = i64::MAX;

/// How many bytes one connection may still send.
#[derive(Clone, Debug)]
pub(crate) struct ByteLimit {
    remaining: Arc<AtomicI64>,
    /// Whether the sandbox was dropped.
    closed: Arc<AtomicBool>,
}

impl ByteLimit {
    /// Lets the connection send `bytes` more bytes, then breaks it.
    pub(crate) fn allow(&self, bytes: u32) {
        self.remaining.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Returns how many of `wanted` bytes may be sent now, or `ConnectionReset` if the connection has to break.
    fn allowance(&self, wanted: usize) -> io::Result<usize> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        match self.remaining.load(Ordering::SeqCst) {
            UNLIMITED => Ok(wanted),
            left if left <= 0 => Err(io::ErrorKind::ConnectionReset.into()),
            left => Ok(wanted.min(usize::try_from(left).unwrap_or(usize::MAX))),
        }
    }

    fn spend(&self, written: usize) {
        if self.remaining.load(Ordering::SeqCst) != UNLIMITED {
            self.remaining.fetch_sub(i64::try_from(written).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

/// The listening socket, shared so that dropping the sandbox closes it at once.
pub(crate) type SharedListener = Arc<Mutex<Option<TcpListener>>>;

/// Accepts throttled connections. Once `closed` is set, each of them fails at its next read or write.
pub(crate) struct SandboxListener {
    listener: SharedListener,
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl SandboxListener {
    pub(crate) fn new(listener: SharedListener, address: SocketAddr, closed: Arc<AtomicBool>) -> SandboxListener {
        SandboxListener { listener, address, closed }
    }

    /// Polls for the next connection. Stays pending once the socket is closed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        match &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(listener) => listener.poll_accept(cx),
            None => Poll::Pending,
        }
    }
}

impl Listener for SandboxListener {
    type Io = ThrottledStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ThrottledStream, SocketAddr) {
        loop {
            match std::future::poll_fn(|cx| self.poll_accept(cx)).await {
                Ok((stream, address)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "sandbox: cannot set TCP_NODELAY");
                    }
                    let remaining = Arc::new(AtomicI64::new(UNLIMITED));
                    let limit = ByteLimit { remaining, closed: self.closed.clone() };
                    return (ThrottledStream { stream, limit }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "sandbox: cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, SandboxListener>> for ByteLimit {
    fn connect_info(stream: IncomingStream<'_, SandboxListener>) -> ByteLimit {
        stream.io().limit.clone()
    }
}

/// A TCP stream that sends no more bytes than its [`ByteLimit`] allows.
pub(crate) struct ThrottledStream {
    stream: TcpStream,
    limit: ByteLimit,
}

impl AsyncRead for ThrottledStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.limit.closed.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ThrottledStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = match self.limit.allowance(buf.len()) {
            Ok(allowed) => allowed,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let polled = Pin::new(&mut self.stream).poll_write(cx, &buf[..allowed]);
        if let Poll::Ready(Ok(written)) = &polled {
            self.limit.spend(*written);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = bufs.iter().map(|buf| buf.len()).sum();
        match self.limit.allowance(total) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(allowed) if allowed == total => {
                let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
                if let Poll::Ready(Ok(written)) = &polled {
                    self.limit.spend(*written);
                }
                polled
            }
            Ok(_) => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &buf[..]);
                self.poll_write(cx, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
