//! The wire between processes and their login server: everything is seen, and what is to be held is held.

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
use crate::http;

/// How long the end of a connection may be on its way to us: one that its caller has given up is open no longer.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// A login server, its one client, and an API that believes its tokens.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its token endpoint.
    pub token_url: String,
    /// Its sign-in page.
    pub authorization_url: String,
    /// What can be read with a token.
    pub api_url: String,
    /// What the API wants beside the token.
    pub headers: Vec<(String, String)>,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// What it asks for.
    pub scopes: Vec<String>,
}

/// Tokens of one answer.
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
    /// How the login server answered it, and with which tokens.
    pub answered: Option<(u16, Option<Pair>)>,
    /// Whether its caller still waits.
    pub open: bool,
}

/// Where a request can be held.
#[derive(Clone, Copy, Debug)]
pub enum Door {
    /// A token request, before the login server sees it.
    In,
    /// A token answer, before its caller sees it.
    Out,
    /// A call of the API.
    Api,
}

/// One request, held until this is dropped.
#[derive(Debug)]
pub struct Held {
    arrived: oneshot::Receiver<()>,
    _release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until it is there.
    pub async fn arrived(&mut self) {
        tokio::time::timeout(crate::LONG, &mut self.arrived).await.expect("the request comes").unwrap();
    }
}

type Trap = (oneshot::Sender<()>, oneshot::Receiver<()>);

struct State {
    upstream: Upstream,
    http: reqwest::Client,
    vault: Arc<dyn Vault>,
    traps: Mutex<[Option<Trap>; 3]>,
    delay: Mutex<Duration>,
    posts: Mutex<Vec<Post>>,
    faults: Mutex<Vec<String>>,
}

/// The wire; gone when dropped.
pub struct Gate {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Gate {
    /// A wire to this login server, for processes that keep their tokens in this vault.
    pub async fn start(upstream: Upstream, vault: Arc<dyn Vault>) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream,
            http: http(),
            vault,
            traps: Mutex::default(),
            delay: Mutex::default(),
            posts: Mutex::default(),
            faults: Mutex::default(),
        });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                // On its own: a login server goes on with a request whose caller is dead.
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Gate { address, state, accepting }
    }

    /// An address of it, such as `/token`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What is behind it.
    pub fn upstream(&self) -> &Upstream {
        &self.state.upstream
    }

    /// Holds the next request that comes to this door.
    pub fn hold(&self, door: Door) -> Held {
        let ((tell, arrived), (release, released)) = (oneshot::channel(), oneshot::channel());
        self.state.traps.lock().unwrap()[door as usize] = Some((tell, released));
        Held { arrived, _release: release }
    }

    /// How long the login server's answers take from now on, once it has given them.
    pub fn delay(&self, delay: Duration) {
        *self.state.delay.lock().unwrap() = delay;
    }

    /// The token requests so far.
    pub fn posts(&self) -> Vec<Post> {
        self.state.posts.lock().unwrap().clone()
    }

    /// Whether these tokens came in one answer.
    pub fn gave(&self, tokens: &Pair) -> bool {
        let posts = self.state.posts.lock().unwrap();
        posts.iter().any(|post| matches!(&post.answered, Some((_, Some(pair))) if pair == tokens))
    }

    /// Token requests that came while another one's caller still waited, or while nobody had the lease.
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
                // Nothing more comes but the end.
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

    async fn pass(&self, door: Door) {
        let trap = self.traps.lock().unwrap()[door as usize].take();
        if let Some((arrived, release)) = trap {
            arrived.send(()).ok();
            release.await.ok();
        }
    }

    async fn token(&self, number: usize, form: &[(String, String)]) -> (u16, String) {
        self.look(number, form).await;
        self.pass(Door::In).await;
        let answer = self.http.post(&self.upstream.token_url).form(form).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let part = |name: &str| value[name].as_str().map(str::to_owned);
        let pair = part("access_token").map(|access| Pair { access, refresh: part("refresh_token") });
        self.posts.lock().unwrap()[number].answered = Some((status, pair));
        self.pass(Door::Out).await;
        let delay = *self.delay.lock().unwrap();
        sleep(delay).await;
        self.posts.lock().unwrap()[number].open = false;
        (status, text)
    }

    async fn api(&self, bearer: &str) -> (u16, String) {
        self.pass(Door::Api).await;
        let mut request = self.http.get(&self.upstream.api_url).header("authorization", bearer);
        for (name, value) in &self.upstream.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Holds a token request that has just come against what must be so then.
    async fn look(&self, number: usize, form: &[(String, String)]) {
        if form.iter().any(|(name, value)| name == "grant_type" && value == "authorization_code") {
            return;
        }
        let now = trunkline::core::Timestamp::now().as_millis();
        let entry = self.vault.load(CONNECTION).await.unwrap();
        let row: Value = entry.map_or(Value::Null, |entry| serde_json::from_str(entry.content.expose()).unwrap());
        let alone = row["lease"]["until"].as_u64().is_none_or(|until| until <= now);
        if alone && self.waits(number).await {
            self.faults.lock().unwrap().push(format!("token request {number}: nobody has the lease"));
        }
        for other in 0..number {
            if self.waits(other).await {
                self.faults.lock().unwrap().push(format!("token request {number}: another one is under way"));
                return;
            }
        }
    }

    /// Whether the caller of this token request still waits for its answer.
    async fn waits(&self, number: usize) -> bool {
        for _ in 0..20 {
            if !self.posts.lock().unwrap()[number].open {
                return false;
            }
            sleep(ON_ITS_WAY / 20).await;
        }
        true
    }
}
