//! What a run does that has not ended, as other processes show it: it is queued, throttled, waiting, or left.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use trunkline_core::Timestamp;
use trunkline_tests::{Cli, until};

use super::{Serve, save};

/// Starts a service that answers each request with a throttle for a minute, and returns its address.
async fn throttling() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 8192]).await;
            let throttle =
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(throttle.as_bytes()).await;
        }
    });
    address
}

/// Returns the state of a run as a list of another process shows it.
async fn listed(cli: &Cli, run: &str) -> Value {
    let list = cli.run(&["runs", "--json"]).await.expect(0).json();
    let one = list["items"].as_array().unwrap().iter().find(|one| one["id"] == run).unwrap();
    one["state"].clone()
}

/// Waits until a list of another process shows this state, and returns it.
async fn reaches(cli: &Cli, run: &str, is: &str) -> Value {
    until(is, async || Some(listed(cli, run).await).filter(|state| state["is"] == is)).await
}

#[tokio::test]
async fn a_queued_run_names_the_run_before_it_and_both_are_left_when_the_server_dies() {
    let cli = Cli::default();
    let wait = json!({ "name": "one", "overlap": "queue", "steps": [{ "id": "ok", "wait": { "signal": "go" } }] });
    save(&cli, &wait).await;
    let mut serve = Serve::start(&cli).await;
    let (first, second) = (serve.run("one", &json!({})).await, serve.run("one", &json!({})).await);
    let queued = json!({ "is": "queued", "behind": first });
    assert_eq!(serve.get(&format!("/rest/v1/runs/{second}")).await.1["state"], queued);
    assert_eq!(listed(&cli, &second).await, queued);
    assert_eq!(reaches(&cli, &first, "waiting").await["signal"], "go");
    let (_, runs) = serve.get("/rest/v1/runs").await;
    let runs = &runs["items"];
    assert_eq!((&runs[0]["state"], &runs[1]["state"]["is"]), (&queued, &json!("waiting")), "{runs}");
    let shown = cli.run(&["runs", "show", &second]).await.expect(0).stdout;
    assert!(shown.contains(&format!("queued behind run {first} of the same flow")), "{shown}");

    serve.process.kill().await.unwrap();
    for run in [&first, &second] {
        assert_eq!(listed(&cli, run).await, json!({ "is": "left" }));
        let shown = cli.run(&["runs", "show", run]).await.expect(0).stdout;
        assert!(shown.contains(&format!("`trunkline runs resume {run}` continues it")), "{shown}");
    }
    let list = cli.run(&["runs"]).await.expect(0).stdout;
    assert_eq!(list.matches(" left ").count(), 2, "{list}");

    // The next server has both again.
    let serve = Serve::start(&cli).await;
    assert_eq!(reaches(&cli, &first, "waiting").await["signal"], "go");
    assert_eq!(reaches(&cli, &second, "queued").await, queued);
    assert_eq!(serve.post(&format!("/rest/v1/runs/{first}/signals/go"), &json!({})).await.0, 202);
    assert_eq!(serve.ended(&first).await["state"], Value::Null);
    reaches(&cli, &second, "waiting").await;
}

#[tokio::test]
async fn a_throttled_run_says_until_when_in_every_process_and_is_left_when_it_is_killed() {
    let cli = Cli::default();
    cli.add(&json!({ "name": "slow-service", "connector": "http-v1.0", "endpointUrl": throttling().await,
        "allowPrivateNetwork": true, "authentication": "none" }))
        .await;
    let flow = json!({ "name": "get", "connections": { "from": "http" }, "steps": [{ "id": "one", "action": "request",
        "connection": "from", "input": { "method": "GET", "path": "/" } }] });
    let file = cli.write("get.json", &flow.to_string());
    let before = Timestamp::now();
    let mut child = cli.start(&["run", &file, "--json"]);
    let run = until("the run", async || {
        cli.run(&["runs", "--json"]).await.expect(0).json()["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let state = reaches(&cli, &run, "throttled").await;
    let time = |text: &Value| serde_json::from_value::<Timestamp>(text.clone()).unwrap();
    let pause = time(&state["until"]).since(before).as_secs();
    assert!((55..75).contains(&pause) && state["connection"] == "slow-service", "{state}");
    let shown = cli.run(&["runs", "show", &run]).await.expect(0).stdout;
    assert!(shown.contains("throttled until ") && shown.contains("the service of slow-service"), "{shown}");
    assert!(cli.run(&["runs"]).await.expect(0).stdout.contains("throttled until "));
    // The stream of events says it, too, and that the run is left.
    let tail = cli.start(&["runs", "tail", &run, "--json"]);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    child.kill().await.unwrap();
    assert_eq!(reaches(&cli, &run, "left").await, json!({ "is": "left" }));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    cli.run(&["runs", "cancel", &run]).await.expect(0);
    let lines = trunkline_tests::finish(tail).await.expect(5).stdout;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<_> = events.iter().filter(|event| event["event"] == "state").collect();
    assert_eq!((&states[0]["status"], &states[0]["until"]), (&json!("throttled"), &state["until"]), "{lines}");
    assert_eq!((&states[1]["status"], states.len()), (&json!("left"), 2), "{lines}");
}

#[tokio::test]
async fn an_empty_list_and_a_skipped_run_say_why_nothing_was_done() {
    let cli = Cli::default();
    let flow = json!({ "name": "nothing", "input": { "type": "object", "properties": { "new": { "type": "array" } } },
        "steps": [
            { "id": "new", "each": "{{ input.new }}", "steps": [{ "id": "s", "skip": "never" }] },
            { "id": "end", "skip": "{{ 'nothing is new' }}" }] });
    let file = cli.write("nothing.json", &flow.to_string());
    let printed = cli.run(&["run", &file, "--input", "{\"new\": []}"]).await.expect(0).stdout;
    assert!(printed.contains("new: nothing to do: the list is empty"), "{printed}");
    assert!(printed.contains("skipped: nothing is new"), "{printed}");
    let id = cli.run(&["runs", "--json"]).await.expect(0).json()["items"][0]["id"].as_str().unwrap().to_owned();
    let shown = cli.run(&["runs", "show", &id, "--json"]).await.expect(0).json();
    assert_eq!((&shown["skipped"], &shown["ledger"]["new"]["done"]), (&json!("nothing is new"), &json!(0)), "{shown}");
    let tail = cli.run(&["runs", "tail", &id]).await.expect(0).stdout;
    assert!(tail.contains("listed 0 items: nothing to do") && tail.contains("skipped: nothing is new"), "{tail}");
}
