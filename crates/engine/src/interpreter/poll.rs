//! Reads the lists that triggers poll.

use serde_json::{Value, json};
use trunkline_core::{Connected, Connections, Context, Error, HeldMemory, MemoryAccount, Result, memory_of};
use trunkline_flow::{Poll, Scope};
use uuid::Uuid;

use crate::{interpreter::record::COPIES, run::ItemKey};

/// A page of a polled list.
#[derive(Debug, Default)]
pub struct PolledPage {
    /// The items that have a key.
    pub items: Vec<PolledItem>,
    /// The items that have none: the number of each on its page, from 1, and its error.
    pub refused: Vec<(usize, Error)>,
    /// The cursor of the next page; nothing after the last page.
    pub next: Option<Value>,
    /// The evidence, if items of the list may be missing.
    pub maybe_incomplete: Option<String>,
    /// The memory of the items.
    pub held: Option<HeldMemory>,
}

/// An item of a polled list.
#[derive(Clone, Debug)]
pub struct PolledItem {
    /// Its key.
    pub key: ItemKey,
    /// The item.
    pub value: Value,
}

/// Reads the page of a polled list that begins at the cursor `from`, or the first page. An item without a key does not
/// keep the others from being returned. The memory of the items is taken from the account.
///
/// # Errors
///
/// The error of the action, and `limit` if the account cannot take the items.
pub async fn poll_page(
    poll: &Poll,
    connected: &Connected,
    from: Option<Value>,
    memory: &MemoryAccount,
) -> Result<PolledPage> {
    let scope = Scope::new(&Value::Null, "", &json!({}));
    let connections: Connections = [connected.clone()].into_iter().collect();
    let cx = Context::new(&Uuid::new_v4().to_string(), connected.name(), connections).with_memory(memory.clone());
    let action = poll.action();
    let page = connected.page(&action.action, action.input.render(&scope)?, from, &cx).await?;
    let needed = COPIES * page.items.iter().map(memory_of).sum::<u64>();
    let held = Some(memory.reserve("a page of the list", needed).await?);
    let mut polled =
        PolledPage { next: page.next, maybe_incomplete: page.maybe_incomplete, held, ..Default::default() };
    for (index, value) in page.items.into_iter().enumerate() {
        match ItemKey::evaluate(poll.key(), &scope.with("item", &value)) {
            Ok(key) => polled.items.push(PolledItem { key, value }),
            Err(error) => {
                polled.refused.push((index + 1, error.with("pointer", "/trigger/poll/key")));
            }
        }
    }
    Ok(polled)
}
