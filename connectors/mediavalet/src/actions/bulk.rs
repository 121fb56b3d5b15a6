//! `bulk`: many calls in one request.
//!
//! MediaValet does not document `POST /bulk`. The form is that of the vendor's own client code: `multipart/mixed` with
//! a whole request in each part, and a response of the same form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, OPERATIONS};

/// The action `bulk`.
pub struct Bulk;

/// The calls to send.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # Calls
    /// At most 100 calls. MediaValet does not document its own limit.
    #[schemars(length(min = 1, max = 100), extend("examples" = [[{ "action": "category.create",
        "input": { "treeName": "Spring" } }]]))]
    calls: Vec<Call>,
}

/// One of the calls.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// # Action
    /// An action that is a single call and does not list items, such as `asset.add_keywords`.
    action: String,
    /// # Input
    /// The input of that action.
    #[serde(default)]
    input: Map<String, Value>,
}

/// The outcomes of the calls.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Outcomes
    /// One for each call, in the order of the calls.
    outcomes: Vec<BulkOutcome>,
    /// # Failed
    /// The number of calls that failed or may have failed.
    failed: usize,
}

/// The outcome of one call.
#[derive(Serialize, JsonSchema)]
pub struct BulkOutcome {
    /// # Action
    action: String,
    /// # Done
    done: bool,
    /// # Output
    /// The output of the action, or a string if MediaValet's response to the call was damaged.
    output: Value,
    /// # Error
    /// The error if the call failed, with kind, message and hint.
    error: Value,
}

#[async_trait]
impl Action for Bulk {
    type Connector = MediaValet;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "bulk";
    const TITLE: &'static str = "Make many calls at once";
    const GROUP: &'static str = "Any call";
    const ABOUT: &'static str = "Sends up to 100 calls in one request. Each call has its own outcome: a failed call \
        fails neither the other calls nor this action.";
    const EFFECT: Effect = Effect::Create;
    const ROUTE: Option<&'static str> = Some("POST /bulk");

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let calls: Vec<_> = input.calls.into_iter().map(|call| (call.action, Value::Object(call.input))).collect();
        let results = client.batch("/bulk", &calls, cx).await?;
        let outcome = |((action, _), result): ((String, Value), Result<Value>)| match result {
            Ok(output) => BulkOutcome { action, done: true, output, error: Value::Null },
            Err(error) => BulkOutcome { action, done: false, output: Value::Null, error: serde_json::json!(error) },
        };
        let outcomes: Vec<_> = calls.into_iter().zip(results).map(outcome).collect();
        let failed = outcomes.iter().filter(|outcome| !outcome.done).count();
        Ok(Output { outcomes, failed })
    }

    /// If all calls are repeatable, all of them may be sent again.
    async fn reconcile(_: &Client, input: Input, _: &Context) -> Result<Option<Output>> {
        let effects = input.calls.iter().map(|call| OPERATIONS.operation(&call.action).map(|row| row.effect()));
        if effects.collect::<Result<Vec<_>>>()?.into_iter().all(Effect::repeatable) {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::UnknownOutcome, "it cannot be found out which of these calls took effect")
            .hint("check the result in MediaValet; send calls that create an object as separate steps"))
    }
}

submit! { ActionEntry::of::<Bulk>() }
