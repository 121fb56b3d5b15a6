//! The connection below HTTP. Faults such as a lost answer cannot be shown by an HTTP response: the listener hands out
//! a [`Wire`] for every connection, and whoever holds it decides how many more bytes may leave before the socket drops.

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

/// The switch of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    budget: Arc<AtomicI64>,
    closed: Arc<AtomicBool>,
}

impl Wire {
    /// Lets `bytes` more bytes out, then breaks the connection.
    pub(crate) fn allow(&self, bytes: u32) {
        self.budget.store(i64::from(bytes), Ordering::SeqCst);
    }

    fn allowance(&self, wanted: usize) -> io::Result<usize> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        match self.budget.load(Ordering::SeqCst) {
            UNLIMITED => Ok(wanted),
            left if left <= 0 => Err(io::ErrorKind::ConnectionReset.into()),
            left => Ok(wanted.min(usize::try_from(left).unwrap_or(usize::MAX))),
        }
    }

    fn spend(&self, written: usize) {
        if self.budget.load(Ordering::SeqCst) != UNLIMITED {
            self.budget.fetch_sub(i64::try_from(written).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

/// The listening socket, shared so that whoever drops the sandbox can close it there and then.
pub(crate) type Socket = Arc<Mutex<Option<TcpListener>>>;

/// What accepts connections; `closed` makes every connection it gave out fail at its next read or write.
pub(crate) struct Door {
    socket: Socket,
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Door {
    pub(crate) fn new(socket: Socket, address: SocketAddr, closed: Arc<AtomicBool>) -> Door {
        Door { socket, address, closed }
    }

    /// The next connection; never, once the socket was closed.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        match &*self.socket.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(listener) => listener.poll_accept(cx),
            None => Poll::Pending,
        }
    }
}

impl Listener for Door {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        loop {
            match std::future::poll_fn(|cx| self.poll_accept(cx)).await {
                Ok((stream, address)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "sandbox: no TCP_NODELAY");
                    }
                    let wire = Wire { budget: Arc::new(AtomicI64::new(UNLIMITED)), closed: self.closed.clone() };
                    return (Io { stream, wire }, address);
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

impl Connected<IncomingStream<'_, Door>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Wire {
        stream.io().wire.clone()
    }
}

/// A TCP stream that obeys its [`Wire`].
pub(crate) struct Io {
    stream: TcpStream,
    wire: Wire,
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.wire.closed.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let allowed = match self.wire.allowance(buf.len()) {
            Ok(allowed) => allowed,
            Err(error) => return Poll::Ready(Err(error)),
        };
        let polled = Pin::new(&mut self.stream).poll_write(cx, &buf[..allowed]);
        if let Poll::Ready(Ok(written)) = &polled {
            self.wire.spend(*written);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = bufs.iter().map(|buf| buf.len()).sum();
        match self.wire.allowance(total) {
            Err(error) => Poll::Ready(Err(error)),
            Ok(allowed) if allowed == total => {
                let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
                if let Poll::Ready(Ok(written)) = &polled {
                    self.wire.spend(*written);
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
