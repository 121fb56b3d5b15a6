//! Every action that lists, against a service that serves its list page by page: with pages that are shorter than asked
//! for, hidden items, empty and repeated pages, and responses that are not pages.
//!
//! The idea: of a list that the service shows, every item arrives exactly once. A response that is not a page is an
//! error, wherever it stands; it never ends the list.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use trunkline_core::{Context, Error, ErrorKind, Page, Result};
use trunkline_rest::Url;

use crate::{
    LONG,
    behaviours::Verdict,
    sample::input,
    service::{RecordedRequest, Reply, bytes},
    subject::Subject,
};

/// JSON pointers to the items of the lists under test.
const PLACES: [&str; 6] = ["", "/payload", "/payload/assets", "/payload/persons", "/payload/analyticData", "/tasks"];

/// A list has ended, or failed, long before as many pages.
const MOST_PAGES: usize = 300;

/// A list as the service serves it.
#[derive(Clone)]
pub(crate) struct Shelf {
    /// JSON pointer to the items.
    pub(crate) place: &'static str,
    /// Number of items.
    length: usize,
    /// The most items that a page has.
    cap: usize,
    /// Whether this item is hidden.
    is_hidden: fn(usize) -> bool,
    /// Whether each request gets the first page.
    ignores: bool,
    /// The number of the request, from 0, that gets another response.
    broken: Option<(usize, Broken)>,
}

/// A response that is not a page.
#[derive(Clone, Copy)]
enum Broken {
    /// An error in the vendor's form.
    VendorError,
    /// An error as many services write it.
    Error,
    NoPlace,
    Null,
    Object,
    Text,
    /// A page without items that announces another one.
    Announcement,
}

impl Shelf {
    pub(crate) fn new(place: &'static str, length: usize) -> Shelf {
        Shelf { place, length, cap: usize::MAX, is_hidden: |_| false, ignores: false, broken: None }
    }

    fn visible(&self) -> Vec<usize> {
        (0..self.length).filter(|id| !(self.is_hidden)(*id)).collect()
    }

    /// Returns the body of a page, in the form of the vendor with a list in this place.
    pub(crate) fn body(&self, items: Vec<Value>) -> Value {
        let names: Vec<_> = self.place.split('/').skip(1).collect();
        let total = self.length;
        match names[..] {
            [] => items.into(),
            ["payload"] => json!({ "errors": [], "payload": items, "recordCount": { "totalRecordsFound": total } }),
            ["payload", name] => json!({ "errors": [], "payload": { name: items, "assetCount": total },
                "recordCount": { "totalRecordsFound": total } }),
            [name, ..] => json!({ name: items }),
        }
    }

    fn page(&self, seen: &RecordedRequest) -> Value {
        let asked = asked(seen);
        let number = |name: &str| asked.get(name).copied();
        let size = number("count").or(number("per_page")).unwrap_or(50).min(self.cap);
        let from = match number("page") {
            _ if self.ignores => 0,
            Some(page) => (page - 1) * size,
            None => number("offset").unwrap_or(0),
        };
        let shown = (0..self.length).skip(from).take(size).filter(|id| !(self.is_hidden)(*id));
        self.body(shown.map(|id| json!({ "id": id, "name": format!("thing {id}") })).collect())
    }

    fn broken_page(&self, broken: Broken) -> (&'static str, Value) {
        let body = match broken {
            Broken::VendorError if self.place.starts_with("/payload") => {
                json!({ "apiVersion": "1.2", "errors": ["no"], "warnings": [], "payload": {} })
            }
            Broken::VendorError => json!({ "status": 400, "error": "no" }),
            Broken::Error => json!({ "error": { "code": 42, "message": "quota used up" } }),
            Broken::NoPlace => json!({ "message": "the index is being built" }),
            Broken::Text => json!("maintenance"),
            Broken::Announcement => {
                let mut body = Shelf::new(self.place, 0).body(Vec::new());
                if body.is_object() {
                    body["next"] = json!("another-page");
                }
                return ("link: </base/other>; rel=\"next\"\r\n", body);
            }
            Broken::Null | Broken::Object => {
                let other = if let Broken::Null = broken { Value::Null } else { json!({ "message": "wait" }) };
                let names = self.place.split('/').skip(1).collect::<Vec<_>>().into_iter().rev();
                names.fold(other, |inner, name| json!({ name: inner }))
            }
        };
        ("", body)
    }

    /// Returns the service's responses.
    pub(crate) fn reply(self) -> Reply {
        let requests = AtomicUsize::new(0);
        Reply::Of(Arc::new(move |seen| {
            let request = requests.fetch_add(1, Ordering::SeqCst);
            let (headers, body) = match self.broken {
                Some((when, broken)) if when == request => self.broken_page(broken),
                _ => ("", self.page(seen)),
            };
            bytes(200, headers, &body.to_string())
        }))
    }
}

/// Returns the numbers in the query and the body of a request, by their names in lower case.
fn asked(seen: &RecordedRequest) -> BTreeMap<String, usize> {
    let url = Url::parse(&format!("http://service{}", seen.target)).unwrap();
    let query = url.query_pairs().filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.parse().ok()?)));
    let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
    let body = body.as_object().into_iter().flatten();
    let body =
        body.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), usize::try_from(value.as_u64()?).ok()?)));
    query.chain(body).collect()
}

/// What was read of a list.
pub(crate) struct ReadList {
    pub(crate) ids: Vec<usize>,
    pub(crate) maybe_incomplete: bool,
    pub(crate) pages: usize,
}

/// Returns the number of an item, which is a text where the output of the action declares one.
fn id(item: &Value) -> Option<usize> {
    match &item["id"] {
        Value::String(text) => text.parse().ok(),
        number => number.as_u64().map(|id| id as usize),
    }
}

/// Reads the list of an action to its end.
async fn read(subject: &Subject, shelf: Shelf) -> Result<ReadList> {
    subject.service.replies(&[shelf.reply()]);
    let (mut list, mut next) = (ReadList { ids: Vec::new(), maybe_incomplete: false, pages: 0 }, None);
    loop {
        let (name, input, cx) = (&subject.spec.name, input(&subject.spec.input), Context::default().with_timeout(LONG));
        let Page { items, next: following, maybe_incomplete } = subject.connected.page(name, input, next, &cx).await?;
        list.ids.extend(items.iter().map(|item| id(item).unwrap_or(usize::MAX)));
        list.maybe_incomplete |= maybe_incomplete.is_some();
        list.pages += 1;
        if following.is_none() {
            return Ok(list);
        }
        if list.pages > MOST_PAGES {
            return Err(Error::new(ErrorKind::Internal, "the list does not end"));
        }
        next = following;
    }
}

/// Finds the place of the items in the responses to an action that lists.
pub(crate) async fn place(subject: &Subject) -> &'static str {
    for place in PLACES {
        if read(subject, Shelf::new(place, 3)).await.is_ok_and(|list| list.ids == [0, 1, 2]) {
            return place;
        }
    }
    panic!("{} lists nothing in any of the known places", subject.name());
}

/// A behaviour of a list, and the required result.
pub(crate) struct ListBehaviour {
    pub(crate) name: &'static str,
    change: fn(&mut Shelf),
    judge: fn(&Shelf, &Result<ReadList>) -> Verdict,
}

impl ListBehaviour {
    pub(crate) async fn judge(&self, subject: &Subject, place: &'static str) -> Verdict {
        let mut shelf = Shelf::new(place, 250);
        (self.change)(&mut shelf);
        (self.judge)(&shelf, &read(subject, shelf.clone()).await)
    }
}

/// Requires every visible item exactly once.
fn complete(shelf: &Shelf, read: &Result<ReadList>) -> Verdict {
    match read {
        Ok(list) if list.ids == shelf.visible() => Ok(()),
        Ok(list) => Err(format!("listed {:?} in {} pages, not {:?}", list.ids, list.pages, shelf.visible())),
        Err(error) => Err(format!("failed: {error:?}")),
    }
}

/// Requires an error that says what is wrong with the list.
fn an_error(_: &Shelf, read: &Result<ReadList>) -> Verdict {
    // The vendors' own errors have kinds of their own.
    let kinds = [ErrorKind::Unexpected, ErrorKind::InvalidInput];
    match read {
        Err(error) if kinds.contains(&error.kind()) && !error.message().is_empty() => Ok(()),
        Err(error) => Err(format!("failed in another way: {error:?}")),
        Ok(list) => Err(format!("ended in silence after {} items in {} pages", list.ids.len(), list.pages)),
    }
}

/// Requires the end of a list that the service shows only in part: by an error, or with a report.
fn not_in_silence(shelf: &Shelf, read: &Result<ReadList>) -> Verdict {
    match read {
        Ok(list) if list.maybe_incomplete => Ok(()),
        _ => an_error(shelf, read),
    }
}

macro_rules! broken {
    ($name:literal, $request:literal, $broken:ident) => {
        ListBehaviour { name: $name, change: |shelf| shelf.broken = Some(($request, Broken::$broken)), judge: an_error }
    };
}

pub(crate) fn list_behaviours() -> Vec<ListBehaviour> {
    let sound = |name, change| ListBehaviour { name, change, judge: complete };
    vec![
        sound("a list", |_| {}),
        sound("an empty list", |shelf| shelf.length = 0),
        sound("a list that fills its pages", |shelf| shelf.length = 200),
        sound("pages of at most seven items", |shelf| (shelf.cap, shelf.length) = (7, 40)),
        sound("a hidden item in the middle", |shelf| shelf.is_hidden = |id| id == 130),
        sound("a hidden item at the end of a page", |shelf| shelf.is_hidden = |id| id == 99),
        sound("hidden items and pages of at most seven items", |shelf| {
            (shelf.cap, shelf.length, shelf.is_hidden) = (7, 40, |id| id % 5 == 0);
        }),
        ListBehaviour {
            name: "each page is the first one",
            change: |shelf| shelf.ignores = true,
            judge: not_in_silence,
        },
        broken!("the vendor's error in place of the first page", 0, VendorError),
        broken!("the vendor's error in place of the second page", 1, VendorError),
        broken!("an error inside a 200 in place of the first page", 0, Error),
        broken!("an error inside a 200 in place of the second page", 1, Error),
        broken!("no place for items on the first page", 0, NoPlace),
        broken!("no place for items on the second page", 1, NoPlace),
        broken!("null for the items of the second page", 1, Null),
        broken!("an object for the items of the second page", 1, Object),
        broken!("a text in place of the second page", 1, Text),
        broken!("a next page that is announced elsewhere", 0, Announcement),
    ]
}

/// The sabotage twin: a list that lost or repeated an item, or ended in place of an error, is found.
#[test]
fn a_short_list_is_found() {
    let shelf = Shelf::new("", 5);
    let list = |ids: &[usize]| Ok(ReadList { ids: ids.to_vec(), maybe_incomplete: false, pages: 1 });
    complete(&shelf, &list(&[0, 1, 2, 3, 4])).unwrap();
    for wrong in [&[0, 1, 2, 3][..], &[0, 1, 2, 3, 3, 4], &[0, 1, 3, 2, 4], &[]] {
        complete(&shelf, &list(wrong)).unwrap_err();
        an_error(&shelf, &list(wrong)).unwrap_err();
        not_in_silence(&shelf, &list(wrong)).unwrap_err();
    }
}
