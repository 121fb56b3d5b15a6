//! Faults of networks and services: throttles, responses that are cut off, slow servers, and responses that are not
//! JSON.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::support::*;
use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use trunkline_core::*;
use trunkline_rest::*;

const OPERATIONS: [&str; 4] = ["thing.get", "thing.rename", "thing.delete", "thing.create"];

fn input(operation: &str) -> Value {
    if operation == "thing.create" { json!({ "name": "n" }) } else { json!({ "id": "7" }) }
}

fn refusal(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Returns a service that refuses the first call with this response and accepts the next one, and the times of the
/// calls.
async fn refusing(refusal: Vec<u8>) -> (Raw, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::<Mutex<Vec<Instant>>>::default();
    let seen = times.clone();
    let server = Raw::answering(move |index, _| {
        seen.lock().unwrap().push(Instant::now());
        if index == 0 { refusal.clone() } else { ok_json("1") }
    });
    (server.await, times)
}

/// Returns the forms of a `Retry-After` header, each with the time in which no call may follow.
fn forms() -> Vec<(&'static str, String, Duration)> {
    let second = Duration::from_secs(1);
    let date = |at: SystemTime| httpdate::fmt_http_date(at);
    // This date is years in the past: the `Date` of the response counts, not the clock of this machine.
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let now = SystemTime::now();
    vec![
        ("seconds", "Retry-After: 1\r\n".to_owned(), second),
        ("a date", format!("Date: {}\r\nRetry-After: {}\r\n", date(then), date(then + second)), second),
        ("a date in the past", format!("Retry-After: {}\r\n", date(now - 60 * second)), Duration::ZERO),
        ("zero", "Retry-After: 0\r\n".to_owned(), Duration::ZERO),
        ("junk", "Retry-After: soon\r\n".to_owned(), Duration::ZERO),
        ("nothing", String::new(), Duration::ZERO),
        ("a lower-case name", "retry-after: 1\r\n".to_owned(), second),
        ("Azure's own", "x-ms-retry-after-ms: 700\r\nretry-after: 3\r\n".to_owned(), Duration::from_millis(700)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_sent_before_the_retry_after_of_a_throttle() {
    let (mut cases, mut tried) = (Vec::new(), 0);
    for status in [429, 503, 403] {
        for (form, headers, wait) in forms() {
            // Without a valid `Retry-After`, a 403 is about permissions, and a create may have taken effect before a
            // 503.
            let has_wait = !matches!(form, "junk" | "nothing");
            for operation in OPERATIONS.into_iter().filter(|one| has_wait || status == 429 || *one == "thing.get") {
                cases.push((status, form, headers.clone(), wait, has_wait, operation));
                tried += 1;
            }
        }
    }
    let one = async |(status, form, headers, wait, has_wait, operation): (u16, &str, String, Duration, bool, &str)| {
        let (server, times) = refusing(refusal(status, &headers)).await;
        let is_unreadable = form == "junk" && status != 403;
        let cx = if is_unreadable { cx().with_timeout(Duration::from_secs(5)) } else { cx() };
        let result = client(&server.base).call(operation, input(operation), &cx).await;
        let case = format!("{status} with {form} to {operation}");
        if is_unreadable {
            // In doubt, the longer wait: a minute, which is longer than this call has.
            let asked = result.unwrap_err().retryable();
            assert!(matches!(asked, Retry::After(wait) if wait > Duration::from_secs(50)), "{case}: {asked:?}");
            assert_eq!(server.count(), 1, "{case}");
            return;
        }
        if status == 403 && !has_wait {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Permission, "{case}");
            return;
        }
        assert_eq!(result.unwrap_or_else(|error| panic!("{case}: {error:?}")), json!(1), "{case}");
        let times = times.lock().unwrap();
        assert_eq!(times.len(), 2, "{case}");
        assert!(times[1] - times[0] >= wait, "{case}: {:?}", times[1] - times[0]);
    };
    stream::iter(cases).for_each_concurrent(16, one).await;
    println!("{tried} throttles, 0 early calls");
}

#[tokio::test]
async fn a_pause_that_is_too_long_fails_all_calls_immediately() {
    for (asked, expected) in
        [("1200", 1200), ("99999999999999999999", 86_400), ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400)]
    {
        let (server, _) = refusing(refusal(429, &format!("Retry-After: {asked}\r\n"))).await;
        let client = client(&server.base);
        let hours = cx().with_timeout(Duration::from_secs(6 * 60 * 60));
        for operation in OPERATIONS {
            let error = client.call(operation, input(operation), &hours).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RateLimited, "{asked}");
            let Retry::After(wait) = error.retryable() else { panic!("{error:?}") };
            assert!((expected - 5..=expected + 1).contains(&wait.as_secs()), "{asked}: {wait:?}");
        }
        assert_eq!(server.count(), 1, "{asked}");
    }
}

#[tokio::test]
async fn a_thousand_steps_on_a_service_that_is_down_send_few_retries() {
    let quick = || ClientLimits { first_wait: Duration::from_millis(1), ..ClientLimits::default() };
    let steps = async |client: &Client| {
        let one = |_| async {
            let error = client.call("thing.get", input("thing.get"), &cx()).await.unwrap_err();
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff), "{error:?}");
            fact(&error, "repetitions").is_some()
        };
        stream::iter(0..1000).map(one).buffer_unordered(16).filter(|used| std::future::ready(*used)).count().await
    };
    let down = Raw::new(vec![refusal(500, "")]).await;
    let client = builder(&down.base).limits(quick()).build().unwrap();
    let without = steps(&client).await;
    println!("1000 steps, {} calls, {without} steps that were not repeated", down.count());
    assert!((1000..=1100).contains(&down.count()), "{}", down.count());
    assert!(without > 900);

    // The same holds if no server listens.
    let client = builder(&unused_port().await).limits(quick()).build().unwrap();
    assert!(steps(&client).await > 900);
}

/// The sabotage twin: without a shared budget, each call has five tries.
#[tokio::test]
async fn without_a_shared_budget_each_call_has_five_tries() {
    let down = Raw::new(vec![refusal(500, "")]).await;
    let one = |_| async {
        // Each call has its own client, so they do not share their failures.
        let limits = ClientLimits { first_wait: Duration::from_millis(1), ..ClientLimits::default() };
        let client = builder(&down.base).limits(limits).build().unwrap();
        client.call("thing.get", input("thing.get"), &cx()).await.unwrap_err();
    };
    stream::iter(0..20).for_each_concurrent(16, one).await;
    assert_eq!(down.count(), 100);
}

#[tokio::test]
async fn a_call_that_was_not_sent_is_repeated_whatever_its_effect() {
    let unknown = "http://no-such-host.invalid".to_owned();
    for (base, stage) in [(unused_port().await, "tcp"), (unknown, "name")] {
        // http is allowed on this machine only.
        let base = if stage == "name" { base.replace("http:", "https:") } else { base };
        for operation in OPERATIONS {
            let error = client(&base).call(operation, input(operation), &cx()).await.unwrap_err();
            let facts = (error.kind(), error.retryable(), fact(&error, "stage"), fact(&error, "tries"));
            assert_eq!(facts, (ErrorKind::Unavailable, Retry::Backoff, Some(stage), Some("5")), "{operation}");
        }
    }
}

/// How a connection ends in the middle of a response.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Reset,
}

/// Returns a server that cuts its response off at the byte that the path names.
async fn cutting(full: Vec<u8>, end: End) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let full = Arc::new(full);
        while let Ok((mut stream, _)) = listener.accept().await {
            let full = full.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let at: usize = text["GET /things/".len()..].split(' ').next().unwrap().parse().unwrap();
                stream.write_all(&full[..at]).await.ok();
                match end {
                    End::Closed => drop(stream.shutdown().await),
                    // The bytes sent so far mostly arrive before the reset.
                    End::Reset => {
                        sleep(Duration::from_millis(1)).await;
                        stream.set_zero_linger().unwrap();
                    }
                }
            });
        }
    });
    base
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_cut_off_at_any_byte_is_an_error() {
    let body = json!({ "items": vec!["0123456789"; 146] }).to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let sized = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let (one, two) = body.split_at(700);
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    let mut cuts = 0;
    for full in [sized, chunked] {
        // The header pads both responses to the same length. Only the whole response is accepted.
        let pad = 2049 - full.len();
        let full = full.replacen("\r\n", &format!("\r\nX-Pad: {}\r\n", "x".repeat(pad - "X-Pad: \r\n".len())), 1);
        assert_eq!(full.len(), 2049);
        for end in [End::Closed, End::Reset] {
            let base = cutting(full.clone().into_bytes(), end).await;
            let limits = ClientLimits { tries: 1, ..quick() };
            let client = &builder(&base).limits(limits).build().unwrap();
            let one = |at: usize| async move {
                let got = client.call("thing.get", json!({ "id": at.to_string() }), &cx()).await;
                let error = got.expect_err(&format!("{end:?} at byte {at}"));
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{end:?} at byte {at}: {error:?}");
            };
            stream::iter(0..2048).for_each_concurrent(16, one).await;
            cuts += 2048;
            if let End::Closed = end {
                let whole = client.call("thing.get", json!({ "id": "2049" }), &cx()).await.unwrap();
                assert_eq!(whole["items"].as_array().unwrap().len(), 146);
            }
        }
    }
    println!("{cuts} cuts, 0 accepted");
}

/// Returns a server that responds slowly in one of three ways, and the number of its open sockets.
async fn slow_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let open = Arc::new(AtomicUsize::new(0));
    let counted = open.clone();
    tokio::spawn(async move {
        for count in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            counted.fetch_add(1, Ordering::SeqCst);
            let counted = counted.clone();
            tokio::spawn(async move {
                respond_slowly(stream, count % 3).await;
                counted.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (base, open)
}

async fn respond_slowly(mut stream: TcpStream, way: usize) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    let mut request = [0; 4096];
    if stream.read(&mut request).await.unwrap_or(0) == 0 {
        return;
    }
    let slow = match way {
        // The headers byte by byte, the body byte by byte, or a body that does not continue.
        0 => head.to_owned(),
        1 => {
            stream.write_all(head.as_bytes()).await.ok();
            " ".repeat(1000)
        }
        _ => {
            stream.write_all(format!("{head}{{").as_bytes()).await.ok();
            String::new()
        }
    };
    let (mut from, mut to) = stream.split();
    let sending = async {
        for byte in slow.bytes() {
            if to.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        () = sending => {}
        // The client closes the connection.
        _ = from.read(&mut request) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_response_ends_in_time_and_leaves_no_socket_open() {
    let (base, open) = slow_server().await;
    // First the time of one try is short, then the time of the whole call.
    for (attempt, call) in [(300, 60_000), (60_000, 300)] {
        let limits = ClientLimits { tries: 1, at_once: 128, attempt: Duration::from_millis(attempt), ..quick() };
        let client = builder(&base).limits(limits).build().unwrap();
        let one = |_| async {
            let begun = Instant::now();
            let in_time = cx().with_timeout(Duration::from_millis(call));
            let error = client.call("thing.get", input("thing.get"), &in_time).await.unwrap_err();
            assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, Retry::Backoff), "{error:?}");
            begun.elapsed()
        };
        let took: Vec<_> = stream::iter(0..250).map(one).buffer_unordered(64).collect().await;
        println!("250 calls, the longest took {:?}", took.iter().max().unwrap());
        let closed = async {
            while open.load(Ordering::SeqCst) > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), closed).await.expect("all sockets are closed");
    }
}

#[tokio::test]
async fn an_invalid_response_is_reported_with_a_short_excerpt_without_secrets() {
    let long = format!("<html>{}key s3cret-key</html>", "Sign in to the hotel's network. ".repeat(100));
    for (what, kind, body) in [
        ("a page", "text/html", long.into_bytes()),
        ("a page with the key", "text/html", b"<html>key s3cret-key</html>".to_vec()),
        ("a number as a page", "text/html; charset=utf-8", b"7".to_vec()),
        ("nothing", "application/json", Vec::new()),
        ("only a byte order mark", "application/json", b"\xef\xbb\xbf".to_vec()),
        ("white space", "application/json", b" \r\n ".to_vec()),
        ("a text", "text/plain", b"ok".to_vec()),
        ("Latin 1", "application/json", b"{\"name\":\"\xe5ngstr\xf6m\"}".to_vec()),
        ("half a UTF-16", "application/json; charset=utf-16", vec![0x00, 0xd8, 0x00]),
        ("bytes", "application/octet-stream", vec![0, 159, 146, 150]),
        ("half a document", "application/json", b"{\"a\":[1,2".to_vec()),
        ("more than one document", "application/json", b"{\"a\":1}{\"a\":2}".to_vec()),
        ("two values of one member", "application/json", b"{\"id\":\"1\",\"id\":\"2\"}".to_vec()),
        ("NaN", "application/json", b"{\"a\":NaN}".to_vec()),
        ("Infinity", "application/json", b"{\"a\":-Infinity}".to_vec()),
        ("a number with very many digits", "application/json", format!("{{\"a\":{}}}", "9".repeat(400)).into_bytes()),
        ("a number out of range", "application/json", b"{\"a\":1e999}".to_vec()),
        ("a deep list", "application/json", format!("{}{}", "[".repeat(5000), "]".repeat(5000)).into_bytes()),
        ("a deep object", "application/json", format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000)).into_bytes()),
        ("half a character", "application/json", b"{\"a\":\"\\ud800\"}".to_vec()),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let server = Raw::new(vec![[head.as_bytes(), &body].concat()]).await;
        let client = builder(&server.base).header("x-key", "s3cret-key".into(), None).build().unwrap();
        let error = client.call("thing.get", input("thing.get"), &cx()).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unexpected, Retry::Never), "{what}");
        assert!(error.message().len() < 500 && !format!("{error:?}").contains("s3cret"), "{what}: {error:?}");
        assert!(!error.message().chars().any(char::is_control), "{what}: {error:?}");
        assert_eq!(server.count(), 1, "{what}");
    }
}

#[tokio::test]
async fn unusual_but_valid_responses_are_accepted_and_ids_stay_exact() {
    for (body, at, value) in [
        ("\u{feff}{\"id\":\"00123\"}", "/id", json!("00123")),
        ("{\"id\":\"123456789012345678901234567890\"}", "/id", json!("123456789012345678901234567890")),
        ("{\"id\":18446744073709551615}", "/id", json!(u64::MAX)),
        ("{\"id\":-9223372036854775808}", "/id", json!(i64::MIN)),
        ("{\"id\":\"1\",\"id\":\"1\"}", "/id", json!("1")),
        (" \t{\"a\":{\"b\":null}}\r\n", "/a/b", Value::Null),
        ("{\"name\":\"\u{1f5bc}\u{301}\"}", "/name", json!("\u{1f5bc}\u{301}")),
        (&format!("{}{}", "[".repeat(100), "]".repeat(100)), "", json!(null)),
    ] {
        let server = Raw::new(vec![ok_json(body)]).await;
        let got = client(&server.base).call("thing.get", input("thing.get"), &cx()).await.unwrap();
        if !at.is_empty() {
            assert_eq!(got.pointer(at), Some(&value), "{body}");
        }
    }
}

/// Returns a server with persistent connections, the number of its requests in progress, and the highest such number.
async fn counting() -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (now.clone(), most.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (now, most) = counts.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    stream.write_all(&ok_json("1")).await.ok();
                }
            });
        }
    });
    (base, now, most)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_stay_within_the_requests_at_once_of_the_connection() {
    let (base, now, most) = counting().await;
    // The two clients belong to one connection of one host, like those of two runs.
    let vault = Arc::<MemoryVault>::default();
    let context = ConnectionContext::new("conn", ConnectionHost::from(vault).with_extension(environment()));
    let make = || builder(&base).auth(Auth::Bearer("t".into()), context.clone()).at_once(7).build().unwrap();
    let clients = [make(), make()];
    let run = Context::default().with_timeout(Duration::from_secs(600));
    let calls = (0..10_000).map(|n| clients[n % 2].call("thing.get", json!({ "id": "7" }), &run));
    let answers = join_all(calls).await;
    assert!(answers.iter().all(|answer| *answer.as_ref().unwrap() == 1));
    let (now, most) = (now.load(Ordering::SeqCst), most.load(Ordering::SeqCst));
    println!("10000 calls, {most} at a time at most");
    assert!(now == 0 && (2..=7).contains(&most), "{most}");
}

#[tokio::test]
async fn a_call_that_waits_for_a_permit_can_be_cancelled_and_keeps_its_deadline() {
    let (base, _) = slow_server().await;
    let vault = Arc::default();
    let client = builder(&base).auth(Auth::Bearer("t".into()), slot(&vault)).at_once(1).build().unwrap();
    let call = async |cx: Context| client.call("thing.create", json!({}), &cx).await.unwrap_err();
    let (first, waiting) = (CancellationToken::new(), CancellationToken::new());
    let outside = async {
        sleep(Duration::from_millis(300)).await;
        waiting.cancel();
        let error = call(cx().with_timeout(Duration::from_millis(200))).await;
        // Nothing was sent, so the outcome is known, although the call creates something.
        assert_eq!((error.kind(), error.setting_pointer()), (ErrorKind::RateLimited, Some("/requestsAtOnce")));
        assert!(error.message().contains("connection conn") && error.message().contains("1 at once"), "{error:?}");
        first.cancel();
    };
    let (broken, cancelled, ()) = tokio::join!(
        call(cx().with_cancellation(first.clone())),
        async {
            sleep(Duration::from_millis(100)).await;
            call(cx().with_cancellation(waiting.clone())).await
        },
        outside
    );
    assert_eq!((broken.kind(), cancelled.kind()), (ErrorKind::UnknownOutcome, ErrorKind::Cancelled));
}
