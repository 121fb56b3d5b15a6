//! `file.changes`: lists the files that were added or removed since the previous call.
//!
//! Mediaflow does not report changes, so the action compares lists. For a **folder**, it compares the file ids with
//! those of the previous call, which shows added and removed files. For the **whole library**, Mediaflow only lists the
//! newest files, which shows uploads but not deletions (`feed`).

mod feed;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::Mediaflow;

/// The maximum number of files that one call compares. The cursor of a folder of this size takes about 80 KB.
const MAX_FILES: usize = 10_000;

/// The fields of a file in the output.
const FIELDS: [&str; 8] = ["id", "name", "filename", "filesize", "type", "uploaded", "gdprstatus", "processed"];

/// The action `file.changes`.
pub struct Changes;

/// The folder or library to look at, and the cursor of the previous call.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # Cursor
    /// The `cursor` of the previous call, unchanged. Without a cursor, the call returns no files and a cursor to start
    /// from.
    cursor: Option<Value>,
    /// # Folder
    /// Id of the folder to look at, without its sub-folders. If absent, the whole library, where removed files are not
    /// detected.
    folder: Option<i64>,
    /// # Maximum number of files
    /// The number of new files to return at most. Those of the library are in the order of upload, oldest first.
    #[serde(default = "limit")]
    #[schemars(range(min = 1, max = 10_000))]
    limit: usize,
}

fn limit() -> usize {
    1000
}

/// The differences from the previous call.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Added
    /// Files that were uploaded, or added to the folder. Mediaflow may still be processing some of them: see
    /// `processed`.
    added: Vec<Value>,
    /// # Removed
    /// Ids of files that are not in the folder any more. They were deleted, or only removed from the folder.
    removed: Vec<i64>,
    /// # More
    /// Whether there are more new files. If so, call again with the cursor.
    more: bool,
    /// # Cursor
    /// The cursor for the next call.
    cursor: Value,
}

/// The state of the previous call.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Cursor {
    Folder { id: i64, files: BTreeSet<i64> },
    Library(feed::FeedCursor),
}

#[async_trait]
impl Action for Changes {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.changes";
    const TITLE: &'static str = "List new and removed files";
    const GROUP: &'static str = "Files";
    const ABOUT: &'static str = "Lists files that were added to a folder or to the whole library since the previous \
        call, and files that were removed from the folder. The first call only returns a cursor. Changes to a file \
        itself are not detected.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let wrong_cursor = |message: &str| {
            Error::new(ErrorKind::InvalidInput, message)
                .with("input", "/cursor")
                .hint("pass the `cursor` of the previous call")
        };
        let cursor = input.cursor.filter(|cursor| !cursor.is_null()).map(serde_json::from_value::<Cursor>).transpose();
        let cursor = cursor.map_err(|error| wrong_cursor("this is not a cursor of file.changes").source(error))?;
        if input.limit == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "limit has to be at least 1").with("input", "limit"));
        }
        match (input.folder, cursor) {
            (Some(id), None) => folder(client, id, None, input.limit, cx).await,
            (Some(id), Some(Cursor::Folder { id: of, files })) if of == id => {
                folder(client, id, Some(files), input.limit, cx).await
            }
            (None, None) => feed::changes(client, None, input.limit, cx).await,
            (None, Some(Cursor::Library(since))) => feed::changes(client, Some(since), input.limit, cx).await,
            _ => Err(wrong_cursor("the cursor belongs to another folder or to the whole library")),
        }
    }
}

submit! { ActionEntry::of::<Changes>() }

/// Compares the files of a folder with those of the previous call.
async fn folder(client: &Client, id: i64, before: Option<BTreeSet<i64>>, limit: usize, cx: &Context) -> Result<Output> {
    let response = client.call("folder.files", json!({ "id": id, "fields": FIELDS }), cx).await?;
    let Value::Array(mut files) = response else {
        let message = format!("Mediaflow did not return a list of the files in folder {id}");
        return Err(Error::new(ErrorKind::Unexpected, message));
    };
    if files.len() > MAX_FILES {
        let message = format!("folder {id} has {} files, more than {MAX_FILES}", files.len());
        return Err(Error::new(ErrorKind::Limit, message)
            .hint("use its sub-folders, or compare the lists of `folder.files` in the flow"));
    }
    let now = files.iter().map(file_id).collect::<Result<BTreeSet<_>>>()?;
    let Some(before) = before else {
        let cursor = json!(Cursor::Folder { id, files: now });
        return Ok(Output { added: Vec::new(), removed: Vec::new(), more: false, cursor });
    };
    let mut known = before.clone();
    files.retain(|file| file_id(file).is_ok_and(|id| known.insert(id)));
    let more = files.len() > limit;
    files.truncate(limit);
    let returned = files.iter().map(file_id).collect::<Result<BTreeSet<_>>>()?;
    let reported = now.iter().filter(|id| before.contains(id) || returned.contains(id)).copied().collect();
    let removed = before.difference(&now).copied().collect();
    Ok(Output { added: files, removed, more, cursor: json!(Cursor::Folder { id, files: reported }) })
}

fn file_id(file: &Value) -> Result<i64> {
    let id = file.get("id").and_then(Value::as_i64);
    id.ok_or_else(|| Error::new(ErrorKind::Unexpected, "Mediaflow listed a file without an id"))
}
