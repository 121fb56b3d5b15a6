//! A proxy between the client and the storage. It records every request as sent, and injects network faults.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use trunkline_rest::Url;

/// An injected fault.
#[derive(Clone, Debug)]
pub enum Fault {
    Nothing,
    /// The connection is cut in the middle of every block, once for each block.
    CutEveryBlock,
    /// After this number of acknowledged blocks, requests signed with the first query arrive signed with the second.
    Signature {
        after: usize,
        good: String,
        instead: String,
    },
}

/// A "Put Block" request.
#[derive(Clone, Debug)]
pub struct Block {
    /// Block id: the name of the upload and the number of the block.
    pub id: String,
    /// Bytes of its body that reached the proxy.
    pub received: u64,
    /// Whether the storage responded with 201.
    pub acknowledged: bool,
}

/// The requests so far.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Request line and headers of every request, in their order.
    pub heads: Vec<String>,
    /// Blocks in the order of their requests. A block that was sent twice is listed twice.
    pub blocks: Vec<Block>,
    /// Size of the bodies of all other requests, in bytes.
    pub other: u64,
    /// Number of connections that were cut.
    pub cuts: usize,
}

impl Log {
    pub fn acknowledged(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(|block| block.acknowledged)
    }

    /// Returns the bytes of all blocks, incomplete ones included.
    pub fn received(&self) -> u64 {
        self.blocks.iter().map(|block| block.received).sum()
    }
}

struct State {
    storage: String,
    fault: Mutex<Fault>,
    log: Mutex<Log>,
}

/// A proxy to one storage. It stops when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(storage: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, log) = (Mutex::new(Fault::Nothing), Mutex::default());
        let state = Arc::new(State { storage: storage.to_owned(), fault, log });
        let shared = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Proxy { address, state, accepting }
    }

    /// Returns the host name and port. A name is needed, since no digests are sent to a loopback IP address.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub fn fault(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    pub fn log(&self) -> Log {
        self.state.log.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// Serves one connection until one side closes it or it is cut.
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut storage = TcpStream::connect(&self.storage).await?;
        let (from_client, mut to_client) = client.split();
        let (mut from_storage, mut to_storage) = storage.split();
        let mut from_client = BufReader::with_capacity(128 << 10, from_client);
        // The block whose response is next.
        let current_block: Mutex<Option<usize>> = Mutex::default();
        let up = async {
            loop {
                let head = head(&mut from_client).await?;
                let length = length(&head)?;
                let block = self.record(&head);
                *current_block.lock().unwrap() = block;
                to_storage.write_all(self.signed(&head).as_bytes()).await?;
                let sent = if block.is_some() && self.is_to_be_cut() { length / 2 } else { length };
                let mut left = sent;
                while left > 0 {
                    let piece = from_client.fill_buf().await?;
                    let piece = &piece[..piece.len().min(left as usize)];
                    if piece.is_empty() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.count(block, piece.len() as u64);
                    to_storage.write_all(piece).await?;
                    let taken = piece.len();
                    from_client.consume(taken);
                    left -= taken as u64;
                }
                if sent < length {
                    self.log.lock().unwrap().cuts += 1;
                    return io::Result::Ok(());
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; 128 << 10];
            loop {
                let read = from_storage.read(&mut buffer).await?;
                if read == 0 {
                    return Ok(());
                }
                let block = current_block.lock().unwrap().take();
                if let Some(block) = block
                    && buffer.starts_with(b"HTTP/1.1 201")
                {
                    self.log.lock().unwrap().blocks[block].acknowledged = true;
                }
                to_client.write_all(&buffer[..read]).await?;
            }
        };
        tokio::select! {
            done = up => done,
            done = down => done,
        }
    }

    /// Records a request, and returns the index of its block if it carries one.
    fn record(&self, head: &str) -> Option<usize> {
        let mut log = self.log.lock().unwrap();
        log.heads.push(head.to_owned());
        let target = head.split(' ').nth(1).unwrap_or_default();
        let url = Url::parse(&format!("http://storage{target}")).unwrap();
        let of = |wanted: &str| url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned());
        (of("comp").as_deref() == Some("block")).then(|| {
            let id = BASE64_STANDARD.decode(of("blockid").unwrap()).unwrap();
            log.blocks.push(Block { id: String::from_utf8(id).unwrap(), received: 0, acknowledged: false });
            log.blocks.len() - 1
        })
    }

    fn count(&self, block: Option<usize>, bytes: u64) {
        let mut log = self.log.lock().unwrap();
        match block {
            Some(block) => log.blocks[block].received += bytes,
            None => log.other += bytes,
        }
    }

    /// Returns whether the current block was not cut yet. The blocks before it were cut once each.
    fn is_to_be_cut(&self) -> bool {
        let cuts = matches!(*self.fault.lock().unwrap(), Fault::CutEveryBlock);
        let log = self.log.lock().unwrap();
        cuts && log.cuts == log.acknowledged().count()
    }

    fn signed(&self, head: &str) -> String {
        match &*self.fault.lock().unwrap() {
            Fault::Signature { after, good, instead } if self.log.lock().unwrap().acknowledged().count() >= *after => {
                head.replacen(good, instead, 1)
            }
            _ => head.to_owned(),
        }
    }
}

/// Reads request line and headers, with the empty line after them.
async fn head(from: &mut BufReader<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// Returns the length of the body. The storage requires `Content-Length`, so a chunked request is an error.
fn length(head: &str) -> io::Result<u64> {
    let mut length = 0;
    for (name, value) in head.lines().filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?,
            "transfer-encoding" => return Err(io::ErrorKind::InvalidData.into()),
            _ => {}
        }
    }
    Ok(length)
}
