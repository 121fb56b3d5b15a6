//! What the tests of this crate share: short constructors of tables and clients, files to send, and servers that
//! misbehave.
#![allow(dead_code, clippy::unwrap_used)]

pub mod login;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trunkline_core::*;
use trunkline_rest::*;
use trunkline_testkit::fake::FakeFile;

/// Returns the table of these rows; it is leaked and lives as long as the tests.
pub fn table(rows: &str) -> &'static Table {
    let parsed = Table::parse("test", &[("test.toml".into(), rows.into())]);
    Box::leak(Box::new(parsed.unwrap_or_else(|found| panic!("{found:#?}"))))
}

/// Rows that cover all effects and ways to read a result.
pub const ROWS: &str = r#"
[[operation]]
name = "thing.get"
title = "Get"
route = "GET /things/{id}"
input.id = { type = "string" }

[[operation]]
name = "thing.rename"
title = "Rename"
route = "PUT /things/{id}"
input.id = {}
input.name = {}

[[operation]]
name = "thing.create"
title = "Create"
route = "POST /things"
input.name = {}

[[operation]]
name = "thing.delete"
title = "Delete"
route = "DELETE /things/{id}"
input.id = {}

[[operation]]
name = "thing.name"
title = "Name"
route = "GET /things/{id}/name"
result = "/payload/name"
input.id = {}

[[operation]]
name = "thing.text"
title = "Text"
route = "GET /things/{id}/text"
output = { type = "string" }
input.id = {}
"#;

pub fn slot(vault: &Arc<MemoryVault>) -> ConnectionContext {
    ConnectionContext::new("conn", vault.clone())
}

pub fn cx() -> Context {
    Context::new("key", "conn", Connections::default())
}

/// Returns the default limits with shorter waits.
pub fn quick() -> ClientLimits {
    let (first_wait, confirm) = (Duration::from_millis(10), Duration::from_millis(50));
    ClientLimits { first_wait, confirm, ..ClientLimits::default() }
}

/// An environment of a host whose operator allows everything.
pub fn environment() -> HttpEnvironment {
    HttpEnvironment::default().with_network(NetworkPolicy::any())
}

pub fn builder(base: &str) -> ClientBuilder {
    Client::builder("Test Service", base.parse().unwrap(), table(ROWS)).private_network(true).limits(quick())
}

/// A client of reqwest as it is, which follows redirects.
#[allow(clippy::disallowed_methods)]
pub fn naive() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

pub fn client(base: &str) -> Client {
    builder(base).build().unwrap()
}

/// A server that answers each connection with the next of these texts and closes it. It repeats the last text.
pub struct Raw {
    pub base: String,
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Raw {
    pub async fn new(script: Vec<Vec<u8>>) -> Raw {
        Raw::answering(move |index, _| script[index.min(script.len() - 1)].clone()).await
    }

    /// Returns a server whose responses this function makes from the number of the request (from 0) and its text.
    pub async fn answering(answer: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let received = requests.clone();
        tokio::spawn(async move {
            let answer = Arc::new(answer);
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let (received, answer) = (received.clone(), answer.clone());
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    let index = {
                        let mut received = received.lock().unwrap();
                        received.push(request.clone());
                        received.len() - 1
                    };
                    stream.write_all(&answer(index, &request)).await.ok();
                    stream.shutdown().await.ok();
                });
            }
        });
        Raw { base, requests }
    }

    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).to_string();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().unwrap().trim().parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

pub fn ok_json(body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Returns the URL of a port on which no server listens.
pub async fn unused_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn source(length: u64, reported: Option<u64>) -> FakeFile {
    FakeFile { reported, piece: 10_000, ..FakeFile::new(length) }
}

/// Returns a file of this length, and a context that can open it. `reported` is the length that its connector reports.
pub fn file(length: u64, reported: Option<u64>) -> (FileRef, Context) {
    source(length, reported).offered(reported)
}

/// Returns the bytes of such a file.
pub fn content(length: u64) -> Vec<u8> {
    source(length, None).content()
}

pub use trunkline_testkit::fact;
