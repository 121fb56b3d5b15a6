//! `flow graph` and `step test`: what a person needs while a flow is written.

use std::process::ExitCode;

use serde_json::Value;
use trunkline::{
    Runtime,
    core::{Error, ErrorKind, ForeignText, Result},
    engine::LogEntry,
    flow::{FlowGraph, GraphGroup, GraphNode, ListRole},
    operations::{
        Caller, FlowChoice,
        expressions::PinnedValues,
        flows::FlowName,
        graphs::{GetGraph, GraphFlow},
        steps::{StepTest, TestStep},
    },
};

use crate::{
    args::StepCommand,
    input::json as json_argument,
    next_step::worded,
    output::{Output, exit},
    runs::chosen,
    sibling_flows::read_flow,
};

/// Prints a flow as a tree of its steps.
pub(crate) async fn graph(runtime: &Runtime, flow: &str, output: &Output) -> Result<ExitCode> {
    let graph = match chosen(runtime, flow).await?.0 {
        FlowChoice::Saved(name) => runtime.execute::<GetGraph>(&Caller::owner(), FlowName { name }).await?,
        FlowChoice::File(file) => runtime.execute::<GraphFlow>(&Caller::owner(), file).await?,
    };
    output.show(&graph, || {
        let mut text = format!("{}\n", ForeignText(&graph.flow));
        for group in graph.groups.iter().filter(|group| group.within.is_none()) {
            if group.pointer == "/on_failure" {
                text += "on failure:\n";
            }
            add_group(&graph, group, 1, &mut text);
        }
        text
    });
    Ok(exit::DONE.into())
}

/// Adds a line for each step of a group, and those of the groups inside it.
fn add_group(graph: &FlowGraph, group: &GraphGroup, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    for node in graph.nodes.iter().filter(|node| node.group == group.pointer) {
        *text += &format!("{indent}{}\n", line(node));
        for inner in graph.groups.iter().filter(|inner| inner.of.as_ref() == Some(&node.pointer)) {
            let heading = match inner.role {
                Some(ListRole::Then) => "then:".to_owned(),
                Some(ListRole::Else) => "else:".to_owned(),
                Some(ListRole::OnError) => "on error:".to_owned(),
                Some(ListRole::Branch) => format!("{}:", ForeignText(inner.name.as_deref().unwrap_or_default())),
                Some(ListRole::Item) | None => {
                    add_group(graph, inner, depth + 1, text);
                    continue;
                }
            };
            *text += &format!("{indent}  {heading}\n");
            add_group(graph, inner, depth + 2, text);
        }
    }
}

fn line(node: &GraphNode) -> String {
    let id = node.step.rsplit('/').next().unwrap_or_default();
    let mut text = format!("{}: {}", ForeignText(id), node.kind);
    let what = node.action.as_deref().or(node.title.as_deref());
    text.extend(what.map(|what| format!(" {}", ForeignText(what))));
    text.extend(node.connection.as_deref().map(|connection| format!(" on {}", ForeignText(connection))));
    text.extend(node.ends.as_deref().map(|ends| format!(", then {ends}")));
    text.extend(node.tries.map(|tries| format!(", up to {tries} tries")));
    text + if node.continues { ", continues after an error" } else { "" }
}

/// Runs a `step` command.
pub(crate) async fn step(runtime: &Runtime, command: StepCommand, output: &Output) -> Result<ExitCode> {
    let StepCommand::Test { file, step, context, run, keys, connection, confirmed } = command;
    let given = json_argument(&context, "--context", output)?;
    let given: PinnedValues = serde_json::from_value(given).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("--context does not fit: {error}"))
            .hint("give an object such as {\"input\": {}, \"steps\": {\"find\": {\"id\": 7}}, \"item\": {}}")
    })?;
    let context =
        PinnedValues { run: run.or(given.run), keys: if keys.is_empty() { given.keys } else { keys }, ..given };
    let request =
        StepTest { flow: read_flow(&file)?, step, context, connections: connection.into_iter().collect(), confirmed };
    let tested = runtime.execute::<TestStep>(&Caller::owner(), request).await?;
    output.show(&worded(&tested), || {
        tested.text(|tested| {
            let mut parts = Vec::new();
            parts.extend(tested.input.as_ref().map(|input| format!("Input: {}", pretty(input))));
            parts.extend(tested.tried.calls.iter().map(call));
            parts.extend(tested.tried.warnings.iter().map(|warning| format!("Warning: {}", ForeignText(warning))));
            parts.extend(tested.tried.skipped.as_ref().map(|reason| format!("Skipped: {}", ForeignText(reason))));
            parts.extend(
                tested.tried.error.as_ref().map(|error| format!("Failed: {}", ForeignText(&error.to_string()))),
            );
            parts.extend(tested.tried.output.as_ref().map(|output| format!("Output: {}", pretty(output))));
            parts.join("\n")
        })
    });
    Ok(if tested.get().tried.error.is_some() { exit::FAILED } else { exit::DONE }.into())
}

fn call(entry: &LogEntry) -> String {
    let end = if entry.error.is_some() { "failed" } else { "done" };
    format!("Called {} on {}: {end} in {} ms", ForeignText(&entry.action), ForeignText(&entry.connection), entry.took)
}

fn pretty(value: &Value) -> String {
    ForeignText(&serde_json::to_string_pretty(value).unwrap_or_default()).json()
}
