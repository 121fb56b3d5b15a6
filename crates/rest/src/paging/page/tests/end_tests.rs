//! What ends a list, what does not, and what is an error in its place.

use super::*;

/// Reads the second page of a list whose first page is good.
fn second(row: &str, first: &Value, response: PageResponse<'_>) -> Result<Page, Fault> {
    let paging = paging(row);
    let request = paging.request(&mut Map::new(), none, None).unwrap();
    let first = PageResponse { status: 200, body: first, link: Ok(Some("/2".into())), previous: None, header: None };
    let next = paging.read(&request, &first).unwrap().next;
    paging.read(&paging.request(&mut Map::new(), none, next).unwrap(), &response)
}

fn first(row: &str, body: &Value) -> Result<Page, Fault> {
    let paging = paging(row);
    read(&paging, &paging.request(&mut Map::new(), none, None).unwrap(), body)
}

/// A row of each kind, with `/data/items`.
const KINDS: [&str; 6] = [
    "kind = 'offset'\noffset = 'o'\ncount = 'n'\nsize = 2",
    "kind = 'number'\npage = 'p'",
    "kind = 'cursor'\ncursor = 'c'\nnext = '/next'",
    "kind = 'link'",
    "kind = 'link'\nnext = '/next'",
    "kind = 'keyset'\ncursor = 'c'\nkey = '/id'",
];

#[test]
fn a_response_that_is_not_a_page_is_an_error_on_every_page() {
    let good = json!({ "data": { "items": [{ "id": 1 }, { "id": 2 }] }, "next": "/2" });
    for kind in KINDS {
        let row = format!("{kind}\nitems = '/data/items'");
        for bad in [
            json!({ "error": { "code": 42, "message": "quota used up" } }),
            json!({ "error": "x", "data": { "items": [] } }),
            json!({ "error": "x", "data": { "items": [{ "id": 3 }] } }),
            json!({ "errors": [{ "message": "timeout" }], "data": null }),
            json!({ "data": { "items": [], "error": "x" } }),
            json!({ "success": false, "data": { "items": [] } }),
            json!({ "status": "error", "data": { "items": [] } }),
            json!({ "message": "the index is being built" }),
            json!({ "data": {} }),
            json!({ "data": { "items": null } }),
            json!({ "data": { "items": {} } }),
            json!({ "data": { "items": { "id": 3 } } }),
            json!({ "data": { "items": "" } }),
            json!({ "data": { "items": false } }),
            json!({ "data": [] }),
            json!({ "data": "text" }),
            json!({ "Data": { "items": [] } }),
            json!({}),
            json!([]),
            json!("maintenance"),
            Value::Null,
        ] {
            let on_first = first(&row, &bad);
            assert!(on_first.is_err(), "{kind}, {bad}: {on_first:?}");
            let response = PageResponse { status: 200, body: &bad, link: Ok(None), previous: None, header: None };
            let on_second = second(&row, &good, response);
            assert!(on_second.is_err(), "{kind}, {bad}: {on_second:?}");
        }
        // The twin: a page in the same places.
        let page = json!({ "data": { "items": [{ "id": 3 }] }, "error": null, "errors": [], "success": true });
        assert_eq!(first(&row, &page).unwrap().items.len(), 1, "{kind}");
    }
}

#[test]
fn an_error_is_an_error_at_the_root_of_a_list_without_a_name() {
    let row = "kind = 'number'\npage = 'p'\nitems = ''";
    for bad in [json!({ "error": "x" }), json!({ "message": "x" }), json!({}), Value::Null] {
        first(row, &bad).unwrap_err();
    }
    assert_eq!(first(row, &json!([])).unwrap(), Page::default());
}

#[test]
fn a_null_or_one_object_is_a_list_where_the_row_or_the_response_says_so() {
    let items = |row: &str, body: Value| first(&format!("{OFFSET}\n{row}"), &body).map(|page| page.items);
    assert_eq!(items("nullIsEmpty = true", json!({ "a": { "b": null } })).unwrap(), [Value::Null; 0]);
    assert_eq!(items("more = '/more'", json!({ "a": { "b": null }, "more": false })).unwrap(), [Value::Null; 0]);
    assert_eq!(items("", json!({ "a": { "b": null }, "total": 0 })).unwrap(), [Value::Null; 0]);
    assert_eq!(items("single = true", json!({ "a": { "b": { "id": 1 } } })).unwrap(), [json!({ "id": 1 })]);
    items("", json!({ "a": { "b": null }, "total": 3 })).unwrap_err();
    items("nullIsEmpty = true", json!({ "a": {} })).unwrap_err();
    items("nullIsEmpty = true\nsingle = true", json!({ "error": "x", "a": { "b": null } })).unwrap_err();
}

#[test]
fn an_empty_page_of_a_list_with_a_total_is_an_error() {
    let fault = first(OFFSET, &json!({ "a": { "b": [] }, "total": 40 })).unwrap_err();
    assert_eq!(fault.message, "has no item of a list with 40 items");
    first(&format!("{NUMBER}\ntotal = '/total'"), &json!({ "items": [], "total": 7 })).unwrap_err();
}

#[test]
fn a_next_page_that_is_announced_and_not_read_is_an_error() {
    let number = "kind = 'number'\npage = 'p'\nitems = '/items'";
    let keyset = "kind = 'keyset'\ncursor = 'c'\nkey = '/id'\nitems = '/items'";
    for (row, body) in [
        // A value of another type where the next page is announced.
        (CURSOR, json!({ "items": [1], "next": { "href": "/2" } })),
        (CURSOR, json!({ "items": [1], "next": true })),
        (CURSOR, json!({ "items": [1], "next": ["x"] })),
        ("kind = 'link'\nnext = '/next'\nitems = '/items'", json!({ "items": [1], "next": 2 })),
        ("kind = 'link'\nnext = '/next'\nitems = '/items'", json!({ "items": [1], "next": { "href": "/2" } })),
        ("kind = 'link'\nnext = '/m/next'\nitems = '/items'", json!({ "items": [1], "m": "/2" })),
        // Another place.
        ("kind = 'link'\nitems = '/items'", json!({ "items": [1], "next": "/2" })),
        ("kind = 'cursor'\ncursor = 'c'\nnext = '/nxt'\nitems = '/items'", json!({ "items": [1], "next": "x" })),
        (CURSOR, json!({ "items": [1], "meta": { "nextCursor": "x" } })),
        (CURSOR, json!({ "items": [1], "has_more": true })),
        (CURSOR, json!({ "items": [1], "_links": { "next": { "href": "/2" } } })),
        (number, json!({ "items": [], "next_page": 2 })),
        (number, json!({ "items": [], "paging": { "hasNextPage": true } })),
        (keyset, json!({ "items": [], "has_more": true })),
        (keyset, json!({ "items": [], "links": [{ "rel": "next", "href": "/2" }] })),
    ] {
        let page = first(row, &body);
        assert!(page.is_err(), "{row}, {body}: {page:?}");
        let ignored = format!(
            "{row}\nignore = ['/next', '/meta/nextCursor', '/has_more', '/_links/next', '/next_page', \
            '/paging/hasNextPage', '/links']"
        );
        let other_type = row.contains("'/next'") && body.get("next").is_some() || row.contains("'/m/next'");
        assert_eq!(first(&ignored, &body).is_err(), other_type, "{row}, {body}");
    }
}

#[test]
fn a_full_first_page_without_the_member_for_the_next_page_is_reported() {
    let row = format!("{CURSOR}\ncount = 'n'\nsize = 2");
    let report = |body: Value| first(&row, &body).unwrap().maybe_incomplete;
    assert_eq!(
        report(json!({ "items": [1, 2], "after": "x" })).as_deref(),
        Some("its first page is full and has nothing at `/next`")
    );
    assert_eq!(report(json!({ "items": [1, 2], "next": null })), None);
    assert_eq!(report(json!({ "items": [1] })), None);
}

#[test]
fn the_link_header_is_read_or_an_error() {
    let row = "kind = 'link'\nitems = '/items'";
    let body = json!({ "items": [1] });
    let read = |row: &str, link: Result<Option<String>, String>| {
        let paging = paging(row);
        let request = paging.request(&mut Map::new(), none, None).unwrap();
        paging.read(&request, &PageResponse { status: 200, body: &body, link, previous: None, header: None })
    };
    assert_eq!(read(row, Ok(None)).unwrap().next, None);
    assert!(read(row, Ok(Some("/2".into()))).unwrap().next.is_some());
    read(row, Err("unreadable".into())).unwrap_err();
    // A header that another kind does not read.
    read(CURSOR, Ok(Some("/2".into()))).unwrap_err();
    assert_eq!(read(CURSOR, Err("unreadable".into())).unwrap().next, None);
}

#[test]
fn a_status_ends_a_list_after_its_first_page_if_the_row_says_so() {
    let good = json!({ "items": [{ "id": 1 }, { "id": 2 }] });
    let null = Value::Null;
    for status in [400, 404, 204] {
        let row = format!("{NUMBER}\nendStatus = [400, 404, 204]");
        let response = PageResponse { status, body: &null, link: Ok(None), previous: None, header: None };
        let page = second(&row, &good, response).unwrap();
        assert_eq!((page.items.len(), page.next, page.maybe_incomplete), (0, None, None));
        let paging = paging(&row);
        let request = paging.request(&mut Map::new(), none, None).unwrap();
        assert_eq!(paging.end_status(&request), [0; 0], "an error in place of the first page is an error");
        // The pages before said that there is more.
        let total = format!("{row}\ntotal = '/total'");
        let good = json!({ "items": [{ "id": 1 }, { "id": 2 }], "total": 9 });
        let response = PageResponse { status, body: &null, link: Ok(None), previous: None, header: None };
        let page = second(&total, &good, response).unwrap();
        assert_eq!(page.maybe_incomplete.as_deref(), Some("it ended after 2 of 9 items"));
    }
    let response = PageResponse { status: 204, body: &null, link: Ok(None), previous: None, header: None };
    second(NUMBER, &good, response).unwrap_err();
}

/// Reads the second page of a list with offsets after a page with these items. The service refuses the offset, and
/// responds with `again` to what is requested next, if anything is.
fn refused(row: &str, items: &Value, again: Option<(u16, Value)>) -> Result<Page, Fault> {
    let refusal = PageResponse { status: 404, body: &Value::Null, link: Ok(None), previous: None, header: None };
    let page = second(row, &json!({ "items": items }), refusal)?;
    let Some((status, body)) = again else { return Ok(page) };
    assert_eq!(page.items.len(), 0);
    let (paging, mut input) = (paging(row), Map::new());
    let request = paging.request(&mut input, none, page.next).unwrap();
    assert_eq!((given(&input, "o"), given(&input, "n")), (1, 1), "the same offset, and one item");
    paging.read(&request, &PageResponse { status, body: &body, link: Ok(None), previous: None, header: None })
}

#[test]
fn a_refused_offset_in_a_page_is_the_end_only_if_it_is_refused_for_one_item_too() {
    let row = "kind = 'offset'\noffset = 'o'\ncount = 'n'\nsize = 4\nitems = '/items'\nendStatus = [404]";
    let one = json!([{ "id": 1 }]);
    assert_eq!(refused(row, &one, Some((404, Value::Null))).unwrap(), Page::default());
    for there in [json!([{ "id": 2 }]), json!([])] {
        let fault = refused(row, &one, Some((200, json!({ "items": there })))).unwrap_err();
        assert_eq!((fault.message.as_str(), fault.hint), (REFUSED, SET_MULTIPLES));
    }
    // An offset that is a multiple is not refused for that reason.
    let size_one = row.replace("size = 4", "size = 1");
    assert_eq!(refused(&size_one, &one, None).unwrap(), Page::default());
    // The service has no input for the number of items, and the only item may be one of a page.
    let unknown = row.replace("count = 'n'\nsize = 4\n", "");
    assert!(refused(&unknown, &one, None).unwrap().maybe_incomplete.is_some());
}

#[test]
fn a_repeated_last_page_ends_the_list() {
    let clamped = |all: u64, size: u64, row: &str| {
        walk(row, move |input| {
            let pages = all.div_ceil(size).max(1);
            let from = match input.get("page") {
                Some(page) => (page.as_u64().unwrap().min(pages) - 1) * size,
                None => given(input, "offset").min((pages - 1) * size),
            };
            json!({ "items": slice(all, from, size), "total": all, "pages": pages })
        })
    };
    let number = "kind = 'number'\npage = 'page'\ncount = 'n'\nsize = 2\nitems = '/items'";
    let offset = "kind = 'offset'\noffset = 'offset'\ncount = 'n'\nsize = 2\nitems = '/items'";
    for row in [number, offset] {
        for all in [3, 4, 7, 8] {
            let pages = clamped(all, 2, row).unwrap();
            assert_eq!(
                (items(pages.clone()), reasons(&pages)),
                (slice(all, 0, all).into_iter().map(Value::from).collect(), vec![])
            );
        }
        // One short page that comes again is most likely all, and a trusted total shows it.
        let pages = clamped(1, 2, row).unwrap();
        assert_eq!((lengths(&pages)[0], reasons(&pages).len()), (1, 1), "{row}");
        let total = format!("{row}\ntotal = '/total'");
        assert_eq!(reasons(&clamped(2, 2, &total).unwrap()).len(), 1);
        assert_eq!(reasons(&clamped(2, 2, &format!("{total}\ntrustTotal = true")).unwrap()), [""; 0]);
        // One full page that comes again may be any part of a list.
        clamped(2, 2, row).unwrap_err();
    }
    assert_eq!(lengths(&clamped(2, 2, &format!("{number}\nlast = '/pages'")).unwrap()), [2]);
}

#[test]
fn an_unchanged_cursor_with_an_empty_page_ends_the_list() {
    let respond = |input: &Map<String, Value>| {
        let at = input.get("after").map_or(0, |after| after.as_u64().unwrap());
        let next = (at + 2).min(4);
        json!({ "items": slice(4, at, 2), "next": next })
    };
    assert_eq!(items(walk(CURSOR, respond).unwrap()), [0, 1, 2, 3]);
    let fault = walk(CURSOR, |input| json!({ "items": [input.len()], "next": "same" })).unwrap_err();
    assert!(fault.message.contains("same as the one before"), "with items it is not an end: {fault:?}");
    // The service keeps the reader's place.
    let place = std::cell::Cell::new(0);
    let scroll = |_: &Map<String, Value>| {
        place.set(place.get() + 2);
        json!({ "items": slice(7, place.get() - 2, 2), "next": "same" })
    };
    assert_eq!(items(walk(CURSOR, scroll).unwrap()), slice(7, 0, 7));
}

#[test]
fn pages_of_the_same_ids_and_other_content_are_pages() {
    let respond = |input: &Map<String, Value>| {
        let language = input.get("after").and_then(Value::as_u64).unwrap_or(0);
        let next = if language < 3 { json!(language + 1) } else { Value::Null };
        json!({ "items": [{ "id": 1, "language": language }, { "id": 2, "language": language }], "next": next })
    };
    assert_eq!(items(walk(CURSOR, respond).unwrap()).len(), 8);
}

#[test]
fn equal_pages_of_items_without_ids_are_not_the_end() {
    let row = "kind = 'number'\npage = 'p'\nitems = ''";
    for all in [["ab", "cd", "cd", "ef", ""], ["ab", "cd", "cd", "", ""], ["ab", "cd", "ef", "ef", ""]] {
        let pages = walk(row, |input| {
            let page = all[usize::try_from(given(input, "p")).unwrap() - 1];
            page.chars().map(|v| json!({ "v": v.to_string() })).collect()
        });
        let read: String = items(pages.unwrap()).iter().map(|item| item["v"].as_str().unwrap().to_owned()).collect();
        assert_eq!(read, all.concat());
    }
}

#[test]
fn a_total_or_a_flag_beside_a_list_shows_that_items_are_missing() {
    let report = |body: Value| first(CURSOR, &body).unwrap().maybe_incomplete;
    assert_eq!(report(json!({ "items": [1], "meta": { "total": 7 } })).as_deref(), Some("it ended after 1 of 7 items"));
    assert_eq!(
        report(json!({ "items": [1], "incomplete_results": true })).as_deref(),
        Some("the service says so at `/incomplete_results`")
    );
    assert_eq!(report(json!({ "items": [1], "total": 1, "timed_out": false, "partial": false })), None);
    let last = first(&format!("{NUMBER}\nlast = '/pages'"), &json!({ "items": [1], "pages": 1, "done": false }));
    assert_eq!(last.unwrap().next, None, "the row's own pointer shows the end");
}

/// Returns the items of a page and the next cursor, from the number of pages before it, which stands in the cursor.
type Respond<'a> = dyn Fn(u64) -> (Value, Value) + 'a;

#[test]
fn a_list_without_progress_is_an_error() {
    let cursor = |respond: &Respond<'_>| {
        walk(CURSOR, |input| {
            let at = input.get("after").and_then(Value::as_str).and_then(|at| at.split('-').next()?.parse().ok());
            let (items, next) = respond(at.unwrap_or(0));
            json!({ "items": items, "next": next })
        })
        .map(|pages| lengths(&pages))
    };
    let page = |n: u64| json!([{ "id": n, "url": "x" }, { "id": n + 1, "url": "x" }]);
    let signed = |n: u64| json!([{ "id": 1, "url": n }, { "id": 2, "url": n }]);
    let turned = |n: u64| {
        if n.is_multiple_of(2) { json!([{ "id": 1 }, { "id": 2 }]) } else { json!([{ "id": 2 }, { "id": 1 }]) }
    };
    let cases: [(&str, &Respond<'_>); 9] = [
        ("the same page with new cursors", &|n| (page(1), json!(format!("{}-x", n + 1)))),
        ("the same page with other URLs", &|n| (signed(n), json!(format!("{}-x", n + 1)))),
        ("the same page in another order", &|n| (turned(n), json!(format!("{}-x", n + 1)))),
        ("two pages in turn with new cursors", &|n| (page(n % 2 * 10), json!(format!("{}-x", n + 1)))),
        ("seven pages in turn with new cursors", &|n| (page(n % 7 * 10), json!(format!("{}-x", n + 1)))),
        ("two cursors in turn", &|n| (page(n), json!(format!("{}-x", (n + 1) % 2)))),
        ("five cursors in turn, after three", &|n| (page(n), json!(format!("{}-x", if n == 7 { 3 } else { n + 1 })))),
        ("a cursor that never changes", &|n| (page(n), json!("1-x"))),
        ("cursors in turn with empty pages", &|n| (json!([]), json!(format!("{}-x", (n + 1) % 3)))),
    ];
    for (name, respond) in cases {
        let read = cursor(respond);
        assert!(read.is_err(), "{name}: {read:?}");
    }
    for row in [
        OFFSET,
        "kind = 'number'\npage = 'p'\nitems = '/a/b'",
        "kind = 'keyset'\ncursor = 'c'\nkey = ''\nitems = '/a/b'",
    ] {
        walk(row, |_| json!({ "a": { "b": slice(50, 0, 50) } })).unwrap_err();
    }
}

#[test]
fn empty_pages_without_end_are_an_error() {
    let paging = paging(CURSOR);
    let (mut from, mut pages) = (None, 0);
    let error = loop {
        let request = match paging.request(&mut Map::new(), none, from) {
            Ok(request) => request,
            Err(error) => break error,
        };
        from = read(&paging, &request, &json!({ "items": [], "next": format!("c{pages}") })).unwrap().next;
        pages += 1;
        assert!(pages <= MOST_EMPTY_PAGES);
    };
    assert_eq!((error.kind(), pages), (ErrorKind::Limit, MOST_EMPTY_PAGES));
}

#[test]
fn repetitions_are_noticed_after_a_restart() {
    let paging = paging(OFFSET);
    let body = json!({ "a": { "b": slice(50, 0, 50) } });
    let request = paging.request(&mut Map::new(), none, None).unwrap();
    let next = read(&paging, &request, &body).unwrap().next.unwrap();
    let next: Value = serde_json::from_str(&next.to_string()).unwrap();
    let request = paging.request(&mut Map::new(), none, Some(next)).unwrap();
    let repeated = read(&paging, &request, &body).unwrap();
    assert!(repeated.items.is_empty(), "the service may round offsets down to whole pages");
    let request = paging.request(&mut Map::new(), none, repeated.next).unwrap();
    assert!(read(&paging, &request, &body).unwrap_err().message.contains("same as the one before"));
}
