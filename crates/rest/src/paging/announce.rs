//! What announces a next page, or says that a page is not all, beside what the rule reads: names in common use.

use serde_json::Value;
use trunkline_core::pointer_part;

use super::{
    page_row::PageRow,
    stated::{flag, is_blank, plain, whole},
};

/// How deep an announcement may stand in the objects around a list.
const DEPTH: usize = 3;

/// Returns the pointer to a member that announces a next page, beside the items and what the rule reads. The names are
/// those in common use.
pub(super) fn announced(row: &PageRow, body: &Value) -> Option<String> {
    announced_in(row, body, "", DEPTH)
}

/// Returns the pointer to a member that announces a next page by a name of a usual form. Such a name may have another
/// meaning, so this does not count if the row's own pointers show the end.
pub(super) fn suggested(row: &PageRow, body: &Value) -> Option<String> {
    let is_made = |(_, name, member): &(String, String, &Value)| {
        Announcement::of(name).is_some_and(|(one, _)| one.is_made_by(member))
    };
    near(row, body).into_iter().find(is_made).map(|(pointer, ..)| pointer)
}

/// Returns the pointer to a member by which the service says that a page may lack items.
pub(super) fn partial(row: &PageRow, body: &Value) -> Option<String> {
    let is_partial = |(_, name, member): &(String, String, &Value)| {
        ["incompleteresults", "timedout", "partial"].contains(&name.as_str()) && flag(member) == Ok(Some(true))
    };
    near(row, body).into_iter().find(is_partial).map(|(pointer, ..)| pointer)
}

/// Returns the largest number beside a list that has the name of a total.
pub(super) fn plain_total(row: &PageRow, body: &Value) -> Option<u64> {
    const NAMES: [&str; 6] = ["total", "totalcount", "totalresults", "totalitems", "totalrecords", "totalsize"];
    let totals = near(row, body).into_iter().filter(|(_, name, _)| NAMES.contains(&name.as_str()));
    totals.filter_map(|(.., member)| whole(member).ok().flatten()).max()
}

/// Returns the members of the objects around a list, and of those with the paging beside it: pointer, plain name, value.
fn near<'a>(row: &PageRow, body: &'a Value) -> Vec<(String, String, &'a Value)> {
    const HEADS: [&str; 9] =
        ["pagination", "paging", "meta", "metadata", "info", "page", "pageinfo", "links", "searchmetadata"];
    let (mut found, mut open) = (Vec::new(), vec![(String::new(), body)]);
    while let Some((path, value)) = open.pop() {
        for (name, member) in value.as_object().into_iter().flatten() {
            let (pointer, name) = (format!("{path}/{}", pointer_part(name)), plain(name));
            if pointer == row.items || row.ignore.contains(&pointer) {
                continue;
            }
            let is_around = |path: &str| path.is_empty() || row.items.starts_with(&format!("{path}/"));
            if is_around(&pointer) || (is_around(&path) && HEADS.contains(&name.as_str())) {
                open.push((pointer.clone(), member));
            }
            let own = [&row.next, &row.last, &row.more, &row.total];
            if !own.iter().any(|own| own.as_deref() == Some(&*pointer)) {
                found.push((pointer, name, member));
            }
        }
    }
    found
}

/// What a member that announces a next page has, by its plain name.
#[derive(Clone, Copy)]
enum Announcement {
    /// The place of the next page. It announces one unless it is blank.
    Place,
    /// A flag that is true if there is more.
    More,
    /// A flag that is false if there is more.
    Last,
    /// A list of links.
    Links,
}

impl Announcement {
    /// Returns what a name announces, and whether it is certain: a name of a usual form may have another meaning.
    fn of(name: &str) -> Option<(Announcement, bool)> {
        CERTAIN.iter().find(|(names, _)| names.contains(&name)).map(|(_, found)| (*found, true)).or_else(|| {
            let asked = ["has", "is", "are"].iter().find_map(|word| name.strip_prefix(word)).unwrap_or(name);
            let is_flag = MORE.iter().any(|word| asked.contains(word)) && made_of(asked, &[&MORE[..], &NOUNS].concat());
            let place = name.strip_prefix("next").filter(|place| !place.is_empty());
            let found = match () {
                () if LAST.contains(&name) => Announcement::Last,
                () if name == "lastevaluatedkey" || place.is_some_and(|place| made_of(place, &PLACES)) => {
                    Announcement::Place
                }
                () if is_flag => Announcement::More,
                () => return None,
            };
            Some((found, false))
        })
    }

    fn is_made_by(self, member: &Value) -> bool {
        match self {
            Announcement::Place => !is_blank(member),
            Announcement::More => flag(member) == Ok(Some(true)),
            // A 0 may be the number of a page.
            Announcement::Last => !member.is_number() && flag(member) == Ok(Some(false)),
            Announcement::Links => member.as_array().is_some_and(|links| links.iter().any(is_next_link)),
        }
    }
}

/// Names that have one meaning.
const CERTAIN: [(&[&str], Announcement); 3] = [
    (
        &[
            "next",
            "nextpage",
            "nextpageid",
            "nextpagenumber",
            "nexturl",
            "nexturi",
            "nextlink",
            "nexthref",
            "nextpageurl",
            "nextpageuri",
            "nextpagelink",
            "nextcursor",
            "nextpagecursor",
            "nexttoken",
            "nextpagetoken",
            "nextcontinuationtoken",
            "continuationtoken",
            "continuation",
            "continue",
            "nextmarker",
            "nextkey",
            "nextoffset",
            "nextstart",
            "nextindex",
            "nextbatch",
            "nextrecordsurl",
        ],
        Announcement::Place,
    ),
    (
        &[
            "more",
            "hasmore",
            "hasnext",
            "hasnextpage",
            "hasmorepages",
            "hasmoreresults",
            "hasmoreitems",
            "hasmorerecords",
            "hasmoredata",
            "moreresults",
            "moreitems",
            "moreavailable",
            "istruncated",
            "truncated",
        ],
        Announcement::More,
    ),
    (&["links"], Announcement::Links),
];

/// The words of other names, in their usual forms.
const MORE: [&str; 4] = ["more", "next", "additional", "further"];
const NOUNS: [&str; 13] = [
    "pages",
    "page",
    "results",
    "result",
    "items",
    "item",
    "records",
    "record",
    "entries",
    "rows",
    "data",
    "available",
    "exist",
];
const PLACES: [&str; 22] = [
    "pages",
    "page",
    "start",
    "cursor",
    "partition",
    "key",
    "skip",
    "id",
    "link",
    "path",
    "results",
    "result",
    "timestamp",
    "token",
    "marker",
    "offset",
    "index",
    "url",
    "uri",
    "href",
    "row",
    "number",
];
const LAST: [&str; 10] =
    ["islast", "last", "islastpage", "lastpage", "done", "isdone", "isend", "endofrecords", "complete", "iscomplete"];

/// Returns whether a text consists of these words.
fn made_of(text: &str, words: &[&str]) -> bool {
    text.is_empty() || words.iter().any(|word| text.strip_prefix(word).is_some_and(|rest| made_of(rest, words)))
}

/// Returns the name of a header that announces a next page.
pub(crate) fn announced_by_header<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<&'static str> {
    let there = |name: &&'static str| header(name).is_some_and(|value| !is_blank(&Value::from(value)));
    if let Some(name) = ["X-Next-Page", "x-ms-continuation", "opc-next-page"].into_iter().find(there) {
        return Some(name);
    }
    let number = |name: &str| header(name)?.trim().parse::<u64>().ok();
    if number("X-Page").zip(number("X-Total-Pages")).is_some_and(|(page, pages)| page < pages) {
        return Some("X-Total-Pages");
    }
    // `items 0-9/25`
    let (unit, range) = header("Content-Range")?.trim().split_once(' ')?;
    let (places, all) = range.split_once('/')?;
    let last: u64 = places.split_once('-')?.1.trim().parse().ok()?;
    let all: u64 = all.trim().parse().ok()?;
    (unit != "bytes" && last.saturating_add(1) < all).then_some("Content-Range")
}

fn announced_in(row: &PageRow, value: &Value, path: &str, depth: usize) -> Option<String> {
    for (name, member) in value.as_object()? {
        let pointer = format!("{path}/{}", pointer_part(name));
        if pointer == row.items || row.next.as_ref() == Some(&pointer) || row.ignore.contains(&pointer) {
            continue;
        }
        let found = matches!(Announcement::of(&plain(name)), Some((one, true)) if one.is_made_by(member));
        if found {
            return Some(pointer);
        }
        if depth > 0
            && let Some(found) = announced_in(row, member, &pointer, depth - 1)
        {
            return Some(found);
        }
    }
    None
}

/// Returns whether an element of a list of links leads to a next page: `{"rel": "next", "href": ..}`.
fn is_next_link(link: &Value) -> bool {
    let is_next = |rel: &Value| rel.as_str().is_some_and(|rel| rel.eq_ignore_ascii_case("next"));
    let rel =
        link.get("rel").is_some_and(|rel| is_next(rel) || rel.as_array().is_some_and(|all| all.iter().any(is_next)));
    let target = ["href", "url", "uri"].iter().find_map(|name| link.get(name));
    rel && target.is_some_and(|target| !is_blank(target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(rest: &str) -> PageRow {
        toml::from_str(&format!("kind = 'offset'\noffset = 'o'\nitems = '/data/items'\n{rest}")).unwrap()
    }

    #[test]
    fn announcements_of_a_next_page_are_found() {
        let found = |body: Value| announced(&row("ignore = ['/nextPage']"), &body);
        for (body, pointer) in [
            (json!({ "next": "x" }), "/next"),
            (json!({ "next_page": 2 }), "/next_page"),
            (json!({ "@odata.nextLink": "https://a" }), "/@odata.nextLink"),
            (json!({ "meta": { "next-cursor": "x" } }), "/meta/next-cursor"),
            (json!({ "_links": { "next": { "href": "/2" } } }), "/_links/next"),
            (json!({ "links": [{ "rel": "self", "href": "/1" }, { "rel": ["Next"], "href": "/2" }] }), "/links"),
            (json!({ "data": { "pageInfo": { "hasNextPage": true }, "items": [] } }), "/data/pageInfo/hasNextPage"),
            (json!({ "IsTruncated": "true" }), "/IsTruncated"),
            (json!({ "continue": { "offset": "x" } }), "/continue"),
        ] {
            assert_eq!(found(body.clone()).as_deref(), Some(pointer), "{body}");
        }
        for none in [
            json!({ "next": null, "next_page": 0, "nextCursor": "", "has_more": false, "truncated": 0 }),
            json!({ "nextPage": 2 }),
            json!({ "_links": { "next": {}, "prev": { "href": "/1" } } }),
            json!({ "links": [{ "rel": "next", "href": null }, { "rel": "last", "href": "/9" }] }),
            json!({ "data": { "items": [{ "next": "x" }] } }),
            json!({ "nextReview": "2026-01-31", "nextSyncToken": "x", "more_info": true }),
            json!([{ "next": "x" }]),
        ] {
            assert_eq!(found(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn usual_forms_of_an_announcement_are_found() {
        let found = |body: &Value| suggested(&row("ignore = ['/nextPage']"), body).is_some();
        for name in ["isLast", "last", "is_last_page", "done", "isEnd", "endOfRecords", "complete"] {
            assert!(found(&json!({ name: false })) && !found(&json!({ name: true })), "{name}");
            assert!(!found(&json!({ name: 0 })), "{name}");
        }
        for name in [
            "more_records",
            "hasMorePage",
            "hasNextPages",
            "morePages",
            "moreResultsAvailable",
            "has_additional_items",
            "has_next_results",
        ] {
            for head in ["pagination", "paging", "meta", "info", "page", "_links", "data"] {
                assert!(found(&json!({ head: { name: true } })), "{head}/{name}");
            }
            assert!(found(&json!({ name: true })) && !found(&json!({ name: false })), "{name}");
        }
        for name in [
            "next_page_start",
            "nextPartitionKey",
            "NextSkip",
            "next-id",
            "nextPath",
            "next_results",
            "nextTimestamp",
            "LastEvaluatedKey",
        ] {
            assert!(found(&json!({ name: "x" })) && !found(&json!({ name: "" })), "{name}");
        }
        for none in [
            json!({ "paging": { "cursors": { "after": "x" } }, "scroll_id": "x", "nextPage": 2 }),
            json!({ "nextSyncToken": "x", "nextReview": "x", "more_info": true, "job": { "done": false } }),
        ] {
            assert!(!found(&none), "{none}");
        }
    }

    #[test]
    fn headers_announce_a_next_page() {
        let found = |headers: &[(&str, &'static str)]| {
            announced_by_header(|name| headers.iter().find(|(one, _)| *one == name).map(|(_, value)| *value))
        };
        for name in ["X-Next-Page", "x-ms-continuation", "opc-next-page"] {
            assert_eq!((found(&[(name, "2")]), found(&[(name, "")])), (Some(name), None));
        }
        assert_eq!(found(&[("X-Page", "1"), ("X-Total-Pages", "2")]), Some("X-Total-Pages"));
        assert_eq!(found(&[("X-Page", "2"), ("X-Total-Pages", "2")]), None);
        assert_eq!(found(&[("Content-Range", "items 0-9/25")]), Some("Content-Range"));
        for end in ["items 20-24/25", "items */25", "items 0-9/*", "bytes 0-9/25"] {
            assert_eq!(found(&[("Content-Range", end)]), None, "{end}");
        }
    }
}
