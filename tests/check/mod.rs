//! A check of a connection names the wrong setting: settings are broken one at a time, against the sandbox's login
//! servers and APIs and against faulty listeners, and each has to be reported at its own JSON pointer.
//!
//! The twin makes only the one harmless call, as a step of a flow would. It has to find fewer of them.
#![allow(clippy::unwrap_used)]

mod faulty;
mod rows;

use std::{fs, process::Stdio, sync::Arc};

use futures::future::join_all;
use serde_json::{Value, json};
use trunkline as _;
use trunkline_core::{
    CheckReport, Connected, Connection, Connections, Context, MemoryVault, Registry, Result, StageOutcome,
};
use trunkline_tests::{Cli, document, few, finish, sandbox};

use faulty::Tls;
use rows::{Broken, Parts};

fn connect(registry: &Registry, document: &Value) -> Result<Connected> {
    let connection = Connection::from_value(document.clone()).unwrap();
    let faults = registry.check(&connection);
    assert!(faults.is_empty(), "{faults:#?}");
    registry.connect(&connection, Arc::new(MemoryVault::default()), &|_| unreachable!("no references"))
}

/// Returns the report of `connection check`.
async fn check(registry: &Registry, document: &Value) -> CheckReport {
    match connect(registry, document) {
        Ok(connected) => connected.check().await,
        Err(error) => CheckReport::of_settings("", &error),
    }
}

/// Returns the setting that the harmless call alone names.
async fn call(registry: &Registry, document: &Value) -> Option<String> {
    let (action, input) = match document["connector"].as_str().unwrap() {
        "http-v1.0" => ("request", json!({ "method": "GET", "path": document["checkPath"] })),
        _ => ("user.current", json!({})),
    };
    let called = match connect(registry, document) {
        Ok(connected) => connected.run(action, input, &Context::new("", "twin", Connections::default())).await,
        Err(error) => Err(error),
    };
    called.err()?.setting_pointer().map(str::to_owned)
}

fn faults(row: &Broken, checked: &CheckReport) -> Vec<String> {
    let mut faults = Vec::new();
    let Some(found) = checked.findings.iter().find(|one| one.pointer == row.pointer) else {
        return vec![format!("{}: {} is not named: {checked:#?}", row.name, row.pointer)];
    };
    if found.severity != row.severity || found.advice().is_none_or(|advice| advice.is_empty()) {
        faults.push(format!("{}: severity or hint: {found:#?}", row.name));
    }
    let report = format!("{} {}", found.message, found.advice().unwrap_or_default());
    faults.extend(
        row.seen
            .iter()
            .filter(|words| !report.contains(**words))
            .map(|words| format!("{}: `{words}` is not in `{report}`", row.name)),
    );
    // One cause has one finding, unless the same host is in several settings.
    let others: Vec<_> = checked.findings.iter().map(|one| &*one.pointer).filter(|one| *one != row.pointer).collect();
    if others != row.beside {
        faults.push(format!("{}: beside {} there is {others:?}: {checked:#?}", row.name, row.pointer));
    }
    let failed = checked.stages.iter().find(|one| one.outcome == StageOutcome::Failed).map_or("", |one| one.stage);
    if failed != row.stage {
        faults.push(format!("{}: `{failed}` failed instead of `{}`: {checked:#?}", row.name, row.stage));
    }
    faults
}

#[tokio::test]
async fn each_misconfiguration_is_reported_at_its_setting() {
    let parts = Parts::start().await;
    let (rows, registry) = (rows::all(&parts), Registry::discover().unwrap());
    assert!(rows.len() >= 30, "{}", rows.len());
    let checked = join_all(rows.iter().map(|row| check(&registry, &row.document))).await;
    let faults: Vec<_> = rows.iter().zip(&checked).flat_map(|(row, checked)| faults(row, checked)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    // The twin: the call alone.
    let called = join_all(rows.iter().map(|row| call(&registry, &row.document))).await;
    let missed: Vec<_> = rows
        .iter()
        .zip(called)
        .filter(|(row, named)| named.as_deref() != Some(row.pointer))
        .map(|(row, _)| row.name)
        .collect();
    println!("the call alone names the setting of {} of {} rows", rows.len() - missed.len(), rows.len());
    assert!(missed.len() >= 10, "the stages add too little: the call alone misses only {missed:?}");
    parts.stop().await;
}

#[tokio::test]
async fn good_connections_have_no_finding() {
    let parts = Parts::start().await;
    let registry = Registry::discover().unwrap();
    for document in [parts.document("mediavalet"), parts.document("mediaflow"), parts.http()] {
        let checked = check(&registry, &document).await;
        assert_eq!(checked.findings, [], "{document}");
        assert!(checked.stages.iter().all(|one| one.outcome == StageOutcome::Ok), "{checked:?}");
        assert_eq!(checked.stages.last().unwrap().stage, "call");
    }
    parts.stop().await;
}

#[tokio::test]
async fn a_check_uses_the_existing_token() {
    let sandbox = sandbox(few(1)).await;
    let connected = connect(&Registry::discover().unwrap(), &document(&sandbox, "mediaflow")).unwrap();
    for _ in 0..3 {
        assert!(connected.check().await.is_ok());
    }
    let tokens = trunkline_tests::requests(&sandbox).await.into_iter().filter(|one| one["grant_type"].is_string());
    assert_eq!(tokens.count(), 1, "a check uses no refresh token while there is an access token");
    sandbox.stop().await;
}

/// A server whose authority this machine trusts, by its name and by another one.
#[tokio::test]
async fn a_certificate_for_another_name_differs_from_an_untrusted_one() {
    let cli = Cli::default();
    let checks = [("localhost", None), ("other.example", Some("for another name"))];
    for (name, seen) in checks {
        let tls = Tls::start(name).await;
        let authority = cli.write("authority.pem", &tls.authority);
        let document = json!({ "name": "api", "connector": "http-v1.0", "endpointUrl": format!("https://localhost:{}", tls.port),
            "allowPrivateNetwork": true, "authentication": "none" });
        cli.pipe(&["connection", "add", "-", "--replace"], &document.to_string()).await.expect(0);
        for trusted in [true, false] {
            let mut command = cli.command(&["connection", "check", "api", "--json"]);
            command.env_remove("SSL_CERT_DIR").stderr(Stdio::piped());
            if trusted {
                command.env("SSL_CERT_FILE", &authority);
            }
            let answer = finish(command.spawn().unwrap()).await;
            let report: Value = answer.json();
            let seen = if trusted { seen } else { Some("not trusted here") };
            assert_eq!(
                (answer.code, &report["ok"]),
                (if seen.is_some() { 3 } else { 0 }, &json!(seen.is_none())),
                "{report}"
            );
            if let Some(seen) = seen {
                assert_eq!(report["findings"][0]["pointer"], "/endpointUrl", "{report}");
                assert!(report["findings"][0]["message"].as_str().unwrap().contains(seen), "{report}");
                let outcomes: Vec<_> = report["stages"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
                assert_eq!(outcomes, ["ok", "ok", "failed", "skipped"], "{report}");
            }
        }
        fs::remove_file(authority).unwrap();
    }
}

#[tokio::test]
async fn the_text_output_shows_the_stages_and_the_next_step() {
    let sandbox = sandbox(few(1)).await;
    let cli = Cli::default();
    let mut settings = document(&sandbox, "mediavalet");
    settings["subscriptionKey"] = "wrong-canary".into();
    cli.add(&settings).await;
    let text = cli.run(&["connection", "check", "mediavalet"]).await.expect(3).stdout;
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let outcome = |stage: &str| rows.iter().find(|row| row.first() == Some(&stage)).and_then(|row| row.last()).copied();
    assert_eq!([outcome("tcp"), outcome("token"), outcome("call")], [Some("ok"), Some("ok"), Some("failed")], "{text}");
    assert!(text.contains("error: /subscriptionKey: ") && text.contains("next: copy the key"), "{text}");
    assert!(!text.contains("wrong-canary") && !text.contains("works"), "{text}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_warning_is_repeated_and_does_not_fail_the_check() {
    let parts = Parts::start().await;
    let cli = Cli::default();
    let mut document = parts.http();
    document["scopes"] = "api openid".into();
    cli.add(&document).await;
    // The second process finds the token and its granted scopes in the vault.
    for _ in 0..2 {
        let report = cli.run(&["connection", "check", "http", "--json"]).await.expect(0).json();
        assert_eq!((&report["ok"], report["findings"].as_array().unwrap().len()), (&json!(true), 1), "{report}");
        let found = &report["findings"][0];
        assert_eq!((&found["pointer"], &found["severity"]), (&json!("/scopes"), &json!("warning")), "{report}");
    }
    let text = cli.run(&["connection", "check", "http"]).await.expect(0).stdout;
    assert!(text.contains("warning: /scopes: ") && text.contains("http works."), "{text}");
    parts.stop().await;
}
