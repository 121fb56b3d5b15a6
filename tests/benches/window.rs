//! Measures how long a token response exists only in memory: from its last byte on the wire until its tokens are on
//! disk. `cargo bench --profile dist -p trunkline-tests --bench window`, with `-- --quick` for fewer refreshes and
//! `-- --json` for output as JSON.
//!
//! If the process dies in that time, and the login server accepts a refresh token only once, the sign-in is lost. So
//! the time is compared with its lower bound: a bare SQLite commit with its flush, of as many bytes, on the same disk,
//! alternating with the refreshes. No figure fails the benchmark because it is slow.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use trunkline_core::{Connections, Context, Result, Secret, SignIn, Vault, VaultEntry, VaultSlot, async_trait};
use trunkline_rest::{Auth, Client, ClientAuth, Grant, OAuth, Table};

use trunkline_tests::Cli;

const REFRESHES: usize = 10_000;
const QUICK: usize = 800;
/// Number of connections that are refreshed one after the other: each token has to expire before its next refresh.
const CONNECTIONS: usize = 400;
/// Lifetime of a token. One second is the shortest that a response can state.
const LIFETIME: Duration = Duration::from_secs(1);

static TABLE: Table = Table::new(
    "window",
    &[(
        "me.toml",
        r#"
        [[operation]]
        name  = "me.get"
        title = "Who I am"
        route = "GET /me"
        "#,
    )],
);

/// The time when the last byte of each response was sent, by its access token; and the measured times, with the bytes
/// of the row.
#[derive(Default)]
struct Clock {
    given: AtomicU64,
    sent: Mutex<HashMap<String, Instant>>,
    stored: Mutex<Vec<Duration>>,
    bytes: AtomicU64,
}

/// A store that measures when new tokens are durable.
struct Timed(Arc<dyn Vault>, Arc<Clock>);

#[async_trait]
impl Vault for Timed {
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
        self.0.load(connection).await
    }

    async fn replace(&self, connection: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        let done = self.0.replace(connection, expected, content, sign_in).await?;
        let now = Instant::now();
        let row: Value = serde_json::from_str(content.expose()).unwrap();
        let sent = self.1.sent.lock().unwrap().remove(row["accessToken"].as_str().unwrap());
        if let Some(sent) = sent {
            self.1.stored.lock().unwrap().push(now - sent);
            self.1.bytes.store(content.expose().len() as u64, Ordering::Relaxed);
        }
        Ok(done)
    }
}

/// Starts a login server and an API that accepts every token, with one TCP connection per request.
async fn server(clock: Arc<Clock>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let clock = clock.clone();
            tokio::spawn(async move {
                socket.set_nodelay(true).unwrap();
                let (mut buffer, mut read) = (vec![0; 16 * 1024], 0);
                loop {
                    let length = socket.read(&mut buffer[read..]).await.unwrap_or_default();
                    if length == 0 {
                        return;
                    }
                    read += length;
                    let text = String::from_utf8_lossy(&buffer[..read]);
                    let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                        body.len() >= length.map_or(0, |length| length.parse().unwrap())
                    });
                    if !whole {
                        continue;
                    }
                    // As long as real tokens.
                    let number = clock.given.fetch_add(1, Ordering::Relaxed);
                    let token = text.starts_with("POST").then(|| format!("access-{number:0>800}"));
                    let answer = match &token {
                        Some(token) => {
                            json!({ "access_token": token, "refresh_token": format!("refresh-{number:0>40}"),
                            "token_type": "bearer", "expires_in": LIFETIME.as_secs() })
                        }
                        None => json!("ada"),
                    };
                    let answer = answer.to_string();
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
                    let answer = format!("{head} {}\r\n\r\n{answer}", answer.len());
                    read = 0;
                    if let Some(token) = token {
                        // The last byte is sent separately, so that its time is known.
                        let (first, last) = answer.as_bytes().split_at(answer.len() - 1);
                        socket.write_all(first).await.unwrap();
                        clock.sent.lock().unwrap().insert(token, Instant::now());
                        socket.write_all(last).await.unwrap();
                    } else {
                        socket.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

fn client(base: &str, name: &str, vault: Arc<dyn Vault>) -> Client {
    let oauth = OAuth {
        client_id: "client".into(),
        client_secret: Some("secret".into()),
        client_auth: ClientAuth::Form,
        token_url: format!("{base}/token").parse().unwrap(),
        authorization_url: None,
        revocation_url: None,
        redirect_uri: None,
        scopes: Vec::new(),
        grant: Grant::RefreshToken { refresh_token: "refresh".into() },
    };
    let builder = Client::builder("Window", base.parse().unwrap(), &TABLE).private_network(true);
    builder.auth(Auth::OAuth(oauth), VaultSlot::new(name, vault)).build().unwrap()
}

/// Opens a bare SQLite database beside the store, with the same settings.
fn bare(cli: &Cli) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(cli.data().join("bare.db")).unwrap();
    database.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    database.execute_batch("PRAGMA synchronous = FULL; CREATE TABLE one (id INTEGER PRIMARY KEY, row BLOB);").unwrap();
    for id in 0..CONNECTIONS {
        database.execute("INSERT INTO one VALUES (?1, '')", [id as i64]).unwrap();
    }
    database
}

/// Returns a percentile in milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64() * 1e3
}

#[tokio::main]
async fn main() {
    let has_argument = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let refreshes = if has_argument("--quick") { QUICK } else { REFRESHES };
    let clock = Arc::<Clock>::default();
    let base = server(clock.clone()).await;
    let cli = Cli::default();
    let runtime = cli.runtime();
    let vault = Arc::new(Timed(runtime.ports().vault.clone(), clock.clone()));
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let name = format!("window-{number}");
        let document = json!({ "name": name, "connector": "http-v1.0", "endpointUrl": base, "allowPrivateNetwork": true, "authentication": "none" });
        runtime.add_connection(document).await.unwrap();
        clients.push(client(&base, &name, vault.clone()));
    }
    let (database, mut commits, mut last) = (bare(&cli), Vec::new(), vec![None; CONNECTIONS]);
    while clock.stored.lock().unwrap().len() < refreshes {
        for (number, client) in clients.iter().enumerate() {
            // Its token has to have expired.
            if let Some(rest) = last[number].and_then(|at: Instant| LIFETIME.checked_sub(at.elapsed())) {
                tokio::time::sleep(rest + Duration::from_millis(5)).await;
            }
            let cx = Context::new("", "", Connections::default());
            client.call("me.get", json!({}), &cx).await.unwrap();
            last[number] = Some(Instant::now());
            let row = vec![number as u8; clock.bytes.load(Ordering::Relaxed) as usize];
            let begun = Instant::now();
            database
                .prepare_cached("UPDATE one SET row = ?2 WHERE id = ?1")
                .unwrap()
                .execute((number as i64, row))
                .unwrap();
            commits.push(begun.elapsed());
        }
    }
    let mut stored = clock.stored.lock().unwrap().clone();
    assert_eq!(stored.len(), commits.len(), "each call refreshes once");
    stored.sort();
    commits.sort();
    let of = |sorted: &[Duration]| (percentile(sorted, 50), percentile(sorted, 99));
    let ((p50, p99), (bare50, bare99)) = (of(&stored), of(&commits));
    let (ratio50, ratio99) = (p50 / bare50, p99 / bare99);
    if has_argument("--json") {
        let figures = json!({
            "refreshes": stored.len(), "window_p50_ms": p50, "window_p99_ms": p99,
            "bare_p50_ms": bare50, "bare_p99_ms": bare99, "ratio_p50": ratio50, "ratio_p99": ratio99,
        });
        println!("{figures}");
    } else {
        println!("from the last byte of an answer to its tokens on disk, {} refreshes", stored.len());
        println!("p50 {p50:8.2} ms   a bare commit {bare50:8.2} ms   ratio {ratio50:6.2}");
        println!("p99 {p99:8.2} ms   a bare commit {bare99:8.2} ms   ratio {ratio99:6.2}");
    }
}
