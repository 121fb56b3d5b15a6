//! A web server with one file that may change. A test chooses what the server reports of it.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use trunkline_core::{Connected, Connection, MemoryVault, Registry};

/// The bytes repeat after this many. A prime, so that no two blocks of a file are equal.
const PERIOD: u64 = 1_000_003;

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| (0..PERIOD).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect())
}

/// The header by which the server identifies versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionHeader {
    Etag,
    Modified,
    Nothing,
}

/// The file, and how it is served.
#[derive(Clone, Debug)]
pub struct Origin {
    pub length: u64,
    /// Version of the file. Every byte differs between versions.
    pub version: u64,
    pub version_header: VersionHeader,
    pub ranges: bool,
    /// Whether the server honours `If-Range`. Otherwise it sends a part of the current version.
    pub conditions: bool,
    /// The version whose digest the server states.
    pub declares: Option<u64>,
    /// Bytes of a body before the connection is cut.
    pub cut: Option<u64>,
    /// By how many bytes `Content-Length` is too small.
    pub short: u64,
    /// Whether the response has a length. Otherwise it ends with its connection.
    pub sized: bool,
    /// Whether each request gets a new version.
    pub each: bool,
    /// Whether the file is gone.
    pub gone: bool,
    /// The state from the next request on.
    pub then: Option<Box<Origin>>,
}

impl Default for Origin {
    fn default() -> Origin {
        let version_header = VersionHeader::Etag;
        let (ranges, conditions) = (true, true);
        let (declares, cut, then) = (None, None, None);
        let (sized, each, gone) = (true, false, false);
        Origin {
            length: 0,
            version: 1,
            version_header,
            ranges,
            conditions,
            declares,
            cut,
            short: 0,
            sized,
            each,
            gone,
            then,
        }
    }
}

impl Origin {
    fn pieces(&self, from: u64, to: u64) -> impl Iterator<Item = &'static [u8]> + use<> {
        let (mut at, shift) = (from, self.version * 7_919);
        std::iter::from_fn(move || {
            let begin = (at + shift) % PERIOD;
            let end = PERIOD.min(begin + (to - at)).min(begin + (64 << 10));
            at += end - begin;
            (end > begin).then(|| &pattern()[begin as usize..end as usize])
        })
    }

    /// Returns the SHA-256 of a version in hexadecimal.
    pub fn sha256(&self, version: u64) -> String {
        HEXLOWER.encode(&self.hash(version))
    }

    fn hash(&self, version: u64) -> Vec<u8> {
        let file = Origin { version, ..self.clone() };
        file.pieces(0, self.length).fold(Sha256::new(), |hasher, piece| hasher.chain_update(piece)).finalize().to_vec()
    }

    fn etag(&self) -> String {
        format!("\"v{}\"", self.version)
    }

    fn modified(&self) -> String {
        format!("Sat, 21 Nov 2026 10:{:02}:00 GMT", self.version % 60)
    }

    /// Returns the head of the response, and the range of bytes of its body.
    fn answer(&self, head: &str) -> (String, u64, u64) {
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
            Some(line.split_once(':')?.1.trim())
        };
        if self.gone {
            return ("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(), 0, 0);
        }
        let known = header("if-range").is_none_or(|known| known == self.etag() || known == self.modified());
        let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let from: u64 = range.filter(|_| self.ranges && (known || !self.conditions)).unwrap_or(0);
        let (length, to) = (self.length - self.short, self.length);
        if from > 0 && from >= length {
            return (format!("HTTP/1.1 416 No\r\nContent-Range: bytes */{length}\r\nContent-Length: 0\r\n\r\n"), 0, 0);
        }
        let mut head = match from {
            0 => "HTTP/1.1 200 OK\r\n".to_owned(),
            _ => format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {from}-{}/{length}\r\n", length - 1),
        };
        match self.version_header {
            VersionHeader::Etag => head += &format!("ETag: {}\r\n", self.etag()),
            VersionHeader::Modified => {
                head += &format!("Last-Modified: {}\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\n", self.modified())
            }
            VersionHeader::Nothing => {}
        }
        if let Some(version) = self.declares {
            head += &format!("Repr-Digest: sha-256=:{}:\r\n", BASE64_STANDARD.encode(self.hash(version)));
        }
        if self.sized {
            head += &format!("Content-Length: {}\r\n", length - from);
        }
        head += "Content-Type: video/mp4\r\nConnection: close\r\n\r\n";
        (head, from, to)
    }
}

/// The server. It stops when dropped.
pub struct Server {
    address: String,
    pub origin: Arc<Mutex<Origin>>,
    /// Heads of all requests.
    pub heads: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub async fn start(origin: Origin) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (origin, heads) = (Arc::new(Mutex::new(origin)), Arc::default());
        let (served, seen) = (origin.clone(), Arc::<Mutex<Vec<String>>>::clone(&heads));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, seen) = (served.clone(), seen.clone());
                tokio::spawn(async move { serve(stream, &served, &seen).await });
            }
        });
        Server { address, origin, heads, accepting }
    }

    pub fn change(&self, change: impl FnOnce(&mut Origin)) {
        change(&mut self.origin.lock().unwrap());
    }

    /// Returns the settings of a connection to the server, with the connector `http`.
    pub fn settings(&self, name: &str) -> Value {
        json!({ "name": name, "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": self.address,
            "authentication": "bearer", "token": "token" })
    }

    pub fn connect(&self, name: &str) -> Connected {
        let connection = Connection::from_value(self.settings(name)).unwrap();
        let vault = Arc::new(MemoryVault::default());
        Registry::discover().unwrap().connect(&connection, vault, &|_| unreachable!()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, origin: &Mutex<Origin>, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let (mut reader, mut head) = (BufReader::new(reader), String::new());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    heads.lock().unwrap().push(head.clone());
    let origin = {
        let mut origin = origin.lock().unwrap();
        let now = origin.clone();
        origin.version += u64::from(origin.each);
        if let Some(then) = origin.then.take() {
            *origin = *then;
        }
        now
    };
    let (head, from, to) = origin.answer(&head);
    writer.write_all(head.as_bytes()).await?;
    let end = origin.cut.map_or(to, |cut| to.min(from + cut));
    for piece in origin.pieces(from, end) {
        writer.write_all(piece).await?;
    }
    writer.shutdown().await
}
