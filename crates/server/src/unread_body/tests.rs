use std::{net::SocketAddr, ops::Range, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware::{from_fn, map_response},
    response::Response,
    routing::post,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use trunkline_core::CancellationToken;

use super::*;
use crate::{
    connections::{Connections, Limits},
    listener,
};

const MEBIBYTE: usize = 1024 * 1024;

/// Serves routes that do not read their bodies, with or without the middleware.
async fn serve(is_protected: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut router = Router::new()
        .route("/401", post(async || StatusCode::UNAUTHORIZED))
        .route("/503", post(async || StatusCode::SERVICE_UNAVAILABLE))
        .route("/read", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/408",
            post(async |body: Body| {
                let read = axum::body::to_bytes(body, usize::MAX);
                let is_read = tokio::time::timeout(Duration::from_millis(5), read).await.is_ok();
                if is_read { StatusCode::OK } else { StatusCode::REQUEST_TIMEOUT }
            }),
        )
        .layer(DefaultBodyLimit::max(MEBIBYTE))
        .layer(map_response(async |response: Response| response));
    if is_protected {
        router = router.layer(from_fn(read_rest));
    }
    let connections = Connections::new(Limits::default());
    tokio::spawn(listener::serve(listener, router, connections, CancellationToken::new()));
    address
}

/// How a request is sent.
#[derive(Clone, Copy, Debug)]
enum Sending {
    /// In one write.
    AtOnce,
    /// The head, and the body 50 milliseconds later.
    LateBody,
    /// Together with the next request.
    Pipelined,
    /// The head; 50 milliseconds later the body and the next request.
    LatePipelined,
}

fn request(path: &str, length: usize, is_chunked: bool) -> (String, Vec<u8>) {
    let body = vec![b'x'; length];
    match is_chunked {
        false => (format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"), body),
        true => {
            let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
            let size = format!("{length:x}\r\n");
            (head, [size.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat())
        }
    }
}

/// Reads one response. Returns its status and whether it ends the connection.
async fn response(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(u16, bool)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if buffer.len() >= end + 4 + length {
                buffer.drain(..end + 4 + length);
                return Some((head[9..12].parse().unwrap(), head.contains("\r\nconnection: close")));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends a request whose body is not read and another request after it, and returns the statuses of both. The second
/// is sent on a new connection if the first response says so, and is `None` if it is lost.
async fn pair(address: SocketAddr, path: &str, sending: Sending, body: (usize, bool)) -> (u16, Option<u16>) {
    let (head, body) = request(path, body.0, body.1);
    let (next_head, next_body) = request("/read", 3, false);
    let next = [next_head.as_bytes(), &next_body].concat();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let is_pipelined = matches!(sending, Sending::Pipelined | Sending::LatePipelined);
    let rest = if is_pipelined { [&body[..], &next].concat() } else { body };
    let (mut reader, mut writer) = (Vec::new(), head.into_bytes());
    if matches!(sending, Sending::LateBody | Sending::LatePipelined) {
        stream.write_all(&writer).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        writer.clear();
    }
    writer.extend(rest);
    // The server may close its side before it has read everything.
    let _ = stream.write_all(&writer).await;
    let Some((status, is_last)) = response(&mut stream, &mut reader).await else { return (0, None) };
    if is_last {
        stream = TcpStream::connect(address).await.unwrap();
        reader.clear();
    }
    if is_last || !is_pipelined {
        let _ = stream.write_all(&next).await;
    }
    (status, response(&mut stream, &mut reader).await.map(|(status, _)| status))
}

/// Sends pairs of requests, 50 at a time. Returns how many first responses had another status, and how many second
/// requests were lost.
async fn pairs(is_protected: bool, count: Range<usize>) -> (usize, usize) {
    let address = serve(is_protected).await;
    let one = async |number: usize| {
        let (path, status) = [("/401", 401), ("/503", 503), ("/nowhere", 404), ("/408", 408)][number % 4];
        let sending = [Sending::LateBody, Sending::AtOnce, Sending::LatePipelined, Sending::Pipelined][number / 4 % 4];
        let length = [1, 200, 70_000, 300_000][number / 16 % 4];
        let (first, second) = pair(address, path, sending, (length, number / 64 % 2 == 1)).await;
        // A body that arrives at once is read in time.
        (first != status && (path, first) != ("/408", 200), second != Some(200))
    };
    let (mut others, mut lost) = (0, 0);
    for start in count.clone().step_by(50) {
        let batch = futures::future::join_all((start..(start + 50).min(count.end)).map(one)).await;
        others += batch.iter().filter(|(is_other, _)| *is_other).count();
        lost += batch.iter().filter(|(_, is_lost)| *is_lost).count();
    }
    (others, lost)
}

#[tokio::test]
async fn no_request_after_an_unread_body_is_lost() {
    assert_eq!(pairs(true, 0..1000).await, (0, 0));
}

/// The sabotage twin.
#[tokio::test]
async fn without_the_middleware_requests_after_an_unread_body_are_lost() {
    let (_, lost) = pairs(false, 0..200).await;
    assert!(lost > 0, "no request was lost");
}

#[tokio::test]
async fn a_rest_that_is_too_long_or_too_late_ends_the_connection_and_the_response_arrives() {
    let address = serve(true).await;
    for (path, length, is_chunked, expected, is_last) in [
        ("/read", 2 * MEBIBYTE, false, 413, false),
        ("/read", 2 * MEBIBYTE, true, 413, false),
        ("/read", 6 * MEBIBYTE, false, 413, true),
        ("/read", 6 * MEBIBYTE, true, 413, true),
        ("/401", 6 * MEBIBYTE, false, 401, true),
        ("/401", 6 * MEBIBYTE, true, 401, true),
        ("/nowhere", 6 * MEBIBYTE, true, 404, true),
    ] {
        let (head, body) = request(path, length, is_chunked);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // Everything is sent before the response is read, as simple clients do.
        stream.write_all(&body).await.unwrap();
        let found = response(&mut stream, &mut Vec::new()).await;
        assert_eq!(found, Some((expected, is_last)), "{path} {length} {is_chunked}");
    }
    // A body that never arrives.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request("/401", 10, false).0.as_bytes()).await.unwrap();
    assert_eq!(response(&mut stream, &mut Vec::new()).await, Some((401, true)));
}

#[tokio::test]
async fn a_caller_that_asks_before_it_sends_its_body_is_not_asked_to_send_a_refused_one() {
    let address = serve(true).await;
    for (path, expected) in [("/401", "HTTP/1.1 401"), ("/read", "HTTP/1.1 100")] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&start), expected);
    }
}
