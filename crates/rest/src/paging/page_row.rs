//! The paging of a row as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

/// The paging of a list: how the next page is requested, and what the end of the list looks like.
///
/// JSON pointers refer to the whole body of a response. Names are those of inputs, or names in the request if the row
/// has no such input. A response that is neither a page nor an end by these rules is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PageRow {
    /// How the next page is requested, and which page is the last one.
    pub kind: PageKind,
    /// JSON pointer to the items. A response without an array there is an error.
    pub items: String,
    /// For `offset`: takes the number of items to skip.
    pub offset: Option<String>,
    /// For `number`: takes the number of the page.
    pub page: Option<String>,
    /// For `number`: number of the first page; 1 if absent.
    pub first: Option<u64>,
    /// For `number`: JSON pointer to the number of the last page. The list ends with that page.
    pub last: Option<String>,
    /// For `cursor` and `keyset`: takes the cursor.
    pub cursor: Option<String>,
    /// For `cursor`: JSON pointer to the cursor of the next page. For `link`: JSON pointer to the URL of the next page;
    /// if absent, the `Link` header with `rel=next` is read (RFC 8288).
    pub next: Option<String>,
    /// For `keyset`: JSON pointer, in an item, to the value by which the list is sorted. That of the last item is the
    /// next cursor. It should differ from item to item.
    pub key: Option<String>,
    /// Takes the number of items per page.
    pub count: Option<String>,
    /// Number of items per page, unless the caller gives one.
    pub size: Option<u64>,
    /// For `offset`: whether the service takes only offsets that are multiples of the number of items per page. Pages
    /// then do not overlap. A page that is shorter than asked for with more after it is reported, because items may be
    /// missing; so `more`, or a `total` with `trustTotal`, has to show where the list ends.
    #[serde(default)]
    pub multiples: bool,
    /// For `offset` and `number`: JSON pointer to the number of items in the whole list. The list ends when they have
    /// arrived. A total that is not larger than the page beside it may count only that page, so one more page is
    /// requested.
    pub total: Option<String>,
    /// Whether the total is known to count the whole list. A first page with all items then ends the list without
    /// another request.
    #[serde(default)]
    pub trust_total: bool,
    /// JSON pointer to the flag that says whether there are more items, for every kind of paging. False ends the list.
    /// True continues it, also after an empty page.
    pub more: Option<String>,
    /// The statuses that mean "no more items": 204 for any page; for `offset` and `number` also such as 400 or 404 for
    /// a page after the first. An offset that is not a multiple of `count` and is refused so is requested once more, as
    /// a page of one item: if that is accepted, the list has not ended, and `multiples` is missing.
    #[serde(default)]
    pub end_status: Vec<u16>,
    /// JSON pointers to members that report an error unless they are empty. If absent: `error`, `errors` and the like,
    /// and a false `ok` or `success`, in the objects around the items.
    pub errors: Option<Vec<String>>,
    /// JSON pointers to members that look like the announcement of a next page, such as `/next`, and are none.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Whether the service writes null for an empty list. Otherwise a null is an error, unless a total or the flag
    /// `more` shows that there is nothing to list.
    #[serde(default)]
    pub null_is_empty: bool,
    /// Whether the service writes a list of one item as that item, without an array.
    #[serde(default)]
    pub single: bool,
}

/// How the next page of a list is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PageKind {
    /// The next page begins after the items that have arrived, however many were asked for. The list ends with an empty
    /// page, or when the total is reached.
    Offset,
    /// Pages have numbers. The list ends with an empty page, with the last page by `last`, or when the total is
    /// reached; a page that is shorter than asked for does not end it.
    Number,
    /// Each page returns a cursor for the next one. The list ends with a page that returns none.
    Cursor,
    /// Each page returns the URL of the next one, below the same endpoint. The list ends with a page that returns none.
    Link,
    /// The next page begins after the last item of this one. The list ends with an empty page.
    Keyset,
}
