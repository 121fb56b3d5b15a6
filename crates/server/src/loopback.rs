//! The end of a sign-in in the browser without a server: a listener on the loopback interface (RFC 8252 section 7.3) that
//! receives one callback.

use std::net::SocketAddr;

use axum::{Router, extract::RawQuery, response::Html, routing::get};
use tokio::{net::TcpListener, sync::mpsc};
use trunkline::{FinishedSignIn, Runtime};
use trunkline_core::{Authorization, Error, ErrorKind, Result};

use crate::callback::CALLBACK;

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
            Html("<!doctype html><title>Trunkline</title><p>You can close this page and go back to the terminal.")
        };
        let server = axum::serve(self.listener, Router::new().route(CALLBACK, get(callback)));
        let finish = async {
            while let Some(callback) = callbacks.recv().await {
                if let Some(finished) = runtime.finish_sign_in(&callback).await? {
                    return Ok(finished);
                }
            }
            Err(Error::new(ErrorKind::Auth, "the sign-in did not take place"))
        };
        tokio::select! {
            result = finish => result,
            stopped = server.into_future() => {
                let error = Error::new(ErrorKind::Internal, "the server for the browser's redirect failed");
                Err(match stopped { Err(cause) => error.source(cause), Ok(()) => error })
            }
            () = tokio::time::sleep(Authorization::LASTS) => {
                let error = Error::new(ErrorKind::Auth, "no sign-in took place within 10 minutes");
                Err(error.hint("run the command again"))
            }
        }
    }
}
