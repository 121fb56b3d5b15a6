//! Calls of single actions, outside a flow.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_core::{Effect, Result, async_trait};

use super::{Caller, OutputStream, Role, StreamOperation, operation_table};
use crate::{CallOutput, ListedItem, Runtime};

operation_table! {
    /// Calls one action on a connection, and returns its output.
    // The strongest effect that an action has. `actions.get` has that of each action.
    CallAction: "actions.call", call(ActionCall) -> CallOutput, Operator, Create;
}

/// Which action to call, on which connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionCall {
    /// The action, such as `mediavalet.asset.get`.
    pub action: String,
    /// The connection to call it on.
    pub connection: String,
    /// Its input; an empty object if absent. `actions.get` has its schema.
    #[serde(default = "empty_object")]
    pub input: Value,
}

fn empty_object() -> Value {
    Map::new().into()
}

async fn call(runtime: &Runtime, input: ActionCall) -> Result<CallOutput> {
    let ActionCall { action, connection, input } = input;
    let CallOutput { output, warnings } = runtime.call(&action, &connection, input).await?;
    let warnings = warnings.iter().map(|warning| runtime.redactor().redact(warning).into_owned()).collect();
    // A service may return what it was sent.
    Ok(CallOutput { output: runtime.redactor().redact_json(&output), warnings })
}

/// `actions.list_items`
pub struct ListActionItems;

#[async_trait]
impl StreamOperation for ListActionItems {
    type Input = ActionCall;
    type Item = ListedItem;
    const NAME: &'static str = "actions.list_items";
    const ABOUT: &'static str = "Reads all pages of an action that lists, item by item.";
    const ROLE: Role = Role::Operator;
    const EFFECT: Effect = Effect::Read;

    async fn open(runtime: &Runtime, _: &Caller, input: ActionCall) -> Result<OutputStream<ListedItem>> {
        let ActionCall { action, connection, input } = input;
        runtime.list(&action, &connection, input).await
    }
}
