//! The list of an `each`: what an expression yields, as one page, or the pages of an action that lists.

use std::sync::Arc;

use serde_json::Value;
use trunkline_core::{Effect, Error, ErrorKind, Page, Result, StepPath, kind_of};
use trunkline_flow::{BoundAction, ItemTemplates, Over, Scope, Step, Template};

use crate::{
    interpreter::{bounds::Bounds, interpreter::Interpreter, step_recorder::StepRecorder},
    journal::process_log::LoggedCall,
};

/// The `each` step: its list and its steps.
pub(super) struct List<'a> {
    pub(super) path: &'a StepPath,
    /// The JSON pointer of the step in the flow's document.
    pub(super) pointer: &'a str,
    pub(super) bounds: &'a Bounds,
    pub(super) over: &'a Over,
    pub(super) templates: &'a ItemTemplates,
    /// The largest number of groups at the same time.
    pub(super) concurrency: usize,
    /// The number of items in a group, if the `each` works on batches.
    pub(super) batch: Option<usize>,
    pub(super) steps: &'a Arc<[Step]>,
}

impl List<'_> {
    /// Returns the page at this cursor, or the first page.
    pub(super) async fn page(&self, interpreter: &Interpreter, scope: &Scope, cursor: Option<Value>) -> Result<Page> {
        match self.over {
            Over::List(list) => page_of_value(list, scope, interpreter.record().limits.items),
            Over::Action(call) => self.page_of_action(interpreter, call, scope, cursor).await,
        }
    }

    /// Returns a page of what an action lists.
    async fn page_of_action(
        &self,
        interpreter: &Interpreter,
        call: &BoundAction,
        scope: &Scope,
        cursor: Option<Value>,
    ) -> Result<Page> {
        let (path, bounds) = (self.path, self.bounds);
        let connected = interpreter.connected(&call.binding)?;
        let effect = connected.connector().action_spec(&call.action)?.effect;
        if effect != Effect::Read {
            let message = format!("each needs an action that only reads, and {} does more", call.action);
            return Err(Error::new(ErrorKind::Config, message));
        }
        bounds.check(interpreter.record().now())?;
        let recorder = StepRecorder::new(interpreter, connected.name(), path);
        let cx = interpreter.context(connected, path, bounds).with_recorder(recorder, None);
        let _activity = interpreter.activity().call();
        let (input, began) = (call.input.render(scope)?, interpreter.record().now());
        let result = tokio::select! {
            biased;
            page = connected.page(&call.action, input.clone(), cursor, &cx) => page,
            over = interpreter.over(bounds) => Err(over),
        };
        if let Err(error) = &result {
            let spec = connected.connector().action_spec(&call.action).ok();
            let call = LoggedCall {
                action: &call.action,
                connection: connected.name(),
                input: &input,
                spec,
                redactor: connected.redactor(),
            };
            interpreter.record().log(path, began, call, Err(error)).await;
        }
        result
    }
}

/// Returns the items that an expression yields, as one page.
fn page_of_value(list: &Template, scope: &Scope, limit: usize) -> Result<Page> {
    let items = match list.render(scope)? {
        Value::Array(items) => items,
        other => {
            let message = format!("each needs a list, not {}", kind_of(&other));
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    };
    if items.len() > limit {
        let message = format!("the list has {} items; the limit is {limit}", items.len());
        let hint = "let the `each` call an action that lists the items: they are fetched page by page";
        return Err(Error::new(ErrorKind::Limit, message).hint(hint));
    }
    Ok(Page { items, ..Page::default() })
}
