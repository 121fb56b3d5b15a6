//! The graph of a flow: its steps as nodes, the order in which they run as edges, and its lists of steps as groups. A
//! client draws it without knowing the language.

use schemars::JsonSchema;
use serde::Serialize;
use trunkline_core::{ActionSpec, Effect, Registry};

use crate::{
    document::{flow::Flow, step_position::path_of},
    steps::step::{BoundAction, ListRole, OnError, Step, StepKind},
};

/// A flow as nodes, edges and groups, each in the order of the document. An edge leads from an earlier to a later node.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FlowGraph {
    /// The name of the flow.
    pub flow: String,
    /// The kind of its trigger: `schedule`, `poll`, `webhook` or `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The steps, each once.
    pub nodes: Vec<GraphNode>,
    /// The order of the steps.
    pub edges: Vec<GraphEdge>,
    /// The lists of steps. Each step is in one of them.
    pub groups: Vec<GraphGroup>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GraphNode {
    /// The JSON pointer of the step in the document, by which edges and groups name it.
    pub pointer: String,
    /// The path of the step in the flow, with `*` in place of keys, as runs name it.
    pub step: String,
    /// The pointer of the group that it is in.
    pub group: String,
    /// What the step does, as the member of its document says it: `action`, `each`, `if`, `parallel`, `call`, `set`,
    /// `wait`, `skip` or `fail`.
    pub kind: String,
    /// The title of the action that it calls, or the name of the flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The action that it calls or lists, such as `mediavalet.asset.get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The effect of that action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The connection binding that it calls the action on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// `skip` or `fail`, if an `if` ends the item or the run where its condition is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// How often it is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// Whether the steps after it run although it has failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

/// One step runs after another.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GraphEdge {
    /// The pointer of the earlier step.
    pub from: String,
    /// The pointer of the later step.
    pub to: String,
    /// When the edge leads into or past a list of the earlier step, what the list is to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<ListRole>,
    /// The name of the branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A list of steps.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GraphGroup {
    /// The JSON pointer of the list in the document: `/steps`, `/on_failure`, or a list inside a step.
    pub pointer: String,
    /// What the list is to its step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<ListRole>,
    /// The name of the branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The pointer of the step that has the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The pointer of the group around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// The pointers of its steps.
    pub steps: Vec<String>,
}

impl Flow {
    /// Returns the graph of the flow. Called flows are not part of it: each has a graph of its own. `registry` has the
    /// titles of actions.
    pub fn graph(&self, registry: &Registry) -> FlowGraph {
        let graph = FlowGraph {
            flow: self.name().to_owned(),
            trigger: self.trigger().map(|trigger| trigger.kind().to_owned()),
            nodes: Vec::new(),
            edges: Vec::new(),
            groups: Vec::new(),
        };
        let mut builder = Builder { flow: self, registry, graph };
        let whole = |pointer: &str| GraphGroup {
            pointer: pointer.to_owned(),
            role: None,
            name: None,
            of: None,
            within: None,
            steps: Vec::new(),
        };
        builder.list(self.steps(), whole("/steps"), "", Vec::new());
        if !self.on_failure().is_empty() {
            builder.list(self.on_failure(), whole("/on_failure"), "~flow", Vec::new());
        }
        builder.graph
    }
}

/// The start of an edge whose end is not known yet.
struct Open {
    from: String,
    role: Option<ListRole>,
    name: Option<String>,
}

struct Builder<'a> {
    flow: &'a Flow,
    registry: &'a Registry,
    graph: FlowGraph,
}

impl Builder<'_> {
    /// Adds a list of steps at this path, which these edges lead into. Returns the edges that lead out of it.
    fn list(&mut self, steps: &[Step], mut group: GraphGroup, path: &str, mut open: Vec<Open>) -> Vec<Open> {
        group.steps = steps.iter().map(|step| step.pointer.clone()).collect();
        let pointer = group.pointer.clone();
        self.graph.groups.push(group);
        for step in steps {
            let to = |Open { from, role, name }| GraphEdge { from, to: step.pointer.clone(), role, name };
            self.graph.edges.extend(open.into_iter().map(to));
            open = self.step(step, &pointer, path);
        }
        open
    }

    fn step(&mut self, step: &Step, group: &str, outer: &str) -> Vec<Open> {
        let path = path_of(step, outer);
        let node = self.node(step, group, &path);
        self.graph.nodes.push(node);
        let next = Open { from: step.pointer.clone(), role: None, name: None };
        let mut out = match &step.kind {
            StepKind::Skip(_) | StepKind::Fail(_) | StepKind::If { .. } => Vec::new(),
            StepKind::Parallel(branches) if !branches.is_empty() => Vec::new(),
            _ => vec![next],
        };
        for list in step.inner().into_iter().filter(|list| !list.is_part_of(step)) {
            let name = list.name.map(str::to_owned);
            let into = Open { from: step.pointer.clone(), role: Some(list.role), name: name.clone() };
            let group = GraphGroup {
                pointer: list.pointer(&step.pointer),
                role: Some(list.role),
                name,
                of: Some(step.pointer.clone()),
                within: Some(group.to_owned()),
                steps: Vec::new(),
            };
            // An empty branch is passed by.
            let ends = match list.steps.is_empty() {
                true => vec![into],
                false => self.list(list.steps, group, &list.path(outer, &path), vec![into]),
            };
            // The steps after an `each` run when all of its items have ended.
            if list.role != ListRole::Item {
                out.extend(ends);
            }
        }
        out
    }

    fn node(&self, step: &Step, group: &str, path: &str) -> GraphNode {
        let call = step.kind.action();
        let spec = call.and_then(|call| self.spec(call));
        let called = match &step.kind {
            StepKind::Call(sub) => Some(sub.called.flow.clone()),
            _ => None,
        };
        let short = step.inner().into_iter().find(|list| list.is_part_of(step));
        let ends = short.and_then(|list| list.steps.first()).map(|end| match end.kind {
            StepKind::Skip(_) => "skip".to_owned(),
            _ => "fail".to_owned(),
        });
        GraphNode {
            pointer: step.pointer.clone(),
            step: path.to_owned(),
            group: group.to_owned(),
            kind: step.kind.name().to_owned(),
            title: spec.map(|spec| spec.title.clone()).or(called),
            action: call.map(|call| self.flow.name_of(call)),
            effect: spec.map(|spec| spec.effect),
            connection: call.map(|call| call.binding.clone()),
            ends,
            tries: step.policy.retry.map(|retry| retry.tries),
            continues: matches!(step.policy.on_error, OnError::Continue),
        }
    }

    fn spec(&self, call: &BoundAction) -> Option<&ActionSpec> {
        let connector = self.flow.connections().get(&call.binding)?;
        self.registry.connector(connector).ok()?.action_spec(&call.action).ok()
    }
}
