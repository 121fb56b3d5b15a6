use axum::{
    Extension,
    routing::{get, post},
};
use futures::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::*;
use crate::connections::Limits;

/// Longer than every limit of a test, and short enough to wait for.
const SOON: Duration = Duration::from_secs(5);
/// A limit that is switched off.
const NEVER: Duration = Duration::from_secs(3600);

/// Limits that tests can wait for.
fn short() -> Limits {
    Limits {
        connections: 8,
        reserve: 2,
        head: Duration::from_millis(400),
        reserve_head: Duration::from_millis(200),
        idle: Duration::from_millis(1200),
        rate: 1000,
        window: Duration::from_millis(300),
        patience: Duration::from_millis(100),
        interval: Duration::from_millis(20),
    }
}

/// Limits without any time limit: the sabotage twin of all of them.
fn unlimited() -> Limits {
    Limits { head: NEVER, reserve_head: NEVER, idle: NEVER, window: NEVER, patience: NEVER, ..short() }
}

struct TestServer {
    address: SocketAddr,
    connections: Arc<Connections>,
}

impl TestServer {
    async fn start(limits: Limits) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let work = async || tokio::time::sleep(Duration::from_millis(1500)).await;
        let quiet = || futures::stream::pending::<Result<Bytes, Infallible>>();
        let events = move || futures::stream::once(async { Ok(Bytes::from("event")) }).chain(quiet());
        let router = Router::new()
            .route("/", get(async || "here"))
            .route(HEALTH, get(async || "healthy"))
            .route("/work", get(async move || work().await))
            .route("/read", post(async |body: Bytes| body.len().to_string()))
            .route("/large", get(async || vec![0_u8; 64 * 1024 * 1024]))
            .route("/events", get(async move || Body::from_stream(events())))
            .route("/marked", get(async move || (Extension(EventStream), Body::from_stream(events()))));
        let connections = Connections::new(limits);
        tokio::spawn(serve(listener, router, connections.clone(), CancellationToken::new()));
        TestServer { address, connections }
    }

    /// Connects, and sends the start of a request.
    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> TcpStream {
        self.send(&request(path)).await
    }

    /// Returns the response to a request on a connection of its own, or `None` if there is none soon.
    async fn response(&self, path: &str) -> Option<String> {
        let mut stream = self.get(path).await;
        timeout(Duration::from_secs(1), response(&mut stream)).await.ok()?
    }

    fn closed(&self, cause: &str) -> u64 {
        self.connections.closed().get(cause).map_or(0, |count| count.as_u64().unwrap())
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// Reads a short response, or `None` if the connection is closed before.
async fn response(stream: &mut TcpStream) -> Option<String> {
    let mut buffer = vec![0; 4096];
    match stream.read(&mut buffer).await {
        Ok(count @ 1..) => Some(String::from_utf8_lossy(&buffer[..count]).into_owned()),
        _ => None,
    }
}

/// Sends a byte from time to time. Returns whether the server closes the connection before `time` is over.
async fn is_closed_while_sending(mut stream: TcpStream, time: Duration) -> bool {
    let sending = async {
        let mut buffer = [0; 1024];
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => if matches!(read, Ok(0) | Err(_)) { return },
                () = tokio::time::sleep(Duration::from_millis(30)) => if stream.write_all(b"x").await.is_err() { return },
            }
        }
    };
    timeout(time, sending).await.is_ok()
}

/// A second, in which every limit of [`short`] but that of idle connections is exceeded.
const WHILE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_head_that_is_sent_slowly_is_closed() {
    for start in ["", "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-A: "] {
        let server = TestServer::start(short()).await;
        assert!(is_closed_while_sending(server.send(start).await, WHILE).await, "{start}");
        assert_eq!(server.closed("slow_head"), 1, "{start}");
        // The sabotage twin.
        let server = TestServer::start(unlimited()).await;
        assert!(!is_closed_while_sending(server.send(start).await, WHILE).await, "{start}");
    }
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let server = TestServer::start(short()).await;
    assert_eq!(timeout(WHILE, response(&mut server.send("").await)).await, Ok(None));
    // The sabotage twin.
    let server = TestServer::start(unlimited()).await;
    timeout(WHILE, response(&mut server.send("").await)).await.unwrap_err();
}

#[tokio::test]
async fn a_second_head_that_is_sent_slowly_is_closed() {
    for limits in [short(), unlimited()] {
        let server = TestServer::start(limits).await;
        let mut stream = server.get("/").await;
        assert!(response(&mut stream).await.unwrap().ends_with("here"));
        let is_closed = is_closed_while_sending(stream, WHILE).await;
        assert_eq!((is_closed, server.closed("slow_head")), (limits.head < NEVER, u64::from(limits.head < NEVER)));
    }
}

#[tokio::test]
async fn a_body_that_is_sent_slowly_is_closed() {
    for head in [
        "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n",
        "POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    ] {
        let server = TestServer::start(short()).await;
        assert!(is_closed_while_sending(server.send(head).await, WHILE).await, "{head}");
        assert_eq!(server.closed("slow_body"), 1, "{head}");
        // The sabotage twin.
        let server = TestServer::start(unlimited()).await;
        assert!(!is_closed_while_sending(server.send(head).await, WHILE).await, "{head}");
    }
}

#[tokio::test]
async fn a_long_body_at_the_minimum_rate_is_read() {
    let server = TestServer::start(short()).await;
    let mut stream = server.send("POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n").await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(&[b'x'; 100]).await.unwrap();
    }
    assert!(response(&mut stream).await.unwrap().ends_with("2000"));
}

/// Asks for a long response and reads none of it. Returns whether the server closes the connection.
async fn is_closed_without_reading(limits: Limits) -> bool {
    let server = TestServer::start(limits).await;
    let _stream = server.get("/large").await;
    tokio::time::sleep(WHILE).await;
    server.closed("slow_reader") == 1
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_closed() {
    assert!(is_closed_without_reading(short()).await);
    // The sabotage twin.
    assert!(!is_closed_without_reading(unlimited()).await);
}

#[tokio::test]
async fn a_caller_that_reads_gets_a_long_response() {
    // It takes several windows, and a loaded machine may pause for a part of one.
    let server = TestServer::start(Limits { window: Duration::from_secs(1), ..short() }).await;
    let (mut stream, mut read, mut buffer) = (server.get("/large").await, 0, vec![0; 256 * 1024]);
    while read < 16 * 1024 * 1024 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {read} bytes: {:?}", server.connections.closed());
        read += count;
    }
    assert_eq!(server.connections.closed().len(), 0);
}

#[tokio::test]
async fn a_stream_of_events_and_a_long_request_stay_open() {
    let server = TestServer::start(short()).await;
    let (mut events, mut work) = (server.get("/events").await, server.get("/work").await);
    assert!(response(&mut work).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(response(&mut events).await.unwrap().contains("event"));
    timeout(Duration::from_millis(300), response(&mut events)).await.expect_err("it is open");
    assert_eq!(server.connections.closed().len(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_slow_one() {
    let server = TestServer::start(short()).await;
    let mut stream = server.get("/").await;
    response(&mut stream).await.unwrap();
    timeout(Duration::from_millis(800), response(&mut stream)).await.expect_err("it is open");
    assert_eq!(timeout(SOON, response(&mut stream)).await, Ok(None));
    assert_eq!(server.closed("idle"), 1);
}

/// Opens more slow connections than the server takes, and returns how many of 20 other callers get a response.
async fn served_beside_slow_callers(limits: Limits) -> usize {
    let server = TestServer::start(limits).await;
    for _ in 0..5 * limits.connections {
        let stream = server.send("GET / HTTP/1.1\r\nHost: h").await;
        tokio::spawn(is_closed_while_sending(stream, NEVER));
    }
    let mut served = 0;
    for number in 0..20 {
        let path = if number % 2 == 0 { "/" } else { HEALTH };
        served += usize::from(server.response(path).await.is_some_and(|text| text.starts_with("HTTP/1.1 200")));
        if served == 0 && number > 1 {
            break;
        }
    }
    served
}

#[tokio::test]
async fn slow_callers_make_room_for_others() {
    // No time limit ends the slow ones.
    assert_eq!(served_beside_slow_callers(Limits { patience: short().patience, ..unlimited() }).await, 20);
    // The sabotage twin.
    assert_eq!(served_beside_slow_callers(unlimited()).await, 0);
}

#[tokio::test]
async fn the_connection_that_was_longest_without_a_request_makes_room() {
    let server = TestServer::start(Limits { connections: 3, ..short() }).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(server.get("/").await);
        response(idle.last_mut().unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first has a request again, so the second has been idle for the longest time.
    idle[0].write_all(request("/").as_bytes()).await.unwrap();
    response(&mut idle[0]).await.unwrap();
    let mut slow = server.send("GET").await;
    assert_eq!(timeout(SOON, response(&mut idle[1])).await, Ok(None));
    // A slow connection goes before an idle one.
    tokio::time::sleep(short().patience).await;
    assert!(server.response("/").await.unwrap().ends_with("here"));
    assert_eq!(timeout(SOON, response(&mut slow)).await, Ok(None));
    for at in [0, 2] {
        idle[at].write_all(request("/").as_bytes()).await.unwrap();
        assert!(response(&mut idle[at]).await.unwrap().ends_with("here"), "{at}");
    }
    assert_eq!(server.closed("no_room"), 2);
}

/// Calls twice on one connection, 50 milliseconds apart, while another caller needs it. Returns whether both calls are
/// answered. The other one is answered in any case.
async fn answered_twice(patience: Duration) -> bool {
    let server = TestServer::start(Limits { connections: 1, reserve: 0, patience, ..unlimited() }).await;
    let mut stream = server.get("/").await;
    response(&mut stream).await.unwrap();
    let mut other = server.get("/").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _ = stream.write_all(request("/").as_bytes()).await;
    let is_answered = response(&mut stream).await.is_some();
    assert!(timeout(SOON, response(&mut other)).await.unwrap().unwrap().ends_with("here"));
    is_answered
}

#[tokio::test]
async fn a_connection_that_has_just_become_idle_does_not_make_room() {
    assert!(answered_twice(Duration::from_secs(10)).await);
    // The sabotage twin.
    assert!(!answered_twice(Duration::ZERO).await);
}

#[tokio::test]
async fn while_all_connections_are_busy_only_health_answers() {
    for (reserve, is_healthy) in [(2, true), (0, false)] {
        let server = TestServer::start(Limits { connections: 3, reserve, ..short() }).await;
        let mut busy = Vec::new();
        for _ in 0..3 {
            busy.push(server.get("/work").await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let health = server.response(HEALTH).await;
        // The sabotage twin: without a reserve, nothing answers.
        assert_eq!(health.is_some(), is_healthy);
        if let Some(health) = health.map(|text| text.to_lowercase()) {
            assert!(health.contains("200 ok") && health.contains("connection: close"), "{health}");
            let other = server.response("/").await.unwrap().to_lowercase();
            assert!(other.contains("503 ") && other.contains("retry-after: 30"), "{other}");
            assert!(other.contains("connection: close") && other.contains("all connections"), "{other}");
        }
        for stream in &mut busy {
            assert!(response(stream).await.unwrap().starts_with("HTTP/1.1 200"), "no request was given up");
        }
        assert!(server.response("/").await.unwrap().ends_with("here"), "there is room again");
    }
}

#[tokio::test]
async fn a_burst_of_short_requests_is_served_whole() {
    let server = TestServer::start(short()).await;
    let responses = futures::future::join_all((0..100).map(|_| server.response("/"))).await;
    assert_eq!(responses.iter().flatten().filter(|text| text.starts_with("HTTP/1.1 200")).count(), 100);
}

#[tokio::test]
async fn http_2_in_clear_text_is_refused() {
    let server = TestServer::start(short()).await;
    let answer = response(&mut server.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await).await;
    assert!(answer.as_ref().is_none_or(|text| text.starts_with("HTTP/1.1 4")), "{answer:?}");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = TestServer::start(short()).await;
    let long = "x".repeat(4 * MAX_HEAD);
    let mut stream = server.send("GET / HTTP/1.1\r\nHost: h\r\nX-Long: ").await;
    let _ = stream.write_all(long.as_bytes()).await;
    let answer = response(&mut stream).await;
    assert!(answer.as_ref().is_some_and(|text| text.starts_with("HTTP/1.1 431")), "{answer:?}");
}

/// Streams of events do not count among the connections that are limited. The sabotage twin: other responses that do not
/// end take all places, so that another caller only gets one of the reserve.
#[tokio::test]
async fn streams_of_events_take_no_place_of_other_callers() {
    for (path, status) in [("/marked", "200"), ("/events", "503")] {
        let server = TestServer::start(short()).await;
        let mut streams = Vec::new();
        for _ in 0..8 {
            let mut stream = server.get(path).await;
            timeout(SOON, response(&mut stream)).await.unwrap().unwrap();
            streams.push(stream);
        }
        let text = server.response("/").await.unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {text}");
    }
}
