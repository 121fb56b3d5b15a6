//! Lists over real requests: through calls, pages and the actions of a registry.
#![allow(clippy::unwrap_used)]

use crate::support::*;
use futures::TryStreamExt;
use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

const LISTS: &str = r#"
[[operation]]
name = "asset.list"
title = "List"
route = "GET /assets"
output = { type = "object", properties = { id = { type = "integer" } } }
page = { kind = "offset", offset = "offset", count = "count", size = 50, items = "/payload/assets", total = "/recordCount/totalRecordsFound" }
input.search = {}
input.count = { type = "integer", minimum = 1 }

[[operation]]
name = "asset.search"
title = "Search"
route = "POST /assets"
effect = "read"
page = { kind = "offset", offset = "offset", count = "count", size = 50, items = "/payload/assets" }
input.search = {}

[[operation]]
name = "file.list"
title = "Files"
route = "GET /files"
page = { kind = "link", items = "/files" }
input.fields = {}
"#;

fn number(request: &Request, name: &str) -> Option<u64> {
    request.url.query_pairs().find(|(key, _)| key == name)?.1.parse().ok()
}

async fn library(size: u64) -> (MockServer, Client) {
    let server = MockServer::start().await;
    let respond = move |request: &Request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let given = |name| number(request, name).or_else(|| body[name].as_u64());
        let from = given("offset").unwrap_or(0);
        let count = given("count").unwrap_or(10);
        let assets: Vec<_> = (from..size.min(from + count)).map(|id| json!({ "id": id })).collect();
        let body = json!({ "payload": { "assets": assets }, "recordCount": { "totalRecordsFound": size } });
        ResponseTemplate::new(200).set_body_json(body)
    };
    Mock::given(path("/assets")).respond_with(respond).mount(&server).await;
    let client = Client::builder("Library", server.uri().parse().unwrap(), table(LISTS))
        .private_network(true)
        .limits(quick())
        .build()
        .unwrap();
    (server, client)
}

#[tokio::test]
async fn paging_parameters_go_into_the_query_or_the_body() {
    for (operation, requests) in [("asset.list", 3), ("asset.search", 5)] {
        let (server, client) = library(120).await;
        let cx = cx();
        let pages: Vec<_> = client.pages(operation, json!({ "search": "x" }), &cx).try_collect().await.unwrap();
        let ids: Vec<_> = pages.iter().flat_map(|page| &page.items).map(|item| item["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (0..120).collect::<Vec<_>>());
        assert_eq!(server.received_requests().await.unwrap().len(), requests);
    }
}

#[tokio::test]
async fn a_repeated_short_page_ends_the_list_and_a_repeated_full_page_is_an_error() {
    for (size, ends) in [(49, true), (50, false)] {
        let server = MockServer::start().await;
        let assets: Vec<_> = (0..size).map(|id| json!({ "id": id })).collect();
        let response = ResponseTemplate::new(200).set_body_json(json!({ "payload": { "assets": assets } }));
        Mock::given(path("/assets")).respond_with(response).mount(&server).await;
        let base = server.uri().parse().unwrap();
        let client =
            Client::builder("Library", base, table(LISTS)).private_network(true).limits(quick()).build().unwrap();
        let cx = Context::default();
        let all: Result<Vec<Page>> = client.pages("asset.search", json!({}), &cx).try_collect().await;
        match all {
            Ok(pages) => assert_eq!((ends, pages.iter().map(|page| page.items.len()).sum::<usize>()), (true, size)),
            Err(error) => assert_eq!((ends, error.kind()), (false, ErrorKind::Unexpected)),
        }
    }
}

#[tokio::test]
async fn a_list_continues_from_a_cursor_that_was_saved() {
    let (_server, client) = library(25).await;
    let input = json!({ "count": 10 });
    let first = client.page("asset.list", input.clone(), None, &cx()).await.unwrap();
    assert_eq!(first.items.len(), 10);
    let saved = first.next.unwrap().to_string();
    let second = client.page("asset.list", input.clone(), serde_json::from_str(&saved).unwrap(), &cx()).await.unwrap();
    assert_eq!(second.items[0]["id"], 10);
    let last = client.page("asset.list", input, second.next, &cx()).await.unwrap();
    assert_eq!((last.items.len(), last.next, last.maybe_incomplete), (6, None, None));
}

#[tokio::test]
async fn a_row_is_an_action_without_further_code() {
    let (_server, client) = library(60).await;
    let actions = table(LISTS).actions().unwrap();
    let list = actions.iter().find(|action| action.spec().name == "asset.list").unwrap();
    let spec = list.spec();
    assert!(spec.lists && spec.effect == Effect::Read);
    let inputs: Vec<_> = spec.input["properties"].as_object().unwrap().keys().collect();
    assert_eq!(inputs, ["search", "count"], "in the order of the row, without those that the client sends itself");
    assert_eq!(spec.input["additionalProperties"], false);
    assert_eq!(spec.output["properties"]["items"]["items"]["properties"]["id"]["type"], "integer");
    let page = list.run(&client, json!({}), &cx()).await.unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 50);
    assert!(Schema::from(spec.output.clone()).check(&page).is_empty());
    let rest = list.page(&client, json!({}), Some(page["next"].clone()), &cx()).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (10, None));
    assert_eq!(
        client.call("asset.list", json!({}), &cx()).await.unwrap(),
        page,
        "a call and the action have the same result"
    );
    let wrong = list.run(&(), json!({}), &cx()).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn links_are_followed_on_the_same_server_only() {
    let server = MockServer::start().await;
    let trap = MockServer::start().await;
    let elsewhere = format!("<{}/files?page=4>; rel=\"next\"", trap.uri());
    let respond = move |request: &Request| {
        let page = number(request, "page").unwrap_or(1);
        let body = ResponseTemplate::new(200).set_body_json(json!({ "files": [page] }));
        match page {
            1 => body.insert_header("link", "</files?page=2>; rel=\"next\""),
            2 => body.insert_header("link", "<?page=3>; rel=\"next\""),
            _ => body.insert_header("link", &*elsewhere),
        }
    };
    Mock::given(path("/files")).respond_with(respond).mount(&server).await;
    let client = Client::builder("Library", server.uri().parse().unwrap(), table(LISTS))
        .private_network(true)
        .header("x-key", "k".into(), None)
        .build()
        .unwrap();
    let cx = cx();
    let mut pages = client.pages("file.list", json!({ "fields": ["id"] }), &cx);
    for page in 1..=3 {
        assert_eq!(pages.try_next().await.unwrap().unwrap().items, [json!(page)]);
    }
    let error = pages.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert!(trap.received_requests().await.unwrap().is_empty());
}

#[test]
fn the_schema_of_a_row_is_closed() {
    let schema = Schema::from(operation_schema());
    let good: Value = toml::from_str(LISTS).unwrap();
    assert_eq!(schema.check(&good), []);
    let bad: Value = toml::from_str(&LISTS.replace("title =", "titel =")).unwrap();
    assert!(!schema.check(&bad).is_empty());
}

/// A service with one row, whose responses are a function of the number in the input `at`.
async fn paged(
    page: &str,
    respond: impl Fn(Option<u64>) -> ResponseTemplate + Send + Sync + 'static,
) -> (MockServer, Client) {
    let server = MockServer::start().await;
    Mock::given(path("/things"))
        .respond_with(move |request: &Request| respond(number(request, "at")))
        .mount(&server)
        .await;
    let row = format!(
        "[[operation]]\nname = 'thing.list'\ntitle = 'List'\nroute = 'GET /things'\npage = {{ items = '/items', {page} }}"
    );
    let client = Client::builder("Things", server.uri().parse().unwrap(), table(&row));
    let client =
        client.private_network(true).header("x-key", "canary-key".into(), None).limits(quick()).build().unwrap();
    (server, client)
}

async fn ids(client: &Client) -> Result<Vec<u64>> {
    let cx = cx();
    let pages: Vec<_> = client.pages("thing.list", json!({}), &cx).try_collect().await?;
    Ok(pages.iter().flat_map(|page| &page.items).map(|item| item["id"].as_u64().unwrap()).collect())
}

fn things(from: u64, count: u64) -> Value {
    (from..from + count).map(|id| json!({ "id": id })).collect()
}

#[tokio::test]
async fn an_error_status_ends_a_list_after_its_first_page_if_the_row_says_so() {
    const NUMBER: &str = "kind = \"number\", page = \"at\"";
    for (status, pages, ends, read) in [
        (400, 2, "endStatus = [400]", Ok(4)),
        (404, 2, "endStatus = [400, 404]", Ok(4)),
        (204, 2, "endStatus = [204]", Ok(4)),
        (204, 0, "endStatus = [204]", Ok(0)),
        (404, 2, "endStatus = [400]", Err(ErrorKind::NotFound)),
        (404, 2, "first = 1", Err(ErrorKind::NotFound)),
        (404, 0, "endStatus = [404]", Err(ErrorKind::NotFound)),
        (500, 2, "endStatus = [404]", Err(ErrorKind::Unavailable)),
        (204, 2, "endStatus = [404]", Err(ErrorKind::Unexpected)),
    ] {
        let (_server, client) = paged(&format!("{NUMBER}, {ends}"), move |page| match page.unwrap() {
            page if page <= pages => ResponseTemplate::new(200).set_body_json(json!({ "items": things(page * 2, 2) })),
            _ => ResponseTemplate::new(status),
        })
        .await;
        let found = ids(&client).await.map(|ids| ids.len()).map_err(|error| error.kind());
        assert_eq!(found, read, "{status} after {pages} pages, {ends}");
    }
}

#[tokio::test]
async fn the_error_names_the_page_and_quotes_the_response_without_secrets() {
    let (_server, client) = paged("kind = \"cursor\", cursor = \"at\", next = \"/next\"", |at| {
        let body = match at {
            None => json!({ "items": things(0, 2), "next": 2 }),
            _ => json!({ "error": { "code": 42, "message": "quota of canary-key used up" } }),
        };
        ResponseTemplate::new(200).set_body_json(body)
    })
    .await;
    let error = ids(&client).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    let start = "page 2 of thing.list at Things reports an error at `/error`, with a status of success: ";
    assert!(error.message().starts_with(start), "{error}");
    assert!(error.message().contains("quota of *** used up"), "{error}");
}

#[tokio::test]
async fn a_link_header_that_cannot_be_read_is_an_error() {
    for (header, good) in [
        ("</things?at=1>; rel=\"next\"", true),
        ("/things?at=1; rel=\"next\"", false),
        ("</things?at=1; rel=\"next\"", false),
    ] {
        let (_server, client) = paged("kind = \"link\"", move |at| {
            let response = ResponseTemplate::new(200).set_body_json(json!({ "items": things(at.unwrap_or(0), 1) }));
            if at.is_none() { response.insert_header("link", header) } else { response }
        })
        .await;
        match ids(&client).await {
            Ok(ids) => assert!(good && ids == [0, 1], "{header}: {ids:?}"),
            Err(error) => assert!(!good && error.message().contains("`Link` header"), "{header}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_keyset_goes_on_from_the_last_item() {
    let page = "kind = \"keyset\", cursor = \"at\", key = \"/id\", count = \"limit\", size = 4, more = \"/has_more\"";
    let (server, client) = paged(page, |at| {
        let from = at.map_or(0, |at| at + 1);
        let count = 4.min(10 - from);
        ResponseTemplate::new(200).set_body_json(json!({ "items": things(from, count), "has_more": from + count < 10 }))
    })
    .await;
    assert_eq!(ids(&client).await.unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(server.received_requests().await.unwrap().len(), 3, "the flag saves the request of an empty page");
}
