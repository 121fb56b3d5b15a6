//! What stands between a connector and a service: it sees each request whole, and does with it what a test says.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path and query, as they stand in the first line.
    pub target: String,
    /// The first line and all headers, with the empty line after them.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
    /// Requests before this one.
    pub index: usize,
}

impl Asked {
    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// What becomes of a request.
#[derive(Clone)]
pub enum Way {
    /// It is forwarded, and so is its answer.
    Forward,
    /// It is forwarded and carried out, and the connection is closed in place of the answer.
    Lose,
    /// It is forwarded twice, the second time after the first was answered: that answer is given.
    Twice,
    /// It is forwarded twice at the same time; the answer of the one is given.
    TwiceAtOnce,
    /// It is answered with this status and JSON, and not forwarded.
    Answer(u16, Value),
    /// It is forwarded, and JSON in its answer is changed.
    Change(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

type Decide = dyn Fn(&Asked) -> Way + Send + Sync;

struct State {
    service: String,
    decide: Mutex<Arc<Decide>>,
    seen: Mutex<Vec<Asked>>,
}

/// A proxy to one service; gone when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// One to `service`, an address with a port, that forwards everything.
    ///
    /// # Panics
    /// If no port can be had.
    pub async fn start(service: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = service.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let state = Arc::new(State { service, decide: Mutex::new(Arc::new(|_| Way::Forward)), seen: Mutex::default() });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Proxy { address, state, accepting }
    }

    /// An address of the service, as it is reached through this.
    pub fn through(&self, url: &str) -> String {
        url.replacen(&self.state.service, &self.address.to_string(), 1)
    }

    /// Does from now on what this says, and forgets what was seen.
    pub fn decide(&self, decide: impl Fn(&Asked) -> Way + Send + Sync + 'static) {
        *self.state.decide.lock().expect("nobody panicked") = Arc::new(decide);
        self.state.seen.lock().expect("nobody panicked").clear();
    }

    /// What came, oldest first.
    pub fn seen(&self) -> Vec<Asked> {
        self.state.seen.lock().expect("nobody panicked").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// One request: the connection ends with its answer.
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let Some(asked) = self.read(&mut client).await? else { return Ok(()) };
        let decide = self.decide.lock().expect("nobody panicked").clone();
        let answer = match decide(&asked) {
            Way::Forward => self.forward(&asked).await?,
            Way::Lose => {
                self.forward(&asked).await?;
                return Ok(());
            }
            Way::Twice => {
                let first = self.forward(&asked).await?;
                self.forward(&asked).await?;
                first
            }
            Way::TwiceAtOnce => tokio::try_join!(self.forward(&asked), self.forward(&asked))?.0,
            Way::Answer(status, body) => json(&format!("HTTP/1.1 {status} X"), &body),
            Way::Change(change) => changed(&self.forward(&asked).await?, &*change),
        };
        client.write_all(&answer).await?;
        client.shutdown().await
    }

    async fn read(&self, client: &mut TcpStream) -> io::Result<Option<Asked>> {
        let mut bytes = Vec::new();
        let end = loop {
            if client.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut body = bytes.split_off(end);
        let mut words = head.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut asked = Asked { method, target, head, body: Vec::new(), index: 0 };
        let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
        while body.len() < length {
            if client.read_buf(&mut body).await? == 0 {
                return Ok(None);
            }
        }
        asked.body = body;
        let mut seen = self.seen.lock().expect("nobody panicked");
        asked.index = seen.len();
        seen.push(asked.clone());
        Ok(Some(asked))
    }

    /// Sends it to the service on a connection of its own: the whole answer.
    async fn forward(&self, asked: &Asked) -> io::Result<Vec<u8>> {
        let mut service = TcpStream::connect(&self.service).await?;
        let left_out = ["connection:", "accept-encoding:"];
        let kept = |line: &&str| !line.is_empty() && !left_out.iter().any(|name| line.to_lowercase().starts_with(name));
        let head: Vec<_> = asked.head.split("\r\n").filter(kept).collect();
        service.write_all(format!("{}\r\nconnection: close\r\n\r\n", head.join("\r\n")).as_bytes()).await?;
        service.write_all(&asked.body).await?;
        let mut answer = Vec::new();
        service.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

fn json(first: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("{first}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// The answer with its JSON changed, if it is one that says how long it is.
fn changed(answer: &[u8], change: &dyn Fn(&mut Value)) -> Vec<u8> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer[end..]) else { return answer.to_vec() };
    change(&mut body);
    let head = String::from_utf8_lossy(&answer[..end]);
    json(head.lines().next().unwrap_or_default(), &body)
}
