//! The command line: commands, options, and their help texts.

#[cfg(feature = "demo")]
mod demo;
mod runs;
mod steps;

use std::{env, net::SocketAddr, path::PathBuf};

use clap::{
    Args, CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{BoolishValueParser, OsStr, Resettable},
};
use trunkline::{
    core::{Error, Result},
    environment_variable,
    flow::Retention,
    rest::Url,
};

use crate::output::Output;
#[cfg(feature = "demo")]
pub(crate) use demo::{Demo, Sandbox};
pub(crate) use runs::{BulkArgs, RerunArgs, ResolveArgs, ResolveAs, RunArgument, RunListArgs, RunsCommand};
pub(crate) use steps::StepCommand;

/// Runs flows between systems: connectors, connections, durable runs.
#[derive(Parser)]
#[command(name = "trunkline", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Data directory, with connections, saved flows and runs [default: ~/.local/share/trunkline]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", env = "TRUNKLINE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// File with the key that encrypts secrets; created at first use [default: ~/.config/trunkline/key]. TRUNKLINE_KEY can
    /// hold the key itself instead
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE", env = "TRUNKLINE_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Folder of connectors without code: one subfolder for each, with a connector.toml and operations/*.toml
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", env = "TRUNKLINE_CONNECTORS")]
    pub(crate) connectors: Option<PathBuf>,
    /// Hosts that connections may reach, or @FILE with one a line; all public ones if absent
    ///
    /// Names, *.NAME for the names below one, addresses and networks such as 10.1.0.0/16, each with :PORT if only that
    /// port is allowed, separated by commas. It applies to APIs, login servers, discovery, files and redirects, and no
    /// connection can override it.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "LIST", env = "TRUNKLINE_ALLOW_HOSTS")]
    pub(crate) allow_hosts: Option<String>,
    /// Let connections with the setting allowPrivateNetwork reach private networks and this machine
    #[arg(long, global = true, help_heading = GLOBAL, env = "TRUNKLINE_ALLOW_PRIVATE_NETWORK", value_parser = BoolishValueParser::new())]
    pub(crate) allow_private_network: bool,
    /// Public address of `serve`, such as https://flows.example.com, for sign-ins, webhooks and events behind a proxy
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL", env = "TRUNKLINE_PUBLIC_URL")]
    pub(crate) public_url: Option<Url>,
    /// Print results as JSON on standard output, and errors as JSON on standard error
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Show all causes of an error
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub(crate) verbose: bool,
    /// What to log on standard error, such as `info` or `trunkline_rest=debug` [default: off; for serve: warn]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILTER", env = "TRUNKLINE_LOG")]
    pub(crate) log: Option<String>,
    /// Format of the log
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FORMAT", env = "TRUNKLINE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Reads the arguments of the process. Ends the process if they are wrong, or ask for help.
    ///
    /// # Errors
    ///
    /// `config` if the variable of an argument is set and empty, and the output to report it on. Where a value is
    /// required, the message of the parser would not name the variable.
    pub(crate) fn parsed() -> Result<Arguments, (Error, Output)> {
        let parsed = Arguments::try_parse();
        match (parsed, empty_variable(&Arguments::command())) {
            (Ok(arguments), None) => Ok(arguments),
            (Ok(arguments), Some(error)) => Err((error, Output::new(arguments.json, arguments.verbose))),
            (Err(wrong), Some(error)) if wrong.use_stderr() => Err((error, Output::new(false, false))),
            (Err(wrong), _) if wrong.use_stderr() => {
                // The usage in the message of the parser has each argument that a variable sets, next to those that are
                // missing. Without the variables, it has what is required.
                match without_variables(Arguments::command()).try_get_matches() {
                    Err(clearer) if clearer.kind() == wrong.kind() => clearer.exit(),
                    _ => wrong.exit(),
                }
            }
            (Err(help), _) => help.exit(),
        }
    }
}

/// Returns the command with arguments that no variable sets.
fn without_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| argument.env(Resettable::<OsStr>::Reset)).mut_subcommands(without_variables)
}

/// Returns the error of the first variable of an argument that is set and empty.
fn empty_variable(command: &clap::Command) -> Option<Error> {
    let is_empty = |name: &&str| env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
    let names = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str());
    let empty = names.filter(is_empty).find_map(|name| environment_variable(name).err());
    empty.or_else(|| command.get_subcommands().find_map(empty_variable))
}

/// The format of log lines.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// Plain text
    Text,
    /// One JSON object a line, with run, flow, step, item and attempt in its spans
    Json,
}

/// The heading of the options that every command has.
const GLOBAL: &str = "Global options";

const SCHEMA_USAGE: &str = "\
trunkline schema [OPTIONS] connection <CONNECTOR>
       trunkline schema [OPTIONS] action <CONNECTOR.ACTION>
       trunkline schema [OPTIONS] <flow|operation|connector>";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  an error, reported on standard error
  2  a wrong command line
  3  a check found something wrong (connection check, flow validate)
  4  the run ended, but some items failed or are unknown
  5  the run failed or was cancelled
130, 143  stopped by a signal; runs in the journal can be resumed
141       the reader of the output has closed the pipe";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Demonstrate the main job: copy a Mediaflow library into MediaValet, with simulators of both on this machine
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Serve simulators of Mediaflow and MediaValet on this machine, for trials and tests
    #[cfg(feature = "demo")]
    Sandbox(Sandbox),
    /// Serve the HTTP API, the triggers of saved flows, and sign-in in the browser, until Ctrl-C or SIGTERM
    ///
    /// The API requires a token: the one in TRUNKLINE_API_TOKEN, or in the file DATA.api-token, which is created at the
    /// first start. Unfinished runs are resumed.
    Serve(Serve),
    /// List the connectors, or show the settings of one
    Connectors {
        /// A connector, such as mediavalet
        name: Option<String>,
    },
    /// List the actions of connectors
    Actions {
        /// A connector, such as mediavalet
        connector: Option<String>,
        /// Only actions with all of these words in their name, title, group or description
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
    },
    /// Show the input and the output of an action, with an example
    Action {
        /// The action, such as mediavalet.asset.upload
        #[arg(value_name = "CONNECTOR.ACTION")]
        name: String,
    },
    /// Print a JSON Schema
    #[command(override_usage = SCHEMA_USAGE)]
    Schema {
        /// What the schema describes
        what: SchemaOf,
        /// A connector for `connection`, CONNECTOR.ACTION for `action`
        name: Option<String>,
    },
    /// Add, show, check, sign in, export and remove connections
    Connection {
        #[command(subcommand)]
        command: ConnectionCommand,
    },
    /// Look after the data directory: how long runs are kept, its size, and its owner after a copy or a restore
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Change the key that encrypts secrets
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Run one action and print its output
    Call {
        /// The action, such as mediavalet.asset.get
        #[arg(value_name = "CONNECTOR.ACTION")]
        action: String,
        /// The connection to run it on
        #[arg(long, value_name = "NAME")]
        connection: String,
        /// Its input: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON", default_value = "{}")]
        input: String,
        /// Read all pages of an action that lists, and print one item a line
        #[arg(long)]
        all: bool,
    },
    /// Validate flows, and save them by name
    Flow {
        #[command(subcommand)]
        command: FlowCommand,
    },
    /// Run a flow and show its progress
    Run {
        /// The name of a saved flow, or a file; write ./NAME for a file with the name of a saved flow
        #[arg(value_name = "NAME|FILE")]
        flow: String,
        /// Input of the run: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON", default_value = "{}")]
        input: String,
        /// Bind a connection that the flow declares; not needed where only one connection fits
        #[arg(long, value_name = "BINDING=NAME", value_parser = binding)]
        connection: Vec<(String, String)>,
    },
    /// Test a step of a flow while the flow is written
    Step {
        #[command(subcommand)]
        command: StepCommand,
    },
    /// Show and reset what a flow remembers of the items of an `each` with `once`
    Once {
        #[command(subcommand)]
        command: OnceCommand,
    },
    /// List, show, watch, find, resume, rerun, resolve, signal, cancel and remove runs
    #[command(args_conflicts_with_subcommands = true)]
    Runs {
        #[command(flatten)]
        list: Box<RunListArgs>,
        #[command(subcommand)]
        command: Option<RunsCommand>,
    },
}

fn binding(text: &str) -> Result<(String, String), String> {
    let (binding, name) = text.split_once('=').ok_or("write BINDING=NAME, such as source=mediaflow")?;
    Ok((binding.to_owned(), name.to_owned()))
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 for any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8700")]
    pub(crate) listen: SocketAddr,
    /// Origin of web pages that may use the API, such as https://builder.example.com; may be given more than once
    #[arg(long, value_name = "ORIGIN", env = "TRUNKLINE_ALLOW_ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<Url>,
    /// Maximum number of runs at the same time; further runs wait. Runs that wait for a time or a signal do not count
    #[arg(long, value_name = "RUNS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) at_once: u16,
    /// Shutdown grace period for steps in flight, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) grace: u64,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SchemaOf {
    /// The settings of a connector's connections
    Connection,
    /// The input and output of an action
    Action,
    /// Flow documents
    Flow,
    /// Files of operation tables
    Operation,
    /// The connector.toml of a connector without code
    #[cfg(feature = "http")]
    Connector,
}

#[derive(Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Save a connection; its secrets are encrypted
    Add {
        /// JSON file with a connection or a list of connections, or - for standard input
        file: String,
        /// Replace a connection of the same name
        #[arg(long)]
        replace: bool,
        /// Let the file refer to secrets of this machine: {"env": "NAME"} and {"file": "path"}
        #[arg(long)]
        allow_references: bool,
    },
    /// List the connections
    List,
    /// Show a connection without its secrets
    Show {
        /// The connection
        name: String,
    },
    /// Try a connection and name the setting that is wrong
    Check {
        /// The connection
        name: String,
    },
    /// Sign in with the browser
    Authorize {
        /// The connection
        name: String,
        /// Port on 127.0.0.1 that the browser returns to; 0 for any
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Do not wait for the browser: read the address that it returned to from standard input
        #[arg(long)]
        paste: bool,
    },
    /// Print a connection for `connection add`, with references in place of its secrets
    ///
    /// References stay as they were written. Every other secret becomes {"env": "NAME_SETTING"}; standard error lists
    /// the variables to set where the connection is added.
    #[command(override_usage = "trunkline connection export [OPTIONS] <NAME|--all>")]
    Export {
        /// The connection
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All connections, as a list
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Print the addresses that a login server publishes, as settings of a connection
    Discover {
        /// The login server's issuer, which vendors also call authority: https://login.example.com
        issuer: String,
        /// Write them to this connection; its scopes stay
        #[arg(long, value_name = "NAME")]
        into: Option<String>,
    },
    /// List the changes of sign-in states: ok, refreshing, backoff, reauth_required
    Events {
        /// The connection; all if absent
        name: Option<String>,
        /// Only events after the one with this id (see --json), for polling
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: u64,
    },
    /// Remove a connection with its secrets and tokens, and revoke the tokens at its login server
    Remove {
        /// The connection
        name: String,
        /// Remove it even if an active flow or an unfinished run uses it; that run cannot continue then
        #[arg(long)]
        force: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Make a copied, moved or restored data directory the owner of its name
    ///
    /// A store notices that it is a copy, was moved or restored, or has lost its last changes, and changes nothing
    /// then. Run this when no other store with the same content is in use: both would use the same refresh tokens. What
    /// was done before is still recognized. Connections whose login server has seen a later refresh token need a new
    /// sign-in.
    Adopt,
    /// Show or set how long runs are kept after they have ended
    ///
    /// `serve` removes older runs, with everything that was recorded of them; what an `each` with `once` remembers
    /// stays. Runs with unknown outcomes are kept. A flow with a `retention` of its own decides about its runs. A new
    /// store begins with 90d. In a store of an earlier version, nothing is removed before this was set.
    Retention {
        /// An age such as 90d, or forever; without it, the setting is shown
        #[arg(value_name = "AGE")]
        retention: Option<Retention>,
    },
    /// Give the space that removed runs have left back to the disk
    ///
    /// New runs use that space again, so this is only needed if the store has to be smaller. No other process may have
    /// the data directory open. Until it is done, it needs as much space again as the store has afterwards, and as
    /// much for temporary files (SQLITE_TMPDIR says where).
    Compact,
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new key and encrypt everything with it
    ///
    /// Other processes can keep working. If it is interrupted, run it again to continue. The old key is removed from the
    /// key file when nothing is encrypted with it any more. If the key is in TRUNKLINE_KEY, put the new one in
    /// TRUNKLINE_NEW_KEY.
    Rotate,
}

#[derive(Subcommand)]
pub(crate) enum FlowCommand {
    /// Check a flow and list everything that is wrong
    Validate {
        /// File of the flow, or - for standard input
        file: String,
        /// Also check it against the scopes granted to the connection of this binding
        #[arg(long, value_name = "BINDING=NAME", value_parser = binding)]
        connection: Vec<(String, String)>,
    },
    /// List what each step of a flow yields to the steps after it; with --json, as JSON Schema
    Outputs {
        /// File of the flow, or - for standard input
        file: String,
    },
    /// Show the steps of a flow as a tree; with --json, as nodes, edges and groups
    Graph {
        /// A saved flow, or the file of a flow
        #[arg(value_name = "NAME|FILE")]
        flow: String,
    },
    /// List the filters of expressions, with examples
    Filters,
    /// Save a flow under its name, with its connections
    Add {
        /// File of the flow, or - for standard input
        file: String,
        /// Bind a connection that the flow declares; the flow gets no other connection
        #[arg(long, value_name = "BINDING=NAME", value_parser = binding)]
        connection: Vec<(String, String)>,
        /// Default input of every run: a JSON object, @FILE, or - for standard input
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// Let its trigger start runs; without this, only a trigger that replaces an active one does
        #[arg(long)]
        activate: bool,
        /// Save it without activating its trigger, also in place of an active one, and also without connections
        #[arg(long, conflicts_with = "activate")]
        inactive: bool,
        /// Replace the flow of this name; options that are not given keep their values
        #[arg(long)]
        replace: bool,
    },
    /// List the saved flows
    List,
    /// Show a saved flow
    Show(FlowArgument),
    /// Show the trigger of a flow: when it starts runs next, and what it has started
    Trigger {
        /// The flow
        name: String,
        /// The most due times of a schedule to list; 5 without it
        #[arg(long, value_name = "NUMBER")]
        limit: Option<usize>,
        /// Show the latest deliveries instead, newest first
        #[arg(long, conflicts_with = "limit")]
        deliveries: bool,
    },
    /// Let a flow's trigger start runs
    Activate(FlowArgument),
    /// Stop a flow's trigger from starting runs; running runs continue
    Deactivate(FlowArgument),
    /// Give a flow's webhook a new address; the previous one stops working
    Address(FlowArgument),
    /// Save the secret that the sender of a flow's webhook signs with
    Secret {
        /// The flow
        name: String,
        /// File with the secret, or - for standard input
        file: String,
    },
    /// Remove a flow and the deduplication keys of its trigger; its runs stay
    Remove(FlowArgument),
}

#[derive(Subcommand)]
pub(crate) enum OnceCommand {
    /// List the items that are remembered across runs, with the run that has done each of them
    Show {
        /// The name of the flow, or its file
        #[arg(value_name = "NAME|FILE")]
        flow: String,
        /// Only items with these keys
        #[arg(value_name = "KEY", allow_negative_numbers = true)]
        keys: Vec<String>,
    },
    /// Forget items that are done, so that the next run processes them again
    ///
    /// It is refused while a run of the flow is active. Items with an unknown outcome stay: they could be done twice.
    Reset {
        /// The name of the flow, or its file
        #[arg(value_name = "NAME|FILE")]
        flow: String,
        /// The keys of the items
        #[arg(value_name = "KEY", required_unless_present = "all", allow_negative_numbers = true)]
        keys: Vec<String>,
        /// All items of the flow
        #[arg(long, conflicts_with = "keys")]
        all: bool,
    },
}

#[derive(Args)]
pub(crate) struct FlowArgument {
    /// The flow
    pub(crate) name: String,
}
