//! What the benchmarks call, and how often a second.
#![allow(dead_code, reason = "no benchmark needs all of it")]

use std::{future::Future, sync::Arc, time::Instant};

use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trunkline_tests::library;

const ANSWER: &str = "{\"id\":7,\"title\":\"an answer\" }";

/// A server that answers every request with the same small JSON and keeps the connection.
pub async fn server() -> String {
    let answer = answer(ANSWER);
    serve(move |_| answer.clone()).await
}

/// The same, but what asks for a page of the library of so many items gets that.
pub async fn library_server(items: u64) -> String {
    let small = answer(ANSWER);
    serve(move |target| {
        let given = |name: &str| target.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.parse().ok());
        match (given("offset="), given("count=")) {
            (Some(from), Some(count)) => answer(&library::page(items, from, count).to_string()),
            _ => small.clone(),
        }
    })
    .await
}

fn answer(body: &str) -> Arc<[u8]> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes().into()
}

/// A server that answers by what stands behind the method, and keeps the connection.
async fn serve(answer: impl Fn(&str) -> Arc<[u8]> + Clone + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(talk(socket, answer.clone()));
        }
    });
    address
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
