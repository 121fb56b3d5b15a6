//! Hostile callers of `serve`: large, deep, slow, half, without an end, and readers that do not read.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::healthy::Target;

/// The size of a body: just below the limit of the server.
const BODY: usize = (1 << 20) - 64;

/// Sends requests until the task is dropped. A broken connection is made again.
pub(crate) fn start(kind: &'static str, target: &Target, run: &str) -> JoinSet<()> {
    let address = target.server.trim_start_matches("http://").to_owned();
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{more}\r\n\r\n")
    };
    let token = format!("authorization: Bearer {}", target.token);
    let long = format!("content-length: {BODY}");
    let start_run = head("POST", "/rest/v1/flows/healthy/runs", &format!("{token}\r\n{long}"));
    let (head, body, number) = match kind {
        "webhook bodies" => (head("POST", &target.hook, &long), filled("", "[]", ""), 64),
        "webhook objects" => (head("POST", &target.hook, &long), filled("", r#"{"a":{}}"#, ""), 64),
        "half bodies" => (head("POST", &target.hook, &long), filled("", "[]", "")[..BODY / 2].to_owned(), 100),
        "large inputs" => (start_run, filled(r#"{"input":{"body":"#, "[]", "}}"), 32),
        "deep inputs" => (start_run, "[".repeat(BODY), 32),
        "slow heads" => (String::new(), String::new(), 600),
        "long heads" => ("GET /health HTTP/1.1\r\n".to_owned(), format!("x-a: {}\r\n", "a".repeat(4_000)), 64),
        "deaf watchers" => (head("GET", &format!("/rest/v1/runs/{run}/events"), &token), String::new(), 120),
        other => unreachable!("{other}"),
    };
    let (head, body, mut tasks) = (Arc::new(head), Arc::new(body), JoinSet::new());
    for _ in 0..number {
        let (address, head, body) = (address.clone(), head.clone(), body.clone());
        tasks.spawn(async move {
            loop {
                let _ = attack(kind, &address, &head, &body).await;
                // The server may refuse connections; then this would be a loop without a pause.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    tasks
}

/// Returns a document of `BODY` bytes: between the two texts, a list of many small values.
fn filled(before: &str, item: &str, after: &str) -> String {
    let items = (BODY - before.len() - after.len() - 2) / (item.len() + 1);
    let text = format!("{before}[{}]{after}", vec![item; items].join(","));
    assert!(serde_json::from_str::<Value>(&text).is_ok());
    format!("{text}{}", " ".repeat(BODY - text.len()))
}

async fn attack(kind: &str, address: &str, head: &str, body: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let mut piece = [0; 4096];
    match kind {
        "slow heads" => loop {
            for byte in b"GET /health HTTP/1.1\r\nx-a: aaaaaaaaaaaaaaaa" {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        },
        "long heads" => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(body.as_bytes()).await?;
            }
        }
        "half bodies" => {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            // Until the server closes the connection.
            while stream.read(&mut piece).await? > 0 {}
            Ok(())
        }
        "deaf watchers" => {
            stream.write_all(head.as_bytes()).await?;
            std::future::pending().await
        }
        _ => loop {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            if stream.read(&mut piece).await? == 0 {
                return Ok(());
            }
        },
    }
}
