//! `file.changes`: what is new since the last time, and what is gone.
//!
//! Mediaflow reports no changes; there are two ways to find out. Of a **folder** the ids are compared with those of the
//! last time: that tells what came and what went. Of the **whole library** there is only the list of the newest files: it
//! tells what was uploaded, and nothing of what was deleted (`feed`).

mod feed;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::Mediaflow;

/// Most files that are looked at for one answer; a cursor of a folder of this size has about 80 KB.
const MOST: usize = 10_000;

/// What is given of a file.
const FIELDS: [&str; 8] = ["id", "name", "filename", "filesize", "type", "uploaded", "gdprstatus", "processed"];

/// The action.
pub struct Changes;

/// Where to look, and since when.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # Cursor
    /// What the last call gave as `cursor`, unchanged. Without one, nothing is new: the call marks where to begin.
    cursor: Option<Value>,
    /// # Folder
    /// Look at this folder, without its sub-folders. The whole library if absent, where removed files cannot be seen.
    folder: Option<i64>,
    /// # Most files
    /// How many new files to give at once. Those of the library come oldest upload first.
    #[serde(default = "limit")]
    #[schemars(range(min = 1, max = 10_000))]
    limit: usize,
}

fn limit() -> usize {
    1000
}

/// What is different from the last time.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Added
    /// Files that are new: uploaded, or put into the folder. Some may still be being prepared: see `processed`.
    added: Vec<Value>,
    /// # Removed
    /// Ids of files that are not in the folder any more; whether they were deleted or only taken out is not told.
    removed: Vec<i64>,
    /// # More
    /// Whether there are more new files: call again with the cursor.
    more: bool,
    /// # Cursor
    /// To be passed to the next call.
    cursor: Value,
}

/// What is remembered of the last time.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Cursor {
    Folder { id: i64, files: BTreeSet<i64> },
    Library(feed::Seen),
}

#[async_trait]
impl Action for Changes {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.changes";
    const TITLE: &'static str = "Find out what is new";
    const GROUP: &'static str = "Files";
    const ABOUT: &'static str = "Files that were added to a folder or to the whole library since the last call, and those \
        that left the folder. The first call only marks the place. Changes within a file are not seen.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let refuse = |message: &str| {
            Error::new(ErrorKind::InvalidInput, message).with("input", "cursor").hint("pass `cursor` of the last call")
        };
        let cursor = input.cursor.filter(|cursor| !cursor.is_null()).map(serde_json::from_value::<Cursor>).transpose();
        let cursor = cursor.map_err(|error| refuse("this is no cursor of file.changes").source(error))?;
        if input.limit == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "limit has to be at least 1").with("input", "limit"));
        }
        match (input.folder, cursor) {
            (Some(id), None) => folder(client, id, None, input.limit, cx).await,
            (Some(id), Some(Cursor::Folder { id: of, files })) if of == id => {
                folder(client, id, Some(files), input.limit, cx).await
            }
            (None, None) => feed::changes(client, None, input.limit, cx).await,
            (None, Some(Cursor::Library(seen))) => feed::changes(client, Some(seen), input.limit, cx).await,
            _ => Err(refuse("the cursor is one of another folder, or of the whole library")),
        }
    }
}

submit! { ActionEntry::of::<Changes>() }

/// Compares the folder with what was in it.
async fn folder(client: &Client, id: i64, before: Option<BTreeSet<i64>>, limit: usize, cx: &Context) -> Result<Output> {
    let found = client.call("folder.files", json!({ "id": id, "fields": FIELDS }), cx).await?;
    let Value::Array(mut files) = found else {
        return Err(Error::new(ErrorKind::Unexpected, format!("Mediaflow gave no list of the files in folder {id}")));
    };
    if files.len() > MOST {
        return Err(Error::new(ErrorKind::Limit, format!("folder {id} has {} files, more than {MOST}", files.len()))
            .hint("look at its sub-folders, or compare the lists of `folder.files` yourself"));
    }
    let now = files.iter().map(file_id).collect::<Result<BTreeSet<_>>>()?;
    let Some(before) = before else {
        let cursor = json!(Cursor::Folder { id, files: now });
        return Ok(Output { added: Vec::new(), removed: Vec::new(), more: false, cursor });
    };
    let mut met = before.clone();
    files.retain(|file| file_id(file).is_ok_and(|id| met.insert(id)));
    let more = files.len() > limit;
    files.truncate(limit);
    let given = files.iter().map(file_id).collect::<Result<BTreeSet<_>>>()?;
    let files_now = now.iter().filter(|id| before.contains(id) || given.contains(id)).copied().collect();
    let removed = before.difference(&now).copied().collect();
    Ok(Output { added: files, removed, more, cursor: json!(Cursor::Folder { id, files: files_now }) })
}

fn file_id(file: &Value) -> Result<i64> {
    let id = file.get("id").and_then(Value::as_i64);
    id.ok_or_else(|| Error::new(ErrorKind::Unexpected, "Mediaflow listed a file without an id"))
}
