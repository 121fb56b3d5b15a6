//! The steps of a run, its flow, its items as CSV, verbs for many runs, and the trigger of a flow.

use serde_json::{Value, json};
use trunkline_tests::{Cli, until};

use super::{Serve, events::waits, save};

fn flow() -> Value {
    json!({
        "name": "steps", "connections": { "dam": "mediavalet" },
        "input": { "type": "object", "properties": { "numbers": { "type": "array" } } },
        "steps": [
            { "id": "all", "each": "{{ input.numbers }}", "key": "{{ item.key }}", "steps": [
                { "id": "even", "if": "{{ item.number % 2 == 1 }}", "fail": "{{ item.key }}" },
                { "id": "pause", "wait": { "for": "1ms" } }
            ] },
            { "id": "words", "set": { "text": "a" } },
            { "id": "go", "wait": { "signal": "go" } }
        ]
    })
}

#[tokio::test]
async fn the_steps_of_a_run_are_shown_with_their_outputs() {
    let cli = Cli::default();
    let mut flow = flow();
    flow.as_object_mut().unwrap().remove("connections");
    save(&cli, &flow).await;
    let serve = Serve::start(&cli).await;
    let item = |number: u64, key: &str| json!({ "number": number, "key": key });
    let numbers = json!([item(2, "a/b"), item(4, "=1+1"), item(3, "odd")]);
    let run = serve.run("steps", &json!({ "numbers": numbers })).await;
    let payload = json!({ "word": "x".repeat(40_000), "link": "https://host.test/file?sig=abcdef" });
    let (status, body) = serve.post(&format!("/rest/v1/runs/{run}/signals/go"), &payload).await;
    assert_eq!(status, 202, "{body}");
    serve.ended(&run).await;
    let path = format!("/rest/v1/runs/{run}");
    let (_, all) = serve.get(&format!("{path}/steps")).await;
    let paths: Vec<_> = all["items"].as_array().unwrap().iter().map(|step| step["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["all", "all/*/even", "all/*/pause", "words", "go"], "{all}");
    let (each, go) = (&all["items"][0], &all["items"][4]);
    assert_eq!((&each["kind"], &each["state"]), (&json!("each"), &json!("failed")), "{each}");
    assert_eq!(each["items"], json!({ "done": 2, "failed": 1 }), "{each}");
    assert_eq!((&go["kind"], &go["state"], &go["attempts"]), (&json!("wait"), &json!("done"), &json!(1)), "{go}");
    assert_eq!((&all["items"][3]["state"], &all["next"]), (&json!("none"), &Value::Null));
    // The pages of a list are the list.
    let (mut cursor, mut found) = (String::new(), Vec::new());
    loop {
        let (_, page) = serve.get(&format!("{path}/steps?limit=2{cursor}")).await;
        found.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", next.replace('/', "%2F"));
    }
    assert_eq!(json!(found), all["items"]);
    // An output is cut, with a mark that says how long it is, and shows no signature.
    let (status, step) = serve.get(&format!("{path}/steps/go")).await;
    let text = step["output"].to_string();
    assert_eq!((status, &step["state"]), (200, &json!("done")), "{step}");
    assert!(text.len() < 17_000 && text.contains("(cut: 40000 bytes in all)") && !text.contains("abcdef"), "{text}");
    assert!(step["output_size"].as_u64().unwrap() > 40_000, "{step}");
    let (status, step) = serve.get(&format!("{path}/steps/all%2F*%2Fpause?item=a%2Fb")).await;
    assert_eq!((status, &step["path"]), (200, &json!("all/a~1b/pause")), "{step}");
    assert_eq!(serve.get(&format!("{path}/steps/all%2Fa~1b%2Fpause")).await, (200, step));
    for (wrong, expected) in [
        ("steps?limit=0", 400),
        ("steps?cursor=none", 400),
        ("steps?from=1", 400),
        ("steps/gone", 404),
        ("steps/all%2F*%2Fpause", 400),
        ("steps/go?item=a", 400),
        ("steps/all%2F*%2Fpause?item=gone", 404),
    ] {
        assert_eq!(serve.get(&format!("{path}/{wrong}")).await.0, expected, "{wrong}");
    }
    let (_, pinned) = serve.get(&format!("{path}/flow")).await;
    assert_eq!((&pinned["name"], &pinned["document"]), (&json!("steps"), &flow));
    let csv =
        serve.http.get(serve.url(&format!("{path}/items"))).bearer_auth(&serve.token).header("accept", "text/csv");
    let csv = csv.send().await.unwrap();
    assert_eq!((csv.status().as_u16(), &csv.headers()["x-content-type-options"]), (200, &"nosniff".parse().unwrap()));
    let text = csv.text().await.unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "step,key,status,reason,kind,hint,failed_step,at,label,result"), "{text}");
    assert!(text.contains("all,\"'=1+1\",done,") && text.contains("all,odd,failed,odd,"), "{text}");
    let by_command = cli.run(&["runs", "items", &run, "--csv"]).await.expect(0).stdout;
    assert_eq!(by_command.lines().count(), lines.len());
}

#[tokio::test]
async fn a_verb_for_many_runs_goes_on_although_one_is_refused() {
    let cli = Cli::default();
    save(&cli, &waits()).await;
    save(&cli, &json!({ "name": "other", "steps": [{ "id": "one", "set": {} }] })).await;
    let serve = Serve::start(&cli).await;
    let ended = serve.run("other", &json!({})).await;
    serve.ended(&ended).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(serve.run("waits", &json!({ "numbers": [] })).await);
    }
    let bulk = async |body: Value| serve.post("/rest/v1/runs/bulk", &body).await;
    let filter = json!({ "flow": "waits", "status": "running" });
    // The sabotage twin of `dry_run`: the same request without it, below.
    let (status, plan) = bulk(json!({ "verb": "cancel", "filter": filter, "dry_run": true })).await;
    assert_eq!((status, &plan["done"], &plan["refused"]), (200, &json!(3), &json!([])), "{plan}");
    for run in &runs {
        assert_eq!(serve.get(&format!("/rest/v1/runs/{run}")).await.1["status"], "running", "nothing was done");
    }
    let ids = json!([runs[0], "gone", ended, runs[0]]);
    let (_, done) = bulk(json!({ "verb": "cancel", "ids": ids })).await;
    assert_eq!((&done["matched"], &done["done"], &done["runs"]), (&json!(3), &json!(1), &json!([runs[0]])), "{done}");
    let refused: Vec<_> = done["refused"].as_array().unwrap().iter().map(|one| (&one["run"], &one["kind"])).collect();
    assert_eq!(refused, [(&json!("gone"), &json!("not_found")), (&json!(ended), &json!("conflict"))], "{done}");
    serve.ended(&runs[0]).await;
    let (_, page) = bulk(json!({ "verb": "cancel", "filter": { "flow": "waits", "limit": 2 } })).await;
    assert!(page["next"].is_string() && page["matched"] == 2, "{page}");
    serve.ended(&runs[1]).await;
    serve.ended(&runs[2]).await;
    let (_, left) = bulk(json!({ "verb": "cancel", "filter": { "flow": "waits", "cursor": page["next"] } })).await;
    assert_eq!((&left["done"], &left["next"]), (&json!(0), &Value::Null), "{left}");
    let (_, resumed) = bulk(json!({ "verb": "resume", "ids": [ended] })).await;
    assert_eq!((&resumed["done"], &resumed["refused"][0]["kind"]), (&json!(0), &json!("conflict")), "{resumed}");
    let (_, rerun) = bulk(json!({ "verb": "rerun", "filter": { "flow": "other" } })).await;
    assert_eq!(rerun["refused"][0]["kind"], "conflict", "{rerun}");
    for wrong in [
        json!({ "verb": "cancel" }),
        json!({ "verb": "cancel", "filter": {} }),
        json!({ "verb": "cancel", "filter": { "limit": 3 } }),
        json!({ "verb": "cancel", "filter": { "flow": "waits" }, "ids": [ended] }),
        json!({ "verb": "stop", "ids": [ended] }),
        json!({ "verb": "cancel", "ids": vec!["a"; 501] }),
        json!({ "verb": "cancel", "filter": { "flow": "waits", "since": "soon" } }),
    ] {
        assert_eq!(bulk(wrong.clone()).await.0, 400, "{wrong}");
    }
    serve.stop().await.expect(0);
    let plan = cli.run(&["runs", "remove", "--flow", "waits", "--dry-run", "--json"]).await.expect(0).json();
    assert_eq!((&plan["done"], &plan["matched"]), (&json!(3), &json!(3)), "{plan}");
    cli.run(&["runs", "remove", "--flow", "waits"]).await.expect(0);
    let left = cli.run(&["runs", "list", "--json"]).await.expect(0).json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
}

#[tokio::test]
async fn the_trigger_of_a_flow_says_when_it_starts_runs() {
    let cli = Cli::default();
    let steps = json!([{ "id": "one", "set": {} }]);
    let schedule = json!({ "schedule": { "cron": "30 2 * * *", "timezone": "Europe/Stockholm" } });
    save(&cli, &json!({ "name": "nightly", "steps": steps, "trigger": schedule })).await;
    save(&cli, &json!({ "name": "called", "steps": steps, "trigger": { "webhook": {} } })).await;
    save(&cli, &json!({ "name": "plain", "steps": steps })).await;
    let serve = Serve::start(&cli).await;
    let (status, nightly) = serve.get("/rest/v1/flows/nightly/trigger?limit=3").await;
    assert_eq!((status, &nightly["kind"], &nightly["trigger"]), (200, &json!("schedule"), &schedule), "{nightly}");
    let due: Vec<_> = nightly["due"].as_array().unwrap().iter().map(|due| due.as_str().unwrap()).collect();
    assert!(due.len() == 3 && due.is_sorted(), "{nightly}");
    assert!(due.iter().all(|due| due.contains("T00:30") || due.contains("T01:30")), "the clock of Stockholm: {due:?}");
    assert_eq!(serve.get("/rest/v1/flows/nightly/trigger").await.1["due"].as_array().unwrap().len(), 5);
    let (_, called) = serve.get("/rest/v1/flows/called/trigger").await;
    assert_eq!((&called["path"], &called["due"]), (&json!("/webhooks/called/***"), &json!([])), "{called}");
    assert!(called["url"].as_str().unwrap().ends_with("/webhooks/called/***") && called["active"] == true, "{called}");
    let (_, plain) = serve.get("/rest/v1/flows/plain/trigger").await;
    assert_eq!((&plain["kind"], &plain["trigger"], &plain["seen"]), (&Value::Null, &Value::Null, &json!(0)), "{plain}");
    for (path, expected) in [("gone/trigger", 404), ("plain/trigger?limit=0", 400), ("plain/trigger?limit=101", 400)] {
        assert_eq!(serve.get(&format!("/rest/v1/flows/{path}")).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn deliveries_to_a_webhook_are_listed_with_what_they_have_led_to() {
    let cli = Cli::default();
    let trigger = json!({ "webhook": { "delivery": "X-Delivery" } });
    let flow = json!({ "name": "called", "steps": [{ "id": "one", "set": {} }], "trigger": trigger });
    let added = save(&cli, &flow).await;
    let path = added["webhook"].as_str().unwrap();
    let serve = Serve::start(&cli).await;
    let call = async |delivery: Option<&str>| {
        let request = serve.http.post(serve.url(path)).json(&json!({ "password": "canary" }));
        let request = delivery.into_iter().fold(request, |request, id| request.header("x-delivery", id));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!([call(Some("a")).await, call(Some("a")).await, call(None).await], [202, 202, 400]);
    // A wrong token is nothing of this flow.
    let wrong = serve.url("/webhooks/called/0123456789");
    assert_eq!(serve.http.post(wrong).json(&json!({})).send().await.unwrap().status(), 404);
    let list = async || {
        let (status, list) = serve.get("/rest/v1/flows/called/deliveries").await;
        assert_eq!((status, &list["next"]), (200, &Value::Null));
        list["items"].as_array().unwrap().clone()
    };
    let all = until("three deliveries", async || Some(list().await).filter(|all| all.len() == 3)).await;
    let outcomes: Vec<_> = all.iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["refused", "duplicate", "started"], "{all:?}");
    assert_eq!((&all[0]["status"], &all[1]["run"]), (&json!(400), &all[2]["run"]), "{all:?}");
    assert!(all.iter().all(|one| one["trigger"] == "webhook" && one["at"].is_string()));
    let text = json!(all).to_string();
    assert!(!text.contains("canary") && !text.contains(path.rsplit('/').next().unwrap()), "{text}");
    let (_, trigger) = serve.get("/rest/v1/flows/called/trigger").await;
    assert_eq!(trigger["seen"], 1, "{trigger}");
    assert_eq!(serve.get("/rest/v1/flows/gone/deliveries").await.0, 404);
    // The newest 100 are kept, also by the next server.
    for number in 0..120 {
        assert_eq!(call(Some(&format!("n{number}"))).await, 202);
    }
    until("the latest deliveries", async || (list().await.len() == 100).then_some(())).await;
    serve.stop().await.expect(0);
    let kept = cli.run(&["flow", "trigger", "called", "--deliveries"]).await.expect(0).json();
    assert_eq!(kept["items"].as_array().unwrap().len(), 100, "{kept}");
}
