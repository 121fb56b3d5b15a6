//! Lists that are read page by page: how to request the next page, and when the list ends.
//!
//! The position of the next page is a small JSON value that also holds the number of pages before it and a fingerprint
//! of the last one. So a list that repeats itself or never ends is detected even if the host restarts in the middle of
//! it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Page, Result, check_pointer};

use super::{
    list_changes::{fingerprint, item_identity, page_identity, remove_overlap, total_changed},
    page_row::PageRow,
};

/// A list with more pages than this is taken for a loop.
const MOST_PAGES: u64 = 100_000;

/// The paging of an operation, see [`PageRow`].
#[derive(Clone, Debug)]
pub(crate) struct Paging {
    rule: Rule,
    /// Input that takes the number of items per page.
    count: Option<String>,
    size: Option<u64>,
    /// JSON pointer to the items.
    items: String,
}

/// Names are those of inputs; `total` and `next` are JSON pointers into the body of a response.
#[derive(Clone, Debug)]
enum Rule {
    Offset { offset: String, total: Option<String> },
    Number { page: String, first: u64 },
    Cursor { cursor: String, next: String },
    Link { next: Option<String> },
}

/// The position of a page in a list. Callers treat it as opaque JSON, and may store it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageCursor {
    /// Offset, number, cursor or URL of this page.
    at: Value,
    /// Number of pages before this one.
    page: u64,
    /// Fingerprint of the page before.
    #[serde(rename = "seen")]
    fingerprint: String,
    /// Identity of the last item of the page before, if this page has to begin with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// Identity of the page before, if that page has to be read again.
    #[serde(rename = "held", default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    /// Number of items of the list, as the page before reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

/// The request for one page.
pub(crate) struct PageRequest {
    cursor: PageCursor,
    /// Number of items asked for, if it is known.
    count: Option<u64>,
    /// URL of the page, if the page before returned one.
    pub(crate) link: Option<String>,
}

/// The response to the request for one page.
pub(crate) struct PageResponse<'a> {
    pub(crate) body: &'a Value,
    /// URL in the `Link` header with `rel=next`.
    pub(crate) link: Option<String>,
    /// Body of the page before, if it was read again.
    pub(crate) previous: Option<&'a Value>,
}

/// What a page says about the one after it.
#[derive(Default)]
struct Next {
    /// Offset, number, cursor or URL of the next page; null at the end of the list.
    at: Value,
    last: Option<String>,
    previous: Option<String>,
    total: Option<u64>,
    /// The reason why items may be missing.
    maybe_incomplete: Option<String>,
}

impl Next {
    fn at(at: Value) -> Next {
        Next { at, ..Next::default() }
    }
}

impl Paging {
    /// Compiles the paging rule of a row. `resolve` returns the name of the input that a name in the rule stands for.
    ///
    /// # Errors
    ///
    /// A message if a pointer of the rule is not one, or if its size has no use.
    pub(crate) fn compile(row: &PageRow, mut resolve: impl FnMut(&str) -> String) -> Result<Paging, String> {
        let (rule, count, size, items) = match row {
            PageRow::Offset { offset, count, size, items, total } => {
                let rule = Rule::Offset { offset: resolve(offset), total: total.clone() };
                (rule, count, size, items)
            }
            PageRow::Number { page, count, size, first, items } => {
                (Rule::Number { page: resolve(page), first: *first }, count, size, items)
            }
            PageRow::Cursor { cursor, next, count, size, items } => {
                (Rule::Cursor { cursor: resolve(cursor), next: next.clone() }, count, size, items)
            }
            PageRow::Link { next, count, size, items } => (Rule::Link { next: next.clone() }, count, size, items),
        };
        let further = match &rule {
            Rule::Offset { total, .. } => total.as_ref(),
            Rule::Cursor { next, .. } => Some(next),
            Rule::Link { next } => next.as_ref(),
            Rule::Number { .. } => None,
        };
        for pointer in [Some(items), further].into_iter().flatten() {
            check_pointer(pointer)?;
        }
        if *size == Some(0) || (size.is_some() && count.is_none()) {
            return Err("`size` is at least 1 and goes with `count`".into());
        }
        Ok(Paging { rule, count: count.as_deref().map(resolve), size: *size, items: items.clone() })
    }

    /// Adds to the input the values that request the page at `from`, or the first page. `default` returns the default
    /// value of an input.
    ///
    /// # Errors
    ///
    /// `invalid_input` if `from` is not the position of a page, `limit` after too many pages.
    pub(crate) fn request(
        &self,
        input: &mut Map<String, Value>,
        default: impl Fn(&str) -> Option<Value>,
        from: Option<Value>,
    ) -> Result<PageRequest> {
        let mut cursor = match from {
            None => PageCursor::default(),
            Some(from) => serde_json::from_value(from).map_err(|_| {
                Error::new(ErrorKind::InvalidInput, "this is not the position of a page of the list")
                    .hint("pass on `next` of the page before, unchanged")
            })?,
        };
        if cursor.page >= MOST_PAGES {
            return Err(Error::new(ErrorKind::Limit, format!("the list has more than {MOST_PAGES} pages"))
                .hint("narrow the list, or ask for more items a page"));
        }
        let mut link = None;
        match &self.rule {
            Rule::Offset { offset: name, .. } | Rule::Number { page: name, .. } => {
                if cursor.at.is_null() {
                    let first = if let Rule::Number { first, .. } = self.rule { first } else { 0 };
                    cursor.at = input.get(name).cloned().or_else(|| default(name)).unwrap_or(first.into());
                }
                input.insert(name.clone(), cursor.at.clone());
            }
            Rule::Cursor { cursor: name, .. } => {
                if !cursor.at.is_null() {
                    input.insert(name.clone(), cursor.at.clone());
                }
            }
            Rule::Link { .. } => link = cursor.at.as_str().map(str::to_owned),
        }
        let mut count = None;
        if let Some(name) = &self.count {
            if let (None, Some(size)) = (input.get(name).cloned().or_else(|| default(name)), self.size) {
                input.insert(name.clone(), size.into());
            }
            count = input.get(name).cloned().or_else(|| default(name)).as_ref().and_then(number);
        }
        Ok(PageRequest { cursor, count, link })
    }

    /// Changes the input of a page so that it requests the page before. Returns whether that page has to be read again.
    pub(crate) fn request_previous(&self, request: &PageRequest, input: &mut Map<String, Value>) -> bool {
        match (&self.rule, number(&request.cursor.at), &request.cursor.previous) {
            (Rule::Number { page, .. }, Some(number), Some(_)) if number > 0 => {
                input.insert(page.clone(), (number - 1).into());
                true
            }
            _ => false,
        }
    }

    /// Reads the items of a page and the position of the next one.
    ///
    /// # Errors
    ///
    /// `unexpected` if there is no list in the body, or if the service returns the same page again.
    pub(crate) fn read(&self, request: &PageRequest, response: PageResponse<'_>) -> Result<Page> {
        let mut items = self.items(response.body)?;
        let fingerprint = fingerprint(&items);
        if !items.is_empty() && fingerprint == request.cursor.fingerprint {
            return self.repeated_page(request, items.len() as u64);
        }
        let next = match &self.rule {
            Rule::Offset { total, .. } => {
                let total = total.as_ref().and_then(|total| number(response.body.pointer(total)?));
                // Some services report a total of 0 beside items: that is not a total.
                request.after_offset(&mut items, total.filter(|total| *total > 0))
            }
            Rule::Number { .. } => {
                let previous = response.previous.map(|body| self.items(body)).transpose()?;
                request.after_number(&items, previous.as_deref())
            }
            Rule::Cursor { next, .. } => Next::at(match response.body.pointer(next) {
                Some(Value::String(next)) if next.is_empty() => Value::Null,
                Some(Value::Bool(false)) | None => Value::Null,
                Some(next) => next.clone(),
            }),
            Rule::Link { next: None } => Next::at(response.link.map_or(Value::Null, Value::from)),
            Rule::Link { next: Some(next) } => Next::at(match response.body.pointer(next) {
                Some(Value::String(next)) if !next.is_empty() => next.as_str().into(),
                _ => Value::Null,
            }),
        };
        if !next.at.is_null() && next.at == request.cursor.at {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "the list gives the page that was just read as its next page",
            )
            .hint("report it to the vendor; nothing was listed twice"));
        }
        let Next { at, last, previous, total, maybe_incomplete } = next;
        let cursor = PageCursor { at, page: request.cursor.page + 1, fingerprint, last, previous, total };
        let next = if cursor.at.is_null() { None } else { serde_json::to_value(cursor).ok() };
        Ok(Page { items, next, maybe_incomplete })
    }

    /// Decides what a page means that has the same items as the one before it.
    fn repeated_page(&self, request: &PageRequest, received: u64) -> Result<Page> {
        // A service that ignores offsets returns a short list whole, each time: the list has ended. A full page that is
        // repeated may be any part of an endless list.
        let short = request.count.is_some_and(|count| received < count);
        if short && matches!(self.rule, Rule::Offset { .. }) {
            return Ok(Page::default());
        }
        if request.cursor.last.is_some() {
            // The service may round offsets down to whole pages: this page is requested again, from its own first item.
            let cursor = PageCursor { at: (request.at() + 1).into(), last: None, ..request.cursor.clone() };
            return Ok(Page { next: serde_json::to_value(cursor).ok(), ..Page::default() });
        }
        Err(Error::new(
            ErrorKind::Unexpected,
            format!("page {} of the list is the same as the one before", request.cursor.page + 1),
        )
        .hint("the service seems to ignore the paging parameters; nothing was listed twice"))
    }

    /// Returns the items of a page. There are none in an empty body and where the place for them is absent or null; an
    /// object in the place of the list is a list of one.
    fn items(&self, body: &Value) -> Result<Vec<Value>> {
        let parent = self.items.rfind('/').map_or("", |at| &self.items[..at]);
        match (body.pointer(&self.items), body.pointer(parent)) {
            (Some(Value::Array(items)), _) => Ok(items.clone()),
            (Some(object @ Value::Object(_)), _) => Ok(vec![object.clone()]),
            (Some(Value::Null), _) | (None, Some(Value::Object(_) | Value::Null)) => Ok(Vec::new()),
            _ if body.is_null() => Ok(Vec::new()),
            _ => Err(Error::new(ErrorKind::Unexpected, format!("the response has no list at `{}`", self.items))
                .hint("compare the operation's row with the vendor's reference")),
        }
    }
}

impl PageRequest {
    fn at(&self) -> u64 {
        number(&self.cursor.at).unwrap_or(0)
    }

    /// Finds the next page of a list with offsets. The item that this page shares with the one before it is removed.
    fn after_offset(&self, items: &mut Vec<Value>, total: Option<u64>) -> Next {
        let received = items.len() as u64;
        let last = items.last().filter(|_| received > 1).map(item_identity);
        let moved = self.cursor.last.as_ref().and_then(|last| remove_overlap(items, last));
        let mut maybe_incomplete = total_changed(self.cursor.total, total).or(moved);
        let end = self.at().saturating_add(received);
        let at = match total {
            Some(total) if end >= total => Value::Null,
            Some(total) if items.is_empty() => {
                maybe_incomplete.get_or_insert(format!("it ended after {end} of {total} items"));
                Value::Null
            }
            _ if items.is_empty() => Value::Null,
            // The next page begins with the last item of this one, as a check that no item has moved.
            _ => (end - u64::from(last.is_some())).into(),
        };
        Next { at, last, total, maybe_incomplete, ..Next::default() }
    }

    /// Finds the next page of a list with page numbers. `previous` has the items of the page before, if it was read
    /// again.
    fn after_number(&self, items: &[Value], previous: Option<&[Value]>) -> Next {
        let changed = match (previous, &self.cursor.previous) {
            (Some(now), Some(before)) => page_identity(now) != *before,
            _ => false,
        };
        let is_short = self.count.is_some_and(|count| (items.len() as u64) < count);
        let mut next = match items.is_empty() || is_short {
            true => Next::default(),
            false => {
                Next { at: self.at().saturating_add(1).into(), previous: Some(page_identity(items)), ..Next::default() }
            }
        };
        next.maybe_incomplete = changed.then(|| "a page of it changed while the next one was read".to_owned());
        next
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
