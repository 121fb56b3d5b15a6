//! What the benchmarks call, and how often a second.

use std::{future::Future, time::Instant};

use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server that answers every request with the same small JSON and keeps the connection.
pub async fn server() -> String {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 29\r\n\r\n{\"id\":7,\"title\":\"an answer\" }";
    async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let (mut buffer, mut read) = (vec![0; 16 * 1024], 0);
        loop {
            let length = socket.read(&mut buffer[read..]).await?;
            if length == 0 {
                return Ok(());
            }
            read += length;
            // GETs without bodies: an empty line ends each.
            while let Some(end) = buffer[..read].windows(4).position(|window| window == b"\r\n\r\n") {
                buffer.copy_within(end + 4..read, 0);
                read -= end + 4;
                socket.write_all(ANSWER).await?;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    address
}

/// How many calls a second there are, of so many in all and so many in flight.
pub async fn rate<F: Future<Output = ()>>(calls: usize, in_flight: usize, call: impl Fn(usize) -> F) -> f64 {
    let since = Instant::now();
    stream::iter(0..calls).map(call).buffer_unordered(in_flight).collect::<Vec<()>>().await;
    calls as f64 / since.elapsed().as_secs_f64()
}
