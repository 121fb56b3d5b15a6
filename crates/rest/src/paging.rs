//! Lists that come page by page: how to ask for the next one, and when to stop.
//!
//! Where the next page begins is a small JSON value that also says how many pages there were and what the last one looked
//! like. So a list that repeats itself or never ends is noticed even if the host was restarted in its middle.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Error, ErrorKind, Page, Result};

use crate::{
    list_changes::{fingerprint, mark, page_mark, pick_up, recounted},
    operation::{Input, Spot, check_pointer},
    row::PageRow,
};

/// More pages than this are no list but a loop.
const MOST_PAGES: u64 = 100_000;

/// How a list goes on, see [`PageRow`].
#[derive(Clone, Debug)]
pub(crate) struct Paging {
    kind: Kind,
    /// Input that takes the number of items wanted.
    count: Option<String>,
    size: Option<u64>,
    items: String,
}

#[derive(Clone, Debug)]
enum Kind {
    Offset { offset: String, total: Option<String> },
    Number { page: String, first: u64 },
    Cursor { cursor: String, next: String },
    Link { next: Option<String> },
}

/// Where a page begins: opaque to everybody else.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Offset, number, cursor or address of this page.
    at: Value,
    /// Pages before this one.
    page: u64,
    /// Fingerprint of the page before.
    seen: String,
    /// The last item of the page before, if this page is to begin with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// Which items the page before had, if it is to be read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    /// How many items the list had by the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

/// One page as it is about to be asked for.
pub(crate) struct Ask {
    cursor: Cursor,
    /// Items asked for, if that is known.
    count: Option<u64>,
    /// The address of the page, where the page before gave one.
    pub(crate) link: Option<String>,
}

impl Paging {
    pub(crate) fn compile(row: &PageRow, inputs: &mut Vec<Input>, spot: Spot) -> Result<Paging, String> {
        // A name that the row declares as an input, by its own or its wire name, is that input; else it is ours to send.
        let mut resolve = |name: &String| match inputs.iter().find(|one| one.name == *name || one.wire == *name) {
            Some(input) => input.name.clone(),
            None => {
                let (wire, default) = (name.clone(), None);
                inputs.push(Input { name: name.clone(), wire, spot, required: false, default });
                name.clone()
            }
        };
        let (kind, count, size, items) = match row {
            PageRow::Offset { offset, count, size, items, total } => {
                let kind = Kind::Offset { offset: resolve(offset), total: total.clone() };
                (kind, count, size, items)
            }
            PageRow::Number { page, count, size, first, items } => {
                (Kind::Number { page: resolve(page), first: *first }, count, size, items)
            }
            PageRow::Cursor { cursor, next, count, size, items } => {
                (Kind::Cursor { cursor: resolve(cursor), next: next.clone() }, count, size, items)
            }
            PageRow::Link { next, count, size, items } => (Kind::Link { next: next.clone() }, count, size, items),
        };
        let further = match &kind {
            Kind::Offset { total, .. } => total.as_ref(),
            Kind::Cursor { next, .. } => Some(next),
            Kind::Link { next } => next.as_ref(),
            Kind::Number { .. } => None,
        };
        for pointer in [Some(items), further].into_iter().flatten() {
            check_pointer(pointer)?;
        }
        if *size == Some(0) || (size.is_some() && count.is_none()) {
            return Err("`size` is at least 1 and goes with `count`".into());
        }
        Ok(Paging { kind, count: count.as_ref().map(resolve), size: *size, items: items.clone() })
    }

    /// Puts into the input what asks for the page at `from`.
    pub(crate) fn ask(&self, input: &mut Map<String, Value>, inputs: &[Input], from: Option<Value>) -> Result<Ask> {
        let mut cursor = match from {
            None => Cursor::default(),
            Some(from) => serde_json::from_value(from).map_err(|_| {
                Error::new(ErrorKind::InvalidInput, "this is not where a page of the list begins")
                    .hint("pass on `next` of the page before, unchanged")
            })?,
        };
        if cursor.page >= MOST_PAGES {
            return Err(Error::new(ErrorKind::Limit, format!("the list has more than {MOST_PAGES} pages"))
                .hint("narrow the list, or ask for more items a page"));
        }
        let default = |name: &str| inputs.iter().find(|one| one.name == name).and_then(|one| one.default.clone());
        let mut link = None;
        match &self.kind {
            Kind::Offset { offset: name, .. } | Kind::Number { page: name, .. } => {
                if cursor.at.is_null() {
                    let first = if let Kind::Number { first, .. } = self.kind { first } else { 0 };
                    cursor.at = input.get(name).cloned().or_else(|| default(name)).unwrap_or(first.into());
                }
                input.insert(name.clone(), cursor.at.clone());
            }
            Kind::Cursor { cursor: name, .. } => {
                if !cursor.at.is_null() {
                    input.insert(name.clone(), cursor.at.clone());
                }
            }
            Kind::Link { .. } => link = cursor.at.as_str().map(str::to_owned),
        }
        let mut count = None;
        if let Some(name) = &self.count {
            if let (None, Some(size)) = (input.get(name).cloned().or_else(|| default(name)), self.size) {
                input.insert(name.clone(), size.into());
            }
            count = input.get(name).cloned().or_else(|| default(name)).as_ref().and_then(number);
        }
        Ok(Ask { cursor, count, link })
    }

    /// Puts into the input of a page what asks for the page before it, if that one has to be read again.
    pub(crate) fn ask_before(&self, ask: &Ask, input: &mut Map<String, Value>) -> bool {
        match (&self.kind, number(&ask.cursor.at), &ask.cursor.held) {
            (Kind::Number { page, .. }, Some(number), Some(_)) if number > 0 => {
                input.insert(page.clone(), (number - 1).into());
                true
            }
            _ => false,
        }
    }

    /// Takes the items out of the body of an answer, and finds out where the next page begins. `header` is the address of a
    /// `Link` header with `rel=next`; `before` is what the page before is now, if it was read again.
    pub(crate) fn split(
        &self,
        ask: &Ask,
        body: &Value,
        header: Option<String>,
        before: Option<&Value>,
    ) -> Result<Page> {
        let mut items = self.items(body)?;
        let (seen, read) = (fingerprint(&items), items.len() as u64);
        let at = number(&ask.cursor.at).unwrap_or(0);
        if !items.is_empty() && seen == ask.cursor.seen {
            // A service that knows no offset gives a short list whole, and again: that was all. A full page that comes again
            // may be any part of an endless list.
            let short = ask.count.is_some_and(|count| read < count);
            if short && matches!(self.kind, Kind::Offset { .. }) {
                return Ok(Page::default());
            }
            if ask.cursor.last.is_some() {
                // A service that knows offsets of whole pages only: this one is asked for again, from its own first item.
                let cursor = Cursor { at: (at + 1).into(), last: None, ..ask.cursor.clone() };
                return Ok(Page { next: serde_json::to_value(cursor).ok(), ..Page::default() });
            }
            return Err(Error::new(
                ErrorKind::Unexpected,
                format!("page {} of the list is the same as the one before", ask.cursor.page + 1),
            )
            .hint("the service seems to ignore the paging parameters; nothing was listed twice"));
        }
        let (mut last, mut held, mut total) = (None, None, None);
        let mut maybe_incomplete = match (before, &ask.cursor.held) {
            (Some(before), Some(held)) if page_mark(&self.items(before)?) != *held => {
                Some("a page of it changed while the next one was read".to_owned())
            }
            _ => None,
        };
        if let Kind::Offset { total: pointer, .. } = &self.kind {
            // A total of nothing beside items is no total.
            total = pointer.as_ref().and_then(|total| number(body.pointer(total)?)).filter(|total| *total > 0);
            last = items.last().filter(|_| read > 1).map(mark);
            let moved = ask.cursor.last.as_ref().and_then(|last| pick_up(&mut items, last));
            maybe_incomplete = recounted(ask.cursor.total, total).or(moved);
        }
        let next = match &self.kind {
            Kind::Offset { .. } => {
                let end = at.saturating_add(read);
                match total {
                    Some(total) if end >= total => Value::Null,
                    Some(total) if items.is_empty() => {
                        let ended = format!("it ended after {end} of {total} items");
                        maybe_incomplete.get_or_insert(ended);
                        Value::Null
                    }
                    _ if items.is_empty() => Value::Null,
                    // From the last item on, which has to be there still.
                    _ => (end - u64::from(last.is_some())).into(),
                }
            }
            Kind::Number { .. } if items.is_empty() => Value::Null,
            Kind::Number { .. } => match ask.count {
                Some(count) if read < count => Value::Null,
                _ => {
                    held = Some(page_mark(&items));
                    at.saturating_add(1).into()
                }
            },
            Kind::Cursor { next, .. } => match body.pointer(next) {
                Some(Value::String(next)) if next.is_empty() => Value::Null,
                Some(Value::Bool(false)) | None => Value::Null,
                Some(next) => next.clone(),
            },
            Kind::Link { next: None } => header.map_or(Value::Null, Value::from),
            Kind::Link { next: Some(next) } => match body.pointer(next) {
                Some(Value::String(next)) if !next.is_empty() => next.as_str().into(),
                _ => Value::Null,
            },
        };
        if !next.is_null() && next == ask.cursor.at {
            return Err(Error::new(
                ErrorKind::Unexpected,
                "the list gives the page that was just read as its next page",
            )
            .hint("report it to the vendor; nothing was listed twice"));
        }
        let next = Cursor { at: next, page: ask.cursor.page + 1, seen, last, held, total };
        let next = if next.at.is_null() { None } else { serde_json::to_value(next).ok() };
        Ok(Page { items, next, maybe_incomplete })
    }

    /// The items of a page. An answer without a body has none, nor has an envelope whose place for them is absent or null;
    /// one object in the place of a list is a list of one.
    fn items(&self, body: &Value) -> Result<Vec<Value>> {
        let parent = self.items.rfind('/').map_or("", |at| &self.items[..at]);
        match (body.pointer(&self.items), body.pointer(parent)) {
            (Some(Value::Array(items)), _) => Ok(items.clone()),
            (Some(object @ Value::Object(_)), _) => Ok(vec![object.clone()]),
            (Some(Value::Null), _) | (None, Some(Value::Object(_) | Value::Null)) => Ok(Vec::new()),
            _ if body.is_null() => Ok(Vec::new()),
            _ => Err(Error::new(ErrorKind::Unexpected, format!("the answer has no list at `{}`", self.items))
                .hint("compare the operation's row with the vendor's reference")),
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// The address of the next page in `Link` headers (RFC 8288 section 3).
pub(crate) fn next_link<'a>(headers: impl Iterator<Item = &'a str>) -> Option<String> {
    for header in headers {
        let mut rest = header;
        while let Some((_, after)) = rest.split_once('<') {
            let (target, after) = after.split_once('>')?;
            let end = after.find('<').unwrap_or(after.len());
            let is_next = after[..end].split([';', ',']).any(|parameter| {
                parameter.trim().split_once('=').is_some_and(|(name, value)| {
                    name.trim().eq_ignore_ascii_case("rel")
                        && value.trim().trim_matches('"').split_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
                })
            });
            if is_next {
                return Some(target.trim().to_owned());
            }
            rest = &after[end..];
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(row: &str) -> (Paging, Vec<Input>) {
        let row: PageRow = toml::from_str(row).unwrap();
        let mut inputs = Vec::new();
        (Paging::compile(&row, &mut inputs, Spot::Query).unwrap(), inputs)
    }

    /// Walks a list to its end; each page is a function of what was asked.
    fn walk(row: &str, answer: impl Fn(&Map<String, Value>) -> Value) -> Result<Vec<Vec<Value>>> {
        let (page, inputs) = page(row);
        let (mut pages, mut from) = (Vec::new(), None);
        loop {
            let mut input = Map::new();
            let ask = page.ask(&mut input, &inputs, from)?;
            let items = page.split(&ask, &answer(&input), None, None)?;
            pages.push(items.items);
            from = items.next;
            if from.is_none() {
                return Ok(pages);
            }
        }
    }

    fn slice(all: u64, from: u64, count: u64) -> Vec<u64> {
        (from..all.min(from + count)).collect()
    }

    const OFFSET: &str =
        "kind = 'offset'\noffset = 'offset'\ncount = 'count'\nsize = 50\nitems = '/a/b'\ntotal = '/total'";

    #[test]
    fn offset_ends_at_the_total_or_on_an_empty_page() {
        let body = |total: Value| {
            move |input: &Map<String, Value>| {
                let items = slice(120, input["offset"].as_u64().unwrap(), input["count"].as_u64().unwrap());
                json!({ "a": { "b": items }, "total": total })
            }
        };
        let lengths = |total| walk(OFFSET, body(total)).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(json!(120)), [50, 49, 21], "each page begins with the last item of the one before");
        assert_eq!(lengths(json!("120")), [50, 49, 21]);
        assert_eq!(lengths(Value::Null), [50, 49, 21, 0]);
        assert_eq!(lengths(json!(0)), [50, 49, 21, 0], "a total of nothing beside items is no total");
    }

    #[test]
    fn a_service_that_gives_fewer_than_asked_loses_nothing() {
        let answer = |input: &Map<String, Value>| {
            let items = slice(45, input["offset"].as_u64().unwrap(), 10);
            json!({ "a": { "b": items }, "total": 45 })
        };
        assert_eq!(walk(OFFSET, answer).unwrap().concat().len(), 45);
    }

    #[test]
    fn a_service_that_knows_offsets_of_whole_pages_only_gives_all_of_them() {
        let answer = |input: &Map<String, Value>| {
            let items = slice(120, input["offset"].as_u64().unwrap() / 50 * 50, 50);
            json!({ "a": { "b": items }, "total": 120 })
        };
        assert_eq!(walk(OFFSET, answer).unwrap().concat(), slice(120, 0, 120));
    }

    #[test]
    fn a_list_that_changes_between_two_pages_says_so() {
        let (page, inputs) = page(OFFSET);
        let body = |items: Vec<u64>, total: u64| json!({ "a": { "b": items }, "total": total });
        let ask = page.ask(&mut Map::new(), &inputs, None).unwrap();
        let next = page.split(&ask, &body(slice(120, 0, 50), 120), None, None).unwrap().next;
        let ask = page.ask(&mut Map::new(), &inputs, next).unwrap();
        for (items, total, told) in [
            (slice(99, 49, 50), 120, None),
            (slice(99, 49, 50), 121, Some("it had 120 items, and then 121")),
            (slice(99, 47, 50), 120, Some("its items moved back by 2 between two pages")),
            (slice(99, 50, 50), 120, Some("its items moved between two pages")),
            (Vec::new(), 120, Some("its items moved between two pages")),
        ] {
            let items = page.split(&ask, &body(items, total), None, None).unwrap();
            assert_eq!(items.maybe_incomplete.as_deref(), told);
        }
    }

    #[test]
    fn number_ends_on_a_short_page() {
        let row = "kind = 'number'\npage = 'page'\ncount = 'per_page'\nsize = 10\nitems = ''";
        let answer = |input: &Map<String, Value>| json!(slice(25, (input["page"].as_u64().unwrap() - 1) * 10, 10));
        assert_eq!(walk(row, answer).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(walk(row, |_| json!([])).unwrap(), [Vec::<Value>::new()]);
    }

    #[test]
    fn cursor_ends_when_there_is_none() {
        let row = "kind = 'cursor'\ncursor = 'after'\nnext = '/next'\nitems = '/items'";
        let answer = |input: &Map<String, Value>| match input.get("after") {
            None => json!({ "items": [1], "next": "x" }),
            Some(Value::String(x)) if x == "x" => json!({ "items": [], "next": "y" }),
            _ => json!({ "items": [2], "next": "" }),
        };
        assert_eq!(walk(row, answer).unwrap().concat(), [json!(1), json!(2)], "an empty page in the middle is no end");
    }

    #[test]
    fn a_list_that_repeats_itself_is_noticed() {
        for row in [OFFSET, "kind = 'number'\npage = 'p'\nitems = '/a/b'"] {
            let error = walk(row, |_| json!({ "a": { "b": slice(50, 0, 50) } })).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unexpected);
            assert!(error.message().contains("page 2"), "{error}");
        }
        let row = "kind = 'cursor'\ncursor = 'after'\nnext = '/next'\nitems = '/items'";
        let error = walk(row, |input| json!({ "items": [input.len()], "next": "same" })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
    }

    #[test]
    fn the_guard_survives_a_restart_and_so_does_the_limit() {
        let (page, inputs) = page(OFFSET);
        let body = json!({ "a": { "b": slice(50, 0, 50) } });
        let ask = page.ask(&mut Map::new(), &inputs, None).unwrap();
        let next = page.split(&ask, &body, None, None).unwrap().next.unwrap();
        let next: Value = serde_json::from_str(&next.to_string()).unwrap();
        let ask = page.ask(&mut Map::new(), &inputs, Some(next.clone())).unwrap();
        let whole = page.split(&ask, &body, None, None).unwrap();
        assert!(whole.items.is_empty(), "it may know offsets of whole pages only");
        let ask = page.ask(&mut Map::new(), &inputs, whole.next).unwrap();
        assert_eq!(page.split(&ask, &body, None, None).unwrap_err().kind(), ErrorKind::Unexpected);
        let mut late = next;
        late["page"] = MOST_PAGES.into();
        let error = page.ask(&mut Map::new(), &inputs, Some(late)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(page.ask(&mut Map::new(), &inputs, Some(json!(7))).is_err());
    }

    #[test]
    fn where_the_items_are() {
        let (page, _) = page(OFFSET);
        assert_eq!(page.items(&Value::Null).unwrap(), [Value::Null; 0]);
        assert_eq!(page.items(&json!({ "a": {} })).unwrap(), [Value::Null; 0]);
        assert_eq!(page.items(&json!({ "a": { "b": { "id": 1 } } })).unwrap(), [json!({ "id": 1 })]);
        assert!(page.items(&json!({ "x": 1 })).is_err() && page.items(&json!({ "a": { "b": "text" } })).is_err());
    }

    #[test]
    fn link_headers() {
        let next = |header| next_link([header].into_iter());
        assert_eq!(next("<https://a/1>; rel=\"prev\", <https://a/3>; rel=\"next\"").as_deref(), Some("https://a/3"));
        assert_eq!(next("</3>;rel=next").as_deref(), Some("/3"));
        assert_eq!(next("</3>; rel=\"last next\"").as_deref(), Some("/3"));
        assert_eq!(next("</3>; rel=prev"), None);
        assert_eq!(next("junk <"), None);
    }
}
