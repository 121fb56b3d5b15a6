use axum::http::{HeaderName, HeaderValue};

use super::*;

async fn of(kind: &str, body: &[u8]) -> Result<Value, String> {
    let mut headers = HeaderMap::new();
    if !kind.is_empty() {
        headers.insert("content-type", kind.parse().unwrap());
    }
    content(&headers, &Bytes::copy_from_slice(body)).await.map_err(|error| format!("{error:?}"))
}

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[tokio::test]
async fn a_body_is_decoded_by_what_it_declares() {
    let (le, be) = (utf_16("\u{feff}{\"a\":\"ö\"}", u16::to_le_bytes), utf_16("{\"a\":\"ö\"}", u16::to_be_bytes));
    let xml = "<?xml version='1.0' encoding='ISO-8859-1'?><a>\u{f6}</a>";
    let latin_xml: Vec<u8> = xml.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let file = |kind: Value, size: usize, base64: &str| json!({ "name": null, "mediaType": kind, "size": size, "base64": base64 });
    let cases: Vec<(&str, &[u8], Value)> = vec![
        ("application/json", b"{\"a\":1}", json!({ "a": 1 })),
        ("application/json; charset=utf-8", b"[]", json!([])),
        ("Application/JSON", b"7", json!(7)),
        ("application/cloudevents+json", b"{}", json!({})),
        ("text/json; charset=utf-8", b"{}", json!({})),
        ("application/csp-report", b"{}", json!({})),
        ("application/json", b"", json!(null)),
        ("application/json", b" \r\n", json!(null)),
        ("application/json", b"\xef\xbb\xbf{\"a\":1}", json!({ "a": 1 })),
        ("application/json; charset=iso-8859-1", b"\"\xf6\"", json!("ö")),
        ("application/json", &le, json!({ "a": "ö" })),
        ("application/json", &be, json!({ "a": "ö" })),
        ("", b"{\"a\":1}", json!({ "a": 1 })),
        ("", b"a=1", json!("a=1")),
        ("", b"", json!(null)),
        ("", b"\xff", file(json!(null), 1, "/w==")),
        ("text/plain", b"", json!("")),
        ("text/plain", b"{\"a\":1}", json!("{\"a\":1}")),
        ("text/plain; charset=iso-8859-1", b"Malm\xf6", json!("Malmö")),
        ("text/plain; charset=\"windows-1252\"", b"\x80", json!("€")),
        ("text/plain; charset=shift_jis", b"\x93\xfa", json!("日")),
        ("text/csv", "a;ö\n".as_bytes(), json!("a;ö\n")),
        ("application/x-ndjson", b"{}\n{}\n", json!("{}\n{}\n")),
        ("application/xml", &latin_xml, json!(xml)),
        ("application/soap+xml; charset=utf-8", "<ö/>".as_bytes(), json!("<ö/>")),
        ("image/svg+xml", b"<svg/>", json!("<svg/>")),
        ("application/yaml", b"a: 1", json!("a: 1")),
        ("image/png", b"\xff\x00", file(json!("image/png"), 2, "/wA=")),
        ("application/octet-stream", b"ab", file(json!("application/octet-stream"), 2, "YWI=")),
        ("application/x-own", b"ab", json!("ab")),
        ("application/x-own", b"\xff", file(json!("application/x-own"), 1, "/w==")),
    ];
    for (kind, body, expected) in cases {
        assert_eq!(of(kind, body).await, Ok(expected), "{kind}: {}", String::from_utf8_lossy(body));
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_declares_is_refused_with_the_reason() {
    let part = |head: &str| format!("--B\r\nContent-Disposition: form-data{head}\r\n\r\nx");
    let base64 = part("; name=\"a\"\r\nContent-Transfer-Encoding: base64") + "\r\n--B--\r\n";
    let (cut, nameless) = (part("; name=\"a\""), part("") + "\r\n--B--\r\n");
    for (kind, body, reason) in [
        ("application/json", &b"{"[..], "cannot be read as JSON: EOF"),
        ("application/json", b"{\"a\":1,\"a\":2}", "\"a\" occurs twice"),
        // Equal values, too: the flow and the sender must not need the same rule.
        ("application/json", b"{\"x\":[{\"a\":1,\"a\":1}]}", "which is /x/0/a"),
        ("application/vnd.x+json", b"{\"a\":{\"b\":1,\"b\":1}}", "which is /a/b"),
        ("", b"{\"a\":1,\"a\":1}", "which is /a"),
        ("", b"[1e400]", "JSON that cannot be used"),
        ("application/json", b"{\"a\": 1e400}", "cannot be read as JSON"),
        ("application/json", b"{} {}", "trailing characters"),
        ("application/json", b"\"\xf6\"", "byte 2 is not UTF-8, and it declares no charset"),
        (
            "application/json; charset=no-such",
            b"[\"\xf6\"]",
            "charset=no-such: it declares a charset that is not known",
        ),
        ("text/plain", b"Malm\xf6", "declare the charset"),
        ("text/plain; charset=utf-16le", b"abc", "it is not valid UTF-16LE"),
        ("application/x-www-form-urlencoded", b"a=%f6", "not text in its charset"),
        ("multipart/form-data", b"--B--\r\n", "boundary"),
        ("multipart/form-data; boundary=B", cut.as_bytes(), "cannot be read as such"),
        ("multipart/form-data; boundary=B", nameless.as_bytes(), "has no name"),
        ("multipart/form-data; boundary=B", base64.as_bytes(), "Content-Transfer-Encoding base64"),
        ("nonsense", b"", "content type nonsense cannot be read"),
    ] {
        let error = of(kind, body).await.unwrap_err();
        assert!(error.contains(reason), "{kind}: {error}");
    }
}

#[tokio::test]
async fn forms_and_queries_are_objects() {
    let form = "application/x-www-form-urlencoded";
    let cases: Vec<(&str, &str, Value)> = vec![
        (form, "command=%2Fgo&text=hello+world", json!({ "command": "/go", "text": "hello world" })),
        (form, "payload=%7B%22a%22%3A1%7D", json!({ "payload": "{\"a\":1}" })),
        (form, "a=1&b=2&a=3&a=", json!({ "a": ["1", "3", ""], "b": "2" })),
        (form, "", json!({})),
        (form, "&a&&=1&b=c=d", json!({ "a": "", "": "1", "b": "c=d" })),
        (form, "a=100%&b=%zz", json!({ "a": "100%", "b": "%zz" })),
        (form, "a=%C3%B6&ö=ä", json!({ "a": "ö", "ö": "ä" })),
        (form, "a=%2B+%2b", json!({ "a": "+ +" })),
        ("application/x-www-form-urlencoded; charset=iso-8859-1", "a=%f6", json!({ "a": "ö" })),
    ];
    for (kind, body, expected) in cases {
        assert_eq!(of(kind, body.as_bytes()).await, Ok(expected.clone()), "{body}");
        if kind == form {
            assert_eq!(query(body).unwrap(), expected);
        }
    }
    assert_eq!(query("hub.mode=subscribe&hub.challenge=123").unwrap()["hub.challenge"], "123");
    assert!(query("a=%ff").is_err());
}

#[tokio::test]
async fn a_form_with_files_has_their_names_types_and_content() {
    let part = |head: &str, content: &[u8]| {
        let head = format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        [head.as_bytes(), content, b"\r\n"].concat()
    };
    let body = [
        part("name=\"note\"", "Malmö".as_bytes()),
        part("name=\"tag\"", b"a"),
        part("name=\"tag\"", b"b"),
        part("name=\"latin\"\r\nContent-Type: text/plain; charset=iso-8859-1", b"\xf6"),
        part("name=\"event\"\r\nContent-Type: application/json", b"{\"a\":1}"),
        part("name=\"photo\"; filename=\"fotos/båt.png\"\r\nContent-Type: image/png", b"\xff\xfe"),
        [
            &b"--B\r\nContent-Transfer-Encoding: Binary\r\nContent-Disposition: form-data; name=\"old\"; "[..],
            b"filename=\"b\xe5t\"\r\n\r\n\xff\r\n",
        ]
        .concat(),
        part("name=\"mail\"; filename=\"=?utf-8?q?b=C3=A5t?=\"", b"\xff"),
        part("name=\"new\"; filename=\"x\"; filename*=UTF-8''b%C3%A5t", b"\xff"),
        part("name=\"list\"; filename=\"a.csv\"\r\nContent-Type: text/csv", b"a;b"),
        part("name=\"raw\"; filename=\"x.bin\"", b"--B\xff"),
        part("name=\"empty\"; filename=\"\"\r\nContent-Type: application/octet-stream", b""),
        b"--B--\r\n".to_vec(),
    ]
    .concat();
    let found = of("multipart/form-data; boundary=\"B\"", &body).await.unwrap();
    let file = |name: &str, kind: Value, size: usize, base64: &str| json!({ "name": name, "mediaType": kind, "size": size, "base64": base64 });
    assert_eq!(found["note"], "Malmö");
    assert_eq!(found["tag"], json!(["a", "b"]));
    assert_eq!((&found["latin"], &found["event"]), (&json!("ö"), &json!({ "a": 1 })));
    assert_eq!(found["photo"], file("båt.png", json!("image/png"), 2, "//4="));
    for name in ["old", "mail", "new"] {
        assert_eq!(found[name], file("båt", json!(null), 1, "/w=="), "{name}");
    }
    assert_eq!(found["list"], json!({ "name": "a.csv", "mediaType": "text/csv", "size": 3, "text": "a;b" }));
    assert_eq!(found["raw"], file("x.bin", json!(null), 4, "LS1C/w=="));
    assert_eq!(found["empty"], file("", json!("application/octet-stream"), 0, ""));
}

#[test]
fn repeated_headers_are_joined() {
    let mut all = HeaderMap::new();
    for (name, value) in
        [("x-many", &b"1"[..]), ("x-many", b"2, 3"), ("x-latin", b"Malm\xf6"), ("x-utf", "ö".as_bytes())]
    {
        all.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    let selected = ["X-Many", "x-latin", "X-UTF", "X-None", "not a header"].map(str::to_owned);
    let expected = json!({ "x-many": "1, 2, 3", "x-latin": "Malmö", "x-utf": "ö" });
    assert_eq!(headers(&all, &selected), expected);
}

#[test]
fn the_memory_of_a_body_is_estimated_by_its_type() {
    let of = |kind: &str, body: &str| {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
        memory(&headers, body.as_bytes()) / body.len() as u64
    };
    let (dense, form) = (format!("[{}0]", "0,".repeat(50_000)), "ab&".repeat(50_000));
    // Times the bytes of the body.
    assert_eq!((of("text/plain", &dense), of("image/png", &dense)), (3, 3));
    assert!(of("application/json", &dense) > 36 && of("multipart/form-data; boundary=x", &dense) > 36);
    assert!(of("application/vnd.x+json", &dense) > 36 && of("", &dense) > 36);
    assert!(of("application/x-www-form-urlencoded", &form) > 100);
    let text = format!("\"{}\"", "x".repeat(100_000));
    assert!(of("application/json", &text) <= 4);
}
