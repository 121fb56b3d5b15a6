//! Downloads from servers that cut connections, change the file or do not support ranges: the reader gets the whole
//! file or an error.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::*;
use futures::{FutureExt, TryStreamExt};
use trunkline_core::*;
use trunkline_rest::*;

/// The behaviour of a file server.
#[derive(Clone, Copy)]
struct Server {
    length: u64,
    ranges: bool,
    /// Bytes of the body before the connection is cut.
    cut: Option<u64>,
    etag: bool,
    /// Sends `Last-Modified`.
    dated: bool,
}

const GOOD: Server = Server { length: 50_000, ranges: true, cut: None, etag: true, dated: false };
const MODIFIED: &str = "Sat, 21 Nov 2026 10:00:00 GMT";

impl Server {
    fn respond(self, _: usize, request: &str) -> Vec<u8> {
        let lower = request.to_ascii_lowercase();
        assert!(!lower.contains("authorization") && !lower.contains("x-key"), "{request}");
        let from = lower.split("range: bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
        let from: u64 = from.filter(|_| self.ranges).unwrap_or(0);
        let mut head = match from {
            0 => "HTTP/1.1 200 OK\r\n".to_owned(),
            _ if from >= self.length => {
                return format!(
                    "HTTP/1.1 416 No\r\nContent-Range: bytes */{}\r\nContent-Length: 0\r\n\r\n",
                    self.length
                )
                .into();
            }
            _ => format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {from}-{}/{}\r\n", self.length - 1, self.length),
        };
        if self.etag {
            head += "ETag: \"v1\"\r\n";
        }
        if self.dated {
            head += &format!("Last-Modified: {MODIFIED}\r\nDate: Sat, 21 Nov 2026 11:00:00 GMT\r\n");
        }
        if from > 0 && !lower.contains("sig=secret0 ") {
            assert!(!self.etag || lower.contains("if-range: \"v1\""), "{request}");
            assert!(!self.dated || request.contains(&format!("if-range: {MODIFIED}")), "{request}");
        }
        head += &format!("Content-Length: {}\r\n\r\n", self.length - from);
        let end = self.cut.map_or(self.length, |cut| self.length.min(from + cut));
        [head.into_bytes(), content(end)[from as usize..].to_vec()].concat()
    }
}

async fn read(server: &Raw, from: impl Into<Position>) -> Result<Vec<u8>> {
    read_with(server, from, ClientLimits { first_wait: Duration::from_millis(1), ..ClientLimits::default() }).await
}

async fn read_with(server: &Raw, from: impl Into<Position>, limits: ClientLimits) -> Result<Vec<u8>> {
    let vault = Default::default();
    let client = builder(&server.base)
        .auth(Auth::Bearer("t".into()), slot(&vault))
        .header("x-key", "k".into(), None)
        .limits(limits)
        .build()
        .unwrap();
    let (base, located) = (server.base.clone(), Arc::new(AtomicUsize::new(0)));
    let locate = move |_| {
        let number = located.fetch_add(1, Ordering::SeqCst);
        let url = format!("{base}/blob?sig=secret{number}").parse().unwrap();
        async move { Ok(url) }.boxed()
    };
    let file = client.download(locate, from, &Context::default()).await?;
    let chunks: Vec<_> = file.bytes.try_collect().await?;
    Ok(chunks.concat())
}

#[tokio::test]
async fn whole_files_and_tails_are_read() {
    for server in [GOOD, Server { ranges: false, ..GOOD }, Server { etag: false, ..GOOD }, Server { length: 0, ..GOOD }]
    {
        let raw = Raw::answering(move |index, request| server.respond(index, request)).await;
        for from in [0, 1, 33_333, server.length] {
            if from <= server.length {
                let bytes = read(&raw, from).await.unwrap();
                assert!(bytes == content(server.length)[from as usize..], "from {from}");
            }
        }
    }
    let raw = Raw::answering(|index, request| GOOD.respond(index, request)).await;
    assert_eq!(read(&raw, GOOD.length + 1).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_download_continues_where_it_was_cut() {
    for cut in [1_000, 7_777, 49_999] {
        for server in [Server { cut: Some(cut), ..GOOD }, Server { cut: Some(cut), etag: false, dated: true, ..GOOD }] {
            let raw = Raw::answering(move |index, request| server.respond(index, request)).await;
            assert!(read(&raw, 0).await.unwrap() == content(GOOD.length));
            let requests = raw.requests.lock().unwrap();
            assert_eq!(requests.len() as u64, GOOD.length.div_ceil(cut));
            assert!(requests[1].contains("sig=secret1"), "the URL is looked up for each request");
        }
    }
}

/// Two parts of a file without a version may be of two versions.
#[tokio::test]
async fn a_file_without_a_version_is_read_again_and_compared() {
    for from in [0, 3_000] {
        for changed in [false, true] {
            let server = Server { etag: false, ..GOOD };
            let raw = Raw::answering(move |index, request| {
                let mut response = Server { cut: (index == 0).then_some(20_000), ..server }.respond(index, request);
                if index > 0 && changed {
                    // One byte changes, among those that the reader got before.
                    let body = response.len() - GOOD.length as usize;
                    response[body + 5_000] ^= 1;
                }
                response
            })
            .await;
            match read(&raw, from).await {
                Ok(bytes) => assert!(!changed && bytes == content(GOOD.length)[from as usize..]),
                Err(error) => assert!(changed && error.kind() == ErrorKind::Conflict, "{error:?}"),
            }
            assert_eq!(raw.count(), 2);
            assert!(!raw.requests.lock().unwrap()[1].to_ascii_lowercase().contains("range"));
        }
    }
}

#[tokio::test]
async fn a_position_in_another_version_is_refused() {
    let dated = Server { etag: false, dated: true, ..GOOD };
    for (server, version) in [(GOOD, "\"v1\""), (dated, MODIFIED)] {
        let known = |version: &str| Position { byte: 20_000, version: Some(version.to_owned()) };
        for ranges in [true, false] {
            let server = Server { ranges, ..server };
            let raw = Raw::answering(move |index, request| server.respond(index, request)).await;
            assert!(read(&raw, known(version)).await.unwrap() == content(GOOD.length)[20_000..]);
            assert!(raw.requests.lock().unwrap()[0].to_ascii_lowercase().contains("if-range: "));
        }
        // The server returns the whole of another version, or it ignores `If-Range` and returns the part.
        for obeys in [true, false] {
            let raw = Raw::answering(move |index, request| {
                let lower = request
                    .to_ascii_lowercase()
                    .replace("range: bytes", if obeys { "x-range" } else { "range: bytes" });
                server.respond(index, &lower)
            })
            .await;
            let other = if version.starts_with('"') { "\"v0\"" } else { "Fri, 20 Nov 2026 10:00:00 GMT" };
            let error = read(&raw, known(other)).await.unwrap_err();
            assert_eq!((error.kind(), raw.count()), (ErrorKind::Conflict, 1), "{error:?}");
        }
    }
}

#[tokio::test]
async fn declared_digests_are_reported() {
    let raw = Raw::new(vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-MD5: kAFQmDzST7DWlj99KOF/cg==\r\nETag: \"a\"\r\n\r\nabc"
            .to_vec(),
    ])
    .await;
    let client = client(&raw.base);
    let base = raw.base.clone();
    let file = client
        .download(move |_| std::future::ready(Ok(base.parse().unwrap())).boxed(), 0, &Context::default())
        .await
        .unwrap();
    assert_eq!(file.digest.unwrap().to_string(), "md5:900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(file.version.as_deref(), Some("\"a\""));
}

#[tokio::test]
async fn without_ranges_the_bytes_that_were_read_are_skipped() {
    let server = move |index: usize, request: &str| {
        let cut = (index == 0).then_some(20_000);
        Server { ranges: false, cut, ..GOOD }.respond(0, request)
    };
    let raw = Raw::answering(server).await;
    assert!(read(&raw, 5).await.unwrap() == content(GOOD.length)[5..]);
    assert_eq!(raw.count(), 2);
}

#[tokio::test]
async fn a_download_without_progress_ends_after_a_few_tries() {
    let server = Server { cut: Some(0), ..GOOD };
    let raw = Raw::answering(move |index, request| server.respond(index, request)).await;
    let error = read(&raw, 0).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable(), raw.count()), (ErrorKind::Unavailable, Retry::Backoff, 5));
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_a_conflict() {
    // Another ETag, another length, or another ETag with the whole file.
    for changed in ["v2", "v1"] {
        let server = move |index: usize, request: &str| {
            let length = if changed == "v1" && index > 0 { GOOD.length + 1 } else { GOOD.length };
            let response = Server { cut: (index == 0).then_some(9_000), length, ..GOOD }.respond(index, request);
            if index == 0 { response } else { replace(response, b"\"v1\"", format!("\"{changed}\"").as_bytes()) }
        };
        let raw = Raw::answering(server).await;
        assert_eq!(read(&raw, 0).await.unwrap_err().kind(), ErrorKind::Conflict, "{changed}");
    }
    let raw = Raw::answering(|index, request| {
        let ranges = index == 0;
        let response = Server { cut: ranges.then_some(9_000), ranges, ..GOOD }.respond(index, request);
        if ranges { response } else { replace(response, b"\"v1\"", b"\"v2\"") }
    })
    .await;
    assert_eq!(read(&raw, 0).await.unwrap_err().kind(), ErrorKind::Conflict);
}

fn replace(bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[tokio::test]
async fn another_part_than_the_one_asked_for_is_refused() {
    let raw = Raw::answering(|_, _| {
        b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-4/10\r\nContent-Length: 5\r\n\r\n01234".to_vec()
    })
    .await;
    assert_eq!(read(&raw, 5).await.unwrap_err().kind(), ErrorKind::Unexpected);
}

#[tokio::test]
async fn an_expired_url_is_looked_up_again() {
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec();
    let once = refused.clone();
    let raw =
        Raw::answering(move |index, request| if index == 0 { once.clone() } else { GOOD.respond(0, request) }).await;
    assert!(read(&raw, 0).await.unwrap() == content(GOOD.length));
    let raw = Raw::new(vec![refused]).await;
    let error = read(&raw, 0).await.unwrap_err();
    assert_eq!((error.kind(), raw.count()), (ErrorKind::Permission, 2));
}

#[tokio::test]
async fn each_status_has_its_kind_and_its_number_of_tries() {
    for (status, kind, tries) in [
        ("404 Not Found", ErrorKind::NotFound, 1),
        ("302 Found\r\nLocation: https://other.example/x?sig=1", ErrorKind::Unexpected, 1),
        ("500 Oops", ErrorKind::Unavailable, 5),
        ("503 Busy\r\nRetry-After: 0", ErrorKind::Unavailable, 5),
    ] {
        let raw = Raw::new(vec![format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into()]).await;
        let error = read(&raw, 0).await.unwrap_err();
        assert_eq!((error.kind(), raw.count()), (kind, tries), "{error:?}");
        assert!(!format!("{error:?}").contains("sig="), "{error:?}");
    }
}

#[tokio::test]
async fn urls_without_https_are_refused() {
    let client = client("http://127.0.0.1:1");
    for bad in ["http://storage.example.com/x", "ftp://storage.example.com/x", "https://u:p@storage.example.com/x"] {
        let error = client
            .download(move |_| async move { Ok(bad.parse().unwrap()) }.boxed(), 0, &Context::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            use tokio::io::AsyncWriteExt;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await.unwrap();
            open.push(stream);
        }
    });
    let raw = Raw { base, requests: Default::default() };
    let limits = ClientLimits { idle: Duration::from_millis(200), tries: 2, ..quick() };
    let started = Instant::now();
    assert_eq!(read_with(&raw, 0, limits).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(started.elapsed() < Duration::from_secs(2));
}
