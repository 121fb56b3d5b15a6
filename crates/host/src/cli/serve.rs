//! `serve`: sign-ins, runs and triggers over HTTP, until a signal says to stop.

use std::{path::Path, process::ExitCode, time::Duration};

use serde_json::json;
use trunkline::{
    Runtime,
    core::{Error, ErrorKind, Result},
    serve::{ApiToken, ServeOptions, Server},
};

use super::{
    args,
    output::{Output, exit},
};

pub(crate) async fn serve(runtime: Runtime, data: &Path, arguments: args::Serve, output: &Output) -> Result<ExitCode> {
    let ApiToken { token, file } = ApiToken::of(data)?;
    // Before anything begins, so that no signal finds us without.
    let mut signals = Signals::new()?;
    let options = ServeOptions {
        listen: arguments.listen,
        public_url: arguments.public_url,
        token,
        at_once: arguments.at_once.into(),
    };
    let server = Server::start(runtime, options).await?;
    let address = format!("http://{}", server.address());
    output.show(&json!({ "address": address, "token_file": file }), || {
        let place = file.as_ref().map_or("TRUNKLINE_API_TOKEN".to_owned(), |file| file.display().to_string());
        format!("Trunkline serves at {address}/ until Ctrl-C. The API wants the token in {place}.")
    });
    tokio::select! {
        () = signals.next() => {}
        error = server.lost() => {
            // What steps in flight come to cannot be recorded: they are cut off, and looked up by the next process.
            server.stop(Duration::ZERO).await;
            return Err(error);
        }
    }
    output.say("Stopping: steps in flight go on to their ends ...");
    let grace = Duration::from_secs(arguments.grace);
    let safe = tokio::select! {
        safe = server.stop(grace) => safe,
        () = signals.next() => false,
    };
    if !safe {
        output.say("Some steps were cut off; their runs go on from what is on disk.");
    }
    Ok(exit::DONE.into())
}

#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 2]);

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind).map_err(|error| Error::new(ErrorKind::Internal, "signals cannot be waited for").source(error))
        };
        Ok(Signals([listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
