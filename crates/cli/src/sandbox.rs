//! `sandbox`: the simulators alone, for trials and tests with other clients.

use std::{fs, net::SocketAddr, process::ExitCode, time::Duration};

use serde_json::json;
use trunkline::{
    core::{Error, ErrorKind, Result},
    store::{make_private_directory, write_private_file},
};
use trunkline_sandbox::{Faults, Options, Sandbox};

use crate::{
    args,
    output::{Output, exit},
};

pub(crate) async fn sandbox(arguments: args::Sandbox, output: &Output) -> Result<ExitCode> {
    let options = Options {
        bind: SocketAddr::from(([127, 0, 0, 1], arguments.port)),
        files: arguments.files,
        refusals: true,
        token_lifetime: Duration::from_secs(arguments.token_lifetime),
        faults: Faults { rate: arguments.faults, ..Faults::default() },
        state: arguments.state,
        ..Options::default()
    };
    let sandbox = start(options).await?;
    if let Some(folder) = &arguments.connections {
        for settings in sandbox.settings() {
            let file = folder.join(format!("{}.json", settings["name"].as_str().unwrap_or("connection")));
            let text = serde_json::to_string_pretty(&settings).unwrap_or_default();
            let written = fs::create_dir_all(folder).and_then(|()| write_private_file(&file, text.as_bytes()));
            written.map_err(|error| {
                Error::new(ErrorKind::InvalidInput, format!("{} cannot be written: {error}", file.display()))
            })?;
            output.info(&format!("wrote {}", file.display()));
        }
    }
    let about = json!({
        "address": format!("http://{}", sandbox.address()),
        "folder": sandbox.root_folder(),
        "category": sandbox.category(),
        "connections": sandbox.settings(),
    });
    output.show(&about, || {
        format!(
            "Simulators of Mediaflow and MediaValet listen at http://{address}/ until Ctrl-C.\n\
             Connection files:      curl http://{address}/_sandbox/settings\n\
             Requests received:     curl http://{address}/_sandbox/requests\n\
             The files are in Mediaflow folder {}; copy them to MediaValet category {}.",
            sandbox.root_folder(),
            sandbox.category(),
            address = sandbox.address(),
        )
    });
    // If Ctrl-C cannot be waited for, the sandbox stops at once.
    let _ = tokio::signal::ctrl_c().await;
    sandbox.stop().await;
    Ok(exit::DONE.into())
}

/// Starts the simulators.
///
/// # Errors
///
/// `unavailable` if they cannot listen on the address or use the state folder, and `config` if the folder or a file in
/// it belongs to another user.
pub(crate) async fn start(options: Options) -> Result<Sandbox> {
    let bind = options.bind;
    if let Some(state) = &options.state {
        make_private_directory(state, &["events.jsonl", "blocks"])?;
    }
    Sandbox::start(options).await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("the sandbox cannot start on {bind}: {error}"))
            .hint("if another process listens there, stop it or choose another port; else look at the state folder")
    })
}
