//! Changes in the whole library, found with the list of the newest files.
//!
//! The cursor holds the ids of some of the newest files and the upload time before which all files are known. Files
//! with the same upload time stay together in it, so that a second file with that time is not missed and the first is
//! not returned twice. A file that appears late between the known ones is still found.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, Error, ErrorKind, Result};
use trunkline_rest::Client;

use super::{Cursor, FIELDS, MAX_FILES, Output, file_id};

/// The number of newest files in the cursor: half a page, so that a call without new files takes one request.
const CURSOR_FILES: usize = 50;

/// The cursor of the whole library.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedCursor {
    /// The ids of the newest files.
    files: BTreeSet<i64>,
    /// The upload time before which all files are known; absent if `files` has the whole library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

/// A file of the list.
struct ListedFile {
    id: i64,
    /// The upload time as Mediaflow writes it. All of them have the same form, so they compare as strings.
    uploaded: String,
}

/// Reads the list of the newest files until it reaches files that are known from the cursor.
pub(super) async fn changes(client: &Client, since: Option<FeedCursor>, limit: usize, cx: &Context) -> Result<Output> {
    let mut listed: Vec<ListedFile> = Vec::new();
    let (mut ids, mut reached_known, mut more) = (BTreeSet::new(), false, false);
    let mut added = VecDeque::new();
    let mut from = None;
    let whole_library = 'list: loop {
        cx.check_cancelled()?;
        let page = client.page("file.latest", json!({ "fields": FIELDS }), from, cx).await?;
        for file in page.items {
            let (id, uploaded) = (file_id(&file)?, upload_time(&file));
            let known = since.as_ref().is_some_and(|since| since.files.contains(&id));
            let end = match &since {
                None => {
                    listed.get(CURSOR_FILES - 1).is_some_and(|last| uploaded.is_empty() || uploaded != last.uploaded)
                }
                Some(since) => !known && since.is_older(&uploaded, reached_known),
            };
            if end {
                break 'list false;
            }
            // An upload between two pages moves a file to the next page, so that it is listed twice.
            if !ids.insert(id) {
                continue;
            }
            if listed.len() == MAX_FILES {
                let message = format!("more than {MAX_FILES} files are new since the cursor");
                return Err(Error::new(ErrorKind::Limit, message)
                    .hint("list the files with `folder.files`, then start again without a cursor"));
            }
            reached_known |= known;
            listed.push(ListedFile { id, uploaded });
            if since.is_some() && !known {
                added.push_back(file);
                if added.len() > limit {
                    // The newest files are left to the next call.
                    added.pop_front();
                    more = true;
                }
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break true,
        }
    };
    let returned = added.iter().map(file_id).collect::<Result<BTreeSet<_>>>()?;
    if let Some(since) = &since {
        listed.retain(|file| since.files.contains(&file.id) || returned.contains(&file.id));
    }
    let cursor = next_cursor(listed, since, whole_library);
    let added = added.into_iter().rev().collect();
    Ok(Output { added, removed: Vec::new(), more, cursor: json!(Cursor::Library(cursor)) })
}

impl FeedCursor {
    /// Returns whether a file that is not in the cursor is older than those in it. `reached_known` says whether the
    /// list had a file of the cursor before this one; it decides if Mediaflow does not report the upload time.
    fn is_older(&self, uploaded: &str, reached_known: bool) -> bool {
        match &self.before {
            Some(before) if uploaded.is_empty() || before.is_empty() => reached_known,
            Some(before) => uploaded < before.as_str(),
            None => false,
        }
    }
}

/// Returns the cursor after the known files, which are sorted newest first.
fn next_cursor(mut known: Vec<ListedFile>, since: Option<FeedCursor>, whole_library: bool) -> FeedCursor {
    let last = known.get(CURSOR_FILES - 1).map(|last| last.uploaded.clone());
    let keep = last.map_or(known.len(), |last| {
        let same_time = |file: &&ListedFile| !last.is_empty() && file.uploaded == last;
        CURSOR_FILES + known[CURSOR_FILES..].iter().take_while(same_time).count()
    });
    let first = since.is_none();
    let before = if keep < known.len() || (first && !whole_library) {
        Some(known[keep - 1].uploaded.clone())
    } else {
        since.and_then(|since| since.before)
    };
    known.truncate(keep);
    FeedCursor { files: known.into_iter().map(|file| file.id).collect(), before }
}

/// Returns the upload time of a file; empty if Mediaflow does not report it.
fn upload_time(file: &Value) -> String {
    match file.get("uploaded") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
