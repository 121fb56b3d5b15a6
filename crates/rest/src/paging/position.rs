//! The position of a page in a list, and the request for that page.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{list_changes::Prints, stated::whole};

/// More pages of the same ids than this, one after the other, are taken for a list that repeats itself.
const MOST_ALIKE: u64 = 8;

/// The position of a page in a list. Callers treat it as opaque JSON, and may store it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageCursor {
    /// Offset, number, cursor or URL of this page.
    pub(super) at: Value,
    /// Number of pages before this one.
    pub(super) page: u64,
    /// Hash of the items of the page before.
    #[serde(rename = "seen")]
    pub(super) content: String,
    /// Hash of the identities of the items of the page before, in any order, if they differ from each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ids: Option<String>,
    /// Hash of the items of the page before, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) any_order: Option<String>,
    /// Number of pages directly before this one whose items had the ids of the page before, and other content.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) alike: u64,
    /// Identity of the last item of the page before, if this page has to begin with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<String>,
    /// Hashes of items at the end of the page before that this page may begin with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tail: Vec<String>,
    /// Identity of the page before, if that page has to be read again.
    #[serde(rename = "held", default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<String>,
    /// Number of items of the list, as the pages before reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
    /// Number of items that have arrived.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) listed: u64,
    /// Length of the longest page so far.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) longest: u64,
    /// Number of empty pages directly before this one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) empty: u64,
    /// Whether this offset or number was chosen because the two before it returned the same page.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) leapt: bool,
    /// Whether the service refused this offset with a status for the end of the list. It is asked for again as a page
    /// of one item, since a service may take only multiples of the number of items per page.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) refused: bool,
    /// An earlier page, to which all later ones are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mark: Option<Mark>,
}

/// What a page had that no later page may have again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Hash of the position of the page after it.
    pub(super) next: String,
    /// Hash of its items.
    pub(super) items: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The request for one page.
pub(crate) struct PageRequest {
    pub(super) cursor: PageCursor,
    /// Number of items asked for, if it is known.
    pub(super) count: Option<u64>,
    /// URL of the page, if the page before returned one.
    pub(crate) link: Option<String>,
}

impl PageRequest {
    /// Returns the offset or number of the page.
    pub(super) fn at(&self) -> u64 {
        whole(&self.cursor.at).ok().flatten().unwrap_or(0)
    }

    /// Returns the number of the page in its list; the first is 1.
    pub(crate) fn number(&self) -> u64 {
        self.cursor.page + 1
    }

    /// Returns whether the page has to begin with the last item of the page before.
    pub(crate) fn overlaps(&self) -> bool {
        self.cursor.last.is_some()
    }

    /// Returns whether this offset is not a multiple of the number of items that was asked for, or whether that is not
    /// known. A service that takes only multiples refuses it wherever the list ends.
    pub(super) fn is_uneven(&self) -> bool {
        !self.count.is_some_and(|count| count > 0 && self.at().is_multiple_of(count))
    }

    /// Returns the number of items that the page lacks: fewer may be there, or some of them may be hidden.
    pub(super) fn lacks(&self, received: u64) -> u64 {
        self.count.map_or(0, |count| count.saturating_sub(received))
    }

    /// Returns whether a page has the items of the page before. Items may share an id and differ, as translations do:
    /// unless `strict`, pages of the same ids are a repetition only if their content is equal too, or after many.
    pub(super) fn repeats(&self, prints: &Prints, strict: bool) -> bool {
        let before = &self.cursor;
        let same_ids = prints.ids.is_some() && prints.ids == before.ids;
        let by_ids = strict || before.any_order.is_none() || before.alike >= MOST_ALIKE;
        let same_items = prints.content == before.content || before.any_order.as_ref() == Some(&prints.any_order);
        prints.length > 0 && (same_items || (same_ids && by_ids))
    }
}
