//! Responses are read by what they declare: content codings, charsets, and the reason why a body is not JSON or why a
//! call is refused. A delete that finds nothing has succeeded.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::support::{login::*, *};
use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use trunkline_testkit::fake::FakeStep;
use wiremock::{Mock, ResponseTemplate, matchers::path};

/// `{"name":"Malmö"}` in gzip, as zlib wrote it.
const GZIP: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 171, 86, 202, 75, 204, 77, 85, 178, 82, 242, 77, 204, 201, 61, 188, 77, 169, 22,
    0, 162, 13, 57, 111, 17, 0, 0, 0,
];

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn get_from(response: Vec<u8>) -> Result<Value> {
    let server = Raw::new(vec![response]).await;
    client(&server.base).call("thing.get", json!({ "id": "7" }), &cx()).await
}

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

#[tokio::test]
async fn json_is_read_in_its_coding_and_charset() {
    let plain = "{\"name\":\"Malmö\"}";
    let (latin, marked) = (b"{\"name\":\"Malm\xf6\"}".to_vec(), utf_16(&format!("\u{feff}{plain}")));
    for (headers, body) in [
        ("", plain.as_bytes().to_vec()),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", GZIP.to_vec()),
        ("Content-Type: application/json\r\nContent-Encoding: X-GZip\r\n", GZIP.to_vec()),
        ("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", GZIP.to_vec()),
        ("Content-Encoding: identity\r\n", plain.as_bytes().to_vec()),
        ("Content-Type: application/json; charset=ISO-8859-1\r\n", latin.clone()),
        ("Content-Type: application/hal+json;charset=\"latin1\"; profile=x\r\n", latin),
        ("Content-Type: application/json\r\n", format!("\u{feff}{plain}").into_bytes()),
        ("Content-Type: application/json; charset=utf-16\r\n", marked.clone()),
        ("Content-Type: application/json\r\n", marked),
        ("Content-Type: application/json\r\n", utf_16(plain)),
        ("Content-Type: text/html; charset=utf-8\r\n", plain.as_bytes().to_vec()),
        ("Content-Type: application/json; charset=no-such\r\n", b"{\"name\":\"Malm\\u00f6\"}".to_vec()),
    ] {
        let read = get_from(answer("200 OK", headers, &body)).await;
        assert_eq!(
            read.unwrap_or_else(|error| panic!("{headers}: {error:?}")),
            json!({ "name": "Malmö" }),
            "{headers}"
        );
    }
}

#[tokio::test]
async fn a_coding_that_was_not_asked_for_is_refused() {
    for coding in ["br", "deflate", "zstd", "gzip, br", "compress", "utf-8"] {
        let headers = format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
        let error = get_from(answer("200 OK", &headers, GZIP)).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unexpected, Retry::Never), "{coding}");
        assert!(error.message().contains(coding) && error.advice().is_some(), "{error:?}");
        // The service may have made it.
        let server = Raw::new(vec![answer("201 Created", &headers, GZIP)]).await;
        let error = client(&server.base).call("thing.create", json!({}), &cx()).await.unwrap_err();
        assert_eq!((error.kind(), server.count()), (ErrorKind::UnknownOutcome, 1), "{coding}");
        assert!(server.requests.lock().unwrap()[0].contains("accept-encoding: gzip\r\n"));
        // The status of a refusal counts, whatever its body is.
        let error = get_from(answer("404 Not Found", &headers, GZIP)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{coding}");
    }
    let cut = answer("200 OK", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", &GZIP[..30]);
    let server = Raw::new(vec![cut, answer("200 OK", "Content-Encoding: gzip\r\n", GZIP)]).await;
    let read = client(&server.base).call("thing.get", json!({ "id": "7" }), &cx()).await.unwrap();
    assert_eq!((read, server.count()), (json!({ "name": "Malmö" }), 2), "a cut gzip is fetched again");
}

#[tokio::test]
async fn a_text_is_read_in_its_charset_or_refused() {
    let text = async |kind: &str, body: &[u8]| {
        let server = Raw::new(vec![answer("200 OK", &format!("Content-Type: {kind}\r\n"), body)]).await;
        client(&server.base).call("thing.text", json!({ "id": "7" }), &cx()).await
    };
    for (kind, body) in [
        ("text/plain", "Malmö".as_bytes()),
        ("text/plain; charset=iso-8859-1", b"Malm\xf6"),
        ("text/csv; charset=\"windows-1252\"", b"Malm\xf6"),
        ("text/plain", "\u{feff}Malmö".as_bytes()),
        ("text/plain; charset=utf-16le", b"M\0a\0l\0m\0\xf6\0"),
        ("application/json; charset=latin1", b"\"Malm\xf6\""),
    ] {
        assert_eq!(text(kind, body).await.unwrap(), json!("Malmö"), "{kind}");
    }
    for kind in ["text/plain", "text/plain; charset=utf-8", "text/plain; charset=no-such"] {
        let error = text(kind, b"Malm\xf6").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{kind}");
        assert!(
            error.message().contains("cannot be read as text") && error.advice().unwrap().contains("charset"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_says_why_and_where() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let twins = format!(r#"{{"padding": "{}", "a": 1, "a": 2}}"#, "x".repeat(300));
    let (json, report) = ("application/json", "report it to the vendor");
    for (kind, body, why, advice) in [
        (json, twins.as_bytes(), "`a` occurs twice", report),
        (json, br#"{"a": "\ud83d"}"#, "line 1 column", report),
        (json, deep(130).as_bytes(), "line 1 column", report),
        (json, b"{\n  \"a\": 01\n}", "line 2 column", report),
        (json, b"{\"a\": NaN}", "line 1 column 7", report),
        (json, b"ok", "expected value at line 1 column 1", report),
        (json, b"{\"a\": 1} {", "trailing characters at line 1 column 10", report),
        ("application/problem+json", b"{\"a\" 1}", "line 1 column 6", report),
        (json, b"{\"a\": [1, 2", "line 1 column", "call it again"),
        (json, b"{\"a\": \"Malm\xf6\"}", "byte 12 is not UTF-8, and it declares no charset", "declare its charset"),
        ("application/json; charset=utf-8", b"{\"a\": \"Malm\xf6\"}", "byte 12 is not UTF-8", "declare its charset"),
        (json, b"<!DOCTYPE html><title>Sign in</title>", "a web page", "a page to sign in"),
        ("text/html", b"<p>Sign in</p>", "a web page", "a page to sign in"),
        (json, b" ", "an empty body", "endpoint URL"),
        ("text/plain", b"ok", "not JSON (text/plain): ok", "endpoint URL"),
        ("application/xml", b"<a/>", "not JSON (application/xml): <a/>", "endpoint URL"),
    ] {
        let error = get_from(answer("200 OK", &format!("Content-Type: {kind}\r\n"), body)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
        assert!(error.message().contains(why) && error.advice().unwrap().contains(advice), "{why}: {error:?}");
        // The endpoint URL is the setting to look at only if another server may have sent the response.
        let at_fault = ["a page to sign in", "endpoint URL"].contains(&advice);
        assert_eq!(error.setting_pointer().is_some(), at_fault, "{error:?}");
    }
    // A number that no reader can hold is refused with its place, or kept as it is written.
    match get_from(answer("200 OK", "Content-Type: application/json\r\n", b"{\"a\": 1e400}")).await {
        Ok(read) => assert!(read["a"].to_string().contains("400"), "{read}"),
        Err(error) => assert!(error.message().contains("line 1 column"), "{error:?}"),
    }
}

#[tokio::test]
async fn a_304_is_not_called_a_redirect() {
    let error = get_from(b"HTTP/1.1 304 X\r\nETag: \"1\"\r\n\r\n".to_vec()).await.unwrap_err();
    assert!(error.message().contains("nothing has changed") && !error.message().contains("redirect"), "{error:?}");
    assert!(error.advice().unwrap().contains("If-None-Match") && error.setting_pointer().is_none(), "{error:?}");
    let error = get_from(b"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n".to_vec()).await.unwrap_err();
    assert!(error.message().contains("a redirect without a target"), "{error:?}");
}

#[tokio::test]
async fn the_reason_of_a_refused_token_is_reported() {
    for (status, challenge, kind, words, setting) in [
        (
            "401",
            "Bearer error=\"invalid_token\", error_description=\"it expired\"",
            ErrorKind::Auth,
            "invalid_token, it expired",
            None,
        ),
        ("401", "Basic realm=\"x\"", ErrorKind::Auth, "returned 401", None),
        (
            "403",
            "Bearer error=\"insufficient_scope\", scope=\"files:read\"",
            ErrorKind::Permission,
            "needs files:read",
            Some("/scopes"),
        ),
        ("401", "Bearer error=\"insufficient_scope\"", ErrorKind::Permission, "insufficient_scope", Some("/scopes")),
        ("403", "Bearer realm=\"x\"", ErrorKind::Permission, "returned 403", None),
        ("401", "Bearer error=\"open", ErrorKind::Auth, "open", None),
    ] {
        let headers = format!("WWW-Authenticate: {challenge}\r\n");
        let error = get_from(answer(&format!("{status} X"), &headers, b"")).await.unwrap_err();
        assert_eq!((error.kind(), error.setting_pointer()), (kind, setting), "{challenge}: {error:?}");
        assert!(error.message().contains(words), "{challenge}: {error:?}");
    }
}

/// A young token is usually not the reason of a 401; the service may say that it is.
#[tokio::test]
async fn a_young_token_is_renewed_only_if_the_service_calls_it_invalid() {
    for (challenge, renewed) in [
        ("Bearer error=\"invalid_token\"", true),
        ("Bearer realm=\"api\", Bearer error=\"invalid_token\"", true),
        ("Bearer error=\"insufficient_scope\"", false),
        ("Bearer", false),
        ("Basic realm=\"invalid_token\"", false),
    ] {
        let (login, server) = login().await;
        let refused = ResponseTemplate::new(401).insert_header("www-authenticate", challenge);
        Mock::given(path("/other")).respond_with(refused).mount(&server).await;
        let rows = "[[operation]]\nname = 'other.get'\ntitle = 'O'\nroute = 'GET /other'";
        let client = Client::builder("Test Service", server.uri().parse().unwrap(), table(rows))
            .private_network(true)
            .auth(Auth::OAuth(oauth(&server, refresh_token())), slot(&Default::default()))
            .build()
            .unwrap();
        client.call("other.get", json!({}), &cx()).await.unwrap_err();
        assert_eq!(login.asked(), if renewed { 2 } else { 1 }, "{challenge}");
    }
}

#[tokio::test]
async fn a_delete_that_finds_nothing_has_succeeded() {
    let answer =
        |status: &str| answer(status, "", if status.starts_with("410") { b"{\"error\":\"gone\"}" } else { b"" });
    let (missing, gone, throttled) = (answer("404 Not Found"), answer("410 Gone"), answer("429 Slow Down"));
    let input = |operation: &str| if operation == "thing.create" { json!({}) } else { json!({ "id": "7" }) };
    // A note says that there was nothing to delete, unless an earlier attempt of the same call may have deleted it.
    for (script, note) in [
        (vec![missing.clone()], Some("thing.delete: already gone (404)")),
        (vec![gone.clone()], Some("thing.delete: already gone (410)")),
        (vec![throttled.clone(), missing.clone()], Some("thing.delete: already gone (404)")),
        (vec![throttled, gone], Some("thing.delete: already gone (410)")),
        (vec![Vec::new(), missing.clone()], None),
        (vec![answer("500 Oops"), missing.clone()], None),
    ] {
        let (server, step) = (Raw::new(script.clone()).await, Arc::new(FakeStep::default()));
        let cx = step.context("conn", Connections::default());
        let done = client(&server.base).call("thing.delete", input("thing.delete"), &cx).await.unwrap();
        assert_eq!((done, server.count()), (Value::Null, script.len()));
        assert_eq!(step.warnings().first().map(String::as_str), note);
    }
    // Other calls and other refusals are errors.
    for (operation, status) in [
        ("thing.get", "404 Not Found"),
        ("thing.rename", "404 Not Found"),
        ("thing.create", "410 Gone"),
        ("thing.delete", "403 Forbidden"),
        ("thing.delete", "409 Conflict"),
        ("thing.delete", "405 Not Allowed"),
    ] {
        let server = Raw::new(vec![answer(status)]).await;
        assert!(client(&server.base).call(operation, input(operation), &cx()).await.is_err(), "{operation} {status}");
    }
}

/// Less than a megabyte that takes more than forty.
fn many_values() -> Vec<u8> {
    format!("[{}{{}}]", r#"{"a":0},"#.repeat(100_000)).into_bytes()
}

#[tokio::test]
async fn a_response_of_too_many_values_is_a_limit_error_that_says_what_to_do() {
    let headers = "Content-Type: application/json\r\n";
    for headers in [headers, ""] {
        let error = get_from(answer("200 OK", headers, &many_values())).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Limit, Retry::Never), "{error:?}");
        assert!(error.message().contains(&VALUE_MEMORY.to_string()), "{error}");
        assert!(error.advice().unwrap().contains("fewer items per page"), "{error:?}");
    }
    // The status of a refusal counts, and its body is only quoted.
    let error = get_from(answer("404 Not Found", headers, &many_values())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // As many bytes in one value are accepted.
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(many_values().len()));
    assert!(get_from(answer("200 OK", headers, long.as_bytes())).await.is_ok());
}

/// The sabotage twin: a reader without the estimate makes more values of the same bytes than the limit.
#[test]
fn without_the_estimate_the_same_bytes_take_more_memory_than_the_limit() {
    let value: Value = serde_json::from_slice(&many_values()).unwrap();
    assert!(memory_of(&value) > VALUE_MEMORY, "{}", memory_of(&value));
}

#[tokio::test]
async fn a_response_of_many_values_waits_for_memory() {
    let body = format!("[{}0]", "0,".repeat(200_000)).into_bytes();
    let server = Raw::new(vec![answer("200 OK", "Content-Type: application/json\r\n", &body); 2]).await;
    let budget = MemoryBudget::new(1 << 20, 100 << 20);
    // Another account has the whole reserve.
    let (other, account) = (budget.account(0), budget.account(0));
    let held = other.reserve("something else", 50 << 20).await.unwrap();
    let call = tokio::spawn({
        let (client, cx) = (client(&server.base), cx().with_memory(account.clone()));
        async move { client.call("thing.get", json!({ "id": "7" }), &cx).await }
    });
    while !account.is_waiting() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!call.is_finished());
    drop((held, other));
    assert_eq!(call.await.unwrap().unwrap().as_array().unwrap().len(), 200_001);
}
