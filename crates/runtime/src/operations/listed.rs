//! The one form of lists: a page of items, and where the next page starts.
//!
//! A cursor names its list and the last item of a page. It has a checksum, so that a cursor of another list, and one that
//! was cut or changed, is refused instead of starting anywhere.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use trunkline_core::{Error, ErrorKind, Redactor, Result};

use crate::token::hash;

/// A page of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct Listed<T> {
    /// The items of this page. A page can have fewer items than its limit, or none, although there is a next one.
    pub items: Vec<T>,
    /// The `cursor` of the next page; null after the last page.
    pub next: Option<String>,
    /// What is damaged of items that cannot be read, with what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

impl<T> Listed<T> {
    /// Reads a list to its end. `read` returns the page at a cursor.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub async fn all(mut read: impl AsyncFnMut(Option<String>) -> Result<Listed<T>>) -> Result<Vec<T>> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = read(cursor).await?;
            all.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

/// Which page of a list to return.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PageQuery {
    /// The most items to return, 1 to 500; without it, 50.
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Returns the query for the largest page at a cursor.
    pub fn largest(cursor: Option<String>) -> PageQuery {
        PageQuery { limit: Some(PageQuery::MOST), cursor }
    }

    /// The most items of a page.
    pub const MOST: usize = 500;
}

/// A page of one list that a caller asks for. `P` is the place of an item in the list.
pub(super) struct PageRequest<P> {
    list: String,
    /// The most items of the page.
    pub(super) limit: usize,
    /// The place of the last item of the previous page.
    pub(super) after: Option<P>,
}

impl<P: Serialize + DeserializeOwned> PageRequest<P> {
    /// Reads a request for a page. `list` is the name of the list, with that of the run or the flow that it belongs to.
    ///
    /// # Errors
    ///
    /// `invalid_input` if there is no page of this size, or if the cursor is not one of this list.
    pub(super) fn read(list: impl Into<String>, limit: Option<usize>, cursor: Option<&str>) -> Result<PageRequest<P>> {
        let (list, limit) = (list.into(), limit.unwrap_or(50));
        if !(1..=PageQuery::MOST).contains(&limit) {
            let message = format!("`limit` is {limit}, and has to be between 1 and {}", PageQuery::MOST);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let place = |cursor: &str| {
            let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok()?;
            let (sum, place) = std::str::from_utf8(&bytes).ok()?.split_at_checked(SUM)?;
            serde_json::from_str(place).ok().filter(|_| sum == checksum(&list, place))
        };
        let after = cursor.map(|cursor| place(cursor).ok_or_else(|| no_page(&list))).transpose()?;
        Ok(PageRequest { after, list, limit })
    }

    /// Returns the page of these items, of which there are more than the limit if there is a next page.
    pub(super) fn page<T>(&self, mut items: Vec<T>, place: impl FnOnce(&T) -> P) -> Listed<T> {
        let has_more = items.len() > self.limit;
        items.truncate(self.limit);
        let last = items.last().filter(|_| has_more).map(place);
        self.ending_at(items, last)
    }

    /// Returns the page of these items. `last` is the place behind which the next page starts.
    pub(super) fn ending_at<T>(&self, items: Vec<T>, last: Option<P>) -> Listed<T> {
        let cursor = |last: P| {
            let place = serde_json::to_string(&last).unwrap_or_default();
            BASE64URL_NOPAD.encode((checksum(&self.list, &place) + &place).as_bytes())
        };
        Listed { items, next: last.map(cursor), damaged: Vec::new() }
    }

    /// Returns the page of a list that is in memory, in the order of its places.
    pub(super) fn page_of<T>(&self, all: impl IntoIterator<Item = T>, place: impl Fn(&T) -> P) -> Listed<T>
    where
        P: PartialOrd,
    {
        let behind = |item: &T| self.after.as_ref().is_none_or(|after| place(item) > *after);
        self.page(all.into_iter().filter(behind).take(self.limit + 1).collect(), &place)
    }
}

/// A place in a list whose items have texts of other systems. A place that contains a secret is named by its hash, because
/// a client sees what is in a cursor.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum ItemPlace<P> {
    Known(P),
    Hidden { sha256: String },
}

impl<P: Serialize> ItemPlace<P> {
    pub(super) fn new(place: P, redactor: &Redactor) -> ItemPlace<P> {
        let shown = serde_json::to_value(&place).unwrap_or_default();
        if redactor.redact_json(&shown) == shown { ItemPlace::Known(place) } else { ItemPlace::hidden(&place) }
    }

    fn hidden(place: &P) -> ItemPlace<P> {
        let place = serde_json::to_string(place).unwrap_or_default();
        ItemPlace::Hidden { sha256: HEXLOWER.encode(&hash(&place)) }
    }

    /// Returns the place itself. `read` returns the items behind a place, page by page.
    ///
    /// # Errors
    ///
    /// `invalid_input` if a hidden place is gone, or those of `read`.
    pub(super) async fn find<'a, T: Send>(
        self,
        place: fn(&T) -> P,
        read: impl Fn(Option<P>) -> BoxFuture<'a, Result<Vec<T>>>,
    ) -> Result<P> {
        let wanted = match self {
            ItemPlace::Known(place) => return Ok(place),
            ItemPlace::Hidden { sha256 } => sha256,
        };
        let is_wanted =
            |place: &P| matches!(ItemPlace::hidden(place), ItemPlace::Hidden { sha256 } if sha256 == wanted);
        let mut after = None;
        loop {
            let page = read(after.take()).await?;
            if let Some(found) = page.iter().map(place).find(is_wanted) {
                return Ok(found);
            }
            after = Some(page.last().map(place).ok_or_else(|| no_page("the list"))?);
        }
    }
}

fn no_page(list: &str) -> Error {
    let message = format!("no page of {list} starts at this `cursor`");
    Error::new(ErrorKind::InvalidInput, message).hint("pass the `next` of the previous page")
}

/// The length of a checksum.
const SUM: usize = 12;

fn checksum(list: &str, place: &str) -> String {
    HEXLOWER.encode(&hash(&format!("{list}\n{place}"))[..SUM / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    type Request = PageRequest<(String, u32)>;

    fn read(list: &str, limit: usize, cursor: Option<&str>) -> Result<Request> {
        PageRequest::read(list, Some(limit), cursor)
    }

    #[tokio::test]
    async fn a_list_is_read_to_its_end_in_pages_of_any_size() {
        let all: Vec<_> = (0..7).map(|number| ("é\"".to_owned(), number)).collect();
        for limit in [1, 2, 6, 7, 8, 500] {
            let mut pages = 0;
            let page = async |cursor: Option<String>| {
                pages += 1;
                Ok(read("a", limit, cursor.as_deref())?.page_of(all.clone(), Clone::clone))
            };
            assert_eq!(Listed::all(page).await.unwrap(), all, "{limit}");
            assert_eq!(pages, all.len().div_ceil(limit), "{limit}: the last page says that it is the last");
        }
    }

    #[test]
    fn a_cursor_of_another_list_or_a_changed_one_is_refused() {
        let cursor = read("runs.items a", 1, None).unwrap().ending_at(vec![()], Some(("k".into(), 7))).next.unwrap();
        assert_eq!(read("runs.items a", 1, Some(&cursor)).unwrap().after, Some(("k".into(), 7)));
        let mut wrong = vec![String::new(), "x".into(), "é".into(), cursor.clone() + "A", format!("{cursor}=")];
        for at in 0..cursor.len() {
            let other = if cursor.as_bytes()[at] == b'A' { "B" } else { "A" };
            wrong.push([&cursor[..at], other, &cursor[at + 1..]].concat());
            wrong.push(cursor[..at].to_owned());
        }
        for (list, cursor) in wrong.iter().map(|wrong| ("runs.items a", wrong)).chain([("runs.items b", &cursor)]) {
            let error = read(list, 1, Some(cursor)).map(|found| found.after).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{cursor}");
        }
        // The sabotage twin: without the checksum, a cursor of another list would start a page there.
        let place = BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap().split_off(SUM);
        assert!(serde_json::from_slice::<(String, u32)>(&place).is_ok());
    }

    #[test]
    fn a_page_has_1_to_500_items() {
        for limit in [0, 501, usize::MAX] {
            assert_eq!(read("a", limit, None).map(|_| ()).unwrap_err().kind(), ErrorKind::InvalidInput, "{limit}");
        }
        assert_eq!(PageRequest::<u32>::read("a", None, None).unwrap().limit, 50);
    }
}
