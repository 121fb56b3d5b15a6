//! The items that are remembered across the runs of a flow, because an `each` says `once`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_core::{Error, ErrorKind, Result};
use trunkline_engine::RememberedItem;

use super::{Listed, PageRequest, operation_table, run_queries::key_forms};
use crate::Runtime;

operation_table! {
    /// Lists the items that are remembered across the runs of a flow, by step and key.
    ListRememberedItems: "remembered_items.list", list(RememberedQuery) -> Listed<RememberedItem>, Viewer, Read;
    /// Forgets items of a flow that are done, so that its next run processes them again.
    ForgetItems: "remembered_items.remove", forget(ForgetRequest) -> ItemsForgotten, Operator, Delete;
}

/// The most items with an unknown outcome that are named.
const MOST_UNKNOWN: usize = 500;

/// Which remembered items to list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RememberedQuery {
    /// The name of the flow.
    pub flow: String,
    /// Only items with these keys; all if there are none.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The most items to return, 1 to 500; without it, 50.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    #[serde(default)]
    pub cursor: Option<String>,
}

async fn list(runtime: &Runtime, input: RememberedQuery) -> Result<Listed<RememberedItem>> {
    let RememberedQuery { flow, keys, limit, cursor } = input;
    let request = PageRequest::read(format!("remembered_items.list {flow}"), limit, cursor.as_deref())?;
    let after = request.after.clone();
    let items = runtime.journal().remembered(&flow, &key_forms(keys), after, request.limit + 1).await?;
    Ok(request.page(items, RememberedItem::clone))
}

/// Which items to forget.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// The name of the flow. None of its runs may be active.
    pub flow: String,
    /// The keys of the items.
    #[serde(default)]
    pub keys: Vec<String>,
    /// All items, in place of keys.
    #[serde(default)]
    pub all: bool,
}

/// The items that were forgotten.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ItemsForgotten {
    /// The number of items that were forgotten.
    pub forgotten: u64,
    /// Items that stay, because their outcome is unknown and they could be done twice; at most 500.
    pub unknown: Vec<RememberedItem>,
}

async fn forget(runtime: &Runtime, input: ForgetRequest) -> Result<ItemsForgotten> {
    let ForgetRequest { flow, keys, all } = input;
    if keys.is_empty() != all {
        let message = format!("it is not clear which items of {flow} to forget");
        return Err(Error::new(ErrorKind::InvalidInput, message).hint("give their keys, or say that all are meant"));
    }
    let keys = key_forms(keys);
    let forgotten = runtime.journal().forget(&flow, &keys).await?;
    let mut unknown = runtime.journal().remembered(&flow, &keys, None, MOST_UNKNOWN).await?;
    unknown.retain(|item| item.unknown);
    Ok(ItemsForgotten { forgotten, unknown })
}
