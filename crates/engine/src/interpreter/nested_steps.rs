//! Steps that contain others: the branches of `parallel`, and the flow of `call`.

use std::sync::Arc;

use serde_json::Value;
use tracing::Instrument;
use trunkline_core::{Error, ErrorKind, Result, StepPath};
use trunkline_flow::{Flow, Scope, Step, SubFlow};

use crate::interpreter::{
    bounds::Bounds,
    interpreter::{End, FlowBounds, Interpreter, can_handle, joined},
};

impl Interpreter {
    /// Executes all branches to their ends.
    ///
    /// If several fail, the first error that the step cannot handle counts, or else the first one, both in the order of
    /// the document: so it is the same error after a crash.
    pub(super) async fn parallel(
        &self,
        branches: &[(String, Arc<[Step]>)],
        scope: &Scope,
        path: &StepPath,
        bounds: &Bounds,
    ) -> Result<End> {
        let begin = |(name, steps): &(String, Arc<[Step]>)| {
            let inside = scope.branch();
            let span = tracing::info_span!("branch", step = %path, branch = %name);
            let steps = self.clone().steps(steps.clone(), inside.clone(), path.clone(), bounds.clone());
            (name.clone(), inside, tokio::spawn(steps.instrument(span)))
        };
        let working: Vec<_> = branches.iter().map(begin).collect();
        let (mut skipped, mut errors, mut scopes) = (None, Vec::new(), Vec::new());
        for (name, inside, task) in working {
            match joined(task).await {
                Ok(End::Completed) => {}
                Ok(end) => skipped = skipped.or(Some(end)),
                Err(error) => errors.push((name, error)),
            }
            scopes.push(inside);
        }
        if !errors.is_empty() {
            let first = errors.iter().position(|(_, error)| !can_handle(error, path)).unwrap_or_default();
            let (_, error) = errors.remove(first);
            return Err(errors
                .into_iter()
                .fold(error, |error, (name, other)| error.with(format!("branch {name} failed too"), other)));
        }
        scopes.iter().for_each(|inside| scope.adopt(inside));
        Ok(skipped.unwrap_or(End::Completed))
    }

    /// Returns the flow that a step calls.
    fn callee(&self, sub: &SubFlow) -> Result<Flow> {
        let name = &sub.called.flow;
        self.parts().flow.callee(name).ok_or_else(|| {
            let message = format!("the flow {} calls {name}, and was not linked with it", self.parts().flow.name());
            Error::new(ErrorKind::Internal, message)
        })
    }

    /// Executes a called flow.
    pub(super) async fn sub_flow(
        &self,
        sub: &SubFlow,
        scope: &Scope,
        path: &StepPath,
        bounds: &Bounds,
    ) -> Result<Value> {
        let flow = self.callee(sub)?;
        let input = flow.with_defaults(sub.input.render(scope)?);
        if let Some(schema) = flow.input() {
            schema.accept(&format!("the input of flow {}", flow.name()), &input)?;
        }
        let bindings = flow.connections().keys().map(|binding| {
            let connected = self.connected(sub.called.binding_for(binding))?;
            Ok((binding.clone(), connected.clone()))
        });
        let bindings = bindings.collect::<Result<_>>()?;
        let inside = match flow.timeout() {
            Some(length) => bounds.within(path, self.record().deadline(&path.of_flow(), length).await?, length),
            None => bounds.clone(),
        };
        let bounds = FlowBounds { steps: inside, handler: bounds.clone() };
        let result = self.of_flow(flow, bindings).flow(input, path.clone(), bounds).await;
        // Names the document that the error's pointer refers to.
        result.map_err(|error| error.with("flow", &sub.called.flow))
    }
}
