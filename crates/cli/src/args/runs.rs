//! The commands below `runs`, and their arguments.

use clap::{Args, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;
use trunkline::{
    engine::RunStatus,
    operations::{
        bulk_runs::{BulkRequest, BulkVerb},
        run_queries::{RunQuery, RunTrigger},
    },
};

#[derive(Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs, newest first
    ///
    /// A run that has not ended is shown as running, waiting, throttled (by a service, until the time that is shown),
    /// queued, or left (its process has ended, and `runs resume` continues it). `runs show` says why.
    List(Box<RunListArgs>),
    /// Show the status of a run, and the outcomes of its items
    Show(RunArgument),
    /// Follow the events of a run, one a line, from its start and in whichever process it runs
    ///
    /// Ends with the run, with the exit code of `run`. Ctrl-C ends the command, not the run. With --json, each line is an
    /// event as JSON, without the outputs of steps. Without a run, the events of all runs and the changes of sign-ins follow,
    /// from now on.
    Tail {
        /// The run; its first digits are enough
        id: Option<String>,
        /// Only events after the one with this number (`seq`)
        #[arg(long, value_name = "SEQ", default_value_t = 0, requires = "id")]
        after: u64,
        /// Of all runs, only those of this flow
        #[arg(long, value_name = "NAME", conflicts_with = "id")]
        flow: Option<String>,
    },
    /// Show where the time of a run went: by step, and for lists the fastest, the median and the slowest item
    Timeline(RunArgument),
    /// Show the steps of a run in the order of its flow, with what each did; or what one step got and returned
    Steps {
        /// The run; its first digits are enough
        id: String,
        /// The path of one step: in the run (files/4711/asset), or in the flow (files/*/asset)
        #[arg(long, value_name = "PATH")]
        step: Option<String>,
        /// The key of the item in place of * in the path; of several, the outermost first, separated by /
        #[arg(long, value_name = "KEY", requires = "step")]
        item: Option<String>,
    },
    /// Print the flow that a run is pinned to
    Flow(RunArgument),
    /// Show the calls of a run with their inputs and results, without secrets: the failed calls, or those that the flow's
    /// `log` asks for
    Log {
        /// The run; its first digits are enough
        id: String,
        /// Only calls of this step: its id, its path in the flow (files/*/asset) or in the run (files/4711/asset)
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
    },
    /// Resume a run that a crash or an error stopped
    Resume(RunArgument),
    /// Send a signal to a run, for a step that waits for it now or later
    Signal {
        /// The run; its first digits are enough
        id: String,
        /// Name of the signal in the flow's `wait` step
        name: String,
        /// Output of the `wait` step: JSON, @FILE, or - for standard input
        #[arg(long, value_name = "JSON", default_value = "null")]
        payload: String,
    },
    /// List the outcomes of a run's items: step, key, status, reason, time
    ///
    /// Printed page by page, for any number of items. With --json, one item a line.
    Items {
        /// The run; its first digits are enough
        id: String,
        /// Only items with this status
        #[arg(long, value_parser = ["done", "skipped", "failed", "unknown"])]
        status: Option<String>,
        /// Only items of this `each` step, by its path in `runs show`; * stands for any enclosing item
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
        /// As CSV (RFC 4180). A cell that a spreadsheet would read as a formula starts with a quote
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// Find items of all runs, such as the asset that a file has become
    ///
    /// Shows the newest 500 items with this key, this label, or this id in their `result`.
    Find {
        /// The key of an item, its label, or an id of what it has become
        #[arg(allow_negative_numbers = true)]
        key: String,
        /// Also find what only begins like this
        #[arg(long)]
        prefix: bool,
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
        rerun: RerunArgs,
        /// Rerun the failed items; this is required, so that the command says what it does
        #[arg(long, required = true)]
        failed: bool,
    },
    /// The former name of `runs rerun --failed`
    #[command(hide = true)]
    Retry(RerunArgs),
    /// Resolve a step whose outcome is unknown: say whether it took effect
    ///
    /// A run that was stopped by the unknown outcome continues with `runs resume`. An item of a run that has ended gets
    /// the new outcome.
    Resolve(ResolveArgs),
    /// The former name of `runs resolve`
    #[command(hide = true)]
    Settle(ResolveArgs),
    /// Cancel runs, in whichever process they run
    Cancel(Box<BulkArgs>),
    /// Remove ended runs, with everything that was recorded of them
    ///
    /// What an `each` with `once` remembers stays. A run that has not ended, that has unknown outcomes, or that a rerun
    /// needs, is not removed.
    Remove(Box<BulkArgs>),
    /// Remove the runs that ended before a time, as `runs remove` does
    ///
    /// Runs that have not ended, that have unknown outcomes, or that a rerun needs, are kept.
    Prune {
        /// Remove runs that ended longer ago than this, such as 90d
        #[arg(long, value_name = "AGE")]
        older: String,
        /// Only runs of this flow
        #[arg(long, value_name = "NAME")]
        flow: Option<String>,
        /// Only runs with this status
        #[arg(long, value_parser = named::<RunStatus>, value_name = "STATUS")]
        status: Option<RunStatus>,
    },
}

/// Which runs to list.
#[derive(Args)]
pub(crate) struct RunListArgs {
    /// Only runs of this flow
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// Only runs with this status: running, succeeded, partial, failed or cancelled
    #[arg(long, value_parser = named::<RunStatus>, value_name = "STATUS")]
    status: Option<RunStatus>,
    /// Only runs that were started at this time or later: 2026-11-30T08:00:00Z, or an age such as 90d or 2h
    #[arg(long, value_name = "TIME|AGE")]
    since: Option<String>,
    /// Only runs that were started before this time
    #[arg(long, value_name = "TIME|AGE")]
    until: Option<String>,
    /// Only runs that this kind of trigger has started: schedule, webhook or poll
    #[arg(long, value_parser = named::<RunTrigger>, value_name = "TRIGGER")]
    trigger: Option<RunTrigger>,
    /// Only runs whose id, flow, or kind (such as rate_limited) or message of error contains this text
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// The most runs to list, 1 to 500; 50 without it
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// Go on behind a page: the `next` of that page
    #[arg(long, value_name = "NEXT")]
    cursor: Option<String>,
}

/// Which runs a verb is for.
#[derive(Args)]
pub(crate) struct BulkArgs {
    /// The runs; the first digits of each are enough
    #[arg(
        value_name = "ID",
        required_unless_present_any = ["flow", "status", "since", "until", "trigger", "search"],
        conflicts_with_all = ["flow", "status", "since", "until", "trigger", "search", "limit", "cursor"]
    )]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    filter: RunListArgs,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl BulkArgs {
    /// Returns the request of this verb.
    pub(crate) fn request(self, verb: BulkVerb) -> BulkRequest {
        let BulkArgs { ids, filter, dry_run } = self;
        let filter = ids.is_empty().then(|| filter.into());
        BulkRequest { verb, filter, ids, dry_run }
    }
}

impl From<RunListArgs> for RunQuery {
    fn from(arguments: RunListArgs) -> RunQuery {
        let RunListArgs { flow, status, since, until, trigger, search, limit, cursor } = arguments;
        RunQuery { flow, status, since, until, trigger, search, limit, cursor }
    }
}

/// Reads one of the names of a type in JSON.
fn named<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}

#[derive(Args)]
pub(crate) struct RunArgument {
    /// The run; its first digits are enough
    pub(crate) id: String,
}

/// Which run is rerun, and with what.
#[derive(Args)]
pub(crate) struct RerunArgs {
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
pub(crate) struct ResolveArgs {
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
    /// The step took effect
    Done,
    /// The step did not take effect, and is tried again
    Retry,
    /// The step counts as failed, and is not tried again
    Fail,
}
