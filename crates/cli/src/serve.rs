//! `serve`: sign-ins, runs and triggers over HTTP, until a signal stops it.

use std::{path::Path, process::ExitCode, time::Duration};

use serde::Serialize;
use trunkline::{
    Runtime,
    core::{ForeignText, Result},
    rest::Url,
};
use trunkline_server::{ApiToken, ServeOptions, Server};

use crate::{
    args,
    output::{Output, exit},
    private_process::allow_files,
    signals::Signals,
};

/// Where the server is, on standard output.
#[derive(Serialize)]
struct Started<'a> {
    address: &'a str,
    token_file: Option<&'a Path>,
}

/// Runs the server until SIGTERM, SIGINT or a failure of the store. A second signal skips the grace period.
pub(crate) async fn serve(
    runtime: Runtime,
    data: &Path,
    (arguments, public_url): (args::Serve, Option<Url>),
    output: &Output,
) -> Result<ExitCode> {
    allow_files();
    let ApiToken { token, file } = ApiToken::of(data)?;
    // Before the server starts, so that no signal is missed.
    let mut signals = Signals::new()?;
    let options = ServeOptions {
        listen: arguments.listen,
        public_url,
        origins: arguments.allow_origin,
        token,
        at_once: arguments.at_once.into(),
    };
    let server = Server::start(runtime, options).await?;
    let address = format!("http://{}", server.address());
    output.show(&Started { address: &address, token_file: file.as_deref() }, || {
        let location = file
            .as_ref()
            .map_or("TRUNKLINE_API_TOKEN".to_owned(), |file| ForeignText(&file.to_string_lossy()).to_string());
        format!("Trunkline serves at {address}/ until Ctrl-C. The API requires the token in {location}.")
    });
    tokio::select! {
        _ = signals.next() => {}
        error = server.lost() => {
            // The outcomes of steps in flight cannot be recorded. The steps are cut off, and the next process
            // reconciles them.
            server.stop(Duration::ZERO).await;
            return Err(error);
        }
    }
    output.info("Stopping: waiting for steps in flight to finish ...");
    let grace = Duration::from_secs(arguments.grace);
    let safe = tokio::select! {
        safe = server.stop(grace) => safe,
        _ = signals.next() => false,
    };
    if !safe {
        output.info("Some steps were cut off; the next `trunkline serve` resumes their runs.");
    }
    Ok(exit::DONE.into())
}
