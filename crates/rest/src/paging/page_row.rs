//! The paging of a row as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

/// The paging of a list. JSON pointers refer to the whole body of a response. Names are those of inputs, or names in
/// the request if the row has no such input.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PageRow {
    /// The next page begins after a number of items. The list ends with an empty page, or when the total is reached.
    Offset {
        /// Takes the number of items to skip.
        offset: String,
        /// Takes the number of items per page.
        count: Option<String>,
        /// Number of items per page, unless the caller gives one.
        size: Option<u64>,
        /// JSON pointer to the items.
        items: String,
        /// JSON pointer to the number of items in the whole list.
        total: Option<String>,
    },
    /// Pages have numbers. The list ends with a page that is empty or shorter than was asked for.
    Number {
        /// Takes the number of the page.
        page: String,
        /// Takes the number of items per page.
        count: Option<String>,
        /// Number of items per page, unless the caller gives one.
        size: Option<u64>,
        /// Number of the first page.
        #[serde(default = "one")]
        first: u64,
        /// JSON pointer to the items.
        items: String,
    },
    /// Each page returns a cursor for the next one. The list ends with a page that returns none.
    Cursor {
        /// Takes the cursor that the page before returned.
        cursor: String,
        /// JSON pointer to the cursor of the next page.
        next: String,
        /// Takes the number of items per page.
        count: Option<String>,
        /// Number of items per page, unless the caller gives one.
        size: Option<u64>,
        /// JSON pointer to the items.
        items: String,
    },
    /// Each page returns the URL of the next one, below the same endpoint. The list ends with a page that returns none.
    Link {
        /// JSON pointer to the URL. If absent, the `Link` header with `rel=next` is read (RFC 8288).
        next: Option<String>,
        /// Takes the number of items per page.
        count: Option<String>,
        /// Number of items per page, unless the caller gives one.
        size: Option<u64>,
        /// JSON pointer to the items.
        items: String,
    },
}

fn one() -> u64 {
    1
}
