//! Webhooks: authentication of callers, deduplication of deliveries, and responses.

use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use trunkline_sandbox::{Faults, Options, Sandbox};
use trunkline_tests::{Cli, few, milliseconds, sandbox, until};

use super::{Serve, add, save};

const SECRET: &str = "a secret that sender and flow share";

/// Starts and connects a sandbox whose responses take `latency` milliseconds.
async fn slow(cli: &Cli, latency: u64) -> Sandbox {
    let faults = Faults { latency: Duration::from_millis(latency), ..Faults::default() };
    let sandbox = sandbox(Options { faults, ..few(1) }).await;
    cli.connect(&sandbox).await;
    sandbox
}

/// Returns a flow that only records its input.
fn flow(name: &str, webhook: Value) -> Value {
    json!({
        "name": name, "overlap": "parallel", "trigger": { "webhook": webhook },
        "steps": [{ "id": "got", "set": { "body": "{{ input.body }}", "delivery": "{{ input.delivery }}" } }]
    })
}

fn signed() -> Value {
    json!({
        "delivery": "X-Delivery", "headers": ["X-Event"],
        "signature": { "header": "X-Signature", "prefix": "sha256=", "timestamp": "X-Time", "signed": "{delivery}.{timestamp}.{body}" }
    })
}

/// Saves a flow with its secret, and returns the path of its webhook.
async fn saved(cli: &Cli, name: &str, webhook: Value) -> String {
    let has_signature = webhook.get("signature").is_some();
    let answer = add(cli, &flow(name, webhook), if has_signature { &["--inactive"] } else { &[] }).await.expect(0);
    if has_signature {
        cli.pipe(&["flow", "secret", name, "-"], &format!("{SECRET}\n")).await.expect(0);
        cli.run(&["flow", "activate", name]).await.expect(0);
    }
    answer.json()["webhook"].as_str().unwrap().to_owned()
}

fn hex(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A delivery, signed as by its sender.
struct Delivery {
    id: String,
    time: String,
    body: String,
    signature: String,
}

impl Delivery {
    fn new(id: &str, time: u64, body: &str) -> Delivery {
        let signature = format!("sha256={}", hex(SECRET, &format!("{id}.{time}.{body}")));
        Delivery { id: id.into(), time: time.to_string(), body: body.into(), signature }
    }

    fn headers(&self) -> Headers {
        vec![("x-delivery", self.id.clone()), ("x-time", self.time.clone()), ("x-signature", self.signature.clone())]
    }
}

async fn send(serve: &Serve, path: &str, headers: &[(&'static str, String)], body: &str) -> (u16, Value) {
    let mut request = serve.http.post(serve.url(path)).header("content-type", "application/json").body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_call_starts_a_run_with_what_was_sent() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", json!({ "headers": ["X-Event", "X-Other"] })).await;
    let serve = Serve::start(&cli).await;
    let headers = [("x-event", "made".to_owned()), ("authorization", "Bearer of-a-caller".to_owned())];
    let (status, response) = send(&serve, &address, &headers, r#"{"id":7,"when":1.50}"#).await;
    assert_eq!(status, 202, "{response}");
    let ended = serve.ended(response["run"].as_str().unwrap()).await;
    let input = json!({
        "method": "POST", "query": {}, "headers": { "x-event": "made" }, "body": { "id": 7, "when": 1.5 },
        "delivery": null
    });
    assert_eq!((&ended["status"], &ended["input"]), (&json!("succeeded"), &input));

    let request = serve.http.post(serve.url(&address)).header("content-type", "text/plain").body("a=1");
    let response: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(serve.ended(response["run"].as_str().unwrap()).await["input"]["body"], "a=1");
    assert_eq!(send(&serve, &address, &[], "{").await.0, 400, "its content type is JSON");
    assert_eq!(send(&serve, &address, &[], &format!("\"{}\"", "x".repeat(1 << 20))).await.0, 413);
    assert_eq!(serve.runs().await.len(), 2);
}

#[tokio::test]
async fn only_the_url_of_an_active_flow_accepts_calls() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", json!({})).await;
    save(&cli, &json!({ "name": "plain", "steps": [] })).await;
    let serve = Serve::start(&cli).await;
    let token = address.rsplit('/').next().unwrap();
    assert_eq!(token.len(), 64);
    // Each response has the id of its request.
    let without_id = |mut problem: Value| {
        problem.as_object_mut().unwrap().shift_remove("request");
        problem
    };
    let nothing = without_id(send(&serve, "/nowhere", &[], "{}").await.1);
    let closed = async |path: &str| {
        let (status, response) = send(&serve, path, &[], "{}").await;
        let response = without_id(response);
        assert_eq!(
            (status, &response),
            (404, &nothing),
            "{path}: a wrong token and a missing flow have the same response"
        );
    };
    for path in [
        format!("/webhooks/hook/{}", token.replace(&token[..1], "g")),
        format!("/webhooks/hook/{}", &token[..63]),
        format!("/webhooks/other/{token}"),
        format!("/webhooks/plain/{token}"),
        "/webhooks/hook/%00".to_owned(),
    ] {
        closed(&path).await;
    }
    assert_eq!(serve.http.get(serve.url(&address)).send().await.unwrap().status(), 405);
    assert_eq!(send(&serve, &address, &[("host", "evil.test".into())], "{}").await.0, 421);
    cli.run(&["flow", "deactivate", "hook"]).await.expect(0);
    closed(&address).await;
    cli.run(&["flow", "activate", "hook"]).await.expect(0);
    let other = cli.run(&["flow", "address", "hook", "--json"]).await.expect(0).json()["webhook"].clone();
    closed(&address).await;
    assert!(serve.runs().await.is_empty());
    assert_eq!(send(&serve, other.as_str().unwrap(), &[], "{}").await.0, 202);
    // A replaced flow keeps its URL.
    assert_eq!(save(&cli, &flow("hook", json!({ "headers": ["X-Event"] }))).await["webhook"], Value::Null);
    assert_eq!(send(&serve, other.as_str().unwrap(), &[], "{}").await.0, 202);
    let error = cli.run(&["flow", "address", "plain", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "config");
    // Only a hash of the URL's token is stored.
    let files = std::fs::read_dir(cli.data()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(64).any(|window| window == token.as_bytes()), "{}", file.display());
    }
}

#[tokio::test]
async fn a_flow_with_signatures_cannot_be_active_without_a_secret() {
    let cli = Cli::default();
    let error = add(&cli, &flow("hook", signed()), &[]).await.expect(1).error();
    assert!(error["hint"].as_str().unwrap().contains("trunkline flow secret hook FILE"), "{error}");
    add(&cli, &flow("hook", signed()), &["--inactive"]).await.expect(0);
    assert_eq!(cli.run(&["flow", "activate", "hook", "--json"]).await.expect(1).error()["kind"], "config");
    assert_eq!(
        cli.pipe(&["flow", "secret", "hook", "-", "--json"], "\n").await.expect(1).error()["kind"],
        "invalid_input"
    );
    cli.pipe(&["flow", "secret", "hook", "-"], SECRET).await.expect(0);
    cli.run(&["flow", "activate", "hook"]).await.expect(0);
    assert!(!cli.run(&["flow", "show", "hook"]).await.expect(0).stdout.contains(SECRET));
}

type Headers = Vec<(&'static str, String)>;

/// Returns forged and replayed calls, with a description of each.
fn forged() -> Vec<(&'static str, Headers, String)> {
    let (good, body) = (Delivery::new("d1", seconds(), r#"{"a":1}"#), r#"{"a":1}"#.to_owned());
    let with = |name: &str, value: &str| {
        let change = |(header, old)| (header, if header == name { value.to_owned() } else { old });
        good.headers().into_iter().map(change).collect::<Vec<_>>()
    };
    let without = |name: &str| good.headers().into_iter().filter(|(header, _)| *header != name).collect::<Vec<_>>();
    let digits = good.signature.trim_start_matches("sha256=");
    let flipped =
        if digits.starts_with('0') { digits.replacen('0', "1", 1) } else { digits.replacen(&digits[..1], "0", 1) };
    let other = format!("sha256={}", hex("another secret", &format!("d1.{}.{body}", good.time)));
    let unkeyed = format!("sha256={}", hex("", &format!("d1.{}.{body}", good.time)));
    let old = Delivery::new("d1", seconds() - 400, &body);
    let ahead = Delivery::new("d1", seconds() + 400, &body);
    vec![
        ("no signature", without("x-signature"), body.clone()),
        ("an empty signature", with("x-signature", ""), body.clone()),
        ("only the prefix", with("x-signature", "sha256="), body.clone()),
        ("no prefix", with("x-signature", digits), body.clone()),
        ("another algorithm", with("x-signature", &format!("sha1={digits}")), body.clone()),
        ("a bit flipped", with("x-signature", &format!("sha256={flipped}")), body.clone()),
        ("cut short", with("x-signature", &format!("sha256={}", &digits[..62])), body.clone()),
        ("signed with another secret", with("x-signature", &other), body.clone()),
        ("signed without a secret", with("x-signature", &unkeyed), body.clone()),
        ("another body", good.headers(), r#"{"a":2}"#.into()),
        ("a space in the body", good.headers(), r#"{"a": 1}"#.into()),
        ("another delivery", with("x-delivery", "d2"), body.clone()),
        ("no delivery", without("x-delivery"), body.clone()),
        ("another time", with("x-time", &(seconds() + 1).to_string()), body.clone()),
        ("no time", without("x-time"), body.clone()),
        ("sent long ago", old.headers(), body.clone()),
        ("sent in the future", ahead.headers(), body),
    ]
}

#[tokio::test]
async fn a_forged_or_old_call_starts_nothing() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", signed()).await;
    let serve = Serve::start(&cli).await;
    for (what, headers, body) in forged() {
        let (status, response) = send(&serve, &address, &headers, &body).await;
        assert_eq!((status, &response["kind"]), (401, &json!("auth")), "{what}: {response}");
    }
    assert!(serve.runs().await.is_empty());
    let good = Delivery::new("d1", seconds(), r#"{"a":1}"#);
    let (status, response) = send(&serve, &address, &good.headers(), &good.body).await;
    assert_eq!(status, 202, "{response}");
    assert_eq!(serve.ended(response["run"].as_str().unwrap()).await["input"]["delivery"], "d1");
}

/// The sabotage twin: if the flow requires no signature, the same calls start runs.
#[tokio::test]
async fn without_signatures_forged_calls_start_runs() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", json!({})).await;
    let serve = Serve::start(&cli).await;
    let forged = forged();
    for (what, headers, body) in &forged {
        assert_eq!(send(&serve, &address, headers, body).await.0, 202, "{what}");
    }
    assert_eq!(serve.runs().await.len(), forged.len());
}

#[tokio::test]
async fn a_delivery_starts_one_run_however_often_it_is_sent() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", signed()).await;
    let mut serve = Serve::start(&cli).await;
    let good = Delivery::new("d1", seconds(), r#"{"a":1}"#);
    let mut response = Vec::new();
    for _ in 0..2 {
        let headers = good.headers();
        let all = (0..20).map(|_| send(&serve, &address, &headers, &good.body));
        response.extend(futures::future::join_all(all).await);
        serve.kill().await;
        serve = Serve::start(&cli).await;
    }
    assert!(
        response.iter().all(|(status, answer)| *status == 202 && answer["run"] == response[0].1["run"]),
        "{response:?}"
    );
    assert_eq!(response.iter().filter(|(_, answer)| answer.get("again").is_none()).count(), 1);
    assert_eq!(serve.runs().await.len(), 1);
    // Another delivery starts another run.
    let next = Delivery::new("d2", seconds(), r#"{"a":1}"#);
    send(&serve, &address, &next.headers(), &next.body).await;
    assert_eq!(serve.runs().await.len(), 2);
}

/// The sabotage twin: without a delivery id, each call starts a run.
#[tokio::test]
async fn without_a_delivery_id_each_call_starts_a_run() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", json!({})).await;
    let serve = Serve::start(&cli).await;
    for _ in 0..3 {
        send(&serve, &address, &[("x-delivery", "d1".into())], "{}").await;
    }
    assert_eq!(serve.runs().await.len(), 3);
}

#[tokio::test]
async fn an_event_of_mediavalet_is_deduplicated_by_source_and_id() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", json!({})).await;
    let serve = Serve::start(&cli).await;
    let event = |id: &str, source: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": source, "type": "Asset.StatusUpdated", "time": "2026-05-01T10:00:00Z",
            "dataschema": "#", "subject": "/library/5b1c/assets/9f00/Asset.StatusUpdated",
            "data": { "LibraryId": source, "AssetId": "9f00" }
        })
        .to_string()
    };
    let mut runs = Vec::new();
    for (id, source) in [("1", "5b1c"), ("1", "5b1c"), ("2", "5b1c"), ("1", "7777"), ("2", "5b1c")] {
        let (status, response) = send(&serve, &address, &[], &event(id, source)).await;
        assert_eq!(status, 202);
        runs.push(response["run"].clone());
    }
    assert!(runs[0] == runs[1] && runs[2] == runs[4] && runs[3] != runs[0], "{runs:?}");
    let ended = serve.ended(runs[0].as_str().unwrap()).await;
    assert_eq!(
        (&ended["input"]["delivery"], &ended["input"]["body"]["data"]["AssetId"]),
        (&json!("5b1c 1"), &json!("9f00"))
    );
    assert_eq!(serve.runs().await.len(), 3);
}

#[tokio::test]
async fn callers_do_not_see_internal_errors() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    cli.connect(&sandbox).await;
    let flow = json!({
        "name": "hook", "connections": { "dam": "mediavalet" }, "trigger": { "webhook": {} },
        "input": { "type": "object", "properties": { "body": { "type": "object" } } },
        "steps": [{ "id": "who", "action": "user.current", "connection": "dam" }]
    });
    let address = save(&cli, &flow).await["webhook"].as_str().unwrap().to_owned();
    let serve = Serve::start(&cli).await;
    let (status, response) = send(&serve, &address, &[], "[]").await;
    assert_eq!(
        (status, &response["kind"]),
        (400, &json!("invalid_input")),
        "a fault of the call is reported: {response}"
    );
    cli.run(&["connection", "remove", "mediavalet", "--force"]).await.expect(0);
    let (status, response) = send(&serve, &address, &[], "{}").await;
    assert_eq!((status, response.to_string().contains("mediavalet")), (503, false), "{response}");
    assert!(serve.runs().await.is_empty());
    sandbox.stop().await;
}

/// "HTTP 1.1 Web Hooks for Event Delivery", section 4: senders of CloudEvents may request permission first.
#[tokio::test]
async fn a_sender_that_requests_permission_gets_it() {
    let cli = Cli::default();
    let address = saved(&cli, "hook", json!({})).await;
    let serve = Serve::start(&cli).await;
    let ask = async |path: &str| {
        let request = serve.http.request("OPTIONS".parse().unwrap(), serve.url(path));
        request.header("webhook-request-origin", "events.example.com").send().await.unwrap()
    };
    let answer = ask(&address).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["webhook-allowed-origin"]),
        (200, &"events.example.com".parse().unwrap())
    );
    assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control")));
    let answer = ask(&format!("{address}0")).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("webhook-allowed-origin")), (404, None));
}

#[tokio::test]
async fn the_response_has_the_result_if_the_run_ends_in_time() {
    let cli = Cli::default();
    let sandbox = slow(&cli, 100).await;
    let with = |name: &str, calls: usize, timeout: &str| {
        let steps: Vec<_> = (0..calls)
            .map(|call| json!({ "id": format!("who{call}"), "action": "user.current", "connection": "dam" }))
            .chain([json!({ "id": "end", "if": "{{ input.body.fail }}", "fail": "as requested, with /a/path" })])
            .collect();
        json!({
            "name": name, "connections": { "dam": "mediavalet" }, "overlap": "parallel",
            "trigger": { "webhook": { "answer": "result", "timeout": timeout } }, "steps": steps
        })
    };
    let quick = save(&cli, &with("quick", 1, "60s")).await["webhook"].as_str().unwrap().to_owned();
    let slow = save(&cli, &with("slow", 100, "1s")).await["webhook"].as_str().unwrap().to_owned();
    let serve = Serve::start(&cli).await;
    let (status, response) = send(&serve, &quick, &[], r#"{"fail":false}"#).await;
    assert_eq!((status, &response["status"]), (200, &json!("succeeded")), "{response}");
    let (status, response) = send(&serve, &quick, &[], r#"{"fail":true}"#).await;
    assert_eq!((status, &response["status"]), (200, &json!("failed")), "{response}");
    assert!(!response.to_string().contains("/a/path"), "external callers do not get the reason: {response}");
    let (status, response) = send(&serve, &slow, &[], r#"{"fail":false}"#).await;
    assert_eq!(status, 202, "{response}");
    let (_, run) = serve.get(&format!("/rest/v1/runs/{}", response["run"].as_str().unwrap())).await;
    assert_eq!(run["status"], "running");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_run_is_on_disk_before_the_response_names_it() {
    let cli = Cli::default();
    let sandbox = slow(&cli, 100).await;
    let flow = json!({
        "name": "slow", "connections": { "dam": "mediavalet" }, "overlap": "parallel",
        "trigger": { "webhook": { "answer": "result", "timeout": "1ms" } },
        "steps": [{ "id": "who", "action": "user.current", "connection": "dam" }]
    });
    let address = save(&cli, &flow).await["webhook"].as_str().unwrap().to_owned();
    let serve = Serve::start(&cli).await;
    let store = rusqlite::Connection::open(cli.data().join("trunkline.db")).unwrap();
    let mut there = store.prepare("SELECT 1 FROM runs WHERE id = ?1").unwrap();
    for _ in 0..20 {
        let (status, response) = send(&serve, &address, &[], "{}").await;
        assert_eq!(status, 202, "{response}");
        assert!(there.exists([response["run"].as_str().unwrap()]).unwrap(), "{response}");
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn calls_during_a_run_are_queued_or_skipped_as_configured() {
    let cli = Cli::default();
    let sandbox = slow(&cli, 200).await;
    let mut addresses = Vec::new();
    for overlap in ["skip", "queue"] {
        let flow = json!({
            "name": overlap, "connections": { "dam": "mediavalet" }, "overlap": overlap,
            "trigger": { "webhook": { "delivery": "X-Delivery" } },
            "steps": [{ "id": "who", "action": "user.current", "connection": "dam" }]
        });
        addresses.push(save(&cli, &flow).await["webhook"].as_str().unwrap().to_owned());
    }
    let serve = Serve::start(&cli).await;
    let mut response = Vec::new();
    for address in &addresses {
        for number in 0..5 {
            let headers = [("x-delivery", number.to_string())];
            response.push(send(&serve, address, &headers, "{}").await);
        }
    }
    assert!(response.iter().all(|(status, _)| *status == 202), "{response:?}");
    let runs = until("all runs", async || {
        let runs = serve.runs().await;
        runs.iter().all(|run| run["status"] == "succeeded").then_some(runs)
    })
    .await;
    let of = |flow: &str| runs.iter().filter(|run| run["flow"] == flow).collect::<Vec<_>>();
    assert!(response[1].1["skipped"].is_string() && response[1].1.get("run").is_none(), "{response:?}");
    assert!(of("skip").len() < 5);
    let queued = of("queue");
    let ends: Vec<_> = queued.iter().map(|run| milliseconds(&run["finished_at"])).collect();
    let ids: Vec<_> = queued.iter().map(|run| &run["id"]).collect();
    assert_eq!(
        ids,
        response[5..].iter().map(|(_, response)| &response["run"]).collect::<Vec<_>>(),
        "all, in their order"
    );
    assert!(ends.is_sorted(), "{ends:?}");
    // A skipped delivery has no deduplication key, so it can be sent again.
    let (_, again) = send(&serve, &addresses[0], &[("x-delivery", "1".into())], "{}").await;
    assert!(again["run"].is_string() && again.get("again").is_none(), "{again}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_server_that_is_killed_at_any_moment_starts_one_run_per_delivery() {
    killed(6, 60).await;
}

#[tokio::test]
#[ignore = "takes minutes: a hundred kills"]
async fn a_server_that_is_killed_a_hundred_times_starts_one_run_per_delivery() {
    killed(100, 900).await;
}

/// Sends deliveries until each is acknowledged, while the server is killed again and again.
async fn killed(kills: usize, deliveries: usize) {
    let cli = Cli::default();
    let address = saved(&cli, "hook", json!({ "delivery": "X-Delivery" })).await;
    let mut dice = trunkline_tests::Dice::default();
    let mut acknowledged = vec![None; deliveries];
    for _ in 0..kills {
        let serve = Serve::start(&cli).await;
        let url = serve.url(&address);
        let open: Vec<_> = (0..acknowledged.len()).filter(|at| acknowledged[*at].is_none()).take(20).collect();
        let sends = open.into_iter().map(|at| {
            let request = serve.http.post(&url).header("x-delivery", format!("d{at}")).body("{}");
            async move {
                let answer: Value = request.send().await.ok()?.json().await.ok()?;
                Some((at, answer["run"].as_str()?.to_owned()))
            }
        });
        let sends = futures::future::join_all(sends);
        let pause = Duration::from_millis(dice.roll(0, 60));
        let kill = async {
            tokio::time::sleep(pause).await;
            serve.kill().await;
        };
        let (answers, ()) = futures::future::join(sends, kill).await;
        answers.into_iter().flatten().for_each(|(at, run)| acknowledged[at] = Some(run));
    }
    let serve = Serve::start(&cli).await;
    for (at, run) in acknowledged.iter().enumerate() {
        let (status, response) = send(&serve, &address, &[("x-delivery", format!("d{at}"))], "{}").await;
        assert_eq!(status, 202);
        assert!(
            run.as_ref().is_none_or(|run| response["run"] == **run),
            "an acknowledged run exists: {run:?} {response}"
        );
    }
    let runs = until("all runs", async || {
        let runs = serve.runs().await;
        runs.iter().all(|run| run["status"] == "succeeded").then_some(runs)
    })
    .await;
    assert_eq!(runs.len(), acknowledged.len(), "one run per delivery");
}
