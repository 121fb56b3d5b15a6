//! The state that survives a crash of the sandbox.

use std::io::Write as _;

use reqwest::Method;
use serde_json::{Value, json};
use trunkline_sandbox::{Options, RefreshPolicy};

use crate::support::{Bench, small};

#[tokio::test]
async fn every_change_with_a_response_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        state: Some(folder.path().to_path_buf()),
        refresh_policy: RefreshPolicy::OneTime,
        refusals: true,
        ..small()
    };
    let bench = Bench::new(options.clone()).await;
    let (flow, user) = (bench.flow_bearer().await, bench.sandbox.credentials().mediavalet);
    let tokens = bench.valet_user(&user.username, &user.password).await;
    let valet = tokens["access_token"].as_str().unwrap();
    let first = bench.files(&flow, "filename").await.remove(0);
    let bytes = bench.original(&flow, &first["id"]).await;
    let done = bench.upload(valet, first["filename"].as_str().unwrap(), bytes.clone()).await;
    let (open, url) = bench.open_upload(valet, "open.bin").await;
    let staged = bench.http.put(format!("{url}&comp=block&blockid=AAAA")).body("first ").send().await.unwrap();
    assert_eq!(staged.status(), 201);
    let before = bench.sandbox.report();
    let port = bench.sandbox.address();
    drop(bench);

    let log = folder.path().join("events.jsonl");
    let mut incomplete = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    incomplete.write_all(b"{\"AssetGone\":\"").unwrap();
    let bench = Bench::new(Options { bind: port, ..options.clone() }).await;
    assert_eq!(bench.sandbox.report(), before);
    let (status, asset) = bench.valet(valet, Method::GET, &format!("/assets/{done}"), Value::Null).await;
    assert_eq!(status, 200, "the access token and the asset are restored");
    let original = asset["payload"]["media"]["original"].as_str().unwrap();
    assert_eq!(bench.http.get(original).send().await.unwrap().bytes().await.unwrap(), bytes);
    assert_eq!(bench.flow(&flow, "/users/me").await.status(), 200);

    let staged = bench.http.put(format!("{url}&comp=block&blockid=AAAB")).body("second").send().await.unwrap();
    assert_eq!(staged.status(), 201, "the signed URL stays valid");
    let list = "<BlockList><Latest>AAAA</Latest><Uncommitted>AAAB</Uncommitted></BlockList>";
    let committed = bench.http.put(format!("{url}&comp=blocklist")).body(list).send().await.unwrap();
    assert_eq!(committed.status(), 201, "the staged block survived");
    assert_eq!(bench.finish_upload(valet, &open, 12).await, 200);

    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
    assert_eq!(bench.valet_token(&form).await.0, 200);
    drop(bench);
    let bench = Bench::new(options).await;
    assert_eq!(bench.valet_token(&form).await.0, 400, "a used one-time token stays used");
    let report = bench.sandbox.report();
    assert_eq!((report.assets, report.unfinished_uploads), (before.assets + 1, 0));
    assert_eq!(report.digest_mismatches, 0);
}

#[tokio::test]
async fn a_corrupt_log_is_an_error_and_no_state_folder_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events.jsonl"), b"nonsense\n\"Hit\"\n").unwrap();
    let options = Options { state: Some(folder.path().to_path_buf()), ..small() };
    assert!(trunkline_sandbox::Sandbox::start(options).await.is_err());
    let bench = Bench::new(small()).await;
    let bearer = bench.valet_bearer().await;
    let (_, url) = bench.open_upload(&bearer, "a.bin").await;
    let staged = bench.http.put(format!("{url}&comp=block&blockid=AAAA")).body("x").send().await.unwrap();
    assert_eq!(staged.status(), 201);
    let body = json!({ "search": "*" });
    assert_eq!(bench.valet(&bearer, Method::POST, "/assets/search", body).await.0, 200);
    bench.sandbox.stop().await;
}

/// Not a test: the process that `kill_9_loses_no_change_that_has_a_response` kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn process_to_kill() {
    let Some(folder) = std::env::var_os("SANDBOX_STATE") else { return };
    let bind = std::env::var("SANDBOX_BIND").unwrap().parse().unwrap();
    let bench = Bench::new(Options { bind, state: Some(folder.into()), ..small() }).await;
    println!("\nlistening on {}", bench.sandbox.address());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn kill_9_loses_no_change_that_has_a_response() {
    use std::io::BufRead as _;
    let folder = tempfile::tempdir().unwrap();
    let spawn = |bind: &str| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["state::process_to_kill", "--exact", "--ignored", "--nocapture"])
            .env("SANDBOX_STATE", folder.path())
            .env("SANDBOX_BIND", bind)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned)).unwrap();
        (child, address)
    };
    let helper = Bench::new(small()).await;
    let user = helper.sandbox.credentials().mediavalet;
    let mut bind = "127.0.0.1:0".to_owned();
    let mut created = Vec::new();
    let mut bearer = String::new();
    for round in 0..3 {
        let (mut child, address) = spawn(&bind);
        let base = format!("http://{address}/mediavalet");
        if bearer.is_empty() {
            let form = [
                ("client_id", user.client_id.as_str()),
                ("client_secret", &user.client_secret),
                ("grant_type", "password"),
                ("username", &user.username),
                ("password", &user.password),
                ("scope", "openid api"),
            ];
            let (_, body) = helper.token(&format!("http://{address}/mediavalet-login/connect/token"), &form).await;
            bearer = body["access_token"].as_str().unwrap().to_owned();
        }
        let post = |name: String| {
            let request = helper
                .http
                .post(format!("{base}/uploads"))
                .bearer_auth(&bearer)
                .header("Ocp-Apim-Subscription-Key", &user.subscription_key)
                .json(&json!({ "filename": name }));
            async move { request.send().await.ok()?.json::<Value>().await.ok() }
        };
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(60));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        for number in 0.. {
            match post(format!("{round}-{number}.jpg")).await {
                Some(body) => created.push(body["payload"]["id"].as_str().unwrap().to_owned()),
                None => break,
            }
        }
        killer.join().unwrap();
        bind = address;
    }
    assert!(created.len() > 5, "only {} responses", created.len());
    let options = Options { state: Some(folder.path().to_path_buf()), ..small() };
    let bench = Bench::new(options).await;
    for id in &created {
        assert_eq!(bench.valet(&bearer, Method::GET, &format!("/assets/{id}"), Value::Null).await.0, 200);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_state_is_private_and_a_planted_link_is_not_followed() {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    let home = tempfile::tempdir().unwrap();
    let mode = |name: &str| std::fs::metadata(home.path().join(name)).unwrap().mode() & 0o777;
    let start = async |folder: &str| {
        trunkline_sandbox::Sandbox::start(Options { state: Some(home.path().join(folder)), ..small() }).await
    };
    start("a/state").await.unwrap().stop().await;
    assert_eq!((mode("a"), mode("a/state"), mode("a/state/blocks")), (0o700, 0o700, 0o700));
    assert_eq!(mode("a/state/events.jsonl"), 0o600);
    // A link that another user planted, to a file or to nothing.
    let log = std::fs::read(home.path().join("a/state/events.jsonl")).unwrap();
    for target in ["a/state/events.jsonl", "nothing"] {
        std::fs::create_dir(home.path().join("b")).unwrap();
        symlink(home.path().join(target), home.path().join("b/events.jsonl")).unwrap();
        let error = start("b").await.unwrap_err();
        assert!(error.to_string().contains("it is a symbolic link to"), "{error}");
        assert!(!home.path().join("nothing").exists(), "the link was not followed");
        std::fs::remove_dir_all(home.path().join("b")).unwrap();
    }
    assert_eq!(std::fs::read(home.path().join("a/state/events.jsonl")).unwrap(), log);
    // The sabotage twin: an ordinary open follows it.
    symlink(home.path().join("nothing"), home.path().join("link")).unwrap();
    std::fs::File::create(home.path().join("link")).unwrap();
    assert!(home.path().join("nothing").exists());
}
