//! What the benchmarks call, and how often a second. It is a process of its own, as services are: whoever calls it, Trunkline
//! or bare reqwest, has to leave his process for it.
#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::{future::Future, process::Stdio, sync::Arc, time::Instant};

use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use trunkline_tests::library;

const ANSWER: &str = "{\"id\":7,\"title\":\"an answer\" }";

/// What makes a benchmark's program be the server, of a library of as many items as the next argument says.
const SERVER: &str = "--server";

/// Ends with its owner.
pub struct Server {
    /// Such as `http://127.0.0.1:40009`.
    pub address: String,
    _process: Child,
}

/// A server that answers every request with the same small JSON and keeps the connection; but what asks for a page of its
/// library of so many items gets that.
pub async fn server(items: u64) -> Server {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut process =
        command.args([SERVER, &items.to_string()]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let address = BufReader::new(process.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    Server { address, _process: process }
}

/// Is the server, if this process is to be that. Every benchmark begins with this.
pub async fn serve_if_asked() {
    let mut arguments = std::env::args().skip_while(|argument| argument != SERVER).skip(1);
    if let Some(items) = arguments.next() {
        serve(items.parse().unwrap()).await;
    }
}

async fn serve(items: u64) {
    let small = answer(ANSWER);
    let answer = move |target: &str| {
        let given = |name: &str| target.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.parse().ok());
        match (given("offset="), given("count=")) {
            (Some(from), Some(count)) => answer(&library::page(items, from, count).to_string()),
            _ => small.clone(),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(talk(socket, answer.clone()));
    }
}

fn answer(body: &str) -> Arc<[u8]> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes().into()
}

async fn talk(mut socket: TcpStream, answer: impl Fn(&str) -> Arc<[u8]> + Send) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
    loop {
        let length = socket.read(&mut buffer[read..]).await?;
        if length == 0 {
            return Ok(());
        }
        read += length;
        while let Some((reply, end)) = asked(&buffer[..read], &answer) {
            buffer.copy_within(end..read, 0);
            read -= end;
            socket.write_all(&reply).await?;
        }
    }
}

/// The answer to the first request, if all of it is there, and where it ends.
fn asked(read: &[u8], answer: &impl Fn(&str) -> Arc<[u8]>) -> Option<(Arc<[u8]>, usize)> {
    let head = read.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&read[..head]).unwrap();
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok();
    let end = head + 4 + text.lines().find_map(length).unwrap_or_default();
    (read.len() >= end).then(|| (answer(text.split(' ').nth(1).unwrap_or_default()), end))
}

/// How many calls a second there are, of so many in all and so many in flight.
pub async fn rate<F: Future<Output = ()>>(calls: usize, in_flight: usize, call: impl Fn(usize) -> F) -> f64 {
    let since = Instant::now();
    stream::iter(0..calls).map(call).buffer_unordered(in_flight).collect::<Vec<()>>().await;
    calls as f64 / since.elapsed().as_secs_f64()
}

/// How often everything is measured, in turns with what it is held against.
pub const ROUNDS: usize = 5;

/// What was measured in some rounds, and what it is held against in the same rounds.
#[derive(Default)]
pub struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    pub fn add(&mut self, ours: f64, bare: f64) {
        self.0.push((ours, bare));
    }

    /// The median of the ratios of the rounds.
    pub fn ratio(&self) -> f64 {
        median(self.0.iter().map(|(ours, bare)| ours / bare))
    }

    /// The median of what was measured.
    pub fn ours(&self) -> f64 {
        median(self.0.iter().map(|(ours, _)| *ours))
    }

    /// The median of what it is held against.
    pub fn bare(&self) -> f64 {
        median(self.0.iter().map(|(_, bare)| *bare))
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<_> = values.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
