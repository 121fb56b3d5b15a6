//! A proxy between a connector and a service. It reads each request completely, and does with it what the test decides.

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

/// A request as received.
#[derive(Clone, Debug)]
pub struct ProxiedRequest {
    /// Method.
    pub method: String,
    /// Path and query, as written in the request line.
    pub target: String,
    /// Request line and headers, with the empty line after them.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
    /// Number of requests before this one.
    pub index: usize,
}

impl ProxiedRequest {
    /// Returns the path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the value of a header, without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// What the proxy does with a request.
#[derive(Clone)]
pub enum ProxyAction {
    /// Forwards the request and its response.
    Forward,
    /// Forwards the request, and closes the connection instead of sending the response.
    Lose,
    /// Forwards the request twice, one after the other, and sends the first response.
    Twice,
    /// Forwards the request twice at the same time, and sends one of the responses.
    TwiceAtOnce,
    /// Responds with this status and JSON, without forwarding the request.
    Respond(u16, Value),
    /// Forwards the request, and changes the JSON of its response.
    Change(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

type Decide = dyn Fn(&ProxiedRequest) -> ProxyAction + Send + Sync;

struct State {
    service: String,
    decide: Mutex<Arc<Decide>>,
    seen: Mutex<Vec<ProxiedRequest>>,
}

/// A proxy to one service. It stops when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to `service`, an address with a port, that forwards everything.
    ///
    /// # Panics
    /// If no port is available.
    pub async fn start(service: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = service.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let state =
            Arc::new(State { service, decide: Mutex::new(Arc::new(|_| ProxyAction::Forward)), seen: Mutex::default() });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Proxy { address, state, accepting }
    }

    /// Returns a URL of the service as a URL of the proxy.
    pub fn through(&self, url: &str) -> String {
        url.replacen(&self.state.service, &self.address.to_string(), 1)
    }

    /// Sets what the proxy does with each request, and clears the recorded requests.
    pub fn decide(&self, decide: impl Fn(&ProxiedRequest) -> ProxyAction + Send + Sync + 'static) {
        *self.state.decide.lock().expect("the lock is not poisoned") = Arc::new(decide);
        self.state.seen.lock().expect("the lock is not poisoned").clear();
    }

    /// Returns the recorded requests, oldest first.
    pub fn seen(&self) -> Vec<ProxiedRequest> {
        self.state.seen.lock().expect("the lock is not poisoned").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// Serves one request. The connection ends with its response.
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let Some(request) = self.read(&mut client).await? else { return Ok(()) };
        let decide = self.decide.lock().expect("the lock is not poisoned").clone();
        let response = match decide(&request) {
            ProxyAction::Forward => self.forward(&request).await?,
            ProxyAction::Lose => {
                self.forward(&request).await?;
                return Ok(());
            }
            ProxyAction::Twice => {
                let first = self.forward(&request).await?;
                self.forward(&request).await?;
                first
            }
            ProxyAction::TwiceAtOnce => tokio::try_join!(self.forward(&request), self.forward(&request))?.0,
            ProxyAction::Respond(status, body) => json(&format!("HTTP/1.1 {status} X"), &body),
            ProxyAction::Change(change) => changed(&self.forward(&request).await?, &*change),
        };
        client.write_all(&response).await?;
        client.shutdown().await
    }

    async fn read(&self, client: &mut TcpStream) -> io::Result<Option<ProxiedRequest>> {
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
        let mut request = ProxiedRequest { method, target, head, body: Vec::new(), index: 0 };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
        while body.len() < length {
            if client.read_buf(&mut body).await? == 0 {
                return Ok(None);
            }
        }
        request.body = body;
        let mut seen = self.seen.lock().expect("the lock is not poisoned");
        request.index = seen.len();
        seen.push(request.clone());
        Ok(Some(request))
    }

    /// Sends the request to the service on a new connection, and returns the complete response.
    async fn forward(&self, request: &ProxiedRequest) -> io::Result<Vec<u8>> {
        let mut service = TcpStream::connect(&self.service).await?;
        let left_out = ["connection:", "accept-encoding:"];
        let kept = |line: &&str| !line.is_empty() && !left_out.iter().any(|name| line.to_lowercase().starts_with(name));
        let head: Vec<_> = request.head.split("\r\n").filter(kept).collect();
        service.write_all(format!("{}\r\nconnection: close\r\n\r\n", head.join("\r\n")).as_bytes()).await?;
        service.write_all(&request.body).await?;
        let mut response = Vec::new();
        service.read_to_end(&mut response).await?;
        Ok(response)
    }
}

fn json(first: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("{first}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Returns the response with its JSON changed. A response without JSON is returned as it is.
fn changed(response: &[u8], change: &dyn Fn(&mut Value)) -> Vec<u8> {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n").map_or(response.len(), |end| end + 4);
    let Ok(mut body) = serde_json::from_slice::<Value>(&response[end..]) else { return response.to_vec() };
    change(&mut body);
    let head = String::from_utf8_lossy(&response[..end]);
    json(head.lines().next().unwrap_or_default(), &body)
}
