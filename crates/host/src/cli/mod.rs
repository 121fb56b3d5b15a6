//! The commands. Each reads its arguments, calls the [`Runtime`], and prints the result as text or as JSON.

mod args;
mod catalogue;
mod connection;
mod demo;
mod flow;
mod inspect;
mod items;
mod key;
mod next_step;
mod output;
mod progress_display;
mod redacting_stderr;
mod runs;
mod sandbox;
mod serve;
mod sibling_flows;

use std::{fs, io::Read, path::PathBuf, process::ExitCode};

use clap::Parser;
use serde_json::Value;
use trunkline::{
    Runtime,
    core::{Error, ErrorKind, Result, Secret},
    default_data, default_key,
    store::KeySource,
};

use args::{Arguments, Command, LogFormat};
use output::{Output, exit};

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    redacting_stderr::redact_panics();
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    // A server logs its warnings by default: no user waits for its output. Other commands report on their own.
    let default_filter = if matches!(arguments.command, Command::Serve(_)) { "warn" } else { "off" };
    let filter = tracing_subscriber::EnvFilter::new(arguments.log.as_deref().unwrap_or(default_filter));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| redacting_stderr::Redacting(std::io::stderr()));
    match arguments.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            // The server handles signals itself.
            let handles_signals = matches!(arguments.command, Command::Serve(_));
            let result = tokio::select! {
                biased;
                result = run(arguments, &output) => result,
                code = stop_signal(), if !handles_signals => Ok(code),
            };
            // A token refresh in flight is waited for: if its response is not stored, the connection may lose its
            // sign-in.
            trunkline::rest::drain_token_refreshes().await;
            result
        }),
        Err(error) => Err(Error::new(ErrorKind::Internal, "the worker threads cannot be started").source(error)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            exit::ERROR.into()
        }
    }
}

/// Waits for SIGINT or SIGTERM, and returns the exit code by which shells know that signal.
async fn stop_signal() -> ExitCode {
    use tokio::signal::unix::{SignalKind, signal};
    let received = async |kind: SignalKind| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        () = received(SignalKind::interrupt()) => ExitCode::from(exit::INTERRUPTED),
        () = received(SignalKind::terminate()) => ExitCode::from(exit::TERMINATED),
    }
}

async fn run(arguments: Arguments, output: &Output) -> Result<ExitCode> {
    let data = arguments.data.unwrap_or_else(default_data);
    let folder = arguments.connectors;
    let registry = || trunkline::registry(folder.as_deref());
    let open = || Runtime::with(registry()?, &data, key(arguments.key_file.clone()));
    match arguments.command {
        Command::Demo(demo) => demo::demo(&open()?, &data, demo, output).await,
        Command::Sandbox(sandbox) => sandbox::sandbox(sandbox, output).await,
        Command::Serve(arguments) => serve::serve(open()?, &data, arguments, output).await,
        Command::Connectors { name } => catalogue::connectors(&registry()?, name.as_deref(), output),
        Command::Actions { connector, search } => {
            catalogue::actions(&registry()?, connector.as_deref(), search.as_deref(), output)
        }
        Command::Action { name } => catalogue::action(&registry()?, &name, output),
        Command::Schema { what, name } => catalogue::schema(&registry()?, what, name.as_deref()),
        // Needs no store: users run it before they add the first connection.
        Command::Connection {
            command: args::ConnectionCommand::Discover { issuer, into: None, allow_private_network },
        } => connection::discover(&issuer, allow_private_network, output).await,
        Command::Connection { command } => connection::connection(&open()?, command, output).await,
        Command::Key { command } => key::key(&data, key(arguments.key_file), command, output).await,
        Command::Call { action, connection, input, all } => {
            let (runtime, input) = (open()?, json(&input, "--input")?);
            if all {
                let lines = Output::new(true);
                runtime.list(&action, &connection, input, |item| lines.json_line(&item)).await?;
            } else {
                let called = runtime.call(&action, &connection, input).await?;
                called.warnings.iter().for_each(|warning| output.warn(warning));
                output.json(&called.output);
            }
            Ok(exit::DONE.into())
        }
        // Needs no store, unless the flow is checked against connections.
        Command::Flow { command: args::FlowCommand::Validate { file, connection } } if connection.is_empty() => {
            flow::validate(&file, output, &registry()?, None).await
        }
        Command::Flow { command: args::FlowCommand::Filters } => flow::filters(output),
        Command::Flow { command } => flow::flow(&open()?, command, output).await,
        Command::Run { flow, input, connection } => {
            runs::run(&open()?, &flow, json(&input, "--input")?, connection, output).await
        }
        Command::Runs { command } => runs::runs(&open()?, &data, command, output).await,
    }
}

fn key(file: Option<PathBuf>) -> KeySource {
    match std::env::var("TRUNKLINE_KEY") {
        Ok(value) if !value.is_empty() => KeySource::Value(Secret::from(value)),
        _ => KeySource::File(file.unwrap_or_else(default_key)),
    }
}

/// Reads a JSON argument: JSON text, `@FILE`, or `-` for standard input.
fn json(argument: &str, what: &str) -> Result<Value> {
    let (text, from) = match argument.strip_prefix('@') {
        Some(file) => (read(file)?, file),
        None if argument == "-" => (read("-")?, "standard input"),
        None => (argument.to_owned(), what),
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("{from}:{}:{}: this is not JSON", error.line(), error.column()))
            .source(error)
            .hint("give JSON, @FILE, or - for standard input")
    })
}

/// Reads a file, or standard input for `-`.
fn read(file: &str) -> Result<String> {
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    text.map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("{file} cannot be read: {error}")).hint("check the path")
    })
}
