//! The service that actions call: a socket that issues tokens, sends configured responses to all other requests, and
//! records them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The path of every endpoint, so that a request outside it is detected.
pub(crate) const BASE: &str = "/base";

/// The token that the service issues.
pub(crate) const TOKEN: &str = "canary-access-token";

/// How long a silent service keeps a connection open, longer than any client waits.
const SILENCE: Duration = Duration::from_secs(600);

/// Makes the bytes of a response.
type Make = dyn Fn(&RecordedRequest) -> Vec<u8> + Send + Sync;

/// A response to any request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// These bytes, then the end of the connection.
    Whole(Vec<u8>),
    /// These bytes, then nothing until the client closes the connection.
    Silence(Vec<u8>),
    /// A chunked text far above the size limit, without a length; then the connection is cut.
    Endless,
    /// These bytes, which depend on the request, then the end of the connection.
    Of(Arc<Make>),
}

/// Returns a complete response with JSON.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    Reply::Whole(bytes(status, headers, body))
}

/// Returns the bytes of a complete response.
pub(crate) fn bytes(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// A request as received.
#[derive(Clone, Debug)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    /// Path and query, as written in the request line.
    pub(crate) target: String,
    /// Request line and headers.
    pub(crate) head: String,
    /// The body, as far as it is text.
    pub(crate) body: String,
    pub(crate) at: Instant,
    pub(crate) clock: SystemTime,
}

impl RecordedRequest {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// The next responses, and the recorded requests.
#[derive(Default)]
struct State {
    /// The last response repeats.
    replies: VecDeque<Reply>,
    seen: Vec<RecordedRequest>,
}

/// The service of one connection.
pub(crate) struct Service {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    /// Reference count: one for each open connection, and two more.
    open: Arc<()>,
}

impl Service {
    pub(crate) async fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let open = Arc::new(());
        let (shared, counted) = (state.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (shared, counted) = (shared.clone(), counted.clone());
                tokio::spawn(async move {
                    let _ = serve(socket, shared).await;
                    drop(counted);
                });
            }
        });
        Service { address, state, open }
    }

    /// Sets the responses from now on, the last of which repeats. Clears the recorded requests.
    pub(crate) fn replies(&self, replies: &[Reply]) {
        *self.state.lock().unwrap() = State { replies: replies.iter().cloned().collect(), seen: Vec::new() };
    }

    /// Waits until all connections are closed. A failed call cancels the calls that were made at the same time, and
    /// their requests may still arrive.
    pub(crate) async fn drain(&self) {
        // Connections are accepted in their order, so all earlier ones are accepted when this one gets its response.
        let mut last = TcpStream::connect(self.address.trim_start_matches("http://")).await.unwrap();
        last.write_all(b"POST /token HTTP/1.1\r\n\r\n").await.unwrap();
        last.read_to_end(&mut Vec::new()).await.unwrap();
        drop(last);
        let closed = async {
            while Arc::strong_count(&self.open) > 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), closed).await.expect("all connections end");
    }

    /// Returns all requests except those for a token, oldest first.
    pub(crate) fn seen(&self) -> Vec<RecordedRequest> {
        self.state.lock().unwrap().seen.clone()
    }
}

async fn serve(mut socket: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut seen = Vec::new();
    let (head, mut body) = loop {
        let mut part = [0; 4096];
        match socket.read(&mut part).await? {
            0 => return Ok(()),
            read => seen.extend_from_slice(&part[..read]),
        }
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&seen[..end + 4]).into_owned(), seen.split_off(end + 4));
        }
    };
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let mut missing = length.unwrap_or_default().saturating_sub(body.len());
    while missing > 0 {
        let mut part = vec![0; missing.min(65_536)];
        match socket.read(&mut part).await? {
            0 => return Ok(()),
            read => {
                missing -= read;
                body.extend_from_slice(&part[..read]);
            }
        }
    }
    let reply = if lower.starts_with("post /token") {
        answer(200, "", &json!({ "access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600 }).to_string())
    } else {
        let mut words = head.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut state = state.lock().unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        let seen = RecordedRequest { method, target, head, body, at: Instant::now(), clock: SystemTime::now() };
        state.seen.push(seen.clone());
        let reply = match state.replies.len() {
            0 => Reply::Whole(Vec::new()),
            1 => state.replies[0].clone(),
            _ => state.replies.pop_front().unwrap(),
        };
        match reply {
            Reply::Of(make) => Reply::Whole(make(&seen)),
            reply => reply,
        }
    };
    match reply {
        Reply::Of(_) => Ok(()),
        Reply::Whole(bytes) => {
            socket.write_all(&bytes).await?;
            socket.shutdown().await
        }
        Reply::Endless => {
            let head =
                "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\"\r\n";
            let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
            socket.write_all(head.as_bytes()).await?;
            // A client that reads all of this has no size limit. The end protects the memory of the machine.
            for _ in 0..128 {
                socket.write_all(chunk.as_bytes()).await?;
            }
            Ok(())
        }
        Reply::Silence(bytes) => {
            socket.write_all(&bytes).await?;
            // Until the client closes the connection.
            let _ = tokio::time::timeout(SILENCE, socket.read(&mut [0; 1])).await;
            Ok(())
        }
    }
}
