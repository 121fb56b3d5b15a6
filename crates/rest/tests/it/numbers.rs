//! Numbers of responses: kept, refused with their place, or kept as text where the row declares text.
#![allow(clippy::unwrap_used)]

use crate::support::*;
use futures::TryStreamExt;
use serde_json::{Value, json};
use trunkline_rest::*;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

const ROWS: &str = r#"
[[operation]]
name = "item.list"
title = "List"
route = "GET /items"
page = { kind = "cursor", cursor = "after", next = "/next", items = "/items" }
[operation.output]
type = "object"
properties.id = { type = "string" }
properties.size = { type = "number" }
properties.tags = { type = "array", items = { type = ["string", "null"] } }
properties.any = { anyOf = [{ type = "string" }, { type = "integer" }] }
additionalProperties = { type = "integer" }
properties.more = { anyOf = [{ type = "object", additionalProperties = { type = "string" } }, { type = "null" }] }

[[operation]]
name = "item.get"
title = "Get"
route = "GET /item"
result = "/data"
output = { type = "object", properties = { id = { type = "string" } } }
"#;

/// A service that responds with these texts.
async fn service(responses: &[(&str, &str)]) -> (MockServer, Client) {
    let server = MockServer::start().await;
    for (after, body) in responses {
        let mock = Mock::given(matchers::method("GET"));
        let mock = match *after {
            "" => mock.and(matchers::query_param_is_missing("after")),
            after => mock.and(matchers::query_param("after", after)),
        };
        let response = ResponseTemplate::new(200).set_body_raw(*body, "application/json");
        mock.respond_with(response).mount(&server).await;
    }
    let client = Client::builder("Shop", server.uri().parse().unwrap(), table(ROWS)).private_network(true);
    (server, client.limits(quick()).build().unwrap())
}

#[tokio::test]
async fn ids_and_cursors_beyond_64_bits_keep_their_digits_where_text_is_declared() {
    let (_server, client) = service(&[
        ("", r#"{"items": [{"id": 18446744073709551617, "size": 1.5}, {"id": 18446744073709551618}], "next": 36893488147419103233}"#),
        ("36893488147419103233", r#"{"items": [{"id": 7, "tags": [1e400, null], "any": 7, "else": 3}, {"id": 1.10, "any": null}, {"id": "a", "more": {"x": 12345678901234567.890}}], "next": null}"#),
    ])
    .await;
    let pages: Vec<_> = client.pages("item.list", json!({}), &cx()).try_collect().await.unwrap();
    let items: Vec<Value> = pages.into_iter().flat_map(|page| page.items).collect();
    let expected = json!([{ "id": "18446744073709551617", "size": 1.5 }, { "id": "18446744073709551618" },
        { "id": "7", "tags": ["1e400", null], "any": 7, "else": 3 }, { "id": "1.10", "any": null }, { "id": "a", "more": { "x": "12345678901234567.890" } }]);
    assert_eq!(json!(items), expected);
    let (_server, client) = service(&[("", r#"{"data": {"id": 18446744073709551617}}"#)]).await;
    let item = client.call("item.get", json!({}), &cx()).await.unwrap();
    assert_eq!(item, json!({ "id": "18446744073709551617" }));
}

#[tokio::test]
async fn another_number_that_cannot_be_kept_is_an_error_with_its_place() {
    for (number, place) in [
        ("18446744073709551616", "/items/0/size"),
        ("-9223372036854775809", "/items/0/size"),
        ("0.1000000000000000055511151231257827", "/items/0/size"),
        ("12345678901234567.89", "/items/0/size"),
        ("1e400", "/items/0/size"),
        ("1e-400", "/items/0/size"),
    ] {
        let body = format!(r#"{{"items": [{{"id": "a", "size": {number}}}], "next": null}}"#);
        let (_server, client) = service(&[("", &body)]).await;
        let error = client.page("item.list", json!({}), None, &cx()).await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(&format!("{number} at {place}")) && text.contains("declare it as text"), "{text}");
        // Without the check, the number would be another one.
        let read = serde_json::from_str::<Value>(&body).ok();
        assert!(read.is_none_or(|read| !read.to_string().contains(number)), "{number}");
    }
}
