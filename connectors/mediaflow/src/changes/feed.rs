//! What is new in the whole library, by the list of the newest files.
//!
//! Some of the newest files are remembered, and the moment before which everything is known. Uploads of the same moment
//! stay together, so that neither a second one within it is lost nor a first one given twice; and a file that shows up late
//! among those remembered is still found.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Context, Error, ErrorKind, Result};
use trunkline_rest::Client;

use super::{Cursor, FIELDS, MOST, Output, file_id};

/// How many of the newest files are remembered: half a page, so that finding nothing new takes one call.
const REMEMBERED: usize = 50;

/// What was seen the last time.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seen {
    /// The newest files.
    files: BTreeSet<i64>,
    /// What was uploaded before this is known; absent if the whole library is in `files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

/// A file on the way through the list.
struct Passed {
    id: i64,
    /// When it was uploaded, as Mediaflow writes it: texts of one form, which compare as the moments do.
    uploaded: String,
}

pub(super) async fn changes(client: &Client, since: Option<Seen>, limit: usize, cx: &Context) -> Result<Output> {
    let mut passed: Vec<Passed> = Vec::new();
    let (mut ids, mut met, mut more) = (BTreeSet::new(), false, false);
    let mut added = VecDeque::new();
    let mut from = None;
    let ended = 'list: loop {
        cx.check_cancelled()?;
        let page = client.page("file.latest", json!({ "fields": FIELDS }), from, cx).await?;
        for file in page.items {
            let (id, uploaded) = (file_id(&file)?, moment(&file));
            let known = since.as_ref().is_some_and(|seen| seen.files.contains(&id));
            let end = match &since {
                None => passed.get(REMEMBERED - 1).is_some_and(|last| uploaded.is_empty() || uploaded != last.uploaded),
                Some(seen) => !known && seen.is_old(&uploaded, met),
            };
            if end {
                break 'list false;
            }
            // An upload in the meantime moves a file to the next page: it comes a second time.
            if !ids.insert(id) {
                continue;
            }
            if passed.len() == MOST {
                return Err(Error::new(ErrorKind::Limit, format!("more than {MOST} files are new since the cursor"))
                    .hint("list what is there with `folder.files`, and begin anew without a cursor"));
            }
            met |= known;
            passed.push(Passed { id, uploaded });
            if since.is_some() && !known {
                added.push_back(file);
                if added.len() > limit {
                    // The newest wait for the next call.
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
    let given = added.iter().map(file_id).collect::<Result<BTreeSet<_>>>()?;
    if let Some(seen) = &since {
        passed.retain(|one| seen.files.contains(&one.id) || given.contains(&one.id));
    }
    let cursor = remember(passed, since, ended);
    let added = added.into_iter().rev().collect();
    Ok(Output { added, removed: Vec::new(), more, cursor: json!(Cursor::Library(cursor)) })
}

impl Seen {
    /// Whether a file that is not among those remembered is older than they are. `met` tells whether one of them came
    /// before it in the list: all there is to go by if Mediaflow does not say when it was uploaded.
    fn is_old(&self, uploaded: &str, met: bool) -> bool {
        match &self.before {
            Some(before) if uploaded.is_empty() || before.is_empty() => met,
            Some(before) => uploaded < before.as_str(),
            None => false,
        }
    }
}

/// What to remember of the known files, newest first.
fn remember(mut known: Vec<Passed>, since: Option<Seen>, whole: bool) -> Seen {
    let last = known.get(REMEMBERED - 1).map(|last| last.uploaded.clone());
    let keep = last.map_or(known.len(), |last| {
        let of_the_same_moment = |one: &&Passed| !last.is_empty() && one.uploaded == last;
        REMEMBERED + known[REMEMBERED..].iter().take_while(of_the_same_moment).count()
    });
    let first = since.is_none();
    let before = if keep < known.len() || (first && !whole) {
        Some(known[keep - 1].uploaded.clone())
    } else {
        since.and_then(|seen| seen.before)
    };
    known.truncate(keep);
    Seen { files: known.into_iter().map(|one| one.id).collect(), before }
}

fn moment(file: &Value) -> String {
    match file.get("uploaded") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
