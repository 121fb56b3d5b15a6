//! The bytes of a file are those of the resource, whatever the server does to them on their way, and its name is one that
//! a target can take. A web page in the place of a file is not a file.

use std::sync::{Arc, Mutex};

use futures::TryStreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use trunkline_core::{Connected, ErrorKind, FileRef, Result};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

use super::{context, http};

/// `hello hello hello hello hello ` in gzip, as Python's `gzip` wrote it.
const GZIP: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 203, 72, 205, 201, 201, 87, 200, 192, 65, 2, 0, 190, 203, 138, 189, 30, 0, 0, 0,
];

const PLAIN: &[u8] = b"hello hello hello hello hello ";

/// A server that answers each request with what this function makes of its number and its text, and the requests.
async fn raw(answer: impl Fn(usize, &str) -> Vec<u8> + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let seen = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 16 << 10];
            let read = stream.read(&mut bytes).await.unwrap();
            let request = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let number = seen.lock().unwrap().len();
            seen.lock().unwrap().push(request.clone());
            stream.write_all(&answer(number, &request)).await.ok();
            stream.shutdown().await.ok();
        }
    });
    (base, requests)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn download(connected: &Connected, input: Value) -> Result<FileRef> {
    let output = connected.run("download", input, &context(&[connected])).await?;
    Ok(serde_json::from_value(output["file"].clone()).unwrap())
}

async fn read(connected: &Connected, file: &FileRef, from: u64) -> Result<Vec<u8>> {
    let stream = context(&[connected]).open(file, from).await?;
    Ok(stream.bytes.try_collect::<Vec<_>>().await?.concat())
}

#[tokio::test]
async fn a_coded_file_is_decoded_and_has_no_size_or_digest_of_its_coding() {
    for coding in ["gzip", "x-gzip", "GZIP", "identity, gzip", "identity\r\nContent-Encoding: gzip"] {
        let (base, requests) = raw(move |_, request| {
            let headers = format!(
                "Content-Type: text/plain\r\nContent-Encoding: {coding}\r\nETag: \"v1\"\r\nContent-MD5: kAFQmDzST7DWlj99KOF/cg==\r\n\
                 Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\nDate: Sat, 21 Nov 2026 11:00:00 GMT\r\n"
            );
            // Ranges are those of the coded bytes.
            match request.to_ascii_lowercase().split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok()) {
                Some(from @ 0..20) => {
                    let range = format!("{headers}Content-Range: bytes {from}-{}/{}\r\n", GZIP.len() - 1, GZIP.len());
                    answer("206 Part", &range, &GZIP[from..])
                }
                Some(_) => answer("416 No", &format!("Content-Range: bytes */{}\r\n", GZIP.len()), b""),
                None => answer("200 OK", &headers, GZIP),
            }
        })
        .await;
        let shop = http("shop", &base);
        let file = download(&shop, json!({ "path": "/a.txt" })).await.unwrap();
        assert_eq!((file.name.as_str(), file.size, &file.digest), ("a.txt", None, &None), "{coding}");
        for from in [0, 1, 7] {
            assert_eq!(read(&shop, &file, from).await.unwrap(), &PLAIN[from as usize..], "{coding}, from {from}");
        }
        let stream = context(&[&shop]).open(&file, 0).await.unwrap();
        assert_eq!((stream.size, stream.version), (None, None), "a coded file cannot be continued");
        for request in requests.lock().unwrap().iter() {
            assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
        }
    }
}

#[tokio::test]
async fn a_coded_file_arrives_decoded_at_its_target() {
    let (base, _) = raw(|_, _| answer("200 OK", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", GZIP)).await;
    let target = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(204)).mount(&target).await;
    let (from, to) = (http("from", &base), http("to", &target.uri()));
    let file = download(&from, json!({ "path": "/a.txt" })).await.unwrap();
    let sent = to.run("upload", json!({ "path": "/up", "file": file }), &context(&[&to, &from])).await.unwrap();
    let sha256: String = Sha256::digest(PLAIN).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&sent["bytes"], &sent["sha256"]), (&json!(PLAIN.len()), &json!(sha256)));
    assert_eq!(target.received_requests().await.unwrap()[0].body, PLAIN);
}

#[tokio::test]
async fn a_cut_coded_file_is_read_again_and_another_coding_is_refused() {
    let coded = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    let (base, requests) = raw(move |number, _| {
        let whole = answer("200 OK", coded, GZIP);
        if number == 1 { whole[..whole.len() - 9].to_vec() } else { whole }
    })
    .await;
    let shop = http("shop", &base);
    let file = download(&shop, json!({ "path": "/a.txt" })).await.unwrap();
    assert_eq!(read(&shop, &file, 0).await.unwrap(), PLAIN);
    let seen = requests.lock().unwrap().clone();
    assert!(seen.len() == 3 && !seen[2].to_ascii_lowercase().contains("range:"), "{seen:?}");
    for coding in ["br", "deflate", "zstd", "gzip, br", "compress", "no-such"] {
        let headers = format!("Content-Encoding: {coding}\r\n");
        let (base, requests) = raw(move |_, _| answer("200 OK", &headers, GZIP)).await;
        let error = download(&http("shop", &base), json!({ "path": "/a.txt" })).await.unwrap_err();
        assert_eq!((error.kind(), requests.lock().unwrap().len()), (ErrorKind::Unexpected, 1), "{error:?}");
        assert!(error.message().contains(coding) && error.advice().is_some(), "{error:?}");
    }
}

/// A file that is coded since its first part was read has no second part.
#[tokio::test]
async fn parts_of_a_coded_file_are_not_joined_with_those_of_a_plain_one() {
    let (base, _) = raw(|number, _| match number {
        0 => answer("200 OK", "ETag: \"v1\"\r\n", PLAIN),
        1 => answer("200 OK", "ETag: \"v1\"\r\n", PLAIN)[..80].to_vec(),
        _ => answer("206 Part", "ETag: \"v1\"\r\nContent-Range: bytes 3-49/50\r\nContent-Encoding: gzip\r\n", GZIP),
    })
    .await;
    let shop = http("shop", &base);
    let file = download(&shop, json!({ "path": "/a.txt" })).await.unwrap();
    let error = read(&shop, &file, 0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
}

#[tokio::test]
async fn a_file_has_a_name_that_its_target_can_take() {
    for (at, disposition, kind, name) in [
        ("/x", "attachment; filename=\"boat; final.jpg\"", "image/jpeg", "boat; final.jpg"),
        ("/x", r#"attachment; filename="the \"big\" boat.jpg""#, "image/jpeg", r#"the "big" boat.jpg"#),
        ("/x", "attachment; filename=\"b\u{e5}t.jpg\"", "image/jpeg", "båt.jpg"),
        ("/x", "attachment; filename*=iso-8859-1''b%E5t.jpg", "image/jpeg", "båt.jpg"),
        ("/x", "attachment; filename*=utf8''b%C3%A5t.jpg", "image/jpeg", "båt.jpg"),
        ("/x", "attachment; filename=.jpg", "image/jpeg", "file.jpg"),
        ("/x", "attachment; filename=boat", "image/jpeg", "boat.jpg"),
        ("/x", "attachment; filename=\"..\"", "image/jpeg", "x.jpg"),
        ("/7/original", "inline", "image/tiff; q=1", "original.tif"),
        ("/7/original", "inline", "application/octet-stream", "original"),
        ("/boat.jpg", "inline", "image/png", "boat.jpg"),
        ("/", "inline", "application/pdf", "file.pdf"),
        ("/orders", "inline", "application/json", "orders.json"),
    ] {
        let headers = format!("Content-Disposition: {disposition}\r\nContent-Type: {kind}\r\n");
        // One byte for each character: Latin-1, if it has others than ASCII.
        let headers: Vec<u8> = headers.chars().map(|c| c as u8).collect();
        let (base, _) = raw(move |_, _| {
            let whole = answer("200 OK", "@", b"x");
            let cut = whole.iter().position(|byte| *byte == b'@').unwrap();
            [&whole[..cut], &headers, &whole[cut + 1..]].concat()
        })
        .await;
        let file = download(&http("shop", &base), json!({ "path": at })).await.unwrap();
        assert_eq!(file.name, name, "{disposition}");
    }
    let (base, _) = raw(|_, _| answer("200 OK", "Content-Type: image/png\r\n", b"x")).await;
    let named = async |name: &str| download(&http("shop", &base), json!({ "path": "/x", "name": name })).await;
    assert_eq!(named("a/b\u{7}.dat").await.unwrap().name, "b.dat");
    assert_eq!(named("as it is").await.unwrap().name, "as it is", "the caller's name is not completed");
    assert_eq!(named("../..").await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_page_to_sign_in_is_not_a_file() {
    let server = MockServer::start().await;
    let page = || ResponseTemplate::new(200).set_body_raw("<form>Sign in</form>", "text/html; charset=utf-8");
    let to_login = ResponseTemplate::new(302).insert_header("location", "/login?next=%2Fv1%2Fmoved.html");
    let to_page = ResponseTemplate::new(302).insert_header("location", "/login.html");
    Mock::given(path("/v1/pic5.jpg")).respond_with(to_page).mount(&server).await;
    Mock::given(path("/login.html")).respond_with(page()).mount(&server).await;
    for at in ["/v1/files/7", "/v1/boat.jpg", "/v1/report.html", "/login"] {
        Mock::given(path(at)).respond_with(page()).mount(&server).await;
    }
    Mock::given(path("/v1/moved.html")).respond_with(to_login).mount(&server).await;
    let named = page().insert_header("content-disposition", "attachment; filename=index.html");
    Mock::given(path("/v1/files/8")).respond_with(named).mount(&server).await;
    let shop = http("shop", &server.uri());
    for input in [
        json!({ "path": "/files/7" }),
        json!({ "path": "/boat.jpg" }),
        json!({ "path": "/files/7", "name": "boat.jpg" }),
        json!({ "path": "/pic5.jpg" }),
    ] {
        let error = download(&shop, input.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{input}");
        assert!(error.message().contains("web page") && error.advice().unwrap().contains("sign in"), "{error:?}");
    }
    // Pages that are meant are files, also when their bytes are read.
    for (input, name) in [
        (json!({ "path": "/report.html" }), "report.html"),
        (json!({ "path": "/files/8" }), "index.html"),
        (json!({ "path": "/files/7", "name": "seven.html" }), "seven.html"),
    ] {
        let file = download(&shop, input).await.unwrap();
        assert_eq!(file.name, name);
        assert_eq!(read(&shop, &file, 0).await.unwrap(), b"<form>Sign in</form>");
    }
    // A file that was an image is not a page when it is read.
    let mut file = download(&shop, json!({ "path": "/files/8" })).await.unwrap();
    file.source = json!({ "path": "/files/7" });
    assert_eq!(read(&shop, &file, 0).await.unwrap_err().kind(), ErrorKind::Unexpected);
}

#[tokio::test]
async fn a_page_to_sign_in_is_not_a_file_without_a_declared_type_either() {
    let page = b"\r\n<!DOCTYPE html><html><form>Sign in</form></html>";
    for (body, at, is_file) in [
        (&page[..], "/files/7", false),
        (page, "/boat.jpg", false),
        (b"<HTML><body>Sign in", "/boat.jpg", false),
        (page, "/page.html", true),
        (b"<svg xmlns='x'/>", "/boat.svg", true),
        (b"plain <html>", "/files/7", true),
        (b"", "/files/7", true),
    ] {
        for declared in ["", "Content-Type: \r\n"] {
            let (base, _) = raw(move |_, _| answer("200 OK", declared, body)).await;
            let shop = http("shop", &base);
            match download(&shop, json!({ "path": at })).await {
                Ok(file) => {
                    assert!(is_file, "{at}: {file:?}");
                    assert_eq!(read(&shop, &file, 0).await.unwrap(), body, "{at}");
                }
                Err(error) => {
                    assert!(!is_file && error.message().contains("web page"), "{at}: {error:?}");
                    assert_eq!(error.kind(), ErrorKind::Unexpected);
                }
            }
        }
    }
    // The sabotage twin: a type that is declared is believed, so the same page would be saved as a file.
    let (base, _) = raw(move |_, _| answer("200 OK", "Content-Type: image/jpeg\r\n", page)).await;
    let shop = http("shop", &base);
    let file = download(&shop, json!({ "path": "/boat.jpg" })).await.unwrap();
    assert_eq!(read(&shop, &file, 0).await.unwrap(), page);
}

/// A service that has accepted a request and has not made the file, or that answers for another one.
#[tokio::test]
async fn a_status_that_promises_a_file_is_not_the_file() {
    for (status, headers) in
        [("202 Accepted", "Retry-After: 5\r\n"), ("202 Accepted", ""), ("203 Non-Authoritative", "")]
    {
        let (base, _) = raw(move |_, _| answer(status, headers, b"{\"state\":\"queued\"}")).await;
        let error = download(&http("shop", &base), json!({ "path": "/a.txt" })).await.unwrap_err();
        assert!(
            error.message().contains(&status[..3]) || error.to_string().contains(&status[..3]),
            "{status}: {error:?}"
        );
    }
}
