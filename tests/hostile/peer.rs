//! A hostile service: what it sends depends on the last part of the path.
//!
//! The idea: one peer has every behaviour, so a flow chooses an attack with a path. It speaks HTTP/1.1 over a raw
//! socket, because no server library would send these responses.

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use async_compression::{Level, tokio::write::GzipEncoder};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The size of a compressed response after decompression: just below the limit of a client.
const SIZE: usize = 31 << 20;
/// The size that endless responses promise.
const PROMISED: u64 = 10_000_000_000;

type Result = std::io::Result<()>;

/// A running hostile service. It ends when dropped.
pub(crate) struct Peer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Responses that are small on the wire and large in memory. All but the last have as much noise as the client demands
/// of a compressed response, so that their values are read.
static COMPRESSED: LazyLock<[(&str, Vec<u8>); 4]> = LazyLock::new(|| {
    let noise: String = (0..SIZE as u32 / 60).map(noise).collect();
    let left = SIZE - noise.len();
    let list = |item: &str| format!("[\"{noise}\",{}{item}]", format!("{item},").repeat(left / (item.len() + 1)));
    let deep = format!("[\"{noise}\",{}", "[".repeat(left));
    [
        ("values", gzip(&list("[]"))),
        ("objects", gzip(&list(r#"{"a":{}}"#))),
        ("deep", gzip(&deep)),
        ("inflated", gzip(&" ".repeat(SIZE))),
    ]
});

/// Returns one of 64 characters, in an order that does not compress.
fn noise(number: u32) -> char {
    let mixed = (number ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b1);
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77);
    char::from(b'0' + (mixed >> 26) as u8 % 42)
}

fn gzip(text: &str) -> Vec<u8> {
    futures::executor::block_on(async {
        let mut encoder = GzipEncoder::with_quality(Vec::new(), Level::Best);
        encoder.write_all(text.as_bytes()).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    })
}

/// A request as it arrived.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Peer {
    pub(crate) async fn start() -> Peer {
        let sizes = COMPRESSED.iter().map(|(name, bytes)| format!("{name}: {} bytes", bytes.len()));
        println!("compressed responses of {SIZE} bytes: {}", sizes.collect::<Vec<_>>().join(", "));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(respond(stream));
            }
        });
        Peer { address, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Reads a request, without its body if the path ends in `unread`. Returns `None` at the end of the connection.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut piece).await {
            Ok(length @ 1..) => bytes.extend_from_slice(&piece[..length]),
            _ => return None,
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let lower = head.to_lowercase();
    let header =
        |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    if kind(&head) == "unread" {
        return Some(Request { head, body });
    }
    let length: u64 = header("content-length:").and_then(|length| length.parse().ok()).unwrap_or_default();
    let is_chunked = header("transfer-encoding:").is_some();
    let mut arrived = body.len() as u64;
    while arrived < length || (is_chunked && !body.ends_with(b"0\r\n\r\n")) {
        match stream.read(&mut piece).await {
            Ok(read @ 1..) => {
                arrived += read as u64;
                // Only the end of a large body is kept.
                if body.len() > 64 * 1024 {
                    body.clear();
                }
                body.extend_from_slice(&piece[..read]);
            }
            _ => return None,
        }
    }
    Some(Request { head, body })
}

/// Returns the last part of the path; that of the issuer, if a discovery document is requested.
fn kind(head: &str) -> &str {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.split("/.well-known").next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// Serves one connection. Errors are those of a caller that has gone away.
async fn respond(mut stream: TcpStream) -> Result {
    while let Some(request) = read(&mut stream).await {
        let kind = kind(&request.head).to_owned();
        match &*kind {
            "values" | "objects" | "deep" | "inflated" => {
                let bytes = COMPRESSED.iter().find(|(name, _)| *name == kind).map(|(_, bytes)| bytes).unwrap();
                let head = head(
                    "200 OK",
                    "application/json",
                    &format!("content-encoding: gzip\r\ncontent-length: {}", bytes.len()),
                );
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(bytes).await?;
            }
            "echo" | "echo401" => echo(&mut stream, &request, kind == "echo401").await?,
            "pages" => send(&mut stream, "200 OK", "[[],[],[],[],[],[],[],[],[],[]]").await?,
            "sink" => send(&mut stream, "200 OK", "{}").await?,
            "unread" => std::future::pending().await,
            _ => return misbehave(&mut stream, &kind).await,
        }
    }
    Ok(())
}

fn head(status: &str, content_type: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{more}\r\n\r\n")
}

async fn send(stream: &mut TcpStream, status: &str, body: &str) -> Result {
    let length = format!("content-length: {}", body.len());
    stream.write_all((head(status, "application/json", &length) + body).as_bytes()).await
}

/// Repeats the whole request, with its credentials, in the error.
async fn echo(stream: &mut TcpStream, request: &Request, as_challenge: bool) -> Result {
    let body = String::from_utf8_lossy(&request.body);
    // The credentials first, since an excerpt is short.
    let mut lines: Vec<_> = body.lines().chain(request.head.lines()).collect();
    lines.sort_by_key(|line| !line.to_lowercase().starts_with("authorization"));
    let text = lines.join("\n");
    if as_challenge {
        let value = text.replace('\n', " ").replace('"', "'");
        let challenge = format!(
            "www-authenticate: Bearer error=\"invalid_token\", error_description=\"{value}\"\r\nx-echo: {value}"
        );
        let head = head("401 Unauthorized", "text/plain", &format!("{challenge}\r\ncontent-length: {}", text.len()));
        return stream.write_all((head + &text).as_bytes()).await;
    }
    let body = json!({ "error": "invalid_client", "error_description": text, "message": text, "request": text });
    send(stream, "400 Bad Request", &body.to_string()).await
}

/// Sends a response that ends in a wrong place, or never.
async fn misbehave(stream: &mut TcpStream, kind: &str) -> Result {
    let promised = format!("content-length: {PROMISED}");
    let endless = async |stream: &mut TcpStream, piece: &[u8]| -> Result {
        loop {
            stream.write_all(piece).await?;
        }
    };
    match kind {
        "huge" => {
            stream.write_all(head("200 OK", "application/json", &promised).as_bytes()).await?;
            stream.write_all(b"[").await?;
            endless(stream, "[],".repeat(20_000).as_bytes()).await
        }
        "endless" => {
            stream.write_all(head("200 OK", "application/json", "transfer-encoding: chunked").as_bytes()).await?;
            endless(stream, format!("ea60\r\n{}\r\n", "[],".repeat(20_000)).as_bytes()).await
        }
        "file" => {
            stream.write_all(head("200 OK", "application/octet-stream", &promised).as_bytes()).await?;
            endless(stream, &[7; 64 * 1024]).await
        }
        "slow" | "slow-file" => {
            let content_type = if kind == "slow" { "application/json" } else { "application/octet-stream" };
            stream.write_all(head("200 OK", content_type, "content-length: 1000000").as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        "head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            endless(stream, format!("x-a: {}\r\n", "a".repeat(4_000)).as_bytes()).await
        }
        // Less than it promises.
        "long" => {
            stream.write_all(head("200 OK", "application/json", "content-length: 100000").as_bytes()).await?;
            stream.write_all(b"{\"a\": [").await?;
            stream.shutdown().await
        }
        // More than it promises.
        "short" => {
            stream.write_all(head("200 OK", "application/json", "content-length: 7").as_bytes()).await?;
            stream.write_all(("{\"a\":1}".to_owned() + &"HTTP/1.1 200 OK\r\n".repeat(50_000)).as_bytes()).await?;
            stream.shutdown().await
        }
        "type" => {
            let body = vec![0xff; 1 << 20];
            let length = format!("content-length: {}", body.len());
            stream.write_all(head("200 OK", "application/json; charset=utf-16", &length).as_bytes()).await?;
            stream.write_all(&body).await
        }
        _ => stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").await,
    }
}
