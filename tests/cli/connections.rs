//! `connection`: add, list, show, check, remove.

use std::process::Stdio;

use serde_json::{Value, json};
use trunkline_sandbox::Sandbox;
use trunkline_tests::{Cli, document, few, finish, flow_input, sandbox, shipped_flow};

/// Returns a valid document. Tests break it in one way each.
fn good() -> Value {
    json!({
        "name": "dam", "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "password",
        "subscriptionKey": "k", "clientId": "id", "clientSecret": "s", "username": "u", "password": "p"
    })
}

#[tokio::test]
async fn of_two_processes_that_add_one_name_one_succeeds() {
    let cli = Cli::default();
    // The store is there before both begin.
    cli.run(&["connection", "list"]).await.expect(0);
    let flow = cli.write("flow.json", &json!({ "name": "flow", "steps": [] }).to_string());
    for round in 0..4 {
        let mut document = good();
        document["name"] = format!("dam{round}").into();
        let file = cli.write("dam.json", &document.to_string());
        let (connection, flow) = (["connection", "add", &file, "--json"], ["flow", "add", &flow, "--json"]);
        let [one, other, first, second] = [&connection, &connection, &flow, &flow].map(|all| cli.start(&all[..]));
        let (one, other, first, second) = tokio::join!(finish(one), finish(other), finish(first), finish(second));
        assert_eq!([one.code, other.code].iter().filter(|code| **code == 0).count(), 1, "round {round}");
        let refused = if one.code == 0 { other } else { one };
        assert_eq!(refused.expect(1).error()["kind"], "conflict");
        assert_eq!([first.code, second.code].iter().filter(|code| **code == 0).count(), usize::from(round == 0));
    }
}

#[tokio::test]
async fn a_connection_is_added_listed_shown_and_removed() {
    let cli = Cli::default();
    let file = cli.write("dam.json", &good().to_string());
    let added = cli.run(&["connection", "add", &file, "--json"]).await.expect(0).json();
    assert_eq!(added, json!({ "added": "dam" }));

    let list = cli.run(&["connection", "list", "--json"]).await.expect(0).json();
    assert_eq!((&list[0]["name"], &list[0]["connector"]), (&json!("dam"), &json!("mediavalet-v1.0")));
    assert_eq!((&list[0]["sign_in"], list.as_array().unwrap().len()), (&json!(null), 1));
    assert!(cli.run(&["connection", "list"]).await.expect(0).stdout.contains("not yet"));

    for arguments in [&["connection", "show", "dam"][..], &["connection", "show", "dam", "--json"]] {
        let shown = cli.run(arguments).await.expect(0).json();
        assert_eq!((&shown["clientId"], &shown["username"]), (&json!("id"), &json!("u")));
        for secret in ["subscriptionKey", "clientSecret", "password"] {
            assert_eq!(shown[secret], "***");
        }
    }

    // It is replaced only with `--replace`.
    let error = cli.run(&["connection", "add", &file, "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "conflict");
    assert!(error["hint"].as_str().unwrap().contains("--replace"), "{error}");
    let mut other = good();
    other["username"] = "v".into();
    cli.pipe(&["connection", "add", "-", "--replace"], &other.to_string()).await.expect(0);
    assert_eq!(cli.run(&["connection", "show", "dam"]).await.json()["username"], "v");

    let removed = cli.run(&["connection", "remove", "dam", "--json"]).await.expect(0).json();
    assert_eq!(removed, json!({ "removed": "dam" }));
    assert_eq!(cli.run(&["connection", "list", "--json"]).await.expect(0).json(), json!([]));
    for command in ["show", "check", "remove", "authorize"] {
        let error = cli.run(&["connection", command, "dam", "--json"]).await.expect(1).error();
        assert_eq!(error["kind"], "not_found", "{command}: {error}");
    }
}

#[tokio::test]
async fn all_faults_of_a_document_are_reported_at_once_with_their_pointers() {
    let cli = Cli::default();
    let mut faulty = good();
    faulty["name"] = "no spaces please".into();
    faulty["endpointUrl"] = json!(7);
    faulty["tokenUrl"] = "not an address".into();
    faulty["clientSecrt"] = "canary-1".into();
    faulty["password"] = json!(["canary-2"]);
    faulty.as_object_mut().unwrap().remove("clientSecret");
    faulty.as_object_mut().unwrap().remove("username");
    let answer = cli.pipe(&["connection", "add", "-", "--json"], &faulty.to_string()).await.expect(1);
    let error = answer.error();
    let message = error["message"].as_str().unwrap();
    for pointer in ["/name", "/endpointUrl", "/tokenUrl", "/clientSecrt", "/clientSecret", "/password", "/username"] {
        assert!(message.contains(&format!("{pointer}: ")), "{pointer} in {message}");
    }
    assert!(!answer.stderr.contains("canary"), "no value is quoted: {}", answer.stderr);
    assert_eq!(cli.run(&["connection", "list", "--json"]).await.expect(0).json(), json!([]), "nothing was saved");
}

#[tokio::test]
async fn each_kind_of_fault_has_a_hint() {
    let cli = Cli::default();
    let with = |name: &str, value: Value| {
        let mut document = good();
        document[name] = value;
        document
    };
    for (document, words) in [
        (with("clientSecrt", "x".into()), "did you mean clientSecret?"),
        (with("flows", "magic".into()), "client_credentials"),
        (with("authentication", "basic".into()), "oauth2"),
        (with("connector", "mediavallet-v1.0".into()), "mediavalet-v1.0"),
        (with("connector", "mediavalet-v9.0".into()), "mediavalet-v1.0"),
        (with("clientSecret", "".into()), "/clientSecret"),
        (with("clientSecret", json!({ "env": "A", "file": "b" })), "/clientSecret"),
        (with("clientId", Value::Null), "/clientId"),
        (with("password", json!(7)), "{\"env\": \"NAME\"}"),
    ] {
        let answer = cli.pipe(&["connection", "add", "-"], &document.to_string()).await.expect(1);
        assert!(answer.stderr.contains(words), "{words} in {}", answer.stderr);
        let error = cli.pipe(&["connection", "add", "-", "--json"], &document.to_string()).await.expect(1).error();
        assert_eq!(error["kind"], "config", "{error}");
    }
    let answer = cli.pipe(&["connection", "add", "-"], "{\n  \"name\": oops }").await.expect(1);
    assert!(answer.stderr.contains("standard input:2:"), "{}", answer.stderr);
    cli.pipe(&["connection", "add", "-"], "[1, 2]").await.expect(1);
    cli.run(&["connection", "add", "/no/such/file.json"]).await.expect(1);
}

#[tokio::test]
async fn secrets_may_come_from_the_environment_or_from_a_file() {
    let sandbox = sandbox(few(1)).await;
    let cli = Cli::default();
    let mut settings = document(&sandbox, "mediavalet");
    let secret = settings["clientSecret"].as_str().unwrap().to_owned();
    let key = cli.write("key.txt", &format!("{}\n", settings["subscriptionKey"].as_str().unwrap()));
    settings["clientSecret"] = json!({ "env": "DAM_SECRET" });
    settings["subscriptionKey"] = json!({ "file": key });
    cli.add(&settings).await;
    // Settings that are not secrets are shown.
    let shown = cli.run(&["connection", "show", "mediavalet"]).await.expect(0).json();
    assert_eq!(shown["clientSecret"], json!({ "env": "DAM_SECRET" }));

    let check = ["connection", "check", "mediavalet", "--json"];
    let report = cli.run(&check).await.expect(3).json();
    assert_eq!(report["findings"][0]["pointer"], "/clientSecret", "{report}");
    let child = cli.command(&check).env("DAM_SECRET", &secret).spawn().unwrap();
    assert_eq!(trunkline_tests::finish(child).await.expect(0).json()["ok"], true);
    std::fs::remove_file(&key).unwrap();
    let child = cli.command(&check).env("DAM_SECRET", &secret).spawn().unwrap();
    let report = trunkline_tests::finish(child).await.expect(3).json();
    assert_eq!(report["findings"][0]["pointer"], "/subscriptionKey", "{report}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_check_of_a_good_connection_finds_nothing() {
    let sandbox = sandbox(few(1)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    for name in ["mediaflow", "mediavalet"] {
        let found = cli.run(&["connection", "check", name, "--json"]).await.expect(0).json();
        assert_eq!((&found["connection"], &found["ok"], &found["findings"]), (&json!(name), &json!(true), &json!([])));
        let stages: Vec<_> = found["stages"].as_array().unwrap().iter().map(|one| &one["stage"]).collect();
        assert_eq!(stages, ["tcp", "token", "call"], "{found}");
        assert!(found["stages"].as_array().unwrap().iter().all(|one| one["outcome"] == "ok"), "{found}");
        assert!(cli.run(&["connection", "check", name]).await.expect(0).stdout.contains("works"));
    }
    let list = cli.run(&["connection", "list", "--json"]).await.expect(0).json();
    assert!(list.as_array().unwrap().iter().all(|one| one["sign_in"]["state"] == "ok"), "{list}");
    sandbox.stop().await;
}

/// Returns the address of a port without a listener.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Asserts that a check of a connection with one wrong setting names that setting.
async fn names(sandbox: &Sandbox, connector: &str, setting: &str, value: &str) {
    let cli = Cli::default();
    let mut settings = document(sandbox, connector);
    settings[setting] = value.into();
    cli.add(&settings).await;
    let answer = cli.run(&["connection", "check", connector, "--json"]).await.expect(3);
    let report = answer.json();
    assert_eq!(report["ok"], false);
    assert_eq!(report["findings"][0]["pointer"], format!("/{setting}"), "{value}: {report}");
    assert!(report["findings"][0]["hint"].is_string(), "{value}: {report}");
    assert!(!answer.stdout.contains("wrong-canary"));
}

#[tokio::test]
async fn a_check_names_the_token_url_if_it_has_no_listener() {
    let sandbox = sandbox(few(1)).await;
    names(&sandbox, "mediavalet", "tokenUrl", &format!("{}/connect/token", closed())).await;
    names(&sandbox, "mediaflow", "tokenUrl", "https://login.example.invalid/token").await;
    sandbox.stop().await;
}

#[tokio::test]
async fn a_check_names_the_setting_that_is_wrong() {
    let sandbox = sandbox(few(1)).await;
    let base = format!("http://{}", sandbox.address());
    let cases = [
        ("mediavalet", "clientSecret", "wrong-canary".to_owned()),
        ("mediavalet", "password", "wrong-canary".to_owned()),
        ("mediavalet", "subscriptionKey", "wrong-canary".to_owned()),
        ("mediavalet", "tokenUrl", format!("{base}/mediavalet-login/nothing/here")),
        ("mediavalet", "endpointUrl", format!("{base}/mediavalet/nothing/here")),
        ("mediavalet", "scopes", "openid api everything".to_owned()),
        ("mediaflow", "clientSecret", "wrong-canary".to_owned()),
        ("mediaflow", "refreshToken", "wrong-canary".to_owned()),
        ("mediaflow", "endpointUrl", format!("{}/1", closed())),
    ];
    let checks = cases.iter().map(async |(connector, setting, value)| names(&sandbox, connector, setting, value).await);
    futures::future::join_all(checks).await;
    // The text output names it as well.
    let cli = Cli::default();
    let mut settings = document(&sandbox, "mediavalet");
    settings["subscriptionKey"] = "wrong-canary".into();
    cli.add(&settings).await;
    let text = cli.run(&["connection", "check", "mediavalet"]).await.expect(3).stdout;
    assert!(text.contains("/subscriptionKey") && text.contains("next: "), "{text}");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_endpoint_without_encryption_is_refused_unless_it_is_this_machine() {
    let cli = Cli::default();
    let mut settings = good();
    settings["endpointUrl"] = "http://api.example.com".into();
    let error = cli.pipe(&["connection", "add", "-", "--json"], &settings.to_string()).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().contains("/endpointUrl: "), "{error}");
}

#[tokio::test]
async fn an_export_can_be_imported_and_holds_no_secret() {
    let cli = Cli::default();
    let mut first = good();
    for (setting, value) in [("clientSecret", "canary-client"), ("password", "canary-password")] {
        first[setting] = value.into();
    }
    first["name"] = "brand-library".into();
    first["subscriptionKey"] = json!({ "env": "DAM_KEY" });
    let mut second = good();
    for (setting, value) in [("name", "brand.library"), ("clientSecret", "canary-2"), ("password", "canary-3")] {
        second[setting] = value.into();
    }
    second["subscriptionKey"] = json!({ "file": "/run/secrets/key" });
    for one in [&first, &second] {
        cli.add(one).await;
    }

    let answer = cli.run(&["connection", "export", "brand-library"]).await.expect(0);
    let exported = answer.json();
    let mut expected = first.clone();
    expected["clientSecret"] = json!({ "env": "BRAND_LIBRARY_CLIENT_SECRET" });
    expected["password"] = json!({ "env": "BRAND_LIBRARY_PASSWORD" });
    assert_eq!(exported.to_string(), expected.to_string(), "in the same order, too");
    for words in ["BRAND_LIBRARY_CLIENT_SECRET", "BRAND_LIBRARY_PASSWORD", "/clientSecret of connection brand-library"]
    {
        assert!(answer.stderr.contains(words), "{words} in {}", answer.stderr);
    }
    assert!(!answer.stderr.contains("DAM_KEY"), "a setting that was a reference stays one: {}", answer.stderr);

    let all = cli.run(&["connection", "export", "--all", "--json"]).await.expect(0);
    assert_eq!(all.json()[0].to_string(), expected.to_string());
    assert_eq!(
        all.json()[1]["clientSecret"],
        json!({ "env": "BRAND_LIBRARY_CLIENT_SECRET_2" }),
        "each variable stands for one secret"
    );
    let report: Value = serde_json::from_str(&all.stderr).unwrap();
    let provide = report["provide"].as_array().unwrap();
    let one = json!({ "env": "BRAND_LIBRARY_PASSWORD_2", "connection": "brand.library", "setting": "/password" });
    assert!(provide.len() == 4 && provide.contains(&one), "{report}");
    for answer in [&answer, &all] {
        assert!(
            !answer.stdout.contains("canary") && !answer.stderr.contains("canary") && !answer.stdout.contains("***")
        );
    }

    // Imported elsewhere and exported from there, it is the same.
    let elsewhere = Cli::default();
    let added =
        elsewhere.pipe(&["connection", "add", "-", "--allow-references", "--json"], &all.stdout).await.expect(0).json();
    assert_eq!(added, json!({ "added": ["brand-library", "brand.library"] }));
    let again = elsewhere.run(&["connection", "export", "--all", "--json"]).await.expect(0);
    assert_eq!((&again.stdout, &*again.stderr), (&all.stdout, ""), "there are no more messages");
    // Either all are imported or none.
    elsewhere.pipe(&["connection", "add", "-"], &all.stdout).await.expect(1);
    let mut faulty = all.json();
    faulty[1]["flows"] = "magic".into();
    let third = Cli::default();
    third.pipe(&["connection", "add", "-"], &faulty.to_string()).await.expect(1);
    assert_eq!(third.run(&["connection", "list", "--json"]).await.json(), json!([]));
    let twice = json!([good(), good()]).to_string();
    assert!(third.pipe(&["connection", "add", "-"], &twice).await.expect(1).stderr.contains("twice"));

    let error = cli.run(&["connection", "export", "brand-libary", "--json"]).await.expect(1).error();
    assert_eq!(error["hint"], "did you mean brand-library?", "{error}");
    cli.run(&["connection", "export"]).await.expect(2);
}

#[tokio::test]
async fn a_connection_that_a_run_needs_is_not_removed() {
    let sandbox = sandbox(few(2)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    let mut wrong = document(&sandbox, "mediavalet");
    (wrong["name"], wrong["clientSecret"]) = ("wrong".into(), "not-the-secret".into());
    cli.add(&wrong).await;
    let (flow, input) = (shipped_flow(), flow_input(&sandbox).to_string());
    let run = ["run", flow.to_str().unwrap(), "--input", &input, "--json", "--connection"];
    // The run failed with an error that an operator can fix, so it can be resumed.
    let failed = cli.run(&[&run[..], &["target=wrong"]].concat()).await.expect(5).json();
    let id = failed["id"].as_str().unwrap();
    let done = cli.run(&[&run[..], &["target=mediavalet"]].concat()).await.expect(0).json();

    let list = cli.run(&["connection", "list", "--json"]).await.expect(0).json();
    let used = |name: &str| list.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()["used_by"].clone();
    let expected = json!([{ "run": id, "flow": done["flow"], "status": "failed" }]);
    assert_eq!((used("wrong"), used("mediaflow"), used("mediavalet")), (expected.clone(), expected, json!([])));
    let text = cli.run(&["connection", "list"]).await.expect(0).stdout;
    assert!(text.contains("Needed by") && text.contains(&format!("{id} of")), "{text}");

    for name in ["wrong", "mediaflow"] {
        let error = cli.run(&["connection", "remove", name, "--json"]).await.expect(1).error();
        assert_eq!(error["kind"], "conflict", "{error}");
        assert!(error["message"].as_str().unwrap().contains(id), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("--force"), "{error}");
    }
    cli.run(&["connection", "remove", "mediavalet"]).await.expect(0);
    cli.run(&["connection", "remove", "wrong", "--force"]).await.expect(0);
    assert_eq!(cli.run(&["runs", "resume", id, "--json"]).await.expect(1).error()["kind"], "not_found");
    cli.run(&["runs", "cancel", id]).await.expect(0);
    cli.run(&["connection", "remove", "mediaflow"]).await.expect(0);
    sandbox.stop().await;
}

/// A secret that also appears in plain text elsewhere can get into errors; the redactor removes it.
#[tokio::test]
async fn an_error_shows_no_known_secret() {
    let cli = Cli::default();
    let mut settings = good();
    // Adding the connection does not look at this value, and no header can carry it.
    (settings["name"], settings["subscriptionKey"]) = ("canary-of-client".into(), json!({ "env": "DAM_KEY" }));
    let run = async |more: &[&str]| {
        let mut command = cli.command(&[&["connection", "authorize", "canary-of-client"], more].concat());
        finish(command.env("DAM_KEY", "a\u{1}b").stderr(Stdio::piped()).spawn().unwrap()).await
    };
    // The redactor is needed: before the value is a secret, the same error shows it.
    for (secret, shown) in [("another-secret", "canary-of-client"), ("canary-of-client", "***")] {
        settings["clientSecret"] = secret.into();
        cli.pipe(&["connection", "add", "-", "--replace", "--allow-references"], &settings.to_string()).await.expect(0);
        let report = run(&["--json"]).await.expect(1);
        assert_eq!(report.error()["context"]["connection"], shown, "{report:?}");
        let report = run(&["--log", "trace"]).await.expect(1).stderr;
        assert!(report.contains(&format!("connection: {shown}")), "{report}");
        assert_eq!(report.contains("canary"), shown != "***", "{report}");
    }
}
