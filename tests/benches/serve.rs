//! Measures what `trunkline serve` costs: flows of five calls per second through a webhook that responds when the run
//! has ended, as ratios to the same calls by bare reqwest, with the processor time of each; the time from its start to
//! the end of the first run; its memory when idle.
//!
//! `cargo bench --profile dist -p trunkline-tests --bench serve`, with `-- --json` for output as JSON. No figure fails
//! the benchmark because it is slow.
#![allow(clippy::unwrap_used)]

mod server;

use std::{fs, time::Instant};

use serde_json::{Value, json};
use server::{ROUNDS, Rounds, rate, serve_if_requested, server};
use trunkline_tests::{
    Cli, http, memory,
    serve::{Serve, save},
};

/// Pairs of flows in flight at once and flows per round.
const LOADS: [(usize, usize); 3] = [(1, 1_000), (16, 5_000), (64, 5_000)];
const CALLS: usize = 5;

fn flow() -> Value {
    let call = |number: usize| {
        json!({ "id": format!("call{number}"), "action": "request", "connection": "site",
            "input": { "method": "GET", "path": format!("/things/{number}") } })
    };
    json!({
        "name": "five", "connections": { "site": "http" }, "overlap": "parallel",
        "trigger": { "webhook": { "answer": "result", "timeout": "60s" } },
        "steps": (0..CALLS).map(call).collect::<Vec<_>>(), "output": { "id": "{{ steps.call4.body.id }}" }
    })
}

/// Returns the current memory of a process, in MB.
fn memory(process: u32) -> f64 {
    memory::status(process, "VmRSS").map_or(f64::NAN, |kibibytes| kibibytes as f64 / 1024.0)
}

/// Returns the processor time of a process in seconds, in user and kernel mode.
fn processor(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second. The name in parentheses may hold spaces, so it
    // is cut off.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse().unwrap_or(f64::NAN)).sum::<f64>() / 100.0
}

#[tokio::main]
async fn main() {
    serve_if_requested().await;
    let (cli, server, bare) = (Cli::default(), server(0).await, http());
    let base = &server.address;
    let document = json!({ "name": "http", "connector": "http-v1.0", "endpointUrl": base, "allowPrivateNetwork": true,
        "authentication": "none", "requestsAtOnce": 100 });
    cli.pipe(&["connection", "add", "-"], &document.to_string()).await.expect(0);
    let webhook = save(&cli, &flow()).await["webhook"].as_str().unwrap().to_owned();

    let since = Instant::now();
    let serve = Serve::start(&cli).await;
    let process = serve.process.id().unwrap();
    let idle = memory(process);
    let url = serve.url(&webhook);
    let run = async || {
        let answer = bare.post(&url).json(&json!({})).send().await.unwrap();
        let (status, reply) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(reply["output"]["id"], 7, "{status}: {reply}");
    };
    run().await;
    let start = since.elapsed().as_secs_f64();

    let mut figures = json!({ "first_run_seconds": start, "idle_mb": idle, "after_first_run_mb": memory(process) });
    for (in_flight, flows) in LOADS {
        let (mut rounds, mut used) = (Rounds::default(), 0.0);
        for _ in 0..ROUNDS {
            let calls = rate(flows, in_flight, async |_| {
                for number in 0..CALLS {
                    let answer = bare.get(format!("{base}/things/{number}")).send().await.unwrap();
                    assert_eq!(answer.json::<Value>().await.unwrap()["id"], 7);
                }
            });
            let calls = calls.await;
            let before = processor(process);
            rounds.add(rate(flows, in_flight, async |_| run().await).await, calls);
            used += processor(process) - before;
        }
        figures[format!("flows_{in_flight}")] = json!({ "ratio": rounds.ratio(), "a_second": rounds.ours(),
            "bare_a_second": rounds.bare(), "processor_ms": used * 1e3 / (ROUNDS * flows) as f64 });
    }
    figures["busy_mb"] = memory(process).into();
    println!("{}", serde_json::to_string_pretty(&figures).unwrap_or_default());
    serve.stop().await;
}
