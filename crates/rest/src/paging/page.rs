//! Lists that are read page by page: how to request the next page, and when the list ends.
//!
//! The idea: a list ends only on evidence, which its rule describes. A response that is neither a page nor such an end
//! is an error.
//!
//! The position of the next page is a small JSON value that also holds the number of pages before it and hashes of the
//! last one and of an earlier one. So a list that repeats itself or never ends is detected even if the host restarts in
//! the middle of it.

use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Page, Result, kind_of};

use super::{
    announce::{announced, partial, plain_total, suggested},
    list_changes::{Prints, fingerprint},
    next::{self, Next},
    position::{Mark, PageCursor, PageRequest},
    rule::{Paging, Rule},
    stated::{Stated, look, reported_error, whole},
};

/// A list with more pages than this is taken for a loop.
const MOST_PAGES: u64 = 100_000;

/// A list with more empty pages than this, one after the other, is taken for a loop.
const MOST_EMPTY_PAGES: u64 = 1000;

/// The response to the request for one page.
pub(crate) struct PageResponse<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a Value,
    /// URL in the `Link` header with `rel=next`, or the reason why the header cannot be read.
    pub(crate) link: Result<Option<String>, String>,
    /// Body of the page before, if it was read again.
    pub(crate) previous: Option<&'a Value>,
    /// Name of a header that announces a next page, other than `Link`.
    pub(crate) header: Option<&'static str>,
}

/// The reason why a response is neither a page nor the end of a list, and advice.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Continues a sentence that begins with the page.
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

const MISREAD: &str = "compare the operation's row with the vendor's reference";

/// Follows the page.
const REFUSED: &str = "was refused with a status for the end of the list, and is there as a page of one item";

/// The cure for a service that refuses the offset of the next item.
pub(crate) const SET_MULTIPLES: &str = "if the service takes only offsets that are multiples of the number of items \
    per page, set `multiples` in the row's `page`, else read the list again";

impl From<String> for Fault {
    fn from(message: String) -> Fault {
        Fault { message, hint: MISREAD }
    }
}

impl Paging {
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
        let too_many = |pages: String| {
            Err(Error::new(ErrorKind::Limit, format!("the list has more than {pages}"))
                .hint("narrow the list, or ask for more items a page"))
        };
        if cursor.page >= MOST_PAGES {
            return too_many(format!("{MOST_PAGES} pages"));
        }
        if cursor.empty >= MOST_EMPTY_PAGES {
            return too_many(format!("{MOST_EMPTY_PAGES} empty pages one after the other"));
        }
        if cursor.last.is_some() && cursor.longest == 0 {
            // The position was stored by a version that did not count.
            cursor.listed = whole(&cursor.at).ok().flatten().unwrap_or(0).saturating_add(1);
        }
        if let Some(name) = self.count.as_ref().filter(|_| cursor.refused) {
            // Each offset is a multiple of one.
            input.insert(name.clone(), 1.into());
        }
        let count = self.request_count(input, &default);
        let mut link = None;
        match &self.rule {
            Rule::Offset { offset: name } | Rule::Number { page: name, .. } => {
                if cursor.at.is_null() {
                    let (first, places) = match self.rule {
                        Rule::Number { first, .. } => (first, count.unwrap_or(0)),
                        _ => (0, 1),
                    };
                    cursor.at = input.get(name).cloned().or_else(|| default(name)).unwrap_or(first.into());
                    // The caller may begin later in the list. What is before counts as listed.
                    let skipped = whole(&cursor.at).ok().flatten().unwrap_or(0).saturating_sub(first);
                    cursor.listed = skipped.saturating_mul(places);
                }
                input.insert(name.clone(), cursor.at.clone());
            }
            Rule::Cursor { cursor: name, .. } | Rule::Keyset { cursor: name, .. } => {
                if !cursor.at.is_null() {
                    input.insert(name.clone(), cursor.at.clone());
                } else if input.contains_key(name) {
                    // The caller begins later in the list, and the number of items before is not known.
                    cursor.listed = u64::MAX;
                }
            }
            Rule::Link { .. } => link = cursor.at.as_str().map(str::to_owned),
        }
        Ok(PageRequest { cursor, count, link })
    }

    /// Adds the number of items per page to the input, and returns it if it is known.
    fn request_count(&self, input: &mut Map<String, Value>, default: impl Fn(&str) -> Option<Value>) -> Option<u64> {
        let name = self.count.as_ref()?;
        let given = input.get(name).cloned().or_else(|| default(name));
        let count = given.or_else(|| {
            let size = Value::from(self.row.size?);
            input.insert(name.clone(), size.clone());
            Some(size)
        });
        whole(&count?).ok().flatten()
    }

    /// Changes the input of a page so that it requests the page before. Returns whether that page has to be read again.
    pub(crate) fn request_previous(&self, request: &PageRequest, input: &mut Map<String, Value>) -> bool {
        match (&self.rule, whole(&request.cursor.at), &request.cursor.previous) {
            (Rule::Number { page, .. }, Ok(Some(number)), Some(_)) if number > 0 => {
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
    /// A fault if the response is neither a page nor the end of the list, or if the list makes no progress.
    pub(crate) fn read(&self, request: &PageRequest, response: &PageResponse<'_>) -> Result<Page, Fault> {
        let row = &self.row;
        let is_end = row.end_status.contains(&response.status);
        if !is_end && let Some(pointer) = reported_error(row, response.body) {
            return Err(Fault {
                message: format!("reports an error at `{pointer}`, with a status of success"),
                hint: "if this member does not mean an error, set `errors` of the row's `page` to those that do",
            });
        }
        if request.cursor.refused && !is_end {
            return Err(Fault { message: REFUSED.to_owned(), hint: SET_MULTIPLES });
        }
        if is_end && matches!(self.rule, Rule::Offset { .. }) && response.status >= 400 && request.is_uneven() {
            return Ok(self.refused_offset(request));
        }
        let (stated, mut items) = match is_end {
            true => (Stated { more: Some(false), ..Stated::default() }, Vec::new()),
            false => {
                let stated = Stated::read(row, response.body)?;
                let items = self.items(request, response.body, &stated)?;
                (stated, items)
            }
        };
        let prints = Prints::of(&items);
        if request.repeats(&prints, self.is_strict()) && !self.is_inclusive_end(&items, request) {
            return self.repeated_page(request, &stated, &prints);
        }
        let mut next = self.next(request, response, &stated, &mut items)?;
        self.check_end(request, response, &stated, &next, prints.length)?;
        if request.cursor.leapt
            && let (Rule::Number { .. }, Some(previous)) = (&self.rule, response.previous)
        {
            // The page before was taken for the last one that came again, and is a page of its own.
            items.splice(0..0, self.items(request, previous, &Stated::default())?);
        }
        if let Some(pointer) = partial(row, response.body) {
            next.maybe_incomplete.get_or_insert(format!("the service says so at `{pointer}`"));
        }
        self.page(request, items, next, &prints)
    }

    /// Finds the next page.
    fn next(
        &self,
        request: &PageRequest,
        response: &PageResponse<'_>,
        stated: &Stated,
        items: &mut Vec<Value>,
    ) -> Result<Next, Fault> {
        let (body, trusted) = (response.body, self.row.trust_total);
        let next = match &self.rule {
            Rule::Offset { .. } => request.after_offset(items, stated, &self.row),
            Rule::Number { .. } => {
                let previous =
                    response.previous.map(|body| self.items(request, body, &Stated::default())).transpose()?;
                Ok(request.after_number(items, stated, trusted, previous.as_deref()))
            }
            Rule::Cursor { .. } | Rule::Link { .. } if stated.more == Some(false) => Ok(Next::default()),
            Rule::Cursor { next, .. } => request.after_cursor(items, body, next, next::cursor),
            Rule::Link { next: Some(next) } => request.after_cursor(items, body, next, next::url),
            Rule::Link { next: None } => {
                response.link.clone().map(|link| Next::at(link.map_or(Value::Null, Value::from)))
            }
            Rule::Keyset { key, .. } => request.after_keyset(items, key),
        };
        let mut next = next?;
        if stated.more == Some(false) {
            next.at = Value::Null;
        }
        // An unchanged cursor ends the list if it comes with an empty page.
        if items.is_empty() && next.at == request.cursor.at {
            next.at = Value::Null;
        }
        if next.at.is_null() && matches!(self.rule, Rule::Cursor { .. } | Rule::Link { .. }) {
            next.total = plain_total(&self.row, body);
        }
        Ok(next)
    }

    /// Checks that the list does not end although the response says otherwise.
    fn check_end(
        &self,
        request: &PageRequest,
        response: &PageResponse<'_>,
        stated: &Stated,
        next: &Next,
        received: u64,
    ) -> Result<(), Fault> {
        if !next.at.is_null() {
            return Ok(());
        }
        let before = &request.cursor;
        let counts = matches!(self.rule, Rule::Offset { .. } | Rule::Number { .. });
        let nothing = counts && received == 0 && before.listed == 0;
        if nothing && let Some(total) = next.total.filter(|_| before.last.is_none()) {
            return Err(format!("has no item of a list with {total} items").into());
        }
        match stated.more {
            Some(true) => Err("has more items after it by its flag, and does not say where".to_owned().into()),
            Some(false) => Ok(()),
            None => {
                let link = response.link.as_ref().ok().and_then(Option::as_ref).map(|_| "in its `Link` header".into());
                let own = match &self.rule {
                    Rule::Offset { .. } | Rule::Number { .. } => {
                        let listed = before.listed.saturating_add(received);
                        stated.last.is_some_and(|last| last > 0 && last == request.at())
                            || next.total.is_some_and(|total| total <= listed)
                    }
                    Rule::Cursor { next, .. } | Rule::Link { next: Some(next) } => {
                        look(response.body, next).ok().flatten().is_some()
                    }
                    _ => false,
                };
                let other = || {
                    let header = response.header.map(|name| format!("in its header `{name}`"));
                    suggested(&self.row, response.body).map(|pointer| format!("at `{pointer}`")).or(header)
                };
                let found = announced(&self.row, response.body).map(|pointer| format!("at `{pointer}`")).or(link);
                match found.or_else(|| if own { None } else { other() }) {
                    None => Ok(()),
                    Some(place) => Err(Fault {
                        message: format!("announces a next page {place}, which the row does not read"),
                        hint: "let the row's `page` read it by `next`, `more` or another kind, or put it into `ignore`",
                    }),
                }
            }
        }
    }

    /// Makes the page, with the position of the next one.
    fn page(&self, request: &PageRequest, items: Vec<Value>, next: Next, prints: &Prints) -> Result<Page, Fault> {
        let before = &request.cursor;
        let is_cursor = matches!(self.rule, Rule::Cursor { .. } | Rule::Link { .. });
        let is_unchanged = is_cursor && !next.at.is_null() && next.at == before.at;
        // A cursor may stand for the reader's place in the list, which the service keeps.
        if is_unchanged && matches!(self.rule, Rule::Link { .. }) {
            return Err(no_progress("gives the page that was just read as its next page"));
        }
        let listed = before.listed.saturating_add(items.len() as u64);
        let mut maybe_incomplete = next.maybe_incomplete;
        if next.at.is_null() {
            if let Some(total) = next.total.filter(|total| *total > listed) {
                maybe_incomplete.get_or_insert(format!("it ended after {listed} of {total} items"));
            }
            return Ok(Page { items, next: None, maybe_incomplete });
        }
        let is_alike = prints.length > 0 && prints.ids.is_some() && prints.ids == before.ids;
        let items_of = if self.is_strict() { prints.items() } else { &prints.any_order };
        let here = Mark { next: fingerprint([&next.at]), items: items_of.clone() };
        let turns = |mark: &Mark| {
            (is_cursor && !is_unchanged && mark.next == here.next) || (prints.length > 0 && mark.items == here.items)
        };
        if before.mark.as_ref().is_some_and(turns) {
            return Err(no_progress("leads back to a page that was read before"));
        }
        // Brent's algorithm: with a mark at every power of two, a cycle of any length is noticed.
        let page = before.page + 1;
        let mark = if page.is_power_of_two() { Some(here) } else { before.mark.clone() };
        let cursor = PageCursor {
            at: next.at,
            page,
            content: prints.content.clone(),
            ids: prints.ids.clone(),
            any_order: Some(prints.any_order.clone()),
            alike: if is_alike { before.alike + 1 } else { 0 },
            last: next.last,
            tail: next.tail,
            previous: next.previous,
            total: next.total,
            listed,
            longest: before.longest.max(prints.length),
            empty: if prints.length == 0 { before.empty + 1 } else { 0 },
            leapt: false,
            refused: false,
            mark,
        };
        Ok(Page { items, next: serde_json::to_value(cursor).ok(), maybe_incomplete })
    }

    /// Returns what follows a refused offset that may be in the middle of the list: the same position again, as a page
    /// of one item.
    fn refused_offset(&self, request: &PageRequest) -> Page {
        let before = &request.cursor;
        if self.count.is_some() {
            let again = PageCursor { refused: true, ..before.clone() };
            return Page { next: serde_json::to_value(again).ok(), ..Page::default() };
        }
        // A longer page before was followed by one that began with its last item, and the service took that offset.
        let reason = "its second page was refused, and the service may take only offsets of whole pages";
        let is_doubtful = before.longest <= 1;
        Page { maybe_incomplete: is_doubtful.then(|| reason.to_owned()), ..Page::default() }
    }

    /// Returns whether a page repeats the one before it by the ids of its items alone: they are the places in the list.
    fn is_strict(&self) -> bool {
        matches!(self.rule, Rule::Offset { .. } | Rule::Keyset { .. })
    }

    /// Returns whether a page has nothing but the item of the cursor, as some services end a list.
    fn is_inclusive_end(&self, items: &[Value], request: &PageRequest) -> bool {
        let known = |item: &Value| request.cursor.tail.contains(&fingerprint([item]));
        matches!(self.rule, Rule::Keyset { .. }) && items.iter().all(known)
    }

    /// Decides what a page means that has the same items as the one before it.
    fn repeated_page(&self, request: &PageRequest, stated: &Stated, prints: &Prints) -> Result<Page, Fault> {
        let before = &request.cursor;
        let again = |cursor: PageCursor| Ok(Page { next: serde_json::to_value(cursor).ok(), ..Page::default() });
        let lacks = request.lacks(prints.length);
        if let Rule::Offset { .. } = self.rule {
            if before.last.is_some() {
                // The service may round offsets down to whole pages: the next request is for the page after this item.
                return again(PageCursor { at: (request.at() + 1).into(), last: None, ..before.clone() });
            }
            if lacks > 0 && !before.leapt && !self.row.multiples {
                // Items between may be hidden: the same ones are seen from two places.
                let at = request.at().saturating_add(lacks);
                return again(PageCursor { at: at.into(), leapt: true, ..before.clone() });
            }
        }
        let counts = matches!(self.rule, Rule::Offset { .. } | Rule::Number { .. });
        let is_same = prints.ids.is_some() && prints.content == before.content;
        if counts && is_same && stated.more != Some(true) {
            let total = stated.proven_total(prints.length, self.row.trust_total).or(before.total);
            if let Rule::Number { .. } = self.rule
                && before.page > 1
                && !(prints.named || before.leapt || total.is_some())
            {
                // Equal items without ids may be different ones: the page after this one shows it.
                return again(PageCursor { at: (request.at() + 1).into(), leapt: true, ..before.clone() });
            }
            // Some services return the last page for each position after it.
            if before.page > 1 || total == Some(before.listed) {
                let missing = total.filter(|total| *total > before.listed);
                let maybe_incomplete =
                    missing.map(|total| format!("it ended after {} of {total} items", before.listed));
                return Ok(Page { maybe_incomplete, ..Page::default() });
            }
            // The first page has fewer items than asked for, or the total: most likely there are no others.
            if lacks > 0 || stated.total == Some(before.listed) {
                let reason = "its first page came again in place of the second, so the service may not page this list";
                return Ok(Page { maybe_incomplete: Some(reason.to_owned()), ..Page::default() });
            }
        }
        Err(no_progress("is the same as the one before"))
    }

    /// Returns the items of a page. An empty list is an array without elements; a null is one only if the row or
    /// another member says so.
    fn items(&self, request: &PageRequest, body: &Value, stated: &Stated) -> Result<Vec<Value>, Fault> {
        let row = &self.row;
        let reached = if let Rule::Offset { .. } = self.rule { request.at() } else { request.cursor.listed };
        let is_end = stated.more == Some(false) || stated.total.is_some_and(|total| total <= reached);
        let found = match look(body, &row.items)? {
            Some(Value::Array(items)) => return Ok(items.clone()),
            Some(object @ Value::Object(_)) if row.single && request.number() == 1 => return Ok(vec![object.clone()]),
            Some(Value::Null) if row.null_is_empty || is_end => return Ok(Vec::new()),
            Some(other) => kind_of(other),
            None => "nothing",
        };
        let hint = match found {
            "null" => "if the service writes null for an empty list, set `nullIsEmpty` in `page` of the row",
            _ => MISREAD,
        };
        Err(Fault { message: format!("has {found} at `{}`, where its list has to be", row.items), hint })
    }
}

/// The fault of a list that would not end.
fn no_progress(message: &str) -> Fault {
    Fault {
        message: message.to_owned(),
        hint: "the service seems to ignore the paging parameters: compare the row with the vendor's reference",
    }
}

#[cfg(test)]
mod tests;
