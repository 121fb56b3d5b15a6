//! `runs tail`, `runs timeline`, `runs log`: what happens in a run, wherever it is worked on, where its time went, and what
//! its actions were called with.

use std::process::ExitCode;

use serde_json::json;
use trunkline::{
    Runtime,
    core::{Result, Timestamp, redact},
    engine::{DurationStats, ListProgress, LogEntry, RunEventView, RunId, StepTime, Timeline},
    redacted,
};

use super::{
    output::{Output, exit, plain, table, time},
    runs::exit_code,
};

/// Tells what was and then what comes, a line an event, until the run is over.
pub(crate) async fn tail(runtime: &Runtime, id: &RunId, after: u64, output: &Output) -> Result<ExitCode> {
    let mut watch = runtime.engine().watch(id, after).await?;
    let mut last = None;
    while let Some(happened) = watch.next().await? {
        last = happened.at.or(last);
        match output.is_json() {
            true => output.line(&redacted(&happened)),
            false => output.text(&redact(&plain(&line(&happened, last)))),
        }
    }
    Ok(exit_code(watch.status()))
}

/// An event for a person. Events without a time of their own have that of the one before.
fn line(happened: &RunEventView, at: Option<Timestamp>) -> String {
    let mut line = at.map_or_else(|| " ".repeat(20), |at| time(at) + "Z");
    line += &happened.step.as_ref().map(|step| format!("  {step}")).unwrap_or_default();
    line += &happened.item.as_ref().map(|item| format!(" [{item}]")).unwrap_or_default();
    if let Some(attempt) = happened.attempt.filter(|attempt| *attempt > 1) {
        line += &format!(", try {attempt}");
    }
    line += "  ";
    line += &what(happened);
    for warning in &happened.warnings {
        line += &format!("; warning: {warning}");
    }
    line.replace('\n', " ")
}

fn what(happened: &RunEventView) -> String {
    let until = happened.until.map(|until| format!(" until {}Z", time(until))).unwrap_or_default();
    let message = happened.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let took = happened.took.map(span);
    let status = happened.status.as_deref().unwrap_or_default();
    match happened.event.as_str() {
        "started" => format!("started{message}"),
        "resumed" => "is taken up again".to_owned(),
        "step_started" => "begins".to_owned(),
        "checkpoint" => "has noted how far it is".to_owned(),
        "step_finished" if happened.step.is_none() => "has its output".to_owned(),
        "step_finished" => took.map_or_else(|| "done".to_owned(), |took| format!("done in {took}")),
        "step_failed" => took.map_or_else(|| "failed".to_owned(), |took| format!("failed after {took}")) + &message,
        "step_retried" => format!("waits for its next try{until}"),
        "deadline_set" => format!("has time{until}"),
        "wait_began" => match &happened.message {
            Some(signal) => format!("waits for the signal {signal}{until} at most"),
            None => format!("waits{until}"),
        },
        "signalled" => format!("was sent the signal{message}"),
        "listed" => format!("knows of {} items", happened.items.unwrap_or_default()),
        "page_finished" => "is through with a page".to_owned(),
        "item_finished" => format!("{status}{message}"),
        "batch_finished" => "is through with a batch".to_owned(),
        "cancel_requested" => "is told to stop".to_owned(),
        "finished" => format!("the run is over: {status}{message}"),
        other => format!("{}{message}", other.replace('_', " ")),
    }
}

/// How far a list is.
pub(crate) fn far(progress: &ListProgress) -> String {
    let ListProgress { listed, complete, ended, per_second, left } = progress;
    let (more, at_least) = if *complete { ("", "") } else { (" so far", "at least ") };
    let mut text = format!("{ended} of {listed} items{more}");
    if let Some(rate) = per_second {
        text += &format!(" | {rate:.1} a second");
    }
    match left {
        Some(left) => text + &format!(" | {at_least}{} left", span(*left)),
        None => text,
    }
}

/// Milliseconds as a person says them.
pub(crate) fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{:.1} s", milliseconds as f64 / 1e3),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Shows where a run's time went.
pub(crate) async fn timeline(runtime: &Runtime, id: &RunId, output: &Output) -> Result<ExitCode> {
    let timeline = runtime.engine().timeline(id).await?;
    output.show(&redacted(&timeline), || redact(&told(&timeline)).into_owned());
    Ok(exit::DONE.into())
}

fn told(timeline: &Timeline) -> String {
    let when = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), time);
    let all = timeline
        .began
        .zip(timeline.ended)
        .map(|(began, ended)| span(ended.as_millis().saturating_sub(began.as_millis())));
    let mut text = format!("run {}: {}", timeline.run, timeline.status.as_str());
    if let Some(all) = all {
        text += &format!(", in {all}");
    }
    let row = |step: &StepTime| {
        let took = match step.began.zip(step.ended) {
            _ if step.done + step.failed > 1 || step.tries > 1 => spread(&step.took),
            Some((began, ended)) => span(ended.as_millis().saturating_sub(began.as_millis())),
            None => String::new(),
        };
        let counts = [step.tries, step.done, step.failed].map(|count| count.to_string());
        [plain(&step.step), when(step.began), when(step.ended), took].into_iter().chain(counts).collect()
    };
    let heading = ["Step", "Began (UTC)", "Last (UTC)", "Took", "Tries", "Done", "Failed"];
    text += &format!("\n\n{}\n", table(&heading, timeline.steps.iter().map(row)));
    for (step, items) in timeline.steps.iter().filter_map(|step| Some((&step.step, step.items.as_ref()?))) {
        let counts: Vec<_> = items.count.iter().map(|(status, count)| format!("{count} {status}")).collect();
        text += &format!("\n{step}: {}", counts.join(", "));
        if items.took.median.is_some() {
            text += &format!("; an item took {}", spread(&items.took));
        }
        for (key, took) in &items.slowest {
            text += &format!("\n  {:>12}  {}", span(*took), plain(key));
        }
        text += "\n";
    }
    text
}

/// The fastest, the median and the slowest.
fn spread(took: &DurationStats) -> String {
    let [fastest, median, slowest] =
        [took.fastest, took.median, took.slowest].map(|took| took.map_or_else(|| "-".to_owned(), span));
    format!("{fastest} / {median} / {slowest}")
}

/// Shows the process log, of one step if that is wanted; with `--json` a line a call.
pub(crate) async fn log(runtime: &Runtime, id: &RunId, step: Option<&str>, output: &Output) -> Result<ExitCode> {
    let wanted = |entry: &LogEntry| {
        let id = entry.step.rsplit('/').next();
        step.is_none_or(|step| entry.step == step || entry.path.as_str() == step || id == Some(step))
    };
    let (mut last, mut shown) = (0, 0);
    loop {
        let page = runtime.engine().log(id, last).await?;
        if last == 0 && page.dropped > 0 {
            let dropped = page.dropped;
            output.note(&json!({ "dropped": dropped }), || format!("{dropped} older calls are gone: the log was full"));
        }
        let Some((end, _)) = page.entries.last() else { break };
        last = *end;
        for (number, entry) in page.entries.iter().filter(|(_, entry)| wanted(entry)) {
            shown += 1;
            let mut told = redacted(entry);
            told["number"] = (*number).into();
            match output.is_json() {
                true => output.line(&told),
                false => output.text(&redact(&plain(&call(entry)))),
            }
        }
    }
    if shown == 0 {
        output.say("no calls are logged; a flow's `log` says which are: all, failures, none");
    }
    Ok(exit::DONE.into())
}

/// A call for a person.
fn call(entry: &LogEntry) -> String {
    let LogEntry { step, item, attempt, action, connection, .. } = entry;
    let item = item.as_ref().map(|item| format!(" [{item}]")).unwrap_or_default();
    let mut text =
        format!("{}Z  {step}{item}, try {attempt}: {action} on {connection}, {}", time(entry.at), span(entry.took));
    let parts = [("input", Some(&entry.input)), ("output", entry.output.as_ref()), ("error", entry.error.as_ref())];
    for (name, value) in parts.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let value = serde_json::to_string_pretty(value).unwrap_or_default();
        text += &format!("\n  {name}: {}", value.replace('\n', "\n  "));
    }
    text + "\n"
}
