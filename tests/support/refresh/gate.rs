//! The proxy between processes and their login server. It records every token request, and can hold a request or a
//! response.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::sleep,
};
use trunkline_core::Vault;
use trunkline_rest::Url;

use super::CONNECTION;
use crate::{http, milliseconds};

/// How long it may take until the proxy sees that a caller has closed its connection.
const CLOSE_DELAY: Duration = Duration::from_millis(200);

/// A login server, its one client, and an API that accepts its tokens.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its token endpoint.
    pub token_url: String,
    /// Its sign-in page.
    pub authorization_url: String,
    /// A URL of the API that can be read with a token.
    pub api_url: String,
    /// Headers that the API requires beside the token.
    pub headers: Vec<(String, String)>,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// Scopes that the client requests.
    pub scopes: Vec<String>,
}

/// Tokens of one response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The access token.
    pub access: String,
    /// The refresh token, if there is one.
    pub refresh: Option<String>,
}

/// A token request.
#[derive(Clone, Debug)]
pub struct Post {
    /// The refresh token in it.
    pub offered: Option<String>,
    /// Status and tokens of the response, if the login server has responded.
    pub answered: Option<(u16, Option<Pair>)>,
    /// Whether its caller still waits for the response.
    pub open: bool,
}

/// A point at which the proxy can hold a request.
#[derive(Clone, Copy, Debug)]
pub enum HoldPoint {
    /// A token request, before the login server receives it.
    BeforeServer,
    /// A token response, before the caller receives it.
    BeforeCaller,
    /// A call of the API.
    Api,
}

/// A held request. It is released when this is dropped.
#[derive(Debug)]
pub struct HeldRequest {
    arrived: oneshot::Receiver<()>,
    _release: oneshot::Sender<()>,
}

impl HeldRequest {
    /// Waits until the request has reached the point.
    pub async fn arrived(&mut self) {
        tokio::time::timeout(crate::LONG, &mut self.arrived).await.expect("the request arrives").unwrap();
    }
}

type Hold = (oneshot::Sender<()>, oneshot::Receiver<()>);

struct State {
    upstream: Upstream,
    http: reqwest::Client,
    vault: Arc<dyn Vault>,
    holds: Mutex<[Option<Hold>; 3]>,
    delay: Mutex<Duration>,
    posts: Mutex<Vec<Post>>,
    faults: Mutex<Vec<String>>,
}

/// The proxy. It stops when dropped.
pub struct Gate {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Gate {
    /// Starts a proxy to this login server, for processes whose tokens are in this vault.
    pub async fn start(upstream: Upstream, vault: Arc<dyn Vault>) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream,
            http: http(),
            vault,
            holds: Mutex::default(),
            delay: Mutex::default(),
            posts: Mutex::default(),
            faults: Mutex::default(),
        });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                // A separate task: a login server completes a request even if its caller is dead.
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Gate { address, state, accepting }
    }

    /// Returns the URL of a path, such as `/token`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the login server behind the proxy.
    pub fn upstream(&self) -> &Upstream {
        &self.state.upstream
    }

    /// Holds the next request that reaches this point.
    pub fn hold(&self, door: HoldPoint) -> HeldRequest {
        let ((tell, arrived), (release, released)) = (oneshot::channel(), oneshot::channel());
        self.state.holds.lock().unwrap()[door as usize] = Some((tell, released));
        HeldRequest { arrived, _release: release }
    }

    /// Delays each response of the login server from now on.
    pub fn delay(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    /// Returns the token requests so far.
    pub fn posts(&self) -> Vec<Post> {
        self.state.posts.lock().unwrap().clone()
    }

    /// Returns whether these tokens came in one response.
    pub fn gave(&self, tokens: &Pair) -> bool {
        let posts = self.state.posts.lock().unwrap();
        posts.iter().any(|post| matches!(&post.answered, Some((_, Some(pair))) if pair == tokens))
    }

    /// Returns violations: token requests that arrived while another caller still waited, or while no process held the
    /// lease.
    pub fn faults(&self) -> Vec<String> {
        self.state.faults.lock().unwrap().clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    async fn serve(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let begun = head.len();
            if read.read_line(&mut head).await? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = head[begun..].split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).await?;
        let (status, answer) = if head.starts_with("POST /token ") {
            let form: Vec<(String, String)> = Url::parse(&format!("form:?{}", String::from_utf8(body).unwrap()))
                .unwrap()
                .query_pairs()
                .into_owned()
                .collect();
            let number = {
                let mut posts = self.posts.lock().unwrap();
                let offered = form.iter().find(|(name, _)| name == "refresh_token").map(|(_, value)| value.clone());
                posts.push(Post { offered, answered: None, open: true });
                posts.len() - 1
            };
            let state = self.clone();
            tokio::spawn(async move {
                // No more bytes follow: this returns when the caller closes the connection.
                read.read_u8().await.ok();
                state.posts.lock().unwrap()[number].open = false;
            });
            self.token(number, &form).await
        } else {
            let bearer = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
            self.api(bearer).await
        };
        let head = format!(
            "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        write.write_all(&[head.as_bytes(), answer.as_bytes()].concat()).await?;
        write.shutdown().await
    }

    async fn pass(&self, door: HoldPoint) {
        let hold = self.holds.lock().unwrap()[door as usize].take();
        if let Some((arrived, release)) = hold {
            arrived.send(()).ok();
            release.await.ok();
        }
    }

    async fn token(&self, number: usize, form: &[(String, String)]) -> (u16, String) {
        self.look(number, form).await;
        self.pass(HoldPoint::BeforeServer).await;
        let answer = self.http.post(&self.upstream.token_url).form(form).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let part = |name: &str| value[name].as_str().map(str::to_owned);
        let pair = part("access_token").map(|access| Pair { access, refresh: part("refresh_token") });
        self.posts.lock().unwrap()[number].answered = Some((status, pair));
        self.pass(HoldPoint::BeforeCaller).await;
        let delay = *self.delay.lock().unwrap();
        sleep(delay).await;
        self.posts.lock().unwrap()[number].open = false;
        (status, text)
    }

    async fn api(&self, bearer: &str) -> (u16, String) {
        self.pass(HoldPoint::Api).await;
        let mut request = self.http.get(&self.upstream.api_url).header("authorization", bearer);
        for (name, value) in &self.upstream.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Checks the invariants for a token request that has just arrived.
    async fn look(&self, number: usize, form: &[(String, String)]) {
        if form.iter().any(|(name, value)| name == "grant_type" && value == "authorization_code") {
            return;
        }
        let now = trunkline::core::Timestamp::now().as_millis();
        let entry = self.vault.load(CONNECTION).await.unwrap();
        let row: Value = entry.map_or(Value::Null, |entry| serde_json::from_str(entry.content.expose()).unwrap());
        let alone = !row["lease"].is_object() || milliseconds(&row["lease"]["until"]) <= now;
        if alone && self.waits(number).await {
            self.faults.lock().unwrap().push(format!("token request {number}: no process holds the lease"));
        }
        for other in 0..number {
            if self.waits(other).await {
                self.faults.lock().unwrap().push(format!("token request {number}: another one is in flight"));
                return;
            }
        }
    }

    /// Returns whether the caller of this token request still waits for its response.
    async fn waits(&self, number: usize) -> bool {
        for _ in 0..20 {
            if !self.posts.lock().unwrap()[number].open {
                return false;
            }
            sleep(CLOSE_DELAY / 20).await;
        }
        true
    }
}
