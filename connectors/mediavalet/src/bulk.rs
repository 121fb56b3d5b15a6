//! `bulk`: many calls in one request. MediaValet publishes nothing about `POST /bulk`; its form is that of the vendor's own
//! client code: `multipart/mixed` with a whole request in each part, and an answer of the same form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{MediaValet, OPERATIONS};

/// The action.
pub struct Bulk;

/// What to call.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # Calls
    /// At most 100 at once: MediaValet does not say how many it takes.
    #[schemars(length(min = 1, max = 100), extend("examples" = [[{ "action": "category.create",
        "input": { "treeName": "Spring" } }]]))]
    calls: Vec<Call>,
}

/// One of the calls.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// # Action
    /// One that is a single call and does not list, such as `asset.add_keywords`.
    action: String,
    /// # Input
    /// What the action takes.
    #[serde(default)]
    input: Map<String, Value>,
}

/// What became of the calls.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Outcomes
    /// In the order of the calls.
    outcomes: Vec<BulkOutcome>,
    /// # Failed
    /// How many of them failed, or may have failed.
    failed: usize,
}

/// What became of one call.
#[derive(Serialize, JsonSchema)]
pub struct BulkOutcome {
    /// # Action
    action: String,
    /// # Done
    done: bool,
    /// # Output
    /// What the action yields; a text if MediaValet's answer came out damaged.
    output: Value,
    /// # Error
    /// Why it was not done: kind, message and what to do, as any error has them.
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
    const ABOUT: &'static str = "Sends up to 100 calls in one request. Each has an outcome of its own: one that failed does \
        not fail the others, nor this action.";
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
        let failed = outcomes.iter().filter(|one| !one.done).count();
        Ok(Output { outcomes, failed })
    }

    /// If none of the calls creates anything, all of them may be made again.
    async fn reconcile(_: &Client, input: Input, _: &Context) -> Result<Option<Output>> {
        let effects = input.calls.iter().map(|call| OPERATIONS.operation(&call.action).map(|row| row.effect()));
        if effects.collect::<Result<Vec<_>>>()?.into_iter().all(Effect::repeatable) {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::UnknownOutcome, "which of these calls were carried out cannot be known")
            .hint("look in MediaValet; make calls that create something on their own"))
    }
}

submit! { ActionEntry::of::<Bulk>() }
