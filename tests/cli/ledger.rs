//! `runs items`, `runs rerun`, `runs resolve`: the outcome of each item, reruns of failed items, and resolutions of
//! unknown outcomes, by several processes.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use trunkline_tests::{Cli, finish, fixture, milliseconds, until};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

/// Returns a flow in which these items fail.
fn flow(failing: &[&str]) -> String {
    json!({
        "name": "names",
        "input": { "type": "object", "properties": { "names": { "type": "array", "items": { "type": "string" } } },
            "required": ["names"] },
        "steps": [{ "id": "all", "each": "{{ input.names }}", "key": "{{ item }}", "steps": [
            { "id": "bad", "if": format!("{{{{ item in {} }}}}", json!(failing)), "fail": "=no {{ item }}, \"sorry\"" },
            { "id": "long", "if": "{{ item | length > 20 }}", "skip": "too long" }] }]
    })
    .to_string()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn items_are_listed_for_people_programs_and_spreadsheets() {
    let cli = Cli::default();
    let names = json!({ "names": ["=1+1", "a,b", "good", "a name that is much too long"] }).to_string();
    let file = cli.write("flow.json", &flow(&["=1+1", "a,b"]));
    let run = cli.run(&["run", &file, "--input", &names, "--json"]).await.expect(4).json();
    let id = run["id"].as_str().unwrap();
    let all = lines(&cli.run(&["runs", "items", id, "--json"]).await.expect(0).stdout);
    let seen: Vec<_> = all.iter().map(|one| (one["key"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
    let expected =
        [("=1+1", "failed"), ("a name that is much too long", "skipped"), ("a,b", "failed"), ("good", "done")];
    assert_eq!(seen, expected);
    assert_eq!((&all[0]["step"], &all[0]["error"]["kind"]), (&json!("all"), &json!("failed")), "{}", all[0]);
    assert!(milliseconds(&all[0]["at"]) >= milliseconds(&run["started_at"]));

    let failed = cli.run(&["runs", "items", &id[..11], "--status", "failed", "--csv"]).await.expect(0).stdout;
    let records: Vec<_> = failed.split("\r\n").collect();
    assert_eq!(records[0], "step,key,status,reason,kind,hint,failed_step,at,label,result");
    assert!(
        records[1].starts_with("all,\"'=1+1\",failed,\"'=no =1+1, \"\"sorry\"\"\",failed,,all/=1+1/bad,"),
        "{failed}"
    );
    assert!(records[2].starts_with("all,\"a,b\",failed,"), "{failed}");
    assert_eq!((records.len(), records[3]), (4, ""));

    let shown = cli.run(&["runs", "items", id, "--step", "all", "--status", "skipped"]).await.expect(0).stdout;
    assert!(
        shown.contains("skipped  all/a name that is much too long: too long") && shown.lines().count() == 1,
        "{shown}"
    );
    assert!(cli.run(&["runs", "items", id, "--step", "al"]).await.expect(0).stdout.is_empty());
    cli.run(&["runs", "items", "zzz"]).await.expect(1);
    cli.run(&["runs", "items", id, "--csv", "--json"]).await.expect(2);
    cli.run(&["runs", "items", id, "--status", "odd"]).await.expect(2);
}

/// Returns a flow that remembers its items, calls each by a label, and makes an id of its key.
fn remembering(failing: &[&str]) -> String {
    let mut document: Value = serde_json::from_str(&flow(failing)).unwrap();
    let more = json!({ "once": "{{ item }}", "label": "file {{ item }}", "result": { "id": "made-{{ item }}" },
        "collect": "{{ item }}" });
    document["steps"][0].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document["output"] = json!({ "failed": "{{ steps.all.failures | map('label') | join(', ') }}" });
    document.to_string()
}

#[tokio::test]
async fn items_are_found_in_all_runs_and_what_is_remembered_of_them_is_reset() {
    let cli = Cli::default();
    let names = json!({ "names": ["a", "100034", "b"] }).to_string();
    let file = cli.write("flow.json", &remembering(&["b"]));
    let run = cli.run(&["run", &file, "--input", &names, "--json"]).await.expect(4).json();
    let id = run["id"].as_str().unwrap();
    assert_eq!(run["output"]["failed"], "file b", "a message can name what failed");
    for name in ["100034", "file 100034", "made-100034"] {
        let found = cli.run(&["runs", "find", name, "--json"]).await.expect(0).json();
        let item = &found["items"][0];
        assert_eq!(
            (&item["run"], &item["flow"], &found["next"]),
            (&json!(id), &json!("names"), &Value::Null),
            "{found}"
        );
        assert_eq!((&item["key"], &item["status"]), (&json!("\"100034\""), &json!("done")));
        assert_eq!((&item["label"], &item["result"]["id"]), (&json!("file 100034"), &json!("made-100034")));
    }
    let shown = cli.run(&["runs", "find", "made-", "--prefix"]).await.expect(0).stdout;
    assert!(
        shown.lines().count() == 2 && shown.contains(id) && shown.contains("(file a) -> {\"id\":\"made-a\"}"),
        "{shown}"
    );
    let quoted = cli.run(&["runs", "find", "1000", "--prefix", "--json"]).await.expect(0).json();
    assert_eq!(quoted["items"][0]["key"], json!("\"100034\""), "{quoted}");
    let none = cli.run(&["runs", "find", "100035"]).await.expect(0).stdout;
    assert!(none.contains("no item") && none.contains("100035"), "{none}");
    assert_eq!(cli.run(&["runs", "find", "", "--json"]).await.expect(1).error()["kind"], "invalid_input");
    let csv = cli.run(&["runs", "items", id, "--status", "done", "--csv"]).await.expect(0).stdout;
    assert!(csv.contains("file a") && csv.contains("made-a"), "{csv}");

    let remembered = lines(&cli.run(&["once", "show", "names", "--json"]).await.expect(0).stdout);
    assert_eq!((remembered.len(), &remembered[0]["run"]), (2, &json!(id)), "{remembered:?}");
    let one = cli.run(&["once", "show", &file, "100034"]).await.expect(0).stdout;
    assert!(one.contains("done in run") && one.lines().count() == 1, "{one}");
    cli.run(&["once", "reset", "names"]).await.expect(2);
    cli.run(&["once", "reset", "names", "a", "--all"]).await.expect(2);
    let reset = cli.run(&["once", "reset", "names", "100034", "b", "--json"]).await.expect(0).json();
    assert_eq!(reset, json!({ "forgotten": 1, "unknown": [] }), "b has failed, and is not remembered");
    let again = cli.run(&["run", &file, "--input", &names, "--json"]).await.expect(4).json();
    assert_eq!((&again["ledger"]["all"]["done"], &again["output"]["failed"]), (&json!(1), &json!("file b")), "{again}");
    let all = cli.run(&["once", "reset", &file, "--all"]).await.expect(0).stdout;
    assert!(all.starts_with("2 items"), "{all}");

    // A run that waits is active.
    let mut waiting: Value = serde_json::from_str(&remembering(&[])).unwrap();
    waiting["steps"].as_array_mut().unwrap().push(json!({ "id": "pause", "wait": { "signal": "go" } }));
    let file = cli.write("flow.json", &waiting.to_string());
    let run = cli.start(&["run", &file, "--input", &names, "--json"]);
    let active = until("the run waits", async || {
        let list = cli.run(&["runs", "--json"]).await.expect(0).json();
        let id = list["items"][0]["id"].as_str()?.to_owned();
        let shown = cli.run(&["runs", "show", &id, "--json"]).await.expect(0).json();
        (shown["waiting"]["pause"]["signal"] == "go").then_some(id)
    })
    .await;
    let error = cli.run(&["once", "reset", "names", "--all", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "conflict");
    assert!(error["message"].as_str().unwrap().contains(&active), "{error}");
    cli.run(&["runs", "signal", &active, "go"]).await.expect(0);
    finish(run).await.expect(0);
}

#[tokio::test]
async fn flow_outputs_prints_what_each_step_yields() {
    let cli = Cli::default();
    let file = cli.write("flow.json", &remembering(&[]));
    let shown = cli.run(&["flow", "outputs", &file]).await.expect(0).stdout;
    for value in ["steps.all.collected[]", "steps.all.failures[].label", "true or false"] {
        assert!(shown.contains(value), "{value}: {shown}");
    }
    let yields = cli.run(&["flow", "outputs", &file, "--json"]).await.expect(0).json();
    assert_eq!((&yields[0]["step"], &yields[0]["does"]), (&json!("all"), &json!("each")));
    assert_eq!(yields[0]["schema"]["properties"]["collected"]["items"]["type"], "string");
    let faulty = cli.write("faulty.json", "{");
    assert_eq!(cli.run(&["flow", "outputs", &faulty, "--json"]).await.expect(1).error()["kind"], "config");
}

#[tokio::test]
async fn failed_items_are_rerun_with_the_same_flow_and_with_a_corrected_one() {
    let cli = Cli::default();
    let names = json!({ "names": ["a", "b", "c", "d"] }).to_string();
    let file = cli.write("flow.json", &flow(&["b", "d"]));
    let first = cli.run(&["run", &file, "--input", &names]).await.expect(4);
    let id = cli.run(&["runs", "--json"]).await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(first.stdout.contains(&format!("`trunkline runs rerun {id} --failed` reruns them")), "{}", first.stdout);

    let second = cli.run(&["runs", "rerun", "--failed", &id, "--json"]).await.expect(4).json();
    assert_eq!(second["ledger"]["all"]["failed"].as_object().unwrap().len(), 2, "it is the same flow: {second}");
    assert_eq!((&second["retry"]["run"], &second["ledger"]["all"]["done"]), (&json!(id), &json!(0)));
    let error = cli.run(&["runs", "rerun", "--failed", &id, "--json"]).await.expect(1).error();
    let newer = second["id"].as_str().unwrap();
    assert_eq!(error["message"], format!("run {id} was already rerun as run {newer}"));
    let shown = cli.run(&["runs", "show", &id]).await.expect(0).stdout;
    assert!(shown.contains(&format!("its failed items were rerun by run {newer}")), "{shown}");

    let faulty = cli.write("faulty.json", &flow(&["b"]).replace("\"each\"", "\"eech\""));
    cli.run(&["runs", "rerun", "--failed", newer, "--flow", &faulty]).await.expect(1);
    let corrected = cli.write("corrected.json", &flow(&[]));
    let third = cli.run(&["runs", "rerun", "--failed", newer, "--flow", &corrected, "--json"]).await.expect(0).json();
    assert_eq!((&third["status"], &third["ledger"]["all"]["done"]), (&json!("succeeded"), &json!(2)), "{third}");
    let shown = cli.run(&["runs", "show", third["id"].as_str().unwrap()]).await.expect(0).stdout;
    assert!(shown.contains(&format!("this is a rerun of the failed items of run {newer}")), "{shown}");

    // The saved flow of the same name has the corrected version.
    let again = cli.run(&["run", &file, "--input", &names, "--json"]).await.expect(4).json();
    cli.run(&["flow", "add", &corrected]).await.expect(0);
    let kept =
        cli.run(&["runs", "rerun", "--failed", again["id"].as_str().unwrap(), "--flow", "names", "--json"]).await;
    assert_eq!(kept.expect(0).json()["version"], third["version"]);

    let good = cli.run(&["run", &corrected, "--input", &names, "--json"]).await.expect(0).json();
    let error = cli.run(&["runs", "rerun", "--failed", good["id"].as_str().unwrap(), "--json"]).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().ends_with("has failed"), "{error}");
    let other = fixture("mixed.json").to_string_lossy().into_owned();
    let last = cli.run(&["run", &file, "--input", &names, "--json"]).await.expect(4).json();
    let error = cli
        .run(&["runs", "rerun", "--failed", last["id"].as_str().unwrap(), "--flow", &other, "--json"])
        .await
        .expect(1);
    assert!(error.error()["message"].as_str().unwrap().contains("is a run of flow names, not of mixed"));
}

/// A service that accepts every order, and loses its first three responses.
async fn service() -> MockServer {
    let (server, orders) = (MockServer::start().await, AtomicUsize::new(0));
    let answer = move |_: &Request| {
        let lost = orders.fetch_add(1, Ordering::SeqCst) < 3;
        ResponseTemplate::new(if lost { 502 } else { 201 }).set_body_json(json!({ "id": 7 }))
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn an_operator_resolves_creates_whose_responses_were_lost() {
    let cli = Cli::default();
    let server = service().await;
    let connection = json!({ "name": "shop", "connector": "http-v1.0", "allowPrivateNetwork": true,
        "endpointUrl": server.uri(), "authentication": "bearer", "token": "t" });
    cli.add(&connection).await;
    let order = json!({ "id": "order", "action": "request", "connection": "shop",
        "input": { "method": "POST", "path": "/orders", "body": { "name": "{{ item }}" } } });
    let document = json!({ "name": "orders", "connections": { "shop": "http" }, "steps": [
        { "id": "all", "each": ["a", "b", "c", "d"], "key": "{{ item }}", "once": true, "steps": [order] }] });
    let file = cli.write("orders.json", &document.to_string());
    let first = cli.run(&["run", &file]).await.expect(4).stdout;
    let id = cli.run(&["runs", "--json"]).await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(first.contains(&format!("`trunkline runs resolve {id} STEP done|retry|fail`")), "{first}");
    let unknown = lines(&cli.run(&["runs", "items", &id, "--status", "unknown", "--json"]).await.expect(0).stdout);
    assert_eq!(unknown.len(), 3);
    let hint = unknown[0]["error"]["hint"].as_str().unwrap();
    assert!(hint.ends_with(&format!("`trunkline runs resolve {id} all/a/order done|retry|fail` records its outcome")));
    let orders = async || server.received_requests().await.unwrap().len();
    assert_eq!(orders().await, 4);

    // Neither a lookup nor a run of the next night orders again.
    let error = cli.run(&["runs", "rerun", "--failed", &id, "--json"]).await.expect(1).error();
    assert!(error["hint"].as_str().unwrap().contains("--failed --unknown` looks up what is unknown"), "{error}");
    let night = cli.run(&["run", &file, "--json"]).await.expect(4).json();
    assert_eq!(night["ledger"]["all"]["skipped"], json!({ format!("unchanged since run {id}"): 1 }));
    assert_eq!(orders().await, 4);
    let night = night["id"].as_str().unwrap();
    let error = cli.run(&["runs", "resolve", night, "all/a", "done", "--json"]).await.expect(1).error();
    assert!(error["hint"].as_str().unwrap().contains(&format!("runs resolve {id} all/a")), "{error}");

    let settle = async |step: &str, verdict: &str, code: i32| {
        cli.run(&["runs", "resolve", &id, step, verdict, "--json"]).await.expect(code)
    };
    let done = ["runs", "resolve", &id, "all/a/order", "done", "--output", "{\"status\": 201}"];
    assert!(cli.run(&done).await.expect(0).stdout.contains("a of all is done."));
    let retried = settle("all/b", "retry", 0).await.json();
    assert_eq!((&retried["step"], &retried["items"][0]["status"]), (&json!("all/b/order"), &json!("failed")));
    settle("all/c/order", "fail", 0).await;
    assert_eq!(
        settle("all/d", "retry", 1).await.error()["message"],
        format!("all/d of run {id} needs no verdict: item d of all is done")
    );
    assert_eq!(settle("all/nothing", "done", 1).await.error()["kind"], "not_found");
    settle("all/b", "perhaps", 2).await;

    let second = cli.run(&["runs", "rerun", "--failed", &id, "--json"]).await.expect(0).json();
    assert_eq!(second["ledger"]["all"]["done"], 1, "b, and not c: {second}");
    assert_eq!(orders().await, 5);
    let last = cli.run(&["run", &file, "--json"]).await.expect(0).json();
    assert_eq!(last["ledger"]["all"]["done"], 1, "c was not ordered: {last}");
    assert_eq!(orders().await, 6);
    let shown = cli.run(&["runs", "list", "--json"]).await.expect(0).json()["items"].take();
    let counted = shown.as_array().unwrap().iter().find(|run| run["id"] == json!(id)).unwrap();
    assert_eq!(counted["items"], json!({ "done": 2, "failed": 2 }));
}

#[tokio::test]
async fn an_item_whose_delete_finds_nothing_says_so_in_its_row() {
    let cli = Cli::default();
    let server = MockServer::start().await;
    let missing = |request: &Request| match request.url.path() {
        "/orders/b" => ResponseTemplate::new(404),
        "/orders/c" => ResponseTemplate::new(410).set_body_json(json!({ "error": "gone" })),
        "/orders/e" => ResponseTemplate::new(403),
        _ => ResponseTemplate::new(204),
    };
    Mock::given(any()).respond_with(missing).mount(&server).await;
    let connection = json!({ "name": "shop", "connector": "http-v1.0", "allowPrivateNetwork": true,
        "endpointUrl": server.uri(), "authentication": "bearer", "token": "t" });
    cli.add(&connection).await;
    let delete = |path: &str| json!({ "id": "drop", "action": "request", "connection": "shop", "input": { "method": "DELETE", "path": path } });
    let document = json!({ "name": "orders", "connections": { "shop": "http" }, "steps": [
        { "id": "all", "each": ["a", "b", "c", "d", "e"], "key": "{{ item }}", "steps": [delete("/orders/{{ item }}")] }] });
    let file = cli.write("orders.json", &document.to_string());
    let ran = cli.run(&["run", &file]).await.expect(4).stdout;
    let id = cli.run(&["runs", "--json"]).await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let rows = lines(&cli.run(&["runs", "items", &id, "--json"]).await.expect(0).stdout);
    let reasons: Vec<_> = rows.iter().map(|row| (row["status"].as_str().unwrap(), row["reason"].as_str())).collect();
    let gone = [Some("request: already gone (404)"), Some("request: already gone (410)")];
    assert_eq!(
        reasons,
        [("done", None), ("done", gone[0]), ("done", gone[1]), ("done", None), ("failed", None)],
        "{rows:?}"
    );
    let csv = cli.run(&["runs", "items", &id, "--csv"]).await.expect(0).stdout;
    let records: Vec<_> = csv.split("\r\n").collect();
    assert!(records[2].starts_with("all,b,done,request: already gone (404),,,,"), "{csv}");
    assert!(records[1].starts_with("all,a,done,,,,,"), "{csv}");
    let shown = cli.run(&["runs", "items", &id, "--status", "done"]).await.expect(0).stdout;
    assert!(shown.contains("done     all/c: request: already gone (410)\n"), "{shown}");
    assert!(ran.contains("warning (1x): request: already gone (404)"), "{ran}");

    // A step outside a list says so in the run and among its events.
    let document = json!({ "name": "one", "connections": { "shop": "http" }, "steps": [delete("/orders/b")] });
    let file = cli.write("one.json", &document.to_string());
    let run = cli.run(&["run", &file, "--json"]).await.expect(0).json();
    assert_eq!(run["warnings"], json!({ "request: already gone (404)": 1 }), "{run}");
}

#[tokio::test]
async fn former_command_names_work_and_point_to_the_new_ones() {
    let cli = Cli::default();
    let flow = json!({ "name": "names", "input": { "type": "object" }, "steps": [
        { "id": "all", "each": ["a"], "key": "{{ item }}", "steps": [{ "id": "stop", "fail": "no" }] }
    ] });
    let file = cli.write("flow.json", &flow.to_string());
    let first = cli.run(&["run", &file, "--json"]).await.expect(4).json();
    let rerun = cli.run(&["runs", "retry", first["id"].as_str().unwrap()]).await.expect(4);
    assert!(
        rerun.stderr.contains("`trunkline runs retry` is now `trunkline runs rerun --failed`."),
        "{}",
        rerun.stderr
    );
    let resolve = cli.run(&["runs", "settle", first["id"].as_str().unwrap(), "all/a", "done"]).await.expect(1);
    assert!(resolve.stderr.contains("`trunkline runs settle` is now `trunkline runs resolve`."), "{}", resolve.stderr);
    let bare = cli.run(&["runs", "rerun", first["id"].as_str().unwrap()]).await.expect(2);
    assert!(bare.stderr.contains("--failed"), "{}", bare.stderr);
}
