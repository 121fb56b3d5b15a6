//! What can be written on the command line, and the help for it.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use trunkline::rest::Url;

/// Runs flows between systems: connectors, connections, durable runs.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Where connections and runs are kept [default: ~/.local/share/trunkline]
    #[arg(long, global = true, value_name = "DIR", env = "TRUNKLINE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// File with the key that encrypts secrets; made at first use [default: ~/.config/trunkline/key]. The key itself
    /// may also stand in TRUNKLINE_KEY
    #[arg(long, global = true, value_name = "FILE", env = "TRUNKLINE_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Folder of connectors that need no compiler: in each of its folders a connector.toml and operations/*.toml
    #[arg(long, global = true, value_name = "DIR", env = "TRUNKLINE_CONNECTORS")]
    pub(crate) connectors: Option<PathBuf>,
    /// Answer as JSON on standard output, errors as JSON on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to log on standard error, such as `info` or `trunkline_rest=debug` [default: off; for serve: warn]
    #[arg(long, global = true, value_name = "FILTER", env = "TRUNKLINE_LOG")]
    pub(crate) log: Option<String>,
    /// How to log
    #[arg(long, global = true, value_name = "FORMAT", env = "TRUNKLINE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How lines of the log are written.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// A line of JSON each, with run, flow, step, item and attempt in its spans
    Json,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  an error, told on standard error
  2  the command line was not understood
  3  a check found faults (connection check, flow validate)
  4  the run ended, but some items failed or are unknown
  5  the run failed or was cancelled
130, 143  stopped from outside; what is in the journal can be resumed";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the main job: copy a Mediaflow library into MediaValet, with look-alikes of both on this machine
    Demo(Demo),
    /// Serve look-alikes of Mediaflow and MediaValet on this machine, to try and to test against
    Sandbox(Sandbox),
    /// Serve sign-ins in the browser, runs and the triggers of kept flows, until Ctrl-C or SIGTERM
    ///
    /// The API wants a token: that of TRUNKLINE_API_TOKEN, or of the file DATA.api-token, which is made at the first start.
    /// Runs that were left at work are taken up.
    Serve(Serve),
    /// List the connectors, or show what one needs
    Connectors {
        /// A connector, such as mediavalet
        name: Option<String>,
    },
    /// List what connectors can do
    Actions {
        /// A connector, such as mediavalet
        connector: Option<String>,
        /// Only those with all of these words in their name, title, group or description
        #[arg(long, value_name = "WORDS")]
        search: Option<String>,
    },
    /// Show what an action takes and gives, with an example
    Action {
        /// The action, such as mediavalet.asset.upload
        #[arg(value_name = "CONNECTOR.ACTION")]
        name: String,
    },
    /// Print a JSON Schema
    Schema {
        /// Of what
        what: SchemaOf,
        /// Of which: a connector for `connection`, CONNECTOR.RESOURCE.VERB for `action`
        name: Option<String>,
    },
    /// Make, look at, check, sign in, export and remove connections
    Connection {
        #[command(subcommand)]
        command: ConnectionCommand,
    },
    /// Change the key that encrypts secrets
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Run one action and print what it yields
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
        /// Go through all pages of an action that lists, and print an item a line
        #[arg(long)]
        all: bool,
    },
    /// Check flows, and keep them by name
    Flow {
        #[command(subcommand)]
        command: FlowCommand,
    },
    /// Run a flow and watch it
    Run {
        /// A kept flow's name, or a flow's file; write ./NAME for a file that is named as a kept flow
        #[arg(value_name = "NAME|FILE")]
        flow: String,
        /// The run's input: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON", default_value = "{}")]
        input: String,
        /// Which connection fills which slot; a slot that only one connection fits needs none
        #[arg(long, value_name = "SLOT=NAME", value_parser = slot)]
        connection: Vec<(String, String)>,
    },
    /// List runs, look at one and its items, watch it, resume it, go over what failed, settle what nobody knows, signal, cancel
    Runs {
        #[command(subcommand)]
        command: Option<RunsCommand>,
    },
}

fn slot(text: &str) -> Result<(String, String), String> {
    let (slot, name) = text.split_once('=').ok_or("write SLOT=NAME, such as source=mediaflow")?;
    Ok((slot.to_owned(), name.to_owned()))
}

#[derive(Args)]
pub(crate) struct Demo {
    /// How many files the Mediaflow look-alike holds
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) files: u64,
    /// Share of the look-alikes' answers to spoil with 429, 503, cut connections and lost answers: 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) faults: f64,
}

#[derive(Args)]
pub(crate) struct Sandbox {
    /// Port to listen on, on 127.0.0.1; 0 for any
    #[arg(long, default_value_t = 4600)]
    pub(crate) port: u16,
    /// How many files the Mediaflow look-alike holds
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) files: u64,
    /// Share of answers to spoil: 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) faults: f64,
    /// How long tokens are good for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) token_lifetime: u64,
    /// Folder to keep the look-alikes' state in, so that it outlives the process
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Folder to write ready-made connection files to
    #[arg(long, value_name = "DIR")]
    pub(crate) connections: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 for any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8700")]
    pub(crate) listen: SocketAddr,
    /// What it is called from outside, such as https://flows.example.com: for sign-ins and webhooks through a proxy
    #[arg(long, value_name = "URL", env = "TRUNKLINE_PUBLIC_URL")]
    pub(crate) public_url: Option<Url>,
    /// How many runs work at the same time; others wait. Runs that wait for a time or a signal do not count
    #[arg(long, value_name = "RUNS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) at_once: u16,
    /// How long steps in flight may go on when it is told to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) grace: u64,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum SchemaOf {
    /// A connector's connection documents
    Connection,
    /// An action's input and output
    Action,
    /// Flow documents
    Flow,
    /// Files of operation tables
    Operation,
    /// The connector.toml of a connector of a folder
    Connector,
}

#[derive(Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Keep a connection; its secrets are encrypted at once
    Add {
        /// JSON file with the settings, or with a list of such, or - for standard input
        file: String,
        /// Replace a connection of the same name
        #[arg(long)]
        replace: bool,
    },
    /// List the connections
    List,
    /// Show a connection without its secrets
    Show {
        /// The connection
        name: String,
    },
    /// Try a connection and say which setting is wrong
    Check {
        /// The connection
        name: String,
    },
    /// Sign in with the browser
    Authorize {
        /// The connection
        name: String,
        /// Port on 127.0.0.1 for the browser to come back to; 0 for any
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Do not wait for the browser: read the address it came back to from standard input
        #[arg(long)]
        paste: bool,
    },
    /// Print a connection for `connection add`, with references in place of its secrets
    ///
    /// References stay as they were written. What was written out becomes {"env": "NAME_SETTING"}; standard error says
    /// which of these variables have to be provided where the connection is added.
    Export {
        /// The connection
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All connections, as a list
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Ask a login server for its addresses, as settings of a connection
    Discover {
        /// The login server's own address, as the vendor calls its issuer or authority: https://login.example.com
        issuer: String,
        /// Put them into this connection; its scopes stay
        #[arg(long, value_name = "NAME")]
        into: Option<String>,
        /// Ask also where the address lies in a private network or on this machine
        #[arg(long)]
        allow_private_network: bool,
    },
    /// Show how sign-ins have changed: ok, refreshing, backoff, reauth_required
    Events {
        /// The connection; all if absent
        name: Option<String>,
        /// Only what came after the event with this id (see --json), for those who ask again and again
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: u64,
    },
    /// Forget a connection, its secrets and its tokens, and take the tokens back at its login server
    Remove {
        /// The connection
        name: String,
        /// Even if an active flow uses it, or a run that is not over needs it: that one cannot go on then
        #[arg(long)]
        force: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new key and seal everything with it
    ///
    /// Other processes may go on working meanwhile. Interrupted at whatever moment, it goes on when it is run again. The
    /// old key leaves the key file when nothing is sealed with it any more. If the key is given in TRUNKLINE_KEY, give
    /// the new one in TRUNKLINE_NEW_KEY.
    Rotate,
}

#[derive(Subcommand)]
pub(crate) enum FlowCommand {
    /// Find everything that is wrong with a flow
    Validate {
        /// The flow's file, or - for standard input
        file: String,
        /// Hold it against what the connection in a slot was granted, too
        #[arg(long, value_name = "SLOT=NAME", value_parser = slot)]
        connection: Vec<(String, String)>,
    },
    /// List the filters of expressions, each with examples
    Filters,
    /// Keep a flow under its name, with its connections
    Add {
        /// The flow's file, or - for standard input
        file: String,
        /// Which connection fills which slot; a slot that only one connection fits needs none
        #[arg(long, value_name = "SLOT=NAME", value_parser = slot)]
        connection: Vec<(String, String)>,
        /// What every run gets beside what it is started with: a JSON object, @FILE, or - for standard input
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// Do not let its trigger start runs
        #[arg(long)]
        inactive: bool,
        /// Replace the flow of this name; what is not said anew stays
        #[arg(long)]
        replace: bool,
    },
    /// List the kept flows
    List,
    /// Show a kept flow
    Show {
        /// The flow
        name: String,
    },
    /// Let a flow's trigger start runs
    Activate {
        /// The flow
        name: String,
    },
    /// Let a flow's trigger start no more runs; those at work go on
    Deactivate {
        /// The flow
        name: String,
    },
    /// Give a flow's webhook another address; the one before ends
    Address {
        /// The flow
        name: String,
    },
    /// Keep the secret that the sender of a flow's webhook signs with
    Secret {
        /// The flow
        name: String,
        /// The file it is in, or - for standard input
        file: String,
    },
    /// Forget a flow and what its trigger has seen; its runs stay
    Remove {
        /// The flow
        name: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs, newest first
    List,
    /// Show how a run stands, and what became of its items
    Show {
        /// The run; the first digits will do
        id: String,
    },
    /// Tell what happens in a run, a line an event, in whatever process it is worked on: what was, and then what comes
    ///
    /// Ends when the run is over, with the exit code of `run`, or with Ctrl-C; the run goes on. With --json, each line is an
    /// event as JSON; what steps yielded is not among it.
    Tail {
        /// The run; the first digits will do
        id: String,
        /// Only what came after the event of this number (`seq`)
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
    /// Show where a run's time went: by steps, and for lists the fastest, the median and the slowest item
    Timeline {
        /// The run; the first digits will do
        id: String,
    },
    /// Show what actions were called with in a run and what came of it, without secrets: failed calls, or what the flow's
    /// `log` says
    Log {
        /// The run; the first digits will do
        id: String,
        /// Only calls of this step: its id, its path in the flow (files/*/asset) or in the run (files/4711/asset)
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
    },
    /// Take up a run that was stopped by a crash or an error
    Resume {
        /// The run; the first digits will do
        id: String,
    },
    /// Send a run a signal that one of its steps waits for, or will wait for, in whatever process it is worked on
    Signal {
        /// The run; the first digits will do
        id: String,
        /// The signal's name, as the flow's `wait` step has it
        name: String,
        /// What comes with it, for the steps after the wait: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON", default_value = "null")]
        payload: String,
    },
    /// List what became of a run's items: step, key, status, reason, time
    ///
    /// Written page by page, however many there are; with --json an item a line.
    Items {
        /// The run; the first digits will do
        id: String,
        /// Only those that ended like this
        #[arg(long)]
        status: Option<ItemStatus>,
        /// Only those of this `each` step, by its path in `runs show`; * stands for any item around it
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
        /// As CSV (RFC 4180), for spreadsheets: a cell that a spreadsheet would take for a formula begins with a quote
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Rerun the failed items of a run, and only those, as a new run
    ///
    /// The new run has the input and the connections of the old one, and is pinned to its versions of the flow or to the
    /// corrected ones of --flow. A step that created or deleted something in the old run is not called again as long as it
    /// has the same path and calls the same action; everything else, such as lists and reads, runs again. An item that is no
    /// longer in its list is reported as failed. A run can be rerun once; after that, rerun the newer run. A run that an
    /// error stopped continues with `runs resume`, or here with a corrected flow.
    Rerun {
        #[command(flatten)]
        rerun: Rerun,
        /// Rerun the failed items; this is required, so that the command says what it does
        #[arg(long, required = true)]
        failed: bool,
    },
    /// The former name of `runs rerun --failed`
    #[command(hide = true)]
    Retry(Rerun),
    /// Resolve a step whose outcome is unknown: say whether it took effect
    ///
    /// A run that was stopped by the unknown outcome continues with `runs resume`. An item of a run that has ended gets
    /// the new outcome.
    Resolve(Resolve),
    /// The former name of `runs resolve`
    #[command(hide = true)]
    Settle(Resolve),
    /// Stop a run, in whatever process it is worked on
    Cancel {
        /// The run; the first digits will do
        id: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ItemStatus {
    Done,
    Skipped,
    Failed,
    Unknown,
}

/// Which run is rerun, and with what.
#[derive(Args)]
pub(crate) struct Rerun {
    /// The run; its first digits are enough
    pub(crate) id: String,
    /// A corrected flow of the same name: the name of a saved flow, or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) flow: Option<String>,
    /// Rerun the unknown items too: each is looked up first where the action supports it, and stays unknown otherwise
    #[arg(long)]
    pub(crate) unknown: bool,
}

/// Which step is resolved, and as what.
#[derive(Args)]
pub(crate) struct Resolve {
    /// The run; its first digits are enough
    pub(crate) id: String,
    /// The path of the step or of its item, such as files/4711/asset: `runs items ID --status unknown` names it
    pub(crate) step: String,
    /// The outcome
    pub(crate) verdict: ResolveAs,
    /// With `done`: the output of the step, for the steps after it: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON", default_value = "null")]
    pub(crate) output: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ResolveAs {
    /// It took effect
    Done,
    /// It did not take effect: it is tried again
    Retry,
    /// It counts as failed and is not tried again
    Fail,
}
