//! What can be seen of runs. All of it is read from the journal, so it does not matter which process works on a run.

use futures::{FutureExt, StreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Effect, Error, ErrorKind, Result, RunId, Timestamp, async_trait};
use trunkline_engine::{
    FoundItem, FoundPlace, Item, LOG_PAGE, LogEntry, RunEvent, RunEventView, RunFilter, RunPlace, RunStatus, Timeline,
    Watch,
};

use super::{
    Caller, Listed, OutputStream, PageQuery, PageRequest, Role, StreamOperation, listed::ItemPlace, operation_table,
    runs::RunName,
};
use crate::{ListedRun, Redacted, RunView, Runtime};

operation_table! {
    /// Lists the runs, newest first.
    ListRuns: "runs.list", list(RunQuery) -> Listed<ListedRun>, Viewer, Read;
    /// Returns the status of a run, and the outcomes of its items.
    GetRun: "runs.get", get(RunName) -> RunView, Viewer, Read;
    /// Lists the outcomes of a run's items, by step and key.
    ListItems: "runs.items", items(ItemQuery) -> Redacted<Listed<Item>>, Viewer, Read;
    /// Finds the items of all runs that have a key, a label, or an id of what they have become, newest first.
    FindItems: "runs.find", find(ItemSearch) -> Redacted<Listed<FoundItem>>, Viewer, Read;
    /// Says where the time of a run went, by step.
    GetTimeline: "runs.timeline", timeline(RunName) -> Redacted<Timeline>, Viewer, Read;
    /// Lists the logged calls of a run with their inputs and results, oldest first.
    ReadRunLog: "runs.log", log(LogQuery) -> Redacted<Listed<NumberedCall>>, Viewer, Read;
}

/// Which runs to list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunQuery {
    /// Only runs of this flow.
    #[serde(default)]
    pub flow: Option<String>,
    /// Only runs with this status.
    #[serde(default)]
    pub status: Option<RunStatus>,
    /// Only runs that were started at this time or later: a time such as 2026-11-30T08:00:00Z, or an age such as `90d`.
    #[serde(default)]
    pub since: Option<String>,
    /// Only runs that were started before this time, written as `since`.
    #[serde(default)]
    pub until: Option<String>,
    /// Only runs that this kind of trigger has started: `schedule`, `webhook`, `poll` or `event`.
    #[serde(default)]
    pub trigger: Option<RunTrigger>,
    /// Only runs whose id, flow, kind of error (such as `rate_limited`) or message of error contains this text, in upper or
    /// lower case.
    #[serde(default)]
    pub search: Option<String>,
    /// The most runs to return, 1 to 500; without it, 50.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// The kind of trigger that has started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunTrigger {
    /// A schedule.
    Schedule,
    /// A call of a webhook.
    Webhook,
    /// New items of a list.
    Poll,
    /// An event of a service.
    Event,
}

/// The longest text that is searched for, in characters.
const LONGEST_SEARCH: usize = 100;

/// Which runs a [`RunQuery`] chooses, and which page of them.
pub(super) struct RunSelection {
    pub(super) filter: RunFilter,
    pub(super) page: PageRequest<RunPlace>,
}

impl RunQuery {
    /// Returns what the query chooses at this time.
    ///
    /// # Errors
    ///
    /// `invalid_input` if one of its members is not what it has to be.
    pub(super) fn selection(self, now: Timestamp) -> Result<RunSelection> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, message);
        let RunQuery { flow, status, since, until, trigger, search, limit, cursor } = self;
        let page = PageRequest::read("runs.list", limit, cursor.as_deref())?;
        let search = search.map(|text| text.trim().to_owned());
        let length = search.as_ref().map(|text| text.chars().count());
        if let Some(length) = length.filter(|length| !(1..=LONGEST_SEARCH).contains(length)) {
            let message = format!("`search` has {length} characters, and has to have between 1 and {LONGEST_SEARCH}");
            return Err(
                invalid(message).hint("give a part of a run's id, of its flow, or of the kind or message of its error")
            );
        }
        let time = |name: &str, text: Option<String>| {
            let read = |text: String| {
                let age = |text: &str| trunkline_flow::age(text).ok().map(|length| now - length);
                text.parse().ok().or_else(|| age(&text)).ok_or_else(|| {
                    let message = format!("`{name}` is neither a time nor an age: {text}");
                    invalid(message).hint("write it like 2026-11-30T08:00:00Z, 90d or 2h")
                })
            };
            text.map(read).transpose()
        };
        let (since, until) = (time("since", since)?, time("until", until)?);
        let trigger = trigger.and_then(|trigger| serde_json::to_value(trigger).ok()?.as_str().map(str::to_owned));
        let filter = RunFilter { flow, status, since, until, trigger, search, ..RunFilter::default() };
        Ok(RunSelection { filter, page })
    }
}

/// A page can have fewer runs than its limit although there is a next one: a search looks at some thousand runs at a
/// time.
async fn list(runtime: &Runtime, input: RunQuery) -> Result<Listed<ListedRun>> {
    let RunSelection { filter, page: request } = input.selection(runtime.now())?;
    let page = runtime.journal().run_page(&filter, request.after.as_ref(), request.limit).await?;
    let mut items = Vec::new();
    for run in page.runs {
        let state = runtime.engine().state_of(&run.id, run.status).await?;
        items.push(ListedRun { run, state });
    }
    Ok(Listed { damaged: page.damaged, ..request.ending_at(items, page.next) })
}

async fn get(runtime: &Runtime, input: RunName) -> Result<RunView> {
    let run = runtime.find_run(&input.run).await?;
    let run = runtime.engine().run(&run).await?;
    learn_secrets(runtime, run.connections.values()).await;
    let state = runtime.engine().state_of(&run.id, run.status).await?;
    let quota = match state {
        Some(_) => runtime.engine().quota_of(&run.id).await?,
        None => None,
    };
    Ok(RunView::new(run, state, quota.as_ref(), runtime.now(), runtime.redactor()))
}

/// Teaches the redactor the secrets of connections. A process that has only read the journal does not know them.
pub(super) async fn learn_secrets(runtime: &Runtime, names: impl Iterator<Item = &String>) {
    for name in names {
        // A connection that is gone, or that does not work, has nothing to teach.
        let _ = runtime.connect(name).await;
    }
}

/// Teaches the redactor the secrets of the connections of a run. Its first events say which they are; the run as a whole is
/// not read.
pub(super) async fn learn_secrets_of(runtime: &Runtime, run: &RunId) -> Result<()> {
    let (_, events) = runtime.journal().events(run, 0).await?;
    for (_, event) in events {
        if let RunEvent::Started { connections, .. } = event {
            learn_secrets(runtime, connections.values()).await;
        }
    }
    Ok(())
}
/// The statuses of items.
const STATUSES: [&str; 4] = ["done", "skipped", "failed", "unknown"];

/// Which items of a run to list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemQuery {
    /// The run. Its first digits are enough.
    pub run: String,
    /// Only items with this status: `done`, `skipped`, `failed` or `unknown`.
    #[serde(default)]
    pub status: Option<String>,
    /// Only items of this `each` step, by its path. `*` stands for any enclosing item.
    #[serde(default)]
    pub step: Option<String>,
    /// The most items to return, 1 to 500; without it, 50.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<String>,
}

async fn items(runtime: &Runtime, input: ItemQuery) -> Result<Redacted<Listed<Item>>> {
    let ItemQuery { run, status, step, limit, cursor } = input;
    let run = runtime.find_run(&run).await?;
    let request = PageRequest::<ItemPlace<_>>::read(format!("runs.items {run}"), limit, cursor.as_deref())?;
    if let Some(status) = status.as_ref().filter(|status| !STATUSES.contains(&status.as_str())) {
        let message = format!("items are done, skipped, failed or unknown, not {status}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    learn_secrets_of(runtime, &run).await?;
    let read = |after, most| runtime.journal().items(&run, status.as_deref(), after, most);
    let place = |item: &Item| (item.step.clone(), item.key.clone());
    let after = match request.after.clone() {
        Some(after) => Some(after.find(place, |after| read(after, PageQuery::MOST)).await?),
        None => None,
    };
    let found = read(after, request.limit + 1).await?;
    let mut page = request.page(found, |item| ItemPlace::new(place(item), runtime.redactor()));
    if let Some(step) = step {
        page.items.retain(|item| item.step.is_like(&step));
    }
    Ok(Redacted::new(page, runtime.redactor()))
}

/// What to look for in the items of all runs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemSearch {
    /// The key of an item, its label, or an id of what it has become.
    pub key: String,
    /// Also find keys, labels and ids that only begin like this.
    #[serde(default)]
    pub prefix: bool,
    /// The most items to return, 1 to 500; without it, 50.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<String>,
}

async fn find(runtime: &Runtime, input: ItemSearch) -> Result<Redacted<Listed<FoundItem>>> {
    let ItemSearch { key, prefix, limit, cursor } = input;
    let request = PageRequest::<ItemPlace<FoundPlace>>::read("runs.find", limit, cursor.as_deref())?;
    if key.is_empty() {
        let error = Error::new(ErrorKind::InvalidInput, "an empty text finds no items");
        return Err(error.hint("give the key of an item, its label, or an id of what it has become"));
    }
    let mut keys = key_forms(vec![key]);
    if prefix {
        // The quoted form goes on, too.
        keys[0].pop();
    }
    let (keys, journal) = (&keys, runtime.journal());
    let page = |after: Option<FoundPlace>| {
        let read = async move { journal.find_items(keys, prefix, after.as_ref(), PageQuery::MOST).await };
        read.boxed()
    };
    let after = match request.after.clone() {
        Some(after) => Some(after.find(FoundItem::place, page).await?),
        None => None,
    };
    let found = journal.find_items(keys, prefix, after.as_ref(), request.limit + 1).await?;
    let known = runtime.connections().connections().await?;
    learn_secrets(runtime, known.iter().map(|one| &one.name)).await;
    let page = request.page(found, |item| ItemPlace::new(item.place(), runtime.redactor()));
    Ok(Redacted::new(page, runtime.redactor()))
}

/// Returns each key as a person writes it, and as a text that looks like another kind of key is recorded: in quotes.
pub(super) fn key_forms(keys: Vec<String>) -> Vec<String> {
    keys.into_iter().flat_map(|key| [Value::from(key.as_str()).to_string(), key]).collect()
}

async fn timeline(runtime: &Runtime, input: RunName) -> Result<Redacted<Timeline>> {
    let run = runtime.find_run(&input.run).await?;
    Ok(Redacted::new(runtime.engine().timeline(&run).await?, runtime.redactor()))
}

/// A run, and where to continue to read it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPosition {
    /// The run. Its first digits are enough.
    pub run: String,
    /// Only what comes after the one with this number; 0 for all.
    #[serde(default)]
    pub after: u64,
}

/// Which logged calls of a run to list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// The run. Its first digits are enough.
    pub run: String,
    /// The most calls to return, 1 to 500; without it, 50.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A logged call, with its number in the log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NumberedCall {
    /// The call.
    #[serde(flatten)]
    pub call: LogEntry,
    /// Its number, from 1. If that of the first call is greater, older calls were dropped because the log was full.
    pub number: u64,
}

async fn log(runtime: &Runtime, input: LogQuery) -> Result<Redacted<Listed<NumberedCall>>> {
    let LogQuery { run, limit, cursor } = input;
    let run = runtime.find_run(&run).await?;
    let request = PageRequest::<u64>::read(format!("runs.log {run}"), limit, cursor.as_deref())?;
    let mut found = runtime.engine().log(&run, request.after.unwrap_or_default()).await?.entries;
    // A page of the journal may be smaller than the limit.
    let has_more = found.len() > request.limit || found.len() == LOG_PAGE;
    found.truncate(request.limit);
    let last = found.last().filter(|_| has_more).map(|(number, _)| *number);
    let calls = found.into_iter().map(|(number, call)| NumberedCall { call, number }).collect();
    Ok(Redacted::new(request.ending_at(calls, last), runtime.redactor()))
}

/// `runs.events`
pub struct WatchRun;

#[async_trait]
impl StreamOperation for WatchRun {
    type Input = RunPosition;
    type Item = Redacted<RunEventView>;
    const NAME: &'static str = "runs.events";
    const ABOUT: &'static str = "Streams the events of a run, past ones first, until the run ends.";
    const ROLE: Role = Role::Viewer;
    const EFFECT: Effect = Effect::Read;

    /// If there is an event already, or if there will be none because the run has ended, the first poll of the stream
    /// returns it.
    async fn open(runtime: &Runtime, _: &Caller, input: RunPosition) -> Result<OutputStream<Redacted<RunEventView>>> {
        let run = runtime.find_run(&input.run).await?;
        let mut watch = runtime.engine().watch(&run, input.after).await?;
        let first = watch.now().await?;
        if first.is_none() && watch.status() != RunStatus::Running {
            return Ok(stream::empty().boxed());
        }
        let rest = stream::unfold(Some(watch), async |watch: Option<Watch>| {
            let mut watch = watch?;
            match watch.next().await.transpose()? {
                Ok(event) => Some((Ok(event), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let redactor = runtime.redactor().clone();
        let redacted = move |event: Result<RunEventView>| event.map(|event| Redacted::new(event, &redactor));
        Ok(stream::iter(first.map(Ok)).chain(rest).map(redacted).boxed())
    }
}
