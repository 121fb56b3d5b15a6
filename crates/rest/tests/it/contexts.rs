//! Files are opened and read in the context of a step: its cancellation, its deadline, and its run's place in the
//! queue.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use futures::{FutureExt, TryStreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_core::{CancellationToken, Context, ErrorKind, Position};
use trunkline_rest::{ClientLimits, generic};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::support::*;

/// Opens files one after the other behind a slow request, one request at a time, and returns their paths in the order
/// in which the requests arrived.
async fn order(files: [(&str, Context); 3]) -> Vec<String> {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_string("bytes").set_delay(Duration::from_millis(150));
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let client = builder(&server.uri()).at_once(1).build().unwrap();
    let open = |path: &str, cx: Context| {
        let (client, source) = (client.clone(), json!({ "path": path }));
        tokio::spawn(async move { generic::open(&client, &source, Position::default(), &cx).await.map(drop) })
    };
    let mut all = vec![open("/first", Context::default())];
    for (path, cx) in files {
        tokio::time::sleep(Duration::from_millis(20)).await;
        all.push(open(path, cx));
    }
    for one in all {
        one.await.unwrap().unwrap();
    }
    server.received_requests().await.unwrap().iter().map(|request| request.url.path().to_owned()).collect()
}

#[tokio::test]
async fn the_files_of_one_run_wait_behind_the_first_file_of_another() {
    let (one, other) = (CancellationToken::new(), CancellationToken::new());
    let of = |run: &CancellationToken| Context::default().with_cancellation(run.clone());
    let files = [("/one/a", of(&one)), ("/one/b", of(&one)), ("/other", of(&other))];
    assert_eq!(order(files).await, ["/first", "/one/a", "/other", "/one/b"]);
    // The twin: without a run, each file has a place of its own.
    let files = ["/one/a", "/one/b", "/other"].map(|path| (path, Context::default()));
    assert_eq!(order(files).await, ["/first", "/one/a", "/one/b", "/other"]);
}

/// The look-up of a URL gets the context of the download.
#[tokio::test]
async fn a_look_up_has_the_context_of_the_step() {
    let client = client("http://127.0.0.1:1");
    let token = CancellationToken::new();
    let cx = Context::default().with_cancellation(token.clone());
    let locate = move |cx: Context| {
        token.cancel();
        async move {
            cx.check_cancelled()?;
            unreachable!("the context is that of the step")
        }
        .boxed()
    };
    let error = client.download(locate, 0, &cx).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

/// Sends the beginning of a file, and then nothing.
async fn stalled() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegin").await.unwrap();
            open.push(stream);
        }
    });
    base
}

async fn read(base: &str, cx: &Context) -> trunkline_core::Result<()> {
    let client = builder(base).limits(ClientLimits { idle: Duration::from_secs(20), ..quick() }).build().unwrap();
    let url = format!("{base}/blob");
    let locate = move |_| {
        let url = url.parse().unwrap();
        async move { Ok(url) }.boxed()
    };
    let file = client.download(locate, 0, cx).await?;
    file.bytes.try_collect::<Vec<_>>().await.map(drop)
}

#[tokio::test]
async fn the_bytes_of_a_file_end_with_the_deadline_and_the_cancellation_of_the_step() {
    let (base, started) = (stalled().await, Instant::now());
    let cx = Context::default().with_timeout(Duration::from_millis(300));
    assert_eq!(read(&base, &cx).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let token = CancellationToken::new();
    let cx = Context::default().with_cancellation(token.clone());
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel();
    };
    let (result, ()) = tokio::join!(read(&base, &cx), cancel);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(5));
    // The twin: without either, the reader waits longer.
    let cx = Context::default();
    assert!(tokio::time::timeout(Duration::from_millis(900), read(&base, &cx)).await.is_err());
}
