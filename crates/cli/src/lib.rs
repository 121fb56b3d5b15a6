//! The command line of Trunkline. The binary `trunkline` is one call of [`main`] with the connectors that are linked into it.
//! A host with connectors of its own gets the same commands, the server included, with its own registry:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     trunkline_cli::main(trunkline::core::Registry::empty()) // with_connector::<Mine>() and so on
//! }
//! ```
//!
//! `examples/own_connector.rs` is such a host with a connector. Each command reads its arguments, carries out an
//! operation of the [`Runtime`], and prints its output as text or as JSON.

mod args;
mod catalogue;
mod connection;
mod consent;
#[cfg(feature = "demo")]
mod demo;
mod drawing;
mod flow;
mod input;
mod inspect;
mod items;
mod key;
mod lists;
mod next_step;
mod once;
mod output;
mod private_process;
mod progress_display;
mod redacting_stderr;
mod run_list;
mod run_steps;
mod run_text;
mod runs;
#[cfg(feature = "demo")]
mod sandbox;
mod serve;
mod sibling_flows;
mod signals;
mod stdout;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::CommandFactory;
use futures::TryStreamExt;
use serde::Serialize;
use trunkline::{
    ListedItem, Ports, Runtime,
    core::{Error, ErrorKind, ForeignText, Registry, Result, Secret},
    default_data, default_key, environment_variable,
    operations::{
        Caller,
        actions::{ActionCall, CallAction, ListActionItems},
        catalogue::ActionQuery,
    },
    rest::{HttpEnvironment, NetworkPolicy, Url},
    store::{KeySource, Store},
};

use args::{Arguments, Command, ConnectionCommand, FlowCommand, LogFormat, RunsCommand, StoreCommand};
use input::json;
use output::{Output, exit};
use signals::Signals;

/// Returns the commands with their arguments, for documentation, completion and tests.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command that the process was started with, and returns the exit code of the process. The commands offer the
/// connectors of `registry`, and those of the folder that the argument `--connectors` names.
///
/// It parses the arguments of the process, installs a panic hook and a subscriber of the log, and prints to standard output
/// and standard error; so it is called once, in `main`.
pub fn main(registry: Registry) -> ExitCode {
    redacting_stderr::redact_panics();
    let arguments = match Arguments::parsed() {
        Ok(arguments) => arguments,
        Err((error, output)) => {
            output.error(&error);
            return exit::ERROR.into();
        }
    };
    let output = Output::new(arguments.json, arguments.verbose);
    // A server handles signals itself. It logs its warnings by default: no user waits for its output. Other commands
    // report on their own.
    let is_server = matches!(arguments.command, Command::Serve(_));
    let default_filter = if is_server { "warn" } else { "off" };
    let filter = tracing_subscriber::EnvFilter::new(arguments.log.as_deref().unwrap_or(default_filter));
    let is_json = matches!(arguments.log_format, LogFormat::Json);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || redacting_stderr::LogWriter::new(std::io::stderr(), is_json));
    match arguments.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    if let Err(error) = private_process::keep_private() {
        output.warn(&error.to_string());
    }
    redacting_stderr::add_proxy_passwords();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let http = HttpEnvironment::default();
            let result = tokio::select! {
                biased;
                result = run(arguments, registry, http.clone(), &output) => result,
                code = stop_signal(), if !is_server => Ok(code),
                // A server continues without a reader of what it prints at its start.
                () = stdout::failed(), if !is_server => Ok(stdout::READER_GONE.into()),
            };
            // A token refresh in flight is waited for: if its response is not stored, the connection may lose its
            // sign-in.
            http.drain_token_requests().await;
            result
        }),
        Err(error) => Err(Error::new(ErrorKind::Internal, "the worker threads cannot be started").source(error)),
    };
    match stdout::ended().filter(|_| !is_server).unwrap_or(result) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            exit::ERROR.into()
        }
    }
}

/// Waits for SIGINT or SIGTERM, and returns the exit code by which shells know that signal.
async fn stop_signal() -> ExitCode {
    match Signals::new() {
        Ok(mut signals) => signals.next().await.into(),
        Err(_) => std::future::pending().await,
    }
}

/// What the connectors, the data directory and the key are opened from.
struct Source {
    registry: Registry,
    connectors: Option<PathBuf>,
    key_file: Option<PathBuf>,
    http: HttpEnvironment,
    public_url: Option<Url>,
}

impl Source {
    fn registry(self) -> Result<Registry> {
        match &self.connectors {
            None => self.registry.checked(),
            Some(folder) => trunkline::with_folder(self.registry, folder),
        }
    }

    /// Returns a runtime for what needs no data directory.
    fn in_memory(self) -> Result<Runtime> {
        let ports = Ports { http: self.http.clone(), ..Ports::in_memory() };
        redacting_stderr::use_redactor(&ports.redactor);
        Ok(Runtime::new(self.registry()?, ports))
    }

    fn open(self, data: &Path) -> Result<Runtime> {
        let key = key(self.key_file.clone())?;
        let ports = Ports { http: self.http.clone(), ..Ports::sqlite(data, key)? };
        redacting_stderr::use_redactor(&ports.redactor);
        let public_url = self.public_url.clone();
        let runtime = Runtime::new(self.registry()?, ports);
        Ok(match public_url {
            Some(url) => runtime.with_public_url(url.as_str()),
            None => runtime,
        })
    }
}

async fn run(arguments: Arguments, registry: Registry, http: HttpEnvironment, output: &Output) -> Result<ExitCode> {
    #[cfg(feature = "demo")]
    let given_data = arguments.data.clone();
    let private_network = arguments.allow_private_network || simulates(&arguments.command);
    let http = http.with_network(network(arguments.allow_hosts.as_deref(), private_network)?);
    let data = arguments.data.map_or_else(default_data, Ok);
    let (connectors, key_file, public_url) = (arguments.connectors, arguments.key_file, arguments.public_url);
    let source = Source { registry, connectors, key_file, http, public_url };
    match arguments.command {
        #[cfg(feature = "demo")]
        Command::Demo(demo) => {
            let place = demo::Place::new(given_data)?;
            let key_file = source.key_file.clone().or_else(|| place.key_file());
            let runtime = Source { key_file, ..source }.open(place.data())?;
            demo::demo(&runtime, place, demo, output).await
        }
        #[cfg(feature = "demo")]
        Command::Sandbox(sandbox) => sandbox::sandbox(sandbox, output).await,
        Command::Serve(arguments) => {
            let (data, public_url) = (&data?, source.public_url.clone());
            serve::serve(source.open(data)?, data, (arguments, public_url), output).await
        }
        Command::Connectors { name } => catalogue::connectors(&source.in_memory()?, name, output).await,
        Command::Actions { connector, search } => {
            let query = ActionQuery { connector, search, ..ActionQuery::default() };
            catalogue::actions(&source.in_memory()?, query, output).await
        }
        Command::Action { name } => catalogue::action(&source.in_memory()?, name, output).await,
        Command::Schema { what, name } => catalogue::schema(&source.in_memory()?, what, name).await,
        // Needs no store: users run it before they add the first connection.
        Command::Connection { command: command @ ConnectionCommand::Discover { into: None, .. } } => {
            connection::connection(&source.in_memory()?, command, private_network, output).await
        }
        Command::Connection { command } => {
            connection::connection(&source.open(&data?)?, command, private_network, output).await
        }
        Command::Store { command: StoreCommand::Adopt } => adopt(&data?, key(source.key_file)?, output),
        Command::Store { command: StoreCommand::Compact } => compact(&data?, key(source.key_file)?, output),
        Command::Store { command: StoreCommand::Retention { retention } } => {
            run_list::retention(&source.open(&data?)?, retention, output).await
        }
        Command::Key { command } => key::key(&data?, key(source.key_file)?, command, output).await,
        Command::Call { action, connection, input, all } => {
            let (runtime, input) = (source.open(&data?)?, json(&input, "--input", output)?);
            call(&runtime, ActionCall { action, connection, input }, all, output).await
        }
        // Needs no store, unless the flow is checked against connections.
        Command::Flow { command: FlowCommand::Validate { file, connection } } if connection.is_empty() => {
            flow::validate(&source.in_memory()?, &file, BTreeMap::new(), output).await
        }
        Command::Flow { command: FlowCommand::Outputs { file } } => {
            flow::outputs(&source.in_memory()?, &file, output).await
        }
        Command::Flow { command: FlowCommand::Filters } => catalogue::filters(&source.in_memory()?, output).await,
        Command::Flow { command } => flow::flow(&source.open(&data?)?, command, output).await,
        Command::Step { command } => drawing::step(&source.open(&data?)?, command, output).await,
        Command::Once { command } => once::once(&source.open(&data?)?, command, output).await,
        Command::Run { flow, input, connection } => {
            runs::run(&source.open(&data?)?, &flow, json(&input, "--input", output)?, connection, output).await
        }
        Command::Runs { list, command } => {
            let (data, command) = (&data?, command.unwrap_or(RunsCommand::List(list)));
            runs::runs(&source.open(data)?, data, command, output).await
        }
    }
}

/// Returns what connections may reach by the options of the operator.
fn network(allow_hosts: Option<&str>, private_network: bool) -> Result<NetworkPolicy> {
    let policy = NetworkPolicy::default().with_private_network(private_network);
    match allow_hosts {
        None => Ok(policy),
        Some(list) => match list.strip_prefix('@') {
            Some(file) => policy.with_hosts(&input::read(file)?),
            None => policy.with_hosts(list),
        },
    }
}

/// Returns whether a command starts simulators on this machine and connects to them: the consent of the operator is the
/// command itself.
fn simulates(command: &Command) -> bool {
    #[cfg(feature = "demo")]
    let is_demo = matches!(command, Command::Demo(_));
    #[cfg(not(feature = "demo"))]
    let is_demo = {
        let _ = command;
        false
    };
    is_demo
}

/// Runs one action and prints its output, or all items of its list, one a line.
async fn call(runtime: &Runtime, input: ActionCall, all: bool, output: &Output) -> Result<ExitCode> {
    if all {
        let mut items = runtime.stream::<ListActionItems>(&Caller::owner(), input).await?;
        while let Some(item) = items.try_next().await? {
            match item {
                ListedItem::Item(item) => output.json_line(&item)?,
                ListedItem::MaybeIncomplete(reason) => output.warn(&format!("items may be missing: {reason}")),
            }
        }
    } else {
        let called = runtime.execute::<CallAction>(&Caller::owner(), input).await?;
        called.warnings.iter().for_each(|warning| output.warn(warning));
        output.json(&called.output);
    }
    Ok(exit::DONE.into())
}

/// The data directory that is the owner of its name now, as JSON.
#[derive(Serialize)]
struct Adopted<'a> {
    adopted: &'a Path,
}

fn adopt(data: &Path, key: KeySource, output: &Output) -> Result<ExitCode> {
    Store::adopt(data, key)?;
    output.show(&Adopted { adopted: data }, || {
        format!("{} is the owner of its name now.", ForeignText(&data.to_string_lossy()))
    });
    Ok(exit::DONE.into())
}

fn compact(data: &Path, key: KeySource, output: &Output) -> Result<ExitCode> {
    let done = Store::compact(data, key)?;
    output.show(&done, || format!("The store had {} bytes, and has {} now.", done.before, done.after));
    Ok(exit::DONE.into())
}

fn key(file: Option<PathBuf>) -> Result<KeySource> {
    match environment_variable("TRUNKLINE_KEY")? {
        Some(value) => {
            let value = Secret::from(value);
            redacting_stderr::redactor().add(&value);
            Ok(KeySource::Value(value))
        }
        None => Ok(KeySource::File(file.map_or_else(default_key, Ok)?)),
    }
}
