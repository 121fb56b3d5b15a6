//! The end of a sign-in in the browser without a server: a listener on the loopback interface (RFC 8252 section 7.3) that
//! receives one callback, and sends the browser to a page whose URL has no code.

use std::{net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, extract::RawQuery, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::mpsc};
use trunkline::{FinishedSignIn, Runtime};
use trunkline_core::{Authorization, CancellationToken, Error, ErrorKind, Result};

use crate::{
    callback::{CALLBACK, OUTCOME, to_outcome},
    response::page,
};

/// How long the browser may take for the page after the callback.
const PAGE_TIMEOUT: Duration = Duration::from_secs(2);

/// A listener for the callback of one sign-in.
pub struct LoopbackCallback {
    listener: TcpListener,
    address: SocketAddr,
}

impl LoopbackCallback {
    /// Listens on this port of 127.0.0.1; 0 for any free port.
    ///
    /// # Errors
    ///
    /// `unavailable` if the port cannot be listened on.
    pub async fn listen(port: u16) -> Result<LoopbackCallback> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.and_then(|one| Ok((one.local_addr()?, one)));
        let (address, listener) = listener
            .map_err(|error| Error::new(ErrorKind::Unavailable, format!("cannot listen on port {port}: {error}")))?;
        Ok(LoopbackCallback { listener, address })
    }

    /// Returns the redirect URI that leads a browser here.
    pub fn redirect_uri(&self) -> String {
        format!("http://{}{CALLBACK}", self.address)
    }

    /// Serves the callback until a sign-in of this runtime ends or times out. A request that does not belong to a sign-in is
    /// ignored: any process on this machine can send one.
    ///
    /// # Errors
    ///
    /// `auth` if the browser does not return within ten minutes; otherwise as [`Runtime::finish_sign_in`].
    pub async fn finish(self, runtime: &Runtime) -> Result<FinishedSignIn> {
        let (sender, mut callbacks) = mpsc::channel::<String>(8);
        let callback = move |RawQuery(query): RawQuery| async move {
            // Once the sign-in has ended, no task receives this; the page stays the same.
            let _ = sender.try_send(format!("?{}", query.unwrap_or_default()));
            to_outcome("received")
        };
        let (shown, end) = (CancellationToken::new(), CancellationToken::new());
        let is_shown = shown.clone();
        let outcome = move || async move {
            is_shown.cancel();
            page(StatusCode::OK, "You can close this page and go back to the terminal.")
        };
        let router = Router::new().route(CALLBACK, get(callback)).route(OUTCOME, get(outcome));
        let server = axum::serve(self.listener, router).with_graceful_shutdown(end.clone().cancelled_owned());
        let mut server = pin!(server.into_future());
        let finish = async {
            while let Some(callback) = callbacks.recv().await {
                if let Some(finished) = runtime.finish_sign_in(&callback).await.transpose() {
                    return finished;
                }
            }
            Err(Error::new(ErrorKind::Auth, "the sign-in did not take place"))
        };
        let finished = tokio::select! {
            result = finish => result,
            stopped = &mut server => {
                let error = Error::new(ErrorKind::Internal, "the server for the browser's redirect failed");
                return Err(match stopped { Err(cause) => error.source(cause), Ok(()) => error });
            }
            () = tokio::time::sleep(Authorization::LASTS) => {
                let error = Error::new(ErrorKind::Auth, "no sign-in took place within 10 minutes");
                return Err(error.hint("run the command again"));
            }
        };
        // The browser is on its way to the page.
        let page = async {
            tokio::select! {
                () = shown.cancelled() => end.cancel(),
                _ = &mut server => return,
            }
            let _ = server.await;
        };
        let _ = tokio::time::timeout(PAGE_TIMEOUT, page).await;
        finished
    }
}

#[cfg(test)]
mod tests;
