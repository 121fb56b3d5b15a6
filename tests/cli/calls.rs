//! `call`: runs one action, and sends nothing if the input is wrong.

use serde_json::{Value, json};
use trunkline_tests::{Cli, few, requests, sandbox};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

const SOME_ASSET: &str = "5a0d0001-7c1e-4b3a-9f00-00000000ffff";

#[tokio::test]
async fn a_call_prints_the_output_of_the_action() {
    let sandbox = sandbox(few(3)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let me = ["call", "mediavalet.user.current", "--connection", "mediavalet"];
    let plain = cli.run(&me).await.expect(0).json();
    assert_eq!(plain["userName"], "integration@example.com");
    assert_eq!(cli.run(&[&me[..], &["--json"]].concat()).await.expect(0).json(), plain);

    let input = json!({ "id": sandbox.root_folder(), "fields": ["id"] }).to_string();
    let call = ["call", "mediaflow.folder.files", "--connection", "mediaflow", "--json", "--input"];
    let files = cli.run(&[&call[..], &[&input]].concat()).await.expect(0).json();
    assert_eq!(files.as_array().unwrap().len(), 3);
    // The input may also come from a file or from standard input.
    let file = format!("@{}", cli.write("input.json", &input));
    assert_eq!(cli.run(&[&call[..], &[&file]].concat()).await.expect(0).json(), files);
    assert_eq!(cli.pipe(&[&call[..], &["-"]].concat(), &input).await.expect(0).json(), files);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_faulty_call_is_an_error_with_a_hint() {
    let sandbox = sandbox(few(1)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let missing = json!({ "assetId": SOME_ASSET }).to_string();
    for (action, connection, input, kind, words) in [
        ("mediavalet.asset.gte", "mediavalet", "{}", "not_found", "asset.get"),
        ("mediavallet.asset.get", "mediavalet", "{}", "not_found", "mediavalet"),
        ("asset", "mediavalet", "{}", "not_found", "CONNECTOR"),
        ("mediavalet.asset.get", "mediaflow", &missing, "config", "connections to mediavalet: mediavalet"),
        ("mediavalet.asset.get", "nothing", &missing, "not_found", "mediavalet"),
        ("mediavalet.asset.get", "mediavalet", "{}", "invalid_input", "schema action mediavalet.asset.get"),
        ("mediavalet.asset.get", "mediavalet", "{", "invalid_input", "JSON"),
        ("mediavalet.asset.get", "mediavalet", "@/no/such/file", "invalid_input", "path"),
    ] {
        let arguments = ["call", action, "--connection", connection, "--input", input];
        let error = cli.run(&[&arguments[..], &["--json"]].concat()).await.expect(1).error();
        assert_eq!(error["kind"], kind, "{error}");
        assert!(error["hint"].as_str().is_some_and(|hint| hint.contains(words)), "{words} in {error}");
        let text = cli.run(&arguments).await.expect(1).stderr;
        assert!(text.starts_with("error: ") && text.contains(words), "{text}");
    }
    let misspelt = json!({ "assetId": SOME_ASSET, "includeSoftDelete": true }).to_string();
    let call = ["call", "mediavalet.asset.get", "--connection", "mediavalet", "--json", "--input"];
    let error = cli.run(&[&call[..], &[&misspelt]].concat()).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().contains("/includeSoftDelete"), "{error}");
    assert_eq!(requests(&sandbox).await, [Value::Null; 0], "no request was sent");

    // This request is sent, and the service refuses it.
    let error = cli.run(&[&call[..], &[&missing]].concat()).await.expect(1).error();
    assert_eq!((&error["kind"], &error["context"]["status"]), (&json!("not_found"), &json!("404")), "{error}");
    assert_eq!(error["context"]["action"], "asset.get");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_id_that_would_leave_its_segment_is_refused_before_anything_is_sent() {
    let sandbox = sandbox(few(1)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let call = async |action: &str, input: Value| {
        let input = input.to_string();
        cli.run(&["call", action, "--connection", "mediavalet", "--json", "--input", &input]).await
    };
    for id in ["../../users", "%2e%2e", "a/b", "", "a\u{0}b", "a\r\nb", "..", ".", "..%2f", "\u{ff0f}", "a\\b"] {
        for (action, input) in [
            ("mediavalet.asset.remove_keyword", json!({ "assetId": SOME_ASSET, "keyword": id })),
            ("mediavalet.asset.remove_keyword", json!({ "assetId": id, "keyword": "red" })),
            ("mediavalet.asset.get", json!({ "assetId": id })),
        ] {
            let error = call(action, input).await.expect(1).error();
            assert_eq!(error["kind"], "invalid_input", "{id:?}: {error}");
            assert!(!error["message"].as_str().unwrap().contains('\u{0}'));
        }
    }
    assert_eq!(requests(&sandbox).await, [Value::Null; 0]);
    // The log of the sandbox would show the request. There is no such asset, so nothing is left to remove.
    call("mediavalet.asset.remove_keyword", json!({ "assetId": SOME_ASSET, "keyword": "red & blue" })).await.expect(0);
    let last = requests(&sandbox).await.pop().unwrap();
    assert_eq!(last["path"], format!("/mediavalet/assets/{SOME_ASSET}/keywords/red%20%26%20blue"));
    sandbox.stop().await;
}

#[tokio::test]
async fn all_items_of_a_list_are_printed_one_per_line() {
    let sandbox = sandbox(few(120)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let call = ["call", "mediaflow.file.latest", "--connection", "mediaflow", "--all", "--input", "{\"per_page\": 50}"];
    let lines = cli.run(&call).await.expect(0).stdout;
    let ids: std::collections::BTreeSet<_> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap()).collect();
    assert_eq!((lines.lines().count(), ids.len()), (120, 120));
    sandbox.stop().await;
}

#[tokio::test]
async fn the_sandbox_command_serves_the_connections_of_its_files() {
    let cli = Cli::default();
    let folder = cli.home().join("connections");
    let folder = folder.to_str().unwrap();
    let mut command = cli.command(&["sandbox", "--port", "0", "--files", "2", "--connections", folder, "--json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let printed: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    for connector in ["mediaflow", "mediavalet"] {
        cli.run(&["connection", "add", &format!("{folder}/{connector}.json")]).await.expect(0);
        cli.run(&["connection", "check", connector]).await.expect(0);
    }
    let input = json!({ "id": printed["folder"] }).to_string();
    let call = ["call", "mediaflow.folder.files", "--connection", "mediaflow", "--input", &input];
    assert_eq!(cli.run(&call).await.expect(0).json().as_array().unwrap().len(), 2);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn warnings_of_a_service_are_kept_when_the_call_succeeds() {
    let server = MockServer::start().await;
    let token = json!({ "access_token": "canary-access", "token_type": "bearer", "expires_in": 3600 });
    Mock::given(path("/token")).respond_with(ResponseTemplate::new(200).set_body_json(token)).mount(&server).await;
    let warned = json!({ "payload": { "id": "u1" }, "warnings": ["seats run out: canary-access", { "code": 7 }] });
    Mock::given(path("/users/current"))
        .respond_with(ResponseTemplate::new(200).set_body_json(warned))
        .mount(&server)
        .await;
    let cli = Cli::default();
    cli.add(&json!({
        "name": "dam", "allowPrivateNetwork": true, "connector": "mediavalet-v1.0", "endpointUrl": server.uri(), "subscriptionKey": "k",
        "tokenUrl": format!("{}/token", server.uri()), "authentication": "oauth2", "flows": "password",
        "username": "u", "password": "p", "clientId": "c", "clientSecret": "s",
    }))
    .await;
    let me = ["call", "mediavalet.user.current", "--connection", "dam"];
    let plain = cli.run(&me).await.expect(0);
    assert_eq!(plain.json()["id"], "u1", "the result is unchanged");
    assert!(plain.stderr.contains("warning: user.current at MediaValet: seats run out: ***\n"), "{}", plain.stderr);
    assert!(plain.stderr.contains("{\"code\":7}"), "{}", plain.stderr);

    let flow = json!({ "name": "who", "connections": { "dam": "mediavalet" },
        "steps": [{ "id": "me", "action": "user.current", "connection": "dam" }] });
    let file = cli.write("who.json", &flow.to_string());
    let ran = cli.run(&["run", &file]).await.expect(0);
    assert!(ran.stdout.contains("warning (1x): user.current at MediaValet: seats run out: ***"), "{}", ran.stdout);
    let runs = cli.run(&["--json", "runs"]).await.expect(0).json()["items"].take();
    let run = cli.run(&["--json", "runs", "show", runs[0]["id"].as_str().unwrap()]).await.expect(0).json();
    assert_eq!(run["warnings"].as_object().unwrap().len(), 2, "after the process is gone: {run}");
}
