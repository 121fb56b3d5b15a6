//! Callers that hold connections without a request, against `trunkline serve` as a process. The twins of the limits are
//! beside the listener.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use trunkline_tests::{
    Cli, memory,
    serve::{Serve, save},
    until,
};

/// Callers that behave well, and how long they call.
const HEALTHY: usize = 20;
const PERIOD: Duration = Duration::from_secs(8);

/// Holds a connection with the start of a request and a byte a minute, and connects again whenever it is closed.
async fn hold(host: String, start: &'static str) {
    loop {
        let Ok(mut stream) = TcpStream::connect(&host).await else { continue };
        let _ = stream.write_all(start.as_bytes()).await;
        let mut buffer = [0; 256];
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => if matches!(read, Ok(0) | Err(_)) { break },
                () = tokio::time::sleep(Duration::from_secs(60)) => { let _ = stream.write_all(b"x").await; }
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Opens connections that are held, with heads and bodies that do not end.
async fn attack(serve: &Serve, count: usize) -> JoinSet<()> {
    let host = serve.address.strip_prefix("http://").unwrap().to_owned();
    let starts =
        ["", "G", "GET / HTTP/1.1\r\nHost: h", "POST /webhooks/a/b HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"];
    let mut held = JoinSet::new();
    for number in 0..count {
        held.spawn(hold(host.clone(), starts[number % starts.len()]));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    held
}

/// What the callers that behave well have seen.
struct Seen {
    /// Calls per second.
    rate: f64,
    /// The time within which 99 of 100 calls were answered.
    p99: Duration,
    failed: usize,
}

/// Calls the API and `/health` as fast as possible. Half of the callers use a new connection for each call.
async fn call(serve: &Serve) -> Seen {
    let begun = Instant::now();
    let one = async |number: usize| {
        let (mut times, mut failed) = (Vec::new(), 0);
        while begun.elapsed() < PERIOD {
            let path = if number % 4 < 2 { "/health" } else { "/rest/v1/flows" };
            let request = serve.http.get(serve.url(path)).bearer_auth(&serve.token);
            let request = if number.is_multiple_of(2) { request.header("connection", "close") } else { request };
            let sent = Instant::now();
            failed += usize::from(!request.send().await.is_ok_and(|answer| answer.status() == 200));
            times.push(sent.elapsed());
        }
        (times, failed)
    };
    let (times, failed): (Vec<_>, Vec<_>) = join_all((0..HEALTHY).map(one)).await.into_iter().unzip();
    let mut times = times.concat();
    times.sort();
    let (count, failed) = (times.len(), failed.iter().sum());
    Seen { rate: count as f64 / begun.elapsed().as_secs_f64(), p99: times[count * 99 / 100], failed }
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_slow_callers_keep_no_other_caller_out() {
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let before = call(&serve).await;
    let mut held = attack(&serve, 600).await;
    let during = call(&serve).await;
    let (status, health) = serve.health().await;
    held.shutdown().await;
    let (rate, p99) = (during.rate / before.rate, during.p99.as_secs_f64() / before.p99.as_secs_f64());
    let memory = memory::status(serve.process.id().unwrap(), "VmHWM").unwrap() / 1024;
    println!(
        "without: {:.0} calls/s, p99 {:?}; with 600 slow callers: {:.0} calls/s, p99 {:?}; ratios {rate:.2} and {p99:.2}; \
         {memory} MiB; {health}",
        before.rate, before.p99, during.rate, during.p99
    );
    assert_eq!((before.failed, during.failed, status), (0, 0, 200), "no call is refused or lost");
    assert!(during.p99 < Duration::from_secs(2), "{:?}", during.p99);
    assert!(health["closed_connections"]["no_room"].as_u64().unwrap() > 0, "{health}");
    assert!(memory < 512, "{memory} MiB");
}

/// Returns the processor time of a process, in ticks of 10 milliseconds; see proc_pid_stat(5).
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_file_descriptors_waits_and_continues() {
    let cli = Cli::default();
    let log = cli.home().join("log");
    let serve = Serve::logging(&cli, &["--listen", "127.0.0.1:0"], fs::File::create(&log).unwrap()).await;
    let process = serve.process.id().unwrap();
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let limit = format!("--nofile={0}:{0}", open + 10);
    let limited = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).stdout(Stdio::null()).status();
    assert!(limited.unwrap().success());
    let mut held = attack(&serve, 40).await;
    let before = ticks(process);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ticks(process) - before < 50, "it does not spin: {} ticks of 200", ticks(process) - before);
    // Slow callers make room until the queue of the system has come to this one. The store may lack descriptors, too.
    let (status, health) = serve.health().await;
    assert!(status == 200 || health["because"].is_string(), "{status} {health}");
    held.shutdown().await;
    until("the health of the server", async || (serve.health().await.0 == 200).then_some(())).await;
    assert_eq!(serve.get("/rest/v1/flows").await.0, 200);
    let log = fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("no connection can be accepted").count(), 1, "{log}");
}

/// The bytes of memory that a thousand watchers may add.
const WATCHERS: usize = 1000;
const WATCHERS_MIB: f64 = 40.0;

/// Opens a stream and waits for its first event. Returns the connection and the status.
async fn watcher(serve: &Serve, path: &str) -> (TcpStream, u16) {
    let host = serve.address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\r\n", serve.token);
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        text += &String::from_utf8_lossy(&buffer[..read]);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        if read == 0 || text.contains("data:") || status >= 400 {
            return (stream, status);
        }
    }
}

/// A thousand watchers of one run, and then a thousand of all runs, while other callers use the server.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: it opens two thousand streams"]
async fn a_thousand_watchers_take_little_memory_and_keep_no_caller_out() {
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, "--nofile=8192:"]).status().unwrap();
    assert!(raised.success(), "this test opens more than a thousand connections");
    for of_one in [true, false] {
        let cli = Cli::default();
        let flow = serde_json::json!({ "name": "waits", "steps": [{ "id": "ok", "wait": { "signal": "go" } }] });
        save(&cli, &flow).await;
        let serve = Serve::start(&cli).await;
        let process = serve.process.id().unwrap();
        let run = serve.run("waits", &serde_json::json!({})).await;
        let path = if of_one { format!("/rest/v1/runs/{run}/events") } else { "/rest/v1/events".to_owned() };
        // The first ones warm up what all share.
        let mut open = join_all((0..20).map(|_| watcher(&serve, &path))).await;
        let before = memory::status(process, "VmRSS").unwrap();
        for _ in 0..WATCHERS / 50 {
            open.extend(join_all((0..50).map(|_| watcher(&serve, &path))).await);
        }
        let after = memory::status(process, "VmRSS").unwrap();
        assert!(open.iter().all(|(_, status)| *status == 200), "{path}");
        let (added, used) = ((after - before) as f64 / 1024.0, ticks(process));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let busy = (ticks(process) - used) as f64 / 3.0;
        let mut times = Vec::new();
        for _ in 0..100 {
            let sent = Instant::now();
            assert_eq!(serve.get("/rest/v1/flows").await.0, 200);
            times.push(sent.elapsed());
        }
        times.sort();
        println!(
            "{WATCHERS} watchers of {path} add {added:.1} MiB and take {busy:.0} % of a processor; a list of flows: p50 {:?}",
            times[50]
        );
        assert!(added <= WATCHERS_MIB, "{added} MiB");
        assert!(times[50] < Duration::from_millis(20), "{:?}", times[50]);
        // The number of streams is limited, and leaving frees a place.
        open.extend(join_all((0..1024 - 20 - WATCHERS).map(|_| watcher(&serve, &path))).await);
        assert_eq!(watcher(&serve, &path).await.1, 429);
        open.truncate(900);
        until("room for another", async || (watcher(&serve, &path).await.1 == 200).then_some(())).await;
    }
}
