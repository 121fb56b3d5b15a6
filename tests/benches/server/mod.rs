//! The server that the benchmarks call, and the calls per second. It is a separate process, as services are, so that
//! Trunkline and bare reqwest both pay for calls between processes.
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

/// The argument that makes a benchmark's program the server. The next argument is the number of items of its library.
const SERVER: &str = "--server";

/// A server in a process of its own, killed when dropped.
pub struct Server {
    /// Base URL, such as `http://127.0.0.1:40009`.
    pub address: String,
    _process: Child,
}

/// Starts a server that responds to every request with the same small JSON and keeps the connection open. A request for
/// a page of its library of `items` items gets that page.
pub async fn server(items: u64) -> Server {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut process =
        command.args([SERVER, &items.to_string()]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let address = BufReader::new(process.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    Server { address, _process: process }
}

/// Serves until killed if this process was started as the server. Every benchmark calls it first.
pub async fn serve_if_requested() {
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
        while let Some((reply, end)) = first_response(&buffer[..read], &answer) {
            buffer.copy_within(end..read, 0);
            read -= end;
            socket.write_all(&reply).await?;
        }
    }
}

/// Returns the response to the first request and the end of that request, if all of it was read.
fn first_response(read: &[u8], answer: &impl Fn(&str) -> Arc<[u8]>) -> Option<(Arc<[u8]>, usize)> {
    let head = read.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&read[..head]).unwrap();
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok();
    let end = head + 4 + text.lines().find_map(length).unwrap_or_default();
    (read.len() >= end).then(|| (answer(text.split(' ').nth(1).unwrap_or_default()), end))
}

/// Returns the calls per second of `calls` calls, `in_flight` at a time.
pub async fn rate<F: Future<Output = ()>>(calls: usize, in_flight: usize, call: impl Fn(usize) -> F) -> f64 {
    let since = Instant::now();
    stream::iter(0..calls).map(call).buffer_unordered(in_flight).collect::<Vec<()>>().await;
    calls as f64 / since.elapsed().as_secs_f64()
}

/// Number of rounds: each measurement alternates with the one it is compared to.
pub const ROUNDS: usize = 5;

/// Pairs of a measurement and its comparison, one pair per round.
#[derive(Default)]
pub struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    pub fn add(&mut self, ours: f64, bare: f64) {
        self.0.push((ours, bare));
    }

    /// Returns the median of the ratios of the rounds.
    pub fn ratio(&self) -> f64 {
        median(self.0.iter().map(|(ours, bare)| ours / bare))
    }

    /// Returns the median of the measurements.
    pub fn ours(&self) -> f64 {
        median(self.0.iter().map(|(ours, _)| *ours))
    }

    /// Returns the median of the comparisons.
    pub fn bare(&self) -> f64 {
        median(self.0.iter().map(|(_, bare)| *bare))
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<_> = values.collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
