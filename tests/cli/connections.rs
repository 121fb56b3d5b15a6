//! `connection`: add, list, show, check, remove.

use serde_json::{Value, json};
use trunkline_sandbox::Sandbox;
use trunkline_tests::{Cli, document, few, sandbox};

/// A document that is faulty in exactly the ways a test makes it.
fn good() -> Value {
    json!({
        "name": "dam", "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "password",
        "subscriptionKey": "k", "clientId": "id", "clientSecret": "s", "username": "u", "password": "p"
    })
}

#[tokio::test]
async fn a_connection_is_added_listed_shown_and_removed() {
    let cli = Cli::default();
    let file = cli.write("dam.json", &good().to_string());
    let added = cli.run(&["connection", "add", &file, "--json"]).await.expect(0).json();
    assert_eq!(added, json!({ "added": "dam" }));

    let list = cli.run(&["connection", "list", "--json"]).await.expect(0).json();
    assert_eq!((&list[0]["name"], &list[0]["connector"]), (&json!("dam"), &json!("mediavalet-v1.0")));
    assert_eq!((&list[0]["signed_in"], list.as_array().unwrap().len()), (&json!(false), 1));
    assert!(cli.run(&["connection", "list"]).await.expect(0).stdout.contains("not yet"));

    for arguments in [&["connection", "show", "dam"][..], &["connection", "show", "dam", "--json"]] {
        let shown = cli.run(arguments).await.expect(0).json();
        assert_eq!((&shown["clientId"], &shown["username"]), (&json!("id"), &json!("u")));
        for secret in ["subscriptionKey", "clientSecret", "password"] {
            assert_eq!(shown[secret], "***");
        }
    }

    // Not by accident, but on purpose.
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
async fn all_faults_of_a_document_are_told_at_once_at_their_places() {
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
    assert!(!answer.stderr.contains("canary"), "values are not quoted: {}", answer.stderr);
    assert_eq!(cli.run(&["connection", "list", "--json"]).await.expect(0).json(), json!([]), "nothing was kept");
}

#[tokio::test]
async fn each_kind_of_fault_says_what_to_do() {
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
    assert!(answer.stderr.contains("-:2:"), "{}", answer.stderr);
    cli.pipe(&["connection", "add", "-"], "[1, 2]").await.expect(1);
    cli.run(&["connection", "add", "/no/such/file.json"]).await.expect(1);
}

#[tokio::test]
async fn secrets_may_stand_in_the_environment_or_in_a_file() {
    let sandbox = sandbox(few(1)).await;
    let cli = Cli::default();
    let mut settings = document(&sandbox, "mediavalet");
    let secret = settings["clientSecret"].as_str().unwrap().to_owned();
    let key = cli.write("key.txt", &format!("{}\n", settings["subscriptionKey"].as_str().unwrap()));
    settings["clientSecret"] = json!({ "env": "DAM_SECRET" });
    settings["subscriptionKey"] = json!({ "file": key });
    cli.add(&settings).await;
    // What is no secret is shown.
    let shown = cli.run(&["connection", "show", "mediavalet"]).await.expect(0).json();
    assert_eq!(shown["clientSecret"], json!({ "env": "DAM_SECRET" }));

    let check = ["connection", "check", "mediavalet", "--json"];
    let error = cli.run(&check).await.expect(1).error();
    assert_eq!((&error["kind"], &error["context"]["setting"]), (&json!("config"), &json!("/clientSecret")), "{error}");
    let child = cli.command(&check).env("DAM_SECRET", &secret).spawn().unwrap();
    assert_eq!(trunkline_tests::finish(child).await.expect(0).json()["ok"], true);
    std::fs::remove_file(&key).unwrap();
    let child = cli.command(&check).env("DAM_SECRET", &secret).spawn().unwrap();
    let error = trunkline_tests::finish(child).await.expect(1).error();
    assert_eq!(error["context"]["setting"], "/subscriptionKey", "{error}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_check_of_a_good_connection_finds_nothing() {
    let sandbox = sandbox(few(1)).await;
    let cli = Cli::default();
    cli.connect(&sandbox).await;
    for name in ["mediaflow", "mediavalet"] {
        let found = cli.run(&["connection", "check", name, "--json"]).await.expect(0).json();
        assert_eq!(found, json!({ "connection": name, "ok": true, "findings": [] }));
        assert!(cli.run(&["connection", "check", name]).await.expect(0).stdout.contains("works"));
    }
    let list = cli.run(&["connection", "list", "--json"]).await.expect(0).json();
    assert!(list.as_array().unwrap().iter().all(|one| one["signed_in"] == true), "{list}");
    sandbox.stop().await;
}

/// The address of a port that nobody listens on.
fn closed() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A check of a connection with one wrong setting names that setting.
async fn names(sandbox: &Sandbox, connector: &str, setting: &str, value: &str) {
    let cli = Cli::default();
    let mut settings = document(sandbox, connector);
    settings[setting] = value.into();
    cli.add(&settings).await;
    let answer = cli.run(&["connection", "check", connector, "--json"]).await.expect(3);
    let told = answer.json();
    assert_eq!(told["ok"], false);
    assert_eq!(told["findings"][0]["pointer"], format!("/{setting}"), "{value}: {told}");
    assert!(told["findings"][0]["hint"].is_string(), "{value}: {told}");
    assert!(!answer.stdout.contains("wrong-canary"));
}

#[tokio::test]
async fn a_check_names_the_token_url_if_nobody_answers_there() {
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
    // For a person the same.
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
    cli.add(&settings).await;
    let error = cli.run(&["connection", "check", "dam", "--json"]).await.expect(1).error();
    assert_eq!((&error["kind"], &error["context"]["setting"]), (&json!("config"), &json!("/endpointUrl")), "{error}");
}
