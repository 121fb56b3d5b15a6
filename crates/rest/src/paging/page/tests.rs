use super::*;
use serde_json::json;

fn read(paging: &Paging, request: &PageRequest, body: &Value) -> Result<Page> {
    paging.read(request, PageResponse { body, link: None, previous: None })
}

fn paging(row: &str) -> Paging {
    let row: PageRow = toml::from_str(row).unwrap();
    Paging::compile(&row, str::to_owned).unwrap()
}

/// No input has a default.
fn none(_: &str) -> Option<Value> {
    None
}

/// Reads a list to its end; each page is a function of the input of its request.
fn walk(row: &str, respond: impl Fn(&Map<String, Value>) -> Value) -> Result<Vec<Vec<Value>>> {
    let paging = paging(row);
    let (mut pages, mut from) = (Vec::new(), None);
    loop {
        let mut input = Map::new();
        let request = paging.request(&mut input, none, from)?;
        let page = read(&paging, &request, &respond(&input))?;
        pages.push(page.items);
        from = page.next;
        if from.is_none() {
            return Ok(pages);
        }
    }
}

fn slice(all: u64, from: u64, count: u64) -> Vec<u64> {
    (from..all.min(from + count)).collect()
}

const OFFSET: &str = "kind = 'offset'\noffset = 'offset'\ncount = 'count'\nsize = 50\nitems = '/a/b'\ntotal = '/total'";

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
    assert_eq!(lengths(json!(0)), [50, 49, 21, 0], "a total of 0 beside items is ignored");
}

#[test]
fn no_item_is_lost_if_pages_are_shorter_than_asked_for() {
    let respond = |input: &Map<String, Value>| {
        let items = slice(45, input["offset"].as_u64().unwrap(), 10);
        json!({ "a": { "b": items }, "total": 45 })
    };
    assert_eq!(walk(OFFSET, respond).unwrap().concat().len(), 45);
}

#[test]
fn no_item_is_lost_if_the_service_rounds_offsets_down_to_whole_pages() {
    let respond = |input: &Map<String, Value>| {
        let items = slice(120, input["offset"].as_u64().unwrap() / 50 * 50, 50);
        json!({ "a": { "b": items }, "total": 120 })
    };
    assert_eq!(walk(OFFSET, respond).unwrap().concat(), slice(120, 0, 120));
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
fn number_ends_on_a_short_page() {
    let row = "kind = 'number'\npage = 'page'\ncount = 'per_page'\nsize = 10\nitems = ''";
    let respond = |input: &Map<String, Value>| json!(slice(25, (input["page"].as_u64().unwrap() - 1) * 10, 10));
    assert_eq!(walk(row, respond).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    assert_eq!(walk(row, |_| json!([])).unwrap(), [Vec::<Value>::new()]);
}

#[test]
fn cursor_ends_when_there_is_none() {
    let row = "kind = 'cursor'\ncursor = 'after'\nnext = '/next'\nitems = '/items'";
    let respond = |input: &Map<String, Value>| match input.get("after") {
        None => json!({ "items": [1], "next": "x" }),
        Some(Value::String(x)) if x == "x" => json!({ "items": [], "next": "y" }),
        _ => json!({ "items": [2], "next": "" }),
    };
    assert_eq!(
        walk(row, respond).unwrap().concat(),
        [json!(1), json!(2)],
        "an empty page in the middle does not end the list"
    );
}

#[test]
fn a_list_that_repeats_itself_is_an_error() {
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
fn repetitions_and_the_limit_are_noticed_after_a_restart() {
    let paging = paging(OFFSET);
    let body = json!({ "a": { "b": slice(50, 0, 50) } });
    let request = paging.request(&mut Map::new(), none, None).unwrap();
    let next = read(&paging, &request, &body).unwrap().next.unwrap();
    let next: Value = serde_json::from_str(&next.to_string()).unwrap();
    let request = paging.request(&mut Map::new(), none, Some(next.clone())).unwrap();
    let repeated = read(&paging, &request, &body).unwrap();
    assert!(repeated.items.is_empty(), "the service may round offsets down to whole pages");
    let request = paging.request(&mut Map::new(), none, repeated.next).unwrap();
    assert_eq!(read(&paging, &request, &body).unwrap_err().kind(), ErrorKind::Unexpected);
    let mut late = next;
    late["page"] = MOST_PAGES.into();
    let error = paging.request(&mut Map::new(), none, Some(late)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(paging.request(&mut Map::new(), none, Some(json!(7))).is_err());
}

#[test]
fn items_are_found_by_pointer() {
    let paging = paging(OFFSET);
    assert_eq!(paging.items(&Value::Null).unwrap(), [Value::Null; 0]);
    assert_eq!(paging.items(&json!({ "a": {} })).unwrap(), [Value::Null; 0]);
    assert_eq!(paging.items(&json!({ "a": { "b": { "id": 1 } } })).unwrap(), [json!({ "id": 1 })]);
    assert!(paging.items(&json!({ "x": 1 })).is_err() && paging.items(&json!({ "a": { "b": "text" } })).is_err());
}
