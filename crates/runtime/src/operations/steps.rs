//! The test of one step of a flow that is being written, on real connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Connected, Diagnostic, Effect, Error, ErrorKind, Result, pointer_part};
use trunkline_engine::{StepTrial, TriedStep, shown_input};
use trunkline_flow::{BoundAction, Flow, ListRole, Over, Step, StepKind, Template, Wait};

use super::{
    FlowFile,
    expressions::{PinnedValues, no_step},
    operation_table,
};
use crate::{Redacted, Runtime};

operation_table! {
    /// Tests one step of a flow on real connections, as a run would execute it, and records no run.
    // The strongest effect that a step has. One that creates or deletes is tested only if that is confirmed.
    TestStep: "steps.test", test(StepTest) -> Redacted<StepTested>, Editor, Create;
}

/// The longest time of a test.
const TEST_TIME: Duration = Duration::from_secs(60);

#[cfg(test)]
tokio::task_local! {
    /// Set in the sabotage twins of tests: everything counts as confirmed.
    pub(crate) static CONFIRMED: ();
}

/// A step to test.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepTest {
    /// The flow. Faults in its other steps do not matter.
    pub flow: FlowFile,
    /// The step: its id, its path as the graph of the flow has it, or its JSON pointer in the document.
    pub step: String,
    /// The values that its expressions see: outputs of earlier steps, given or taken from a run.
    #[serde(default)]
    pub context: PinnedValues,
    /// Connections by the name that the flow declares. One that is missing is bound to the only connection of its
    /// connector.
    #[serde(default)]
    pub connections: BTreeMap<String, String>,
    /// Whether the step may create or delete something. Without it, such a step is refused, and the error has the input
    /// that would be sent.
    #[serde(default)]
    pub confirmed: bool,
}

/// The result of a test.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StepTested {
    /// What the expressions of the step yield: the input of its action or flow, its condition, its list or its values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What the step did.
    #[serde(flatten)]
    pub tried: TriedStep,
}

async fn test(runtime: &Runtime, input: StepTest) -> Result<Redacted<StepTested>> {
    let StepTest { flow: file, step: named, context, connections, confirmed } = input;
    let (flow, found) = file.examined(runtime, &connections).await?;
    let (step, _) = flow.find_step(&named).ok_or_else(|| no_step(&named))?;
    let what = format!("the step {}", step.id);
    let bindings = runtime.all_bindings(&flow, connections).await?;
    let bindings = connected(runtime, &flow, step, bindings, found).await?;
    let scope = context.scope(runtime, Some((&flow, &step.id)), None, None).await?;
    let evaluated = template_of(step).map(|template| template.evaluate(&scope)).transpose();
    let evaluated = evaluated.map_err(|found| {
        let error = Diagnostic::into_error(&what, &found);
        error.unwrap_or_else(|| Error::new(ErrorKind::Config, format!("{what} cannot be evaluated")))
    })?;
    let shown = evaluated.as_ref().map(|input| shown(step, &bindings, input, runtime));
    let strongest = strongest(runtime, &flow, step, evaluated.as_ref());
    check_confirmed(confirmed, step, &strongest, shown.as_ref())?;
    let (step, keys) = (step.id.to_string(), context.keys);
    let trial = StepTrial { flow, step, keys, scope, bindings, timeout: TEST_TIME };
    let engine = runtime.engine().clone();
    let trial = async move { engine.try_step(trial).await };
    let tried = match strongest.effect {
        // It ends with its caller.
        Effect::Read => trial.await?,
        // It is completed even if its caller goes away.
        _ => tokio::spawn(trial).await.map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the test of {what} did not end")).source(error)
        })??,
    };
    Ok(Redacted::new(StepTested { input: shown, tried }, runtime.redactor()))
}

/// Returns the connections of a flow, if nothing is wrong with the step and with those that it uses. `found` is what is
/// wrong with the flow.
async fn connected(
    runtime: &Runtime,
    flow: &Flow,
    step: &Step,
    bindings: BTreeMap<String, String>,
    found: Vec<Diagnostic>,
) -> Result<BTreeMap<String, Connected>> {
    let (used, calls) = used_bindings(flow, step);
    let missing = runtime.binding_faults(flow, &bindings, true, None).await?;
    let is_used =
        |one: &Diagnostic| used.iter().any(|used| one.pointer == format!("/connections/{}", pointer_part(used)));
    // Findings on called flows have no pointer into this one.
    let is_of_step = |one: &Diagnostic| {
        let rest = one.pointer.strip_prefix(&step.pointer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) || (calls && one.pointer.is_empty())
    };
    let found: Vec<_> = found.into_iter().filter(is_of_step).chain(missing.into_iter().filter(is_used)).collect();
    Diagnostic::accept(&format!("the step {}", step.id), &found)?;
    let mut connected = BTreeMap::new();
    for (binding, name) in bindings {
        match runtime.connect(&name).await {
            Ok(one) => drop(connected.insert(binding, one)),
            Err(error) if used.contains(&binding) => return Err(error),
            // It is needed only if a file of an earlier step is read through it.
            Err(_) => {}
        }
    }
    Ok(connected)
}

/// Returns the connection bindings of a flow that a step uses, and whether it calls other flows.
fn used_bindings(flow: &Flow, step: &Step) -> (BTreeSet<String>, bool) {
    let (mut used, mut calls) = (BTreeSet::new(), false);
    step.visit(&mut |step| match &step.kind {
        StepKind::Call(sub) => {
            calls = true;
            let callee = flow.callee(&sub.called.flow);
            let theirs = callee.iter().flat_map(|callee| callee.connections().keys());
            used.extend(theirs.map(|binding| sub.called.binding_for(binding).to_owned()));
        }
        kind => used.extend(kind.action().map(|call| call.binding.clone())),
    });
    (used, calls)
}

/// Returns the template that a step evaluates first.
fn template_of(step: &Step) -> Option<&Template> {
    match &step.kind {
        StepKind::Each { over, .. } => match &**over {
            Over::Action(call) => Some(&call.input),
            Over::List(list) => Some(list),
        },
        StepKind::Action(call) => Some(&call.input),
        StepKind::If { condition, .. } => Some(condition),
        StepKind::Call(sub) => Some(&sub.input),
        StepKind::Set(values) | StepKind::Skip(values) | StepKind::Fail(values) => Some(values),
        StepKind::Wait(Wait::Until(of) | Wait::Signal(of)) => Some(of),
        StepKind::Wait(Wait::For(_)) | StepKind::Parallel(_) => None,
    }
}

/// Returns what a step would be sent, as the log of a run shows it.
fn shown(step: &Step, connected: &BTreeMap<String, Connected>, input: &Value, runtime: &Runtime) -> Value {
    let call = step.kind.action();
    let spec = call.and_then(|call| connected.get(&call.binding)?.connector().action_spec(&call.action).ok());
    shown_input(input, spec, runtime.redactor())
}

/// The strongest effect of a step, and the action that has it.
struct Strongest {
    effect: Effect,
    action: String,
}

/// Returns the strongest effect of a step and of the steps inside it. `input` is that of its own action.
fn strongest(runtime: &Runtime, flow: &Flow, step: &Step, input: Option<&Value>) -> Strongest {
    let mut strongest = Strongest { effect: Effect::Read, action: String::new() };
    let mut add = |flow: &Flow, call: &BoundAction, input: Option<&Value>| {
        let Some(connector) = flow.connections().get(&call.binding) else { return };
        let Ok(registered) = runtime.registry().connector(connector) else { return };
        let effect = match input {
            Some(input) => registered.effect(&call.action, input),
            None => registered.action_spec(&call.action).map(|spec| spec.effect),
        };
        if let Ok(effect) = effect
            && rank(effect) > rank(strongest.effect)
        {
            strongest = Strongest { effect, action: format!("{connector}.{}", call.action) };
        }
    };
    if let Some(call) = step.kind.action() {
        add(flow, call, input);
    }
    // What replaces the step if it fails does not run in a test.
    let inside = step.inner().into_iter().filter(|list| list.role != ListRole::OnError);
    let mut add_step = |step: &Step| match &step.kind {
        StepKind::Call(sub) => {
            // A called flow may call others, which are linked with it.
            if let Some(callee) = flow.callee(&sub.called.flow) {
                for one in callee.linked().values().chain([&callee]) {
                    let lists = [one.steps(), one.on_failure()].into_iter().flat_map(|steps| steps.iter());
                    lists.for_each(|step| {
                        step.visit(&mut |step| step.kind.action().into_iter().for_each(|call| add(one, call, None)));
                    });
                }
            }
        }
        kind => kind.action().into_iter().for_each(|call| add(flow, call, None)),
    };
    inside.flat_map(|list| list.steps.iter()).for_each(|step| step.visit(&mut add_step));
    if matches!(step.kind, StepKind::Call(_)) {
        add_step(step);
    }
    strongest
}

fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Read => 0,
        Effect::Idempotent => 1,
        Effect::Create => 2,
        Effect::Delete => 3,
    }
}

/// Fails if a step creates or deletes something and that is not confirmed.
fn check_confirmed(confirmed: bool, step: &Step, strongest: &Strongest, input: Option<&Value>) -> Result<()> {
    #[cfg(test)]
    let confirmed = confirmed || CONFIRMED.try_with(|()| ()).is_ok();
    let does = match strongest.effect {
        Effect::Create => "creates",
        Effect::Delete => "deletes",
        _ => return Ok(()),
    };
    if confirmed {
        return Ok(());
    }
    let (id, action) = (&step.id, &strongest.action);
    let message = format!("a test of the step {id} calls {action}, which {does} something, and that is not confirmed");
    let hint = "check what would be sent, and repeat the request with `confirmed`: true";
    let found = Diagnostic::error("/confirmed", message).hint(hint);
    let Some(error) = Diagnostic::into_error("the request", &[found]) else { return Ok(()) };
    let error = error.into_kind(ErrorKind::InvalidInput);
    Err(input.into_iter().fold(error, |error, input| error.with("input", input)))
}

#[cfg(test)]
mod tests;
