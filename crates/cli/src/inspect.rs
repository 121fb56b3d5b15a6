//! `runs tail`, `runs timeline` and `runs log`: the events of a run, its durations by step, and its calls with their
//! inputs and results. All three read the journal, so it does not matter which process works on the run.

use std::process::ExitCode;

use futures::TryStreamExt;
use serde::Serialize;
use trunkline::{
    Redacted, Runtime, WatchedEvent,
    core::{ForeignText, Result, Timestamp},
    engine::{DurationStats, LogEntry, RunEventView, StepTime, Timeline},
    operations::{
        Caller, Listed, PageQuery,
        event_watch::{WatchAllRuns, WatchQuery},
        run_queries::{GetRun, GetTimeline, LogQuery, ReadRunLog, RunPosition, WatchRun},
        runs::RunName,
    },
};

use crate::{
    output::{Output, exit, exit_code, table, time},
    run_text::duration,
};

/// Prints the events of a run after number `after`, past ones first, one a line, until the run ends.
pub(crate) async fn tail(runtime: &Runtime, run: String, after: u64, output: &Output) -> Result<ExitCode> {
    let owner = Caller::owner();
    let mut events = runtime.stream::<WatchRun>(&owner, RunPosition { run: run.clone(), after }).await?;
    let mut last = None;
    while let Some(event) = events.try_next().await? {
        last = event.get().at.or(last);
        output.line(&event, || event.text(|event| ForeignText(&event_line(event, last)).to_string()))?;
    }
    let ended = runtime.execute::<GetRun>(&owner, RunName { run }).await?;
    Ok(exit_code(ended.run.status))
}

/// Prints the events of all runs, or of those of a flow, one a line, from now on until the command is stopped.
pub(crate) async fn tail_all(runtime: &Runtime, flow: Option<String>, output: &Output) -> Result<ExitCode> {
    let query = WatchQuery { flow, after: None };
    let mut events = runtime.stream::<WatchAllRuns>(&Caller::owner(), query).await?;
    while let Some(event) = events.try_next().await? {
        output.line(&event, || ForeignText(&watched_line(&event)).to_string())?;
    }
    Ok(exit::DONE.into())
}

/// Formats an event of any run, or the change of a sign-in, as one line.
fn watched_line(event: &WatchedEvent) -> String {
    let event = serde_json::to_value(event).unwrap_or_default();
    let shown = ["at", "run", "flow", "connection", "step", "item", "event", "state", "status", "message", "reason"];
    let words: Vec<_> = shown.iter().filter_map(|name| event[name].as_str()).collect();
    match event["of"].as_str() {
        Some("missed") => "events are missing here; `trunkline runs list` shows what has happened".to_owned(),
        Some("start") => "watching all runs until Ctrl-C".to_owned(),
        _ => words.join("  "),
    }
}

/// Formats an event as one line. `at` is its time, or that of the previous event if it has none.
fn event_line(event: &RunEventView, at: Option<Timestamp>) -> String {
    let mut line = at.map_or_else(|| " ".repeat(20), |at| time(at) + "Z");
    line += &event.step.as_ref().map(|step| format!("  {step}")).unwrap_or_default();
    line += &event.item.as_ref().map(|item| format!(" [{item}]")).unwrap_or_default();
    if let Some(attempt) = event.attempt.filter(|attempt| *attempt > 1) {
        line += &format!(", attempt {attempt}");
    }
    line += "  ";
    line += &event_text(event);
    for warning in &event.warnings {
        line += &format!("; warning: {warning}");
    }
    line
}

/// Formats what happened, without the time and the step.
fn event_text(event: &RunEventView) -> String {
    let until = event.until.map(|until| format!(" until {}Z", time(until))).unwrap_or_default();
    let message = event.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let took = event.took.map(duration);
    let status = event.status.as_deref().unwrap_or_default();
    match event.event.as_str() {
        "started" => format!("started{message}"),
        "resumed" => "resumed".to_owned(),
        "step_started" => "started".to_owned(),
        "checkpoint" => "saved a checkpoint".to_owned(),
        "step_finished" if event.step.is_none() => "output recorded".to_owned(),
        "step_finished" => took.map_or_else(|| "done".to_owned(), |took| format!("done in {took}")),
        "step_failed" => took.map_or_else(|| "failed".to_owned(), |took| format!("failed after {took}")) + &message,
        "step_retried" => format!("waits for the next attempt{until}"),
        "deadline_set" => format!("deadline set:{until}"),
        "wait_began" => match &event.message {
            Some(signal) => format!("waits for the signal {signal}{until} at most"),
            None => format!("waits{until}"),
        },
        "signalled" => format!("received the signal{message}"),
        "listed" if event.items == Some(0) => "listed 0 items: nothing to do".to_owned(),
        "listed" => format!("listed {} items", event.items.unwrap_or_default()),
        "page_finished" => "finished a page".to_owned(),
        "item_finished" => format!("{status}{message}"),
        "batch_finished" => "finished a batch".to_owned(),
        "cancel_requested" => "cancellation requested".to_owned(),
        "finished" => format!("the run ended: {status}{message}"),
        "state" => state_text(status, event.message.as_deref(), &until),
        other => format!("{}{message}", other.replace('_', " ")),
    }
}

/// Formats what a run does.
fn state_text(state: &str, message: Option<&str>, until: &str) -> String {
    match (state, message) {
        ("running", _) => "goes on".to_owned(),
        ("throttled", Some(connection)) => format!("throttled{until} by the service of {connection}"),
        ("queued", Some(run)) => format!("queued behind run {run}"),
        ("left", _) => "left: its process has ended; `trunkline runs resume` continues it".to_owned(),
        _ => format!("{state}{until}"),
    }
}

/// Shows where the time of a run went.
pub(crate) async fn timeline(runtime: &Runtime, run: String, output: &Output) -> Result<ExitCode> {
    let timeline = runtime.execute::<GetTimeline>(&Caller::owner(), RunName { run }).await?;
    output.show(&timeline, || timeline.text(timeline_text));
    Ok(exit::DONE.into())
}

fn timeline_text(timeline: &Timeline) -> String {
    let when = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), time);
    let total = timeline
        .began
        .zip(timeline.ended)
        .map(|(began, ended)| duration(ended.as_millis().saturating_sub(began.as_millis())));
    let mut text = format!("run {}: {}", timeline.run, timeline.status.as_str());
    if let Some(total) = total {
        text += &format!(", in {total}");
    }
    let row = |step: &StepTime| {
        let took = match step.began.zip(step.ended) {
            _ if step.done + step.failed > 1 || step.tries > 1 => spread(&step.took),
            Some((began, ended)) => duration(ended.as_millis().saturating_sub(began.as_millis())),
            None => String::new(),
        };
        let counts = [step.tries, step.done, step.failed].map(|count| count.to_string());
        [step.step.clone(), when(step.began), when(step.ended), took].into_iter().chain(counts).collect()
    };
    let heading = ["Step", "Started (UTC)", "Last (UTC)", "Took", "Attempts", "Done", "Failed"];
    text += &format!("\n\n{}\n", table(&heading, timeline.steps.iter().map(row)));
    for (step, items) in timeline.steps.iter().filter_map(|step| Some((&step.step, step.items.as_ref()?))) {
        let counts: Vec<_> = items.count.iter().map(|(status, count)| format!("{count} {status}")).collect();
        text += &format!("\n{}: {}", ForeignText(step), counts.join(", "));
        if items.took.median.is_some() {
            text += &format!("; an item took {}", spread(&items.took));
        }
        for (key, took) in &items.slowest {
            text += &format!("\n  {:>12}  {}", duration(*took), ForeignText(key));
        }
        text += "\n";
    }
    text
}

/// Formats the fastest, the median and the slowest duration.
fn spread(took: &DurationStats) -> String {
    let [fastest, median, slowest] =
        [took.fastest, took.median, took.slowest].map(|took| took.map_or_else(|| "-".to_owned(), duration));
    format!("{fastest} / {median} / {slowest}")
}

/// The number of calls that are no longer in the log.
#[derive(Serialize)]
struct DroppedCalls {
    dropped: u64,
}

/// Shows the logged calls of a run, or those of one `step`; with `--json`, one a line.
pub(crate) async fn log(runtime: &Runtime, run: String, step: Option<&str>, output: &Output) -> Result<ExitCode> {
    let wanted = |entry: &LogEntry| {
        let id = entry.step.rsplit('/').next();
        step.is_none_or(|step| entry.step == step || entry.path.as_str() == step || id == Some(step))
    };
    let (mut cursor, mut is_first, mut shown) = (None, true, 0);
    loop {
        let query = LogQuery { run: run.clone(), limit: Some(PageQuery::MOST), cursor };
        let page = runtime.execute::<ReadRunLog>(&Caller::owner(), query).await?;
        let Listed { items, next, .. } = page.get();
        let dropped = items.first().map_or(0, |first| first.number - 1);
        if std::mem::take(&mut is_first) && dropped > 0 {
            output.note(&DroppedCalls { dropped }, || format!("{dropped} older calls were dropped: the log was full"));
        }
        for call in items.iter().filter(|one| wanted(&one.call)) {
            shown += 1;
            let call = Redacted::new(call, runtime.redactor());
            output.line(&call, || call.text(|one| call_text(&one.call)))?;
        }
        cursor = next.clone();
        if cursor.is_none() {
            break;
        }
    }
    if shown == 0 {
        output.info("no calls are logged; `log` in the flow sets which are: all, failures, none");
    }
    Ok(exit::DONE.into())
}

/// Formats a logged call.
fn call_text(entry: &LogEntry) -> String {
    let LogEntry { step, item, attempt, action, connection, .. } = entry;
    let item = item.as_ref().map(|item| format!(" [{item}]")).unwrap_or_default();
    let mut text = format!(
        "{}Z  {}{}, attempt {attempt}: {} on {}, {}",
        time(entry.at),
        ForeignText(step),
        ForeignText(&item),
        ForeignText(action),
        ForeignText(connection),
        duration(entry.took)
    );
    let parts = [("input", Some(&entry.input)), ("output", entry.output.as_ref()), ("error", entry.error.as_ref())];
    for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let value = serde_json::to_string_pretty(value).unwrap_or_default();
        text += &format!("\n  {name}: {}", value.replace('\n', "\n  "));
    }
    text + "\n"
}
