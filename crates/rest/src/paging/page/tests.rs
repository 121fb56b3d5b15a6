use super::*;
use crate::paging::{PageRow, list_changes::item_identity};
use serde_json::json;

mod end_tests;
mod model_tests;

fn read(paging: &Paging, request: &PageRequest, body: &Value) -> Result<Page, Fault> {
    paging.read(request, &PageResponse { status: 200, body, link: Ok(None), previous: None, header: None })
}

fn paging(row: &str) -> Paging {
    let row: PageRow = toml::from_str(row).unwrap();
    Paging::compile(&row, &Value::Bool(true), str::to_owned).unwrap()
}

/// No input has a default.
fn none(_: &str) -> Option<Value> {
    None
}

/// Reads a list to its end; each page is a function of the input of its request.
fn walk(row: &str, respond: impl Fn(&Map<String, Value>) -> Value) -> Result<Vec<Page>, Fault> {
    let paging = paging(row);
    let (mut pages, mut from) = (Vec::new(), None);
    loop {
        let mut input = Map::new();
        let request = paging.request(&mut input, none, from).expect("the list has too many pages");
        let body = respond(&input);
        let previous = paging.request_previous(&request, &mut input).then(|| respond(&input));
        let (link, previous) = (Ok(None), previous.as_ref());
        let page = paging.read(&request, &PageResponse { status: 200, body: &body, link, previous, header: None })?;
        from = page.next.clone();
        pages.push(page);
        if from.is_none() {
            return Ok(pages);
        }
    }
}

fn items(pages: Vec<Page>) -> Vec<Value> {
    pages.into_iter().flat_map(|page| page.items).collect()
}

fn lengths(pages: &[Page]) -> Vec<usize> {
    pages.iter().map(|page| page.items.len()).collect()
}

fn reasons(pages: &[Page]) -> Vec<&str> {
    pages.iter().filter_map(|page| page.maybe_incomplete.as_deref()).collect()
}

fn slice(all: u64, from: u64, count: u64) -> Vec<u64> {
    (from..all.min(from + count)).collect()
}

const OFFSET: &str = "kind = 'offset'\noffset = 'offset'\ncount = 'count'\nsize = 50\nitems = '/a/b'\ntotal = '/total'";

const NUMBER: &str = "kind = 'number'\npage = 'page'\ncount = 'per_page'\nsize = 10\nitems = '/items'";

const CURSOR: &str = "kind = 'cursor'\ncursor = 'after'\nnext = '/next'\nitems = '/items'";

fn given(input: &Map<String, Value>, name: &str) -> u64 {
    input[name].as_u64().unwrap()
}

#[test]
fn offset_ends_at_the_total_or_on_an_empty_page() {
    let body = |total: Value| {
        move |input: &Map<String, Value>| {
            let page = slice(120, given(input, "offset"), given(input, "count"));
            json!({ "a": { "b": page }, "total": total })
        }
    };
    let lengths = |total| lengths(&walk(OFFSET, body(total)).unwrap());
    assert_eq!(lengths(json!(120)), [50, 49, 21], "each page begins with the last item of the one before");
    assert_eq!(lengths(json!("120")), [50, 49, 21]);
    assert_eq!(lengths(Value::Null), [50, 49, 21, 0, 0]);
    assert_eq!(lengths(json!(0)), [50, 49, 21, 0, 0], "a total of 0 beside items is ignored");
}

#[test]
fn a_total_that_may_count_only_its_page_does_not_end_the_list() {
    let list = |all: u64, row: &str| {
        walk(row, move |input| {
            let page = slice(all, given(input, "offset"), given(input, "count").min(30));
            json!({ "total": page.len(), "a": { "b": page } })
        })
        .unwrap()
    };
    for all in [1, 2, 29, 30, 31, 60, 200] {
        assert_eq!(items(list(all, OFFSET)), slice(all, 0, all), "{all}");
    }
    let pages = list(20, &format!("{OFFSET}\ntrustTotal = true"));
    assert_eq!(lengths(&pages), [20], "a trusted total needs no other request");
}

#[test]
fn no_item_is_lost_if_pages_are_shorter_than_asked_for() {
    let respond =
        |input: &Map<String, Value>| json!({ "a": { "b": slice(45, given(input, "offset"), 10) }, "total": 45 });
    assert_eq!(items(walk(OFFSET, respond).unwrap()).len(), 45);
}

#[test]
fn no_item_is_lost_if_the_service_rounds_offsets_down_to_whole_pages() {
    for volatile in [false, true] {
        let respond = |input: &Map<String, Value>| {
            let offset = given(input, "offset");
            let page = slice(120, offset / 50 * 50, 50);
            let url = if volatile { offset } else { 0 };
            let page: Vec<_> = page.into_iter().map(|id| json!({ "id": id, "url": url })).collect();
            json!({ "a": { "b": page }, "total": 120 })
        };
        let read: Vec<_> = items(walk(OFFSET, respond).unwrap()).iter().map(|item| item["id"].clone()).collect();
        assert_eq!(read, slice(120, 0, 120));
    }
}

#[test]
fn a_list_that_changes_between_two_pages_may_be_incomplete() {
    let paging = paging(OFFSET);
    let body = |items: Vec<u64>, total: u64| json!({ "a": { "b": items }, "total": total });
    let request = paging.request(&mut Map::new(), none, None).unwrap();
    let next = read(&paging, &request, &body(slice(120, 0, 50), 120)).unwrap().next;
    let request = paging.request(&mut Map::new(), none, next).unwrap();
    for (items, total, reason) in [
        (slice(99, 49, 50), 120, None),
        (slice(99, 49, 50), 121, Some("it had 120 items, and then 121")),
        (slice(99, 47, 50), 120, Some("its items moved back by 2 between two pages")),
        (slice(99, 50, 50), 120, Some("its items moved between two pages")),
        (Vec::new(), 120, Some("its items moved between two pages")),
    ] {
        let page = read(&paging, &request, &body(items, total)).unwrap();
        assert_eq!(page.maybe_incomplete.as_deref(), reason);
    }
}

#[test]
fn number_ends_on_an_empty_page_and_not_on_a_short_one() {
    let list = |cap: u64, hidden: u64, row: &str| {
        walk(row, move |input| {
            let (page, size) = (given(input, "page"), given(input, "per_page").min(cap));
            let page: Vec<_> = slice(25, (page - 1) * size, size).into_iter().filter(|id| *id != hidden).collect();
            json!({ "items": page, "total": 25, "pages": 25_u64.div_ceil(size) })
        })
    };
    assert_eq!(lengths(&list(10, 99, NUMBER).unwrap()), [10, 10, 5, 0]);
    assert_eq!(lengths(&list(5, 99, NUMBER).unwrap()), [5, 5, 5, 5, 5, 0]);
    assert_eq!(lengths(&list(10, 3, NUMBER).unwrap()), [9, 10, 5, 0]);
    let total = format!("{NUMBER}\ntotal = '/total'");
    assert_eq!(lengths(&list(10, 99, &total).unwrap()), [10, 10, 5]);
    let hidden = list(10, 3, &total).unwrap();
    assert_eq!((lengths(&hidden), reasons(&hidden)), (vec![9, 10, 5, 0], vec!["it ended after 24 of 25 items"]));
    let last = format!("{NUMBER}\nlast = '/pages'");
    assert_eq!(lengths(&list(10, 3, &last).unwrap()), [9, 10, 5]);
    assert_eq!(lengths(&list(5, 3, &last).unwrap()), [4, 5, 5, 5, 5]);
    assert_eq!(lengths(&walk(NUMBER, |_| json!({ "items": [] })).unwrap()), [0]);
}

#[test]
fn an_empty_page_in_the_middle_does_not_end_a_list_with_more_items() {
    let respond = |input: &Map<String, Value>| {
        let from =
            input.get("offset").map_or_else(|| (given(input, "page") - 1) * 10, |offset| offset.as_u64().unwrap());
        // The items from 10 to 29 are hidden.
        let page: Vec<_> = slice(45, from, 10).into_iter().filter(|id| !(10..30).contains(id)).collect();
        json!({ "items": page, "total": 45, "last": 5, "more": from + 10 < 45 })
    };
    let offset = "kind = 'offset'\noffset = 'offset'\ncount = 'count'\nsize = 10\nitems = '/items'";
    for kind in [NUMBER, offset] {
        for evidence in ["total = '/total'", "last = '/last'", "more = '/more'"] {
            let row = format!("{kind}\n{evidence}\n");
            if row.contains("offset") && row.contains("last") {
                continue;
            }
            let read = items(walk(&row, respond).unwrap());
            assert_eq!(read.len(), 25, "{row}: {read:?}");
        }
    }
}

#[test]
fn cursor_ends_when_there_is_none() {
    for end in [json!(""), Value::Null, json!(false)] {
        let respond = |input: &Map<String, Value>| match input.get("after") {
            None => json!({ "items": [1], "next": "x" }),
            Some(Value::String(x)) if x == "x" => json!({ "items": [], "next": "y" }),
            _ => json!({ "items": [2], "next": end }),
        };
        let read = items(walk(CURSOR, respond).unwrap());
        assert_eq!(read, [1, 2], "an empty page in the middle does not end the list");
    }
}

#[test]
fn keyset_continues_after_the_last_item() {
    let row = "kind = 'keyset'\ncursor = 'after'\nkey = '/id'\nitems = '/items'";
    for inclusive in [false, true] {
        let respond = |input: &Map<String, Value>| {
            let after = input.get("after").map(|after| after.as_u64().unwrap());
            let from = after.map_or(0, |after| after + u64::from(!inclusive));
            let page: Vec<_> = slice(25, from, 10).into_iter().map(|id| json!({ "id": id })).collect();
            json!({ "items": page })
        };
        let read: Vec<_> = items(walk(row, respond).unwrap()).iter().map(|item| item["id"].clone()).collect();
        assert_eq!(read, slice(25, 0, 25), "inclusive: {inclusive}");
    }
    // The flag ends the list without another request, and an empty page with more items after it is an error.
    let more = format!("{row}\nmore = '/has_more'");
    let pages = walk(&more, |_| json!({ "items": [{ "id": 1 }], "has_more": false })).unwrap();
    assert_eq!(lengths(&pages), [1]);
    walk(&more, |_| json!({ "items": [], "has_more": true })).unwrap_err();
    for item in [json!({}), json!({ "id": null }), json!({ "id": "" }), json!({ "id": [1] }), json!(1)] {
        let fault = walk(row, |_| json!({ "items": [item] })).unwrap_err();
        assert!(fault.message.contains("`/id`"), "{item}: {fault:?}");
    }
}

#[test]
fn a_key_that_several_items_share_is_reported() {
    let row = "kind = 'keyset'\ncursor = 'after'\nkey = '/at'\nitems = ''";
    let all: Vec<_> = (0..9).map(|id| json!({ "id": id, "at": id / 3 })).collect();
    let page = |input: &Map<String, Value>, inclusive: bool| {
        let fits = |item: &&Value| match input.get("after").and_then(Value::as_u64) {
            None => true,
            Some(after) => item["at"].as_u64().unwrap() + u64::from(inclusive) > after,
        };
        Value::from(all.iter().filter(fits).take(5).cloned().collect::<Vec<_>>())
    };
    let pages = walk(row, |input| page(input, false)).unwrap();
    assert_eq!(reasons(&pages)[0], "its key does not identify one item: 2 items had the same one");
    let pages = walk(row, |input| page(input, true)).unwrap();
    assert_eq!((items(pages.clone()).len(), reasons(&pages)), (9, vec![]), "a service that begins with equal keys");
}

#[test]
fn the_flag_for_more_items_is_usable_with_every_kind() {
    let respond = |input: &Map<String, Value>| {
        let after = input.get("p").and_then(Value::as_u64);
        let page = match after {
            Some(after) if after > 1 => json!([]),
            Some(1) => json!([{ "id": 1 }]),
            _ => json!([{ "id": 0 }]),
        };
        let more = after != Some(1);
        json!({ "items": page, "more": more, "next": 1 })
    };
    for kind in [
        "kind = 'offset'\noffset = 'p'",
        "kind = 'number'\npage = 'p'\nfirst = 0",
        "kind = 'cursor'\ncursor = 'p'\nnext = '/next'",
    ] {
        let row = format!("{kind}\nitems = '/items'\nmore = '/more'");
        assert_eq!(items(walk(&row, respond).unwrap()).len(), 2, "{kind}");
    }
    let link = "kind = 'link'\nnext = '/next'\nitems = '/items'\nmore = '/more'";
    let pages = walk(link, |_| json!({ "items": [1], "more": "false", "next": "/2" })).unwrap();
    assert_eq!(lengths(&pages), [1]);
    for kind in ["kind = 'cursor'\ncursor = 'p'", "kind = 'link'"] {
        let row = format!("{kind}\nnext = '/next'\nitems = '/items'\nmore = '/more'");
        let fault = walk(&row, |_| json!({ "items": [1], "more": true })).unwrap_err();
        assert!(fault.message.contains("does not say where"), "{kind}: {fault:?}");
    }
}

#[test]
fn a_cursor_of_an_earlier_version_is_still_read() {
    let paging = paging(OFFSET);
    let old =
        json!({ "at": 49, "page": 1, "seen": "1f2e3d4c5b6a7988", "last": item_identity(&json!(49)), "total": 120 });
    let request = paging.request(&mut Map::new(), none, Some(old)).unwrap();
    let page = read(&paging, &request, &json!({ "a": { "b": slice(120, 49, 50) }, "total": 120 })).unwrap();
    assert_eq!((page.items.len(), page.maybe_incomplete), (49, None));
    assert!(paging.request(&mut Map::new(), none, Some(json!(7))).is_err());
    let late = json!({ "at": 49, "page": MOST_PAGES, "seen": "" });
    assert_eq!(paging.request(&mut Map::new(), none, Some(late)).err().unwrap().kind(), ErrorKind::Limit);
}
