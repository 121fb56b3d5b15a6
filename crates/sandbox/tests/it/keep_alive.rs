//! Requests after an error response on the same connection, when the body of the first arrives late.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Bench, small};

/// Reads one response with a `Content-Length`, and returns its status and whether it ends the connection.
async fn response(stream: &mut TcpStream) -> Option<(u16, bool)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some((head[9..12].parse().unwrap(), head.contains("\r\nconnection: close")))
}

/// Sends requests that are not accepted, each with a body of `length` bytes that arrives late, and another request after
/// each. Returns how many of the others are lost.
async fn lost(bench: &Bench, connections: usize, length: usize) -> usize {
    let refused = [
        ("POST", "/mediavalet/uploads"),
        ("PUT", "/mediaflow/1/users/me"),
        ("PUT", "/blob/library/00000000-0000-0000-0000-000000000000"),
        ("POST", "/nowhere"),
        ("POST", "/mediavalet-login/nothing"),
    ];
    let address = bench.sandbox.address();
    let one = async |_| {
        let mut lost = 0;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for (method, path) in refused {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = stream.write_all(&vec![b'x'; length]).await;
            let first = response(&mut stream).await;
            assert!(first.is_some_and(|(status, _)| status >= 400), "{method} {path}: {first:?}");
            if first.is_some_and(|(_, is_last)| is_last) {
                stream = TcpStream::connect(address).await.unwrap();
            }
            let _ = stream.write_all(b"GET /_sandbox/settings HTTP/1.1\r\nHost: h\r\n\r\n").await;
            if response(&mut stream).await.map(|(status, _)| status) != Some(200) {
                lost += 1;
                stream = TcpStream::connect(address).await.unwrap();
            }
        }
        lost
    };
    futures::future::join_all((0..connections).map(one)).await.into_iter().sum()
}

#[tokio::test]
async fn no_request_after_an_error_response_is_lost() {
    let bench = Bench::new(small()).await;
    assert_eq!(lost(&bench, 190, 200).await, 0);
    assert_eq!(lost(&bench, 10, 1_000_000).await, 0);
}
