//! Opening a file in the context of the step that reads it.

use std::time::{Duration, Instant};

use trunkline_core::CancellationToken;

use super::*;

const LATE: Duration = Duration::from_secs(30);

/// Returns a service that has one file, and a reference to it. The look-up of its link takes a time.
async fn one_file(look_up: Duration) -> (MockServer, Connections, Arc<Mutex<Vec<Request>>>, FileRef) {
    let (server, connections, seen) = stage(move |request| {
        if request.url.path() == "/blob" {
            return ResponseTemplate::new(200).set_body_string("bytes");
        }
        let url = format!("http://{}/blob", request.headers["host"].to_str().unwrap());
        ok(json!([{ "id": 1, "downloadURL": url }])).set_delay(look_up)
    })
    .await;
    let source = json!({ "id": 1, "format": 0 });
    let file: FileRef =
        serde_json::from_value(json!({ "name": "a.txt", "connection": "mediaflow", "source": source })).unwrap();
    (server, connections, seen, file)
}

#[tokio::test]
async fn a_cancelled_step_does_not_look_up_the_link_of_a_file() {
    let (_server, connections, seen, file) = one_file(Duration::ZERO).await;
    let token = CancellationToken::new();
    token.cancel();
    let cx = Context::default().with_cancellation(token);
    assert_eq!(connections.open(&file, 0, &cx).await.err().unwrap().kind(), ErrorKind::Cancelled);
    assert_eq!(seen.lock().unwrap().len(), 0);
    // The twin: a context that is not cancelled.
    assert_eq!(read(&connections, &file, 0).await, b"bytes");
    assert_eq!(seen.lock().unwrap().len(), 2, "the link and the bytes");
}

#[tokio::test]
async fn the_look_up_of_a_link_ends_with_the_deadline_and_the_cancellation_of_the_step() {
    let (_server, connections, _, file) = one_file(LATE).await;
    let begun = Instant::now();
    let cx = Context::default().with_timeout(Duration::from_millis(200));
    assert_eq!(connections.open(&file, 0, &cx).await.err().unwrap().kind(), ErrorKind::Unavailable);
    let token = CancellationToken::new();
    let cx = Context::default().with_cancellation(token.clone());
    let opened = async { connections.open(&file, 0, &cx).await.err().unwrap().kind() };
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        token.cancel();
    };
    let (kind, ()) = tokio::join!(opened, cancel);
    assert_eq!(kind, ErrorKind::Cancelled);
    assert!(begun.elapsed() < LATE / 2, "{:?}", begun.elapsed());
    // The twin: without a deadline, the call still waits.
    let cx = Context::default();
    let opened = connections.open(&file, 0, &cx);
    assert!(tokio::time::timeout(Duration::from_millis(600), opened).await.is_err());
}
