//! Graphs: flows, and runs of them, as a client draws them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{Result, Timestamp};
use trunkline_engine::{Run, RunStatus, StepTime};
use trunkline_flow::FlowGraph;

use super::{FlowFile, flows::FlowName, operation_table, runs::RunName};
use crate::Runtime;

operation_table! {
    /// Returns a flow as nodes, edges and groups, as far as it can be read.
    GraphFlow: "flows.graph", graph(FlowFile) -> FlowGraph, Viewer, Read;
    /// Returns a saved flow as nodes, edges and groups.
    GetGraph: "flows.get_graph", get_graph(FlowName) -> FlowGraph, Viewer, Read;
    /// Returns the flow of a run as nodes, edges and groups, with the state of each step.
    GraphRun: "runs.graph", graph_run(RunName) -> RunGraph, Viewer, Read;
}

async fn graph(runtime: &Runtime, input: FlowFile) -> Result<FlowGraph> {
    Ok(input.draft()?.0.graph(runtime.registry()))
}

async fn get_graph(runtime: &Runtime, input: FlowName) -> Result<FlowGraph> {
    Ok(runtime.saved_flow(&input.name).await?.1.graph(runtime.registry()))
}

/// The graph of a run: that of the version of the flow that it is pinned to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RunGraph {
    /// The run.
    pub run: String,
    /// The status of the run.
    pub status: RunStatus,
    /// The flow.
    #[serde(flatten)]
    pub graph: FlowGraph,
    /// The states of the steps, by the pointers of their nodes.
    pub states: BTreeMap<String, NodeState>,
}

/// What a step of a run has done. For a step inside the items of a list, all items are taken together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct NodeState {
    /// The state.
    pub is: NodeProgress,
    /// The number of its calls that succeeded.
    pub done: u64,
    /// The number of its calls that failed after all attempts.
    pub failed: u64,
    /// The number of items by status, if the step is an `each`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub items: BTreeMap<String, u64>,
}

/// The state of a step of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeProgress {
    /// Nothing is recorded of it: the run has not reached it, or it records nothing, as `set` and `if` do.
    #[default]
    None,
    /// It waits for a time, for a signal, or for its next try.
    Waiting,
    /// It has begun, and the run has not ended.
    Active,
    /// Some of its calls or items failed, or their outcome is unknown.
    Failed,
    /// It is done.
    Done,
}

async fn graph_run(runtime: &Runtime, input: RunName) -> Result<RunGraph> {
    let engine = runtime.engine();
    let run = engine.run(&runtime.find_run(&input.run).await?).await?;
    let flow = engine.flow_of(&run).await?;
    let (graph, timeline) = (flow.graph(runtime.registry()), engine.timeline(&run.id).await?);
    let times: BTreeMap<_, _> = timeline.steps.iter().map(|time| (time.step.as_str(), time)).collect();
    let waiting: Vec<_> = run.waiting.keys().map(|path| flow.position(path).step).collect();
    let state = |step: &str| {
        let time = times.get(step).copied();
        let mut state = time.map_or_else(NodeState::default, |time| state_of(&run, time, runtime.now()));
        if waiting.iter().any(|path| path == step) {
            state.is = NodeProgress::Waiting;
        }
        state
    };
    let states = graph.nodes.iter().map(|node| (node.pointer.clone(), state(&node.step))).collect();
    Ok(RunGraph { run: run.id.as_str().to_owned(), status: run.status, graph, states })
}

fn state_of(run: &Run, time: &StepTime, now: Timestamp) -> NodeState {
    let items = time.items.iter().flat_map(|items| &items.count);
    let items: BTreeMap<_, _> = items.map(|(status, count)| ((*status).to_owned(), *count)).collect();
    let ended = time.done + time.failed;
    let lists = run.progress(now);
    let is_open =
        lists.iter().any(|(each, list)| each.as_str() == time.step && !(list.complete && list.ended == list.listed));
    let is = match () {
        () if time.failed > 0 || items.contains_key("failed") || items.contains_key("unknown") => NodeProgress::Failed,
        () if run.status == RunStatus::Running && (is_open || (ended == 0 && items.is_empty())) => NodeProgress::Active,
        () => NodeProgress::Done,
    };
    NodeState { is, done: time.done, failed: time.failed, items }
}
