//! `connection authorize`: a sign-in in the browser, with a small HTTP client as the browser.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Child,
};
use trunkline_sandbox::Sandbox;
use trunkline_tests::{Cli, CommandOutput, LONG, approve, document, few, finish, http, sandbox};

async fn prepared(cli: &Cli) -> Sandbox {
    let sandbox = sandbox(few(1)).await;
    let mut settings = document(&sandbox, "mediavalet");
    settings["flows"] = "authorization_code".into();
    for only in ["username", "password"] {
        settings.as_object_mut().unwrap().remove(only);
    }
    cli.add(&settings).await;
    sandbox
}

/// Starts a sign-in. Returns the process and its first line, which has the URL to open.
async fn begin(cli: &Cli, arguments: &[&str]) -> (Child, Value) {
    let arguments = [&["connection", "authorize", "mediavalet", "--json"], arguments].concat();
    let mut child = cli.command(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
    let mut line = String::new();
    tokio::time::timeout(LONG, lines.read_line(&mut line)).await.unwrap().unwrap();
    let open = serde_json::from_str(&line).unwrap();
    (child, open)
}

async fn is_signed_in(cli: &Cli) -> bool {
    cli.run(&["connection", "list", "--json"]).await.expect(0).json()[0]["sign_in"]["state"] == "ok"
}

/// Waits for the command to end with this code. It may have ended already.
async fn ends_with(child: Child, code: i32) -> CommandOutput {
    finish(child).await.expect(code)
}

#[tokio::test]
async fn the_browser_signs_in_and_comes_back() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let error = cli.run(&["call", "mediavalet.user.current", "--connection", "mediavalet", "--json"]).await;
    assert_eq!(error.expect(1).error()["kind"], "auth", "there is no sign-in yet");

    let (child, open) = begin(&cli, &[]).await;
    let back = approve(open["open"].as_str().unwrap()).await;
    assert!(back.starts_with(open["redirect_uri"].as_str().unwrap()), "{back}");
    let callback = http().get(&back).send().await.unwrap();
    assert_eq!(callback.status(), 303);
    let page = callback.url().join(callback.headers()["location"].to_str().unwrap()).unwrap();
    assert!(!page.as_str().contains("code="), "{page}");
    let page = http().get(page).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("close this page"));
    ends_with(child, 0).await;

    assert!(is_signed_in(&cli).await);
    let me = cli.run(&["call", "mediavalet.user.current", "--connection", "mediavalet"]).await.expect(0).json();
    assert_eq!(me["userName"], "integration@example.com");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_stray_call_of_the_callback_does_not_end_the_sign_in() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let (child, open) = begin(&cli, &[]).await;
    let callback = open["redirect_uri"].as_str().unwrap();
    for stray in ["", "?code=x", "?code=x&state=guessed", "?error=access_denied", "?state=guessed&error=access_denied"]
    {
        http().get(format!("{callback}{stray}")).send().await.unwrap();
    }
    let back = approve(open["open"].as_str().unwrap()).await;
    http().get(&back).send().await.unwrap();
    ends_with(child, 0).await;
    assert!(is_signed_in(&cli).await);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_user_who_declines_ends_the_sign_in() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let (child, open) = begin(&cli, &[]).await;
    let back = approve(open["open"].as_str().unwrap()).await;
    let state = back.split(['?', '&']).find(|part| part.starts_with("state=")).unwrap();
    let callback = open["redirect_uri"].as_str().unwrap();
    http().get(format!("{callback}?error=access_denied&{state}")).send().await.unwrap();
    let error = ends_with(child, 1).await.error();
    assert_eq!(error["kind"], "auth", "{error}");
    assert!(!is_signed_in(&cli).await);
    sandbox.stop().await;
}

#[tokio::test]
async fn the_callback_url_can_be_pasted_if_no_browser_reaches_the_host() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let (mut child, open) = begin(&cli, &["--paste"]).await;
    let back = approve(open["open"].as_str().unwrap()).await;
    child.stdin.take().unwrap().write_all(format!("{back}\n").as_bytes()).await.unwrap();
    ends_with(child, 0).await;
    assert!(is_signed_in(&cli).await);

    let (mut child, _) = begin(&cli, &["--paste"]).await;
    child.stdin.take().unwrap().write_all(format!("{back}\n").as_bytes()).await.unwrap();
    let error = ends_with(child, 1).await.error();
    assert!(error["hint"].is_string(), "the callback of another sign-in is refused: {error}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_connection_that_needs_no_browser_says_so() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    cli.connect(&sandbox).await;
    let error = cli.run(&["connection", "authorize", "mediaflow", "--json"]).await.expect(1).error();
    assert_eq!((&error["kind"], &error["context"]["setting"]), (&json!("config"), &json!("/flows")), "{error}");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_urls_of_a_login_server_are_discovered() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    let issuer = format!("http://{}/mediavalet-login", sandbox.address());
    let found =
        cli.run(&["connection", "discover", "--allow-private-network", &issuer, "--json"]).await.expect(0).json();
    let settings = json!({
        "tokenUrl": format!("{issuer}/connect/token"), "authorizationUrl": format!("{issuer}/connect/authorize"),
        "issuer": issuer, "revocationUrl": format!("{issuer}/connect/revocation"), "clientAuthentication": "form",
        "scopes": "openid offline_access",
    });
    assert_eq!(found["settings"], settings);
    assert!(!cli.data().exists(), "it needs no store");
    for (wrong, kind) in [("login.example.com", "invalid_input"), (&*format!("{issuer}/other"), "not_found")] {
        let error =
            cli.run(&["connection", "discover", "--allow-private-network", wrong, "--json"]).await.expect(1).error();
        assert_eq!(error["kind"], kind, "{error}");
        assert!(error["hint"].is_string(), "{error}");
    }
    sandbox.stop().await;
}
