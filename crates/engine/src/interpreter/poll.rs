//! Reads the lists that triggers poll.

use serde_json::{Value, json};
use trunkline_core::{Connected, Connections, Context, Error, ErrorKind, Result};
use trunkline_flow::{Poll, Scope};
use uuid::Uuid;

/// Reads the page of a polled list that begins at the cursor `from`, or the first page. Returns its items, each with its
/// key, and the cursor of the next page; no cursor means that the list has ended.
///
/// # Errors
///
/// The error of the action, and `invalid_input` if the key of an item is empty or cannot be evaluated.
pub async fn poll_page(
    poll: &Poll,
    connected: &Connected,
    from: Option<Value>,
) -> Result<(Vec<(String, Value)>, Option<Value>)> {
    let scope = Scope::new(&Value::Null, "", &json!({}));
    let connections: Connections = [connected.clone()].into_iter().collect();
    let cx = Context::new(&Uuid::new_v4().to_string(), connected.name(), connections);
    let action = poll.action();
    let page = connected.page(&action.action, action.input.render(&scope)?, from, &cx).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for item in page.items {
        let key = poll
            .key()
            .render_text(&scope.with("item", &item))
            .map_err(|error| error.with("pointer", "/trigger/poll/key"))?;
        if key.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "an item of the list has an empty key")
                .hint("set `key` of the trigger to what identifies an item, such as {{ item.id }}")
                .with("pointer", "/trigger/poll/key"));
        }
        items.push((key, item));
    }
    Ok((items, page.next))
}
