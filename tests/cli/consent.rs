//! What a document that a stranger wrote gets from a user that adds it: nothing that the options of the command do not
//! name. Each test has its twin beside it: with the option, the document gets it.

use serde_json::{Value, json};
use trunkline_sandbox::Sandbox;
use trunkline_tests::{BOUND, Cli, few, sandbox, serve::Serve};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

/// A flow that copies, started by a schedule.
fn theirs() -> Value {
    json!({
        "name": "theirs", "connections": { "source": "mediaflow", "target": "mediavalet" },
        "trigger": { "schedule": { "cron": "@yearly" } },
        "steps": [
            { "id": "one", "action": "user.current", "connection": "target" },
            { "id": "two", "action": "folder.files", "connection": "source", "input": { "id": 1 } }
        ]
    })
}

async fn connected() -> (Cli, Sandbox) {
    let (cli, sandbox) = (Cli::default(), sandbox(few(1)).await);
    cli.connect(&sandbox).await;
    (cli, sandbox)
}

async fn flows(cli: &Cli) -> Value {
    cli.run(&["flow", "list", "--json"]).await.expect(0).json()
}

#[tokio::test]
async fn a_flow_gets_the_connections_that_are_named_and_the_error_has_the_command() {
    let (cli, _sandbox) = connected().await;
    let file = cli.write("theirs.json", &theirs().to_string());
    let error = cli.run(&["flow", "add", &file, "--json"]).await.expect(1).error();
    assert_eq!(flows(&cli).await, json!([]), "{error}");
    // The twin is the command of the hint, as it is.
    let hint = error["hint"].as_str().unwrap().to_owned();
    let command = hint.split('`').nth(1).unwrap();
    let arguments: Vec<_> = command.split(' ').skip(1).collect();
    cli.run(&arguments).await.expect(0);
    let saved = flows(&cli).await;
    let bound = json!({ "source": "mediaflow", "target": "mediavalet" });
    assert_eq!((&saved[0]["connections"], &saved[0]["active"]), (&bound, &json!(true)), "{command}");
}

#[tokio::test]
async fn a_trigger_is_active_if_that_is_named_and_a_new_one_in_place_of_none_is_not() {
    let (cli, _sandbox) = connected().await;
    let mut flow = theirs();
    let trigger = flow.as_object_mut().unwrap().remove("trigger").unwrap();
    let file = cli.write("theirs.json", &flow.to_string());
    let added = async |more: &[&str]| {
        let answer = cli.run(&[&["flow", "add", &file, "--replace", "--json"], more].concat()).await.expect(0);
        answer.json()["added"]["active"].clone()
    };
    assert_eq!(added(&BOUND).await, true, "without a trigger there is nothing to activate");
    flow["trigger"] = trigger;
    cli.write("theirs.json", &flow.to_string());
    assert_eq!(added(&[]).await, false, "the flow that is replaced had no trigger");
    assert_eq!(added(&["--activate"]).await, true);
    assert_eq!(added(&[]).await, true, "an active trigger is replaced");
    assert_eq!(added(&["--inactive"]).await, false);
    let said = cli.run(&["flow", "add", &file, "--replace"]).await.expect(0).stdout;
    assert!(said.contains("`trunkline flow activate theirs`"), "{said}");
    assert_eq!(flows(&cli).await[0]["active"], false);
}

/// An active flow was agreed to with what starts it and what it reaches. A new version with more than that is not active,
/// and says so. The twin: with the option, it is.
#[tokio::test]
async fn a_new_version_that_starts_by_something_else_is_active_only_if_that_is_named() {
    let cli = Cli::default();
    for name in ["one", "two"] {
        cli.add(&json!({
            "name": name, "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "client_credentials",
            "subscriptionKey": "k", "clientId": "id", "clientSecret": "s"
        }))
        .await;
    }
    let flow = |trigger: &Value, more: bool| {
        let mut connections = json!({ "a": "mediavalet" });
        let mut steps = vec![json!({ "id": "call", "action": "user.current", "connection": "a" })];
        if more {
            connections["b"] = "mediavalet".into();
            steps.push(json!({ "id": "more", "action": "user.current", "connection": "b" }));
        }
        json!({ "name": "theirs", "connections": connections, "trigger": trigger, "steps": steps }).to_string()
    };
    let schedule = json!({ "schedule": { "cron": "@yearly" } });
    let poll =
        json!({ "poll": { "action": "category.list", "connection": "a", "key": "{{ item.id }}", "every": "1h" } });
    let hook = json!({ "webhook": {} });
    let one = &["--connection", "a=one"][..];
    for (before, after, more, reason) in [
        (&schedule, &json!({ "schedule": { "cron": "@daily" } }), one, None),
        (&hook, &json!({ "webhook": { "methods": ["PUT"] } }), &[], None),
        (&schedule, &hook, one, Some("another kind of trigger")),
        (&hook, &schedule, &[], Some("another kind of trigger")),
        (&schedule, &poll, one, Some("another kind of trigger")),
        (&poll, &poll, one, None),
        (&poll, &poll, &["--connection", "a=two"], Some("watches another connection")),
        (&schedule, &schedule, &["--connection", "b=two"], Some("connections that it did not use")),
        (&schedule, &schedule, &["--connection", "b=one"], None),
    ] {
        let file = cli.write("theirs.json", &flow(before, false));
        let replace = ["flow", "add", &file, "--replace", "--json"];
        let _ = cli.run(&["flow", "remove", "theirs"]).await;
        cli.run(&["flow", "add", &file, "--connection", "a=one", "--activate"]).await.expect(0);
        cli.write("theirs.json", &flow(after, more.contains(&"b=one") || more.contains(&"b=two")));
        let added = cli.run(&[&replace, more].concat()).await.expect(0).json();
        assert_eq!(added["added"]["active"], reason.is_none(), "{before} {after} {more:?}");
        let warnings = added["warnings"].to_string();
        assert_eq!(warnings.contains("not any more"), reason.is_some(), "{warnings}");
        assert!(warnings.contains(reason.unwrap_or_default()), "{warnings}");
        assert_eq!(warnings.contains("activate_flow"), reason.is_some(), "{warnings}");
        let named = cli.run(&[&replace, more, &["--activate"]].concat()).await.expect(0).json();
        assert_eq!(named["added"]["active"], true, "{before} {after} {more:?}");
    }
}

#[tokio::test]
async fn a_webhook_accepts_no_call_before_it_is_activated() {
    let cli = Cli::default();
    let flow = json!({ "name": "hook", "trigger": { "webhook": {} }, "steps": [] });
    let file = cli.write("hook.json", &flow.to_string());
    let added = cli.run(&["flow", "add", &file, "--json"]).await.expect(0).json();
    let serve = Serve::start(&cli).await;
    let call = || serve.http.post(serve.url(added["webhook"].as_str().unwrap())).send();
    assert_eq!(call().await.unwrap().status(), 404);
    cli.run(&["flow", "activate", "hook"]).await.expect(0);
    assert_eq!(call().await.unwrap().status(), 202);
}

#[tokio::test]
async fn a_new_version_gets_no_connection_that_the_earlier_one_did_not_have() {
    let (cli, _sandbox) = connected().await;
    let mut flow = theirs();
    flow["connections"].as_object_mut().unwrap().remove("source");
    flow["steps"].as_array_mut().unwrap().pop();
    let file = cli.write("theirs.json", &flow.to_string());
    cli.run(&["flow", "add", &file, "--connection", "target=mediavalet"]).await.expect(0);
    cli.write("theirs.json", &theirs().to_string());
    let error = cli.run(&["flow", "add", &file, "--replace", "--json"]).await.expect(1).error();
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("--connection source=mediaflow --replace") && !hint.contains("target="), "{error}");
    cli.run(&["flow", "add", &file, "--replace", "--connection", "source=mediaflow"]).await.expect(0);
}

#[tokio::test]
async fn a_saved_flow_without_connections_gets_none_when_it_is_run_or_activated() {
    let (cli, _sandbox) = connected().await;
    let file = cli.write("theirs.json", &theirs().to_string());
    cli.run(&["flow", "add", &file, "--inactive"]).await.expect(0);
    for command in [["run", "theirs", "--json"], ["flow", "activate", "theirs"]] {
        cli.run(&command).await.expect(1);
    }
    let serve = Serve::start(&cli).await;
    let start = async |body: Value| serve.post("/rest/v1/flows/theirs/runs", &body).await;
    let (status, refused) = start(json!({})).await;
    assert_eq!((status, &refused["kind"]), (422, &json!("config")), "{refused}");
    let (status, started) = start(json!({ "connections": { "source": "mediaflow", "target": "mediavalet" } })).await;
    assert_eq!(status, 202, "{started}");
}

#[tokio::test]
async fn a_connection_document_reads_no_secret_of_this_machine_unless_that_is_allowed() {
    let (cli, server) = (Cli::default(), MockServer::start().await);
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let secret = cli.write("id_ed25519", "canary of a file");
    let document = |name: &str, token: Value| {
        json!({ "name": name, "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": server.uri(),
            "authentication": "bearer", "token": token })
    };
    let env = document("env", json!({ "env": "THEIR_TARGET" }));
    let file = document("file", json!({ "file": secret }));
    for (input, words) in [
        (env.clone(), "/token of env reads the environment variable THEIR_TARGET, for 127.0.0.1"),
        (file.clone(), "id_ed25519, for 127.0.0.1"),
        (json!([document("plain", json!("t")), file.clone()]), "/token of file reads"),
    ] {
        let error = cli.pipe(&["connection", "add", "-", "--json"], &input.to_string()).await.expect(1).error();
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("--allow-references"), "{error}");
    }
    assert_eq!(cli.run(&["connection", "list", "--json"]).await.expect(0).json(), json!([]));
    // The twin: with the option, the secret of the machine is sent.
    cli.pipe(&["connection", "add", "-", "--allow-references"], &json!([env, file]).to_string()).await.expect(0);
    let call = ["call", "http.request", "--connection", "file", "--input", r#"{"path":"/"}"#];
    cli.run(&call).await.expect(0);
    let received = server.received_requests().await.unwrap();
    assert_eq!(received[0].headers["authorization"], "Bearer canary of a file");
}

#[tokio::test]
async fn a_connection_in_place_of_a_signed_in_one_does_not_get_its_sign_in_at_another_host() {
    let (cli, sandbox) = connected().await;
    cli.run(&["connection", "check", "mediavalet"]).await.expect(0);
    let same = trunkline_tests::document(&sandbox, "mediavalet");
    let mut other = same.clone();
    other["endpointUrl"] = "https://elsewhere.example.com".into();
    let replace = async |document: &Value| {
        cli.pipe(&["connection", "add", "-", "--replace", "--json"], &document.to_string()).await
    };
    let error = replace(&other).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().contains("would be sent to elsewhere.example.com"), "{error}");
    replace(&same).await.expect(0);
    // The twin: without a sign-in, there is nothing to send.
    cli.run(&["connection", "remove", "mediavalet"]).await.expect(0);
    replace(&same).await.expect(0);
    replace(&other).await.expect(0);
}

#[tokio::test]
async fn a_folder_connector_that_sends_credentials_to_another_host_is_reported_when_a_connection_is_added() {
    for (login, is_reported) in [("login.elsewhere.example", true), ("api.shop.example", false)] {
        let cli = Cli::default();
        let manifest = format!(
            "name = \"theirs\"\nversion = \"1.0\"\ntitle = \"Theirs\"\n[settings]\nendpointUrl = \
             \"https://api.shop.example\"\nauthentication = \"oauth2\"\nflows = \"client_credentials\"\ntokenUrl = \
             \"https://{login}/token\"\n"
        );
        std::fs::create_dir_all(cli.home().join("connectors/theirs/operations")).unwrap();
        cli.write("connectors/theirs/connector.toml", &manifest);
        cli.write(
            "connectors/theirs/operations/rows.toml",
            "[[operation]]\nname = \"thing.get\"\ntitle = \"Thing\"\nroute = \"GET /things\"\n",
        );
        let folder = cli.home().join("connectors").to_string_lossy().into_owned();
        let document = json!({ "name": "one", "connector": "theirs-v1.0", "clientId": "c", "clientSecret": "s" });
        let add = ["--connectors", &folder, "connection", "add", "-"];
        let said = cli.pipe(&add, &document.to_string()).await.expect(0).stderr;
        assert_eq!(said.contains("/tokenUrl: the connector also sends credentials to login."), is_reported, "{said}");
    }
}

/// References in the values of a flow are data, and a schema that refers to a file or a URL is not one that can be used.
#[tokio::test]
async fn a_flow_reads_no_variable_no_file_and_no_url() {
    let (cli, server) = (Cli::default(), MockServer::start().await);
    let secret = cli.write("secret.json", r#"{"type":"object"}"#);
    let flow = json!({ "name": "reads", "steps": [{ "id": "got", "set": {
        "a": { "env": "HOME" }, "b": { "file": secret }, "c": "{{ input.x | default('none') }}"
    } }], "output": { "got": "{{ steps.got }}" } });
    let run = cli.run(&["run", &cli.write("reads.json", &flow.to_string()), "--json"]).await.expect(0).json();
    assert_eq!(run["output"]["got"], json!({ "a": { "env": "HOME" }, "b": { "file": secret }, "c": "none" }));
    for reference in [format!("{}/schema.json", server.uri()), format!("file://{secret}"), secret.clone()] {
        let flow = json!({ "name": "refers", "steps": [], "input": { "$ref": reference } });
        let file = cli.write("refers.json", &flow.to_string());
        cli.run(&["flow", "add", &file, "--json"]).await.expect(1);
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

/// A flow that is saved calls saved flows; the files beside it are not read.
#[tokio::test]
async fn a_flow_that_is_added_does_not_bring_the_files_beside_it() {
    let cli = Cli::default();
    cli.write("beside.json", &json!({ "name": "beside", "steps": [] }).to_string());
    let flow = json!({ "name": "calls", "steps": [{ "id": "sub", "call": "beside" }] });
    let file = cli.write("calls.json", &flow.to_string());
    cli.run(&["flow", "add", &file]).await.expect(1);
    assert_eq!(flows(&cli).await, json!([]));
    cli.run(&["flow", "add", &cli.home().join("beside.json").to_string_lossy()]).await.expect(0);
    cli.run(&["flow", "add", &file]).await.expect(0);
}
