//! Secrets appear nowhere: not on standard output, not in the log at the most verbose level, not in the files of the
//! store, not in errors.
//!
//! The idea: the test searches for canaries. These are the secrets of the settings, the keys of the store, and
//! everything secret that the systems issue: tokens, codes, upload URLs, download links. A relay between Trunkline and
//! the sandbox records the traffic, so that the test knows them.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE};
use data_encoding::{HEXLOWER, HEXUPPER};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trunkline_sandbox::{Faults, Options, Sandbox};
use trunkline_tests::{Cli, CommandOutput, document, few, fixture, flow_input, sandbox, shipped_flow};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

/// Starts a relay to the sandbox. It records the responses.
async fn relay(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, kept) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let keep = kept.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let keep = keep.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await.unwrap();
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                    let _ = to_server.shutdown().await;
                });
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                    keep.lock().unwrap().extend_from_slice(&buffer[..length]);
                    if to_client.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, kept)
}

/// Returns the values that follow a mark in the recorded bytes, each up to a character that cannot belong to it.
fn after(kept: &[u8], mark: &str) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(kept);
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
    text.split(mark)
        .skip(1)
        .map(|rest| rest.split(|c| !is_part(c)).next().unwrap_or_default().to_owned())
        .filter(|found| found.len() >= 16)
        .collect()
}

/// Returns a secret in every encoding in which it might appear.
fn encodings(canary: &str) -> Vec<(&'static str, Vec<u8>)> {
    let json = serde_json::to_string(canary).unwrap();
    let url = utf8_percent_encode(canary, NON_ALPHANUMERIC).to_string();
    let form: String =
        trunkline_rest::Url::parse_with_params("x:", [("", canary)]).unwrap().query().unwrap()[1..].to_owned();
    let lower = url.replace("%2F", "%2f").replace("%2B", "%2b").replace("%3D", "%3d");
    let mut all = vec![
        ("as it is", canary.as_bytes().to_vec()),
        ("JSON-escaped", json.as_bytes()[1..json.len() - 1].to_vec()),
        ("JSON-escaped twice", json[1..json.len() - 1].replace('\\', "\\\\").replace('"', "\\\"").into_bytes()),
        ("escaped for Rust", canary.escape_debug().to_string().into_bytes()),
        ("URL-escaped", url.into_bytes()),
        ("url-escaped", lower.into_bytes()),
        ("as in a form", form.into_bytes()),
        ("in hex", HEXLOWER.encode(canary.as_bytes()).into_bytes()),
        ("in HEX", HEXUPPER.encode(canary.as_bytes()).into_bytes()),
        ("backwards", canary.bytes().rev().collect()),
    ];
    // Base64 differs at each of three offsets, and its ends depend on the neighbouring bytes.
    for offset in 0..3 {
        let mut padded = vec![0; offset];
        padded.extend_from_slice(canary.as_bytes());
        let inner = |text: String| {
            let whole = padded.len() / 3 * 4;
            text.as_bytes()[if offset == 0 { 0 } else { 4 }..whole].to_vec()
        };
        all.push(("in base64", inner(BASE64_STANDARD.encode(&padded))));
        all.push(("in base64url", inner(BASE64_URL_SAFE.encode(&padded))));
    }
    all
}

/// Returns the places where a canary appears.
fn seen(canaries: &BTreeSet<String>, places: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut found = Vec::new();
    for canary in canaries {
        for (encoding, bytes) in encodings(canary) {
            for (place, content) in places {
                if contains(content, &bytes) {
                    found.push(format!("{canary} {encoding} in {place}"));
                }
            }
        }
    }
    found
}

fn contains(content: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return false };
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(part) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, places);
        } else {
            let file = (path.display().to_string(), fs::read(&path).unwrap());
            // An unchanged file was searched before.
            if !places.contains(&file) {
                places.push(file);
            }
        }
    }
}

/// All output and all files so far.
struct Watch {
    cli: Cli,
    places: Vec<(String, Vec<u8>)>,
}

impl Watch {
    async fn run(&mut self, arguments: &[&str]) -> CommandOutput {
        // The most verbose log level.
        let answer = self.cli.run(&[arguments, &["--log", "trace"]].concat()).await;
        self.note(&arguments[..2].join(" "), &answer);
        answer
    }

    fn note(&mut self, what: &str, answer: &CommandOutput) {
        self.places.push((format!("standard output of {what}"), answer.stdout.clone().into_bytes()));
        self.places.push((format!("standard error of {what}"), answer.stderr.clone().into_bytes()));
        // The files as they are now, write-ahead log included.
        collect(&self.cli.data(), &mut self.places);
    }
}

fn through(settings: &mut Value, sandbox: &Sandbox, relay: SocketAddr) {
    let (from, to) = (sandbox.address().to_string(), relay.to_string());
    for setting in ["endpointUrl", "tokenUrl", "authorizationUrl"] {
        if let Some(url) = settings[setting].as_str() {
            settings[setting] = url.replace(&from, &to).into();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_appears_anywhere() {
    let sandbox = sandbox(Options { files: 4, max_size: 6_000_000, min_size: 5_000_000, ..few(4) }).await;
    let (address, kept) = relay(sandbox.address()).await;
    let mut watch = Watch { cli: Cli::default(), places: Vec::new() };
    let mut canaries: BTreeSet<String> = BTreeSet::new();

    for connector in ["mediaflow", "mediavalet"] {
        let mut settings = document(&sandbox, connector);
        for secret in ["clientSecret", "refreshToken", "password", "subscriptionKey"] {
            canaries.extend(settings[secret].as_str().map(str::to_owned));
        }
        through(&mut settings, &sandbox, address);
        let answer =
            watch.cli.pipe(&["connection", "add", "-", "--log", "trace"], &settings.to_string()).await.expect(0);
        watch.places.push(("adding".into(), [answer.stdout, answer.stderr].concat().into_bytes()));
        watch.run(&["connection", "check", connector]).await.expect(0);
        watch.run(&["connection", "show", connector]).await.expect(0);
    }
    watch.run(&["connection", "list", "--json"]).await.expect(0);

    // A run in which uploads are started, interrupted, and started again: checkpoints hold signed URLs.
    let (flow, input) = (shipped_flow(), flow_input(&sandbox).to_string());
    let flow = logs_all(&watch.cli, &fs::read_to_string(flow).unwrap());
    let run = ["run", &flow, "--input", &input, "--json"];
    sandbox.set_faults(Faults { every_lost: Some(5), every_cut: Some(7), ..Faults::default() });
    let answer = watch.run(&run).await;
    assert!(answer.code == 0 || answer.code == 4, "{answer:?}");
    sandbox.set_faults(Faults::default());
    let mut id = answer.json()["id"].as_str().unwrap().to_owned();
    watch.run(&["runs", "show", &id, "--json"]).await.expect(0);
    watched(&mut watch, &id, answer.code).await;

    // Failures: refused tokens, a wrong client, a login server that is down.
    let mut wrong = document(&sandbox, "mediavalet");
    through(&mut wrong, &sandbox, address);
    wrong["name"] = "wrong".into();
    for (setting, value) in [
        ("clientSecret", "canary-of-a-wrong-client"),
        ("password", "canary of a wrong/password?&="),
        ("subscriptionKey", "canary-of-a-wrong-key"),
    ] {
        let mut settings = wrong.clone();
        settings[setting] = value.into();
        canaries.insert(value.to_owned());
        watch.cli.pipe(&["connection", "add", "-", "--replace"], &settings.to_string()).await.expect(0);
        watch.run(&["connection", "check", "wrong", "--json"]).await.expect(3);
        watch.run(&["call", "mediavalet.user.current", "--connection", "wrong", "--json"]).await.expect(1);
        let with = ["--connection", "target=wrong"];
        let failed = watch.run(&[&run[..], &with].concat()).await.expect(5);
        id = failed.json()["id"].as_str().unwrap().to_owned();
    }
    watched(&mut watch, &id, 5).await;
    // Killed in the middle of an upload: its state is on disk.
    sandbox.set_faults(Faults { latency: std::time::Duration::from_millis(150), ..Faults::default() });
    let copy = fixture("copy.json");
    let copy = ["run", copy.to_str().unwrap(), "--input", &input, "--connection", "target=mediavalet"];
    let mut child = watch.cli.start(&copy);
    let begun = sandbox.report().unfinished_uploads;
    trunkline_tests::until("an upload", async || (sandbox.report().unfinished_uploads > begun).then_some(())).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    child.kill().await.unwrap();
    collect(&watch.cli.data(), &mut watch.places);
    sandbox.expire_tokens();
    watch.run(&["call", "mediavalet.user.permissions", "--connection", "mediavalet"]).await.expect(0);

    canaries.insert(signs_in(&mut watch, &sandbox, address).await);
    watch.run(&["connection", "export", "--all"]).await.expect(0);

    let text = kept.lock().unwrap().clone();
    for (mark, at_least) in [("\"access_token\":\"", 3), ("\"refresh_token\":\"rt-", 1), ("sig=", 4), ("signature=", 4)]
    {
        let found = after(&text, mark);
        assert!(found.len() >= at_least, "{mark}: {found:?}");
        canaries.extend(found);
    }
    canaries.remove("");
    let names: Vec<_> = watch.places.iter().map(|(place, _)| place.as_str()).collect();
    assert!(names.iter().any(|name| name.ends_with("trunkline.db-wal")), "{names:?}");
    let logged = watch.places.iter().filter(|(_, content)| contains(content, b"TRACE")).count();
    assert!(logged > 5, "the log is on: {logged}");
    assert_eq!(seen(&canaries, &watch.places), [""; 0]);
    sandbox.stop().await;
}

/// Writes a flow that logs all calls with their inputs.
fn logs_all(cli: &Cli, flow: &str) -> String {
    let mut flow: Value = serde_json::from_str(flow).unwrap();
    flow["log"] = "all".into();
    cli.write("logged.json", &flow.to_string())
}

/// Reads a run in every way in which it can be watched, also over HTTP from a server that has not loaded a secret yet.
/// Returns the log of its calls.
async fn watched(watch: &mut Watch, id: &str, code: i32) -> String {
    for format in [&["--json"][..], &[]] {
        watch.run(&[&["runs", "tail", id], format].concat()).await.expect(code);
        watch.run(&[&["runs", "timeline", id], format].concat()).await.expect(0);
        watch.run(&[&["runs", "log", id], format].concat()).await.expect(0);
    }
    let serve = ["serve", "--json", "--listen", "127.0.0.1:0", "--log", "trace"];
    let mut process = watch.cli.command(&serve).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
    let about: Value = serde_json::from_str(&line).unwrap();
    let token = fs::read_to_string(about["token_file"].as_str().unwrap()).unwrap();
    for part in ["events", "timeline", "log"] {
        let address = format!("{}/rest/v1/runs/{id}/{part}", about["address"].as_str().unwrap());
        let answer = trunkline_tests::http().get(address).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{part}");
        let text = answer.text().await.unwrap();
        assert!(text.len() > 20, "{part}: {text}");
        watch.places.push((format!("{part} over HTTP"), text.into_bytes()));
    }
    let pid = process.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = trunkline_tests::finish(process).await.expect(0);
    watch.note("serve", &ended);
    let logged = watch.places.iter().rev().find(|(place, _)| place == "standard output of runs log");
    String::from_utf8(logged.unwrap().1.clone()).unwrap()
}

/// Signs in as a user does, and returns the code that the login server issued.
async fn signs_in(watch: &mut Watch, sandbox: &Sandbox, relay: SocketAddr) -> String {
    let mut settings = document(sandbox, "mediavalet");
    through(&mut settings, sandbox, relay);
    (settings["name"], settings["flows"]) = ("person".into(), "authorization_code".into());
    for only in ["username", "password"] {
        settings.as_object_mut().unwrap().remove(only);
    }
    watch.cli.add(&settings).await;
    let authorize = ["connection", "authorize", "person", "--paste", "--json", "--log", "trace"];
    let mut child = watch.cli.command(&authorize).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
    let open: Value = serde_json::from_str(&line).unwrap();
    let back = trunkline_tests::approve(open["open"].as_str().unwrap()).await;
    child.stdin.take().unwrap().write_all(format!("{back}\n").as_bytes()).await.unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).await.unwrap();
    let mut answer = trunkline_tests::finish(child).await.expect(0);
    answer.stdout = line + &rest;
    watch.note("connection authorize", &answer);
    let code = after(back.as_bytes(), "code=").pop_first();
    code.expect("the login server issued a code")
}

/// The secrets of a webhook and of the API: the secret that the sender signs with, and the tokens.
#[tokio::test(flavor = "multi_thread")]
async fn the_secrets_of_a_webhook_do_not_appear_either() {
    let mut watch = Watch { cli: Cli::default(), places: Vec::new() };
    let secret = "canary of a sender/who signs+\"so\"=";
    let flow =
        json!({ "name": "hook", "steps": [], "trigger": { "webhook": { "signature": { "header": "X-Signature" } } } });
    let added = trunkline_tests::serve::add(&watch.cli, &flow, &["--inactive"]).await.expect(0).json();
    let webhook = added["webhook"].as_str().unwrap().to_owned();
    watch.cli.pipe(&["flow", "secret", "hook", "-"], secret).await.expect(0);
    watch.run(&["flow", "activate", "hook"]).await.expect(0);
    let mut serve =
        watch.cli.command(&["serve", "--json", "--listen", "127.0.0.1:0", "--log", "trace"]).spawn().unwrap();
    let mut line = String::new();
    let mut lines = tokio::io::BufReader::new(serve.stdout.take().unwrap());
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
    let about: Value = serde_json::from_str(&line).unwrap();
    let (address, http) = (about["address"].as_str().unwrap(), trunkline_tests::http());
    let token = fs::read_to_string(about["token_file"].as_str().unwrap()).unwrap();
    for (signature, status) in [(signed(secret, "{}"), 202), (signed("another", "{}"), 401), ("junk".to_owned(), 401)] {
        let call = http.post(format!("{address}{webhook}")).header("X-Signature", signature).body("{}");
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), status);
        watch.places.push(("answer of a webhook".into(), answer.bytes().await.unwrap().to_vec()));
    }
    for part in ["flows", "runs", "connections"] {
        let answer = http.get(format!("{address}/rest/v1/{part}")).bearer_auth(&token).send().await.unwrap();
        watch.places.push((part.into(), answer.bytes().await.unwrap().to_vec()));
    }
    assert!(std::process::Command::new("kill").arg(serve.id().unwrap().to_string()).status().unwrap().success());
    let ended = trunkline_tests::finish(serve).await.expect(0);
    watch.note("serve", &ended);
    watch.run(&["flow", "show", "hook"]).await.expect(0);
    watch.run(&["flow", "list", "--json"]).await.expect(0);
    let canaries = [secret, &token, webhook.rsplit('/').next().unwrap()].map(str::to_owned);
    assert_eq!(seen(&canaries.into(), &watch.places), [""; 0]);
}

fn signed(secret: &str, body: &str) -> String {
    let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    hmac::Mac::update(&mut mac, body.as_bytes());
    HEXLOWER.encode(&hmac::Mac::finalize(mac).into_bytes())
}

/// The other authentications, with secrets that differ in every encoding; services that echo their input; keys of the
/// store; and a response with a signed URL, in a run.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_service_appears_either() {
    let mut watch = Watch { cli: Cli::default(), places: Vec::new() };
    let server = MockServer::start().await;
    let signed = "https://blob.test/c/b?sv=2025-01-05&sig=canary%2Fsignature%2Bof%2Fan%2Fanswer%3D";
    let link =
        ResponseTemplate::new(200).set_body_json(json!({ "link": signed, "items": [{ "id": 1, "link": signed }] }));
    Mock::given(path("/v1/link")).respond_with(link).mount(&server).await;
    // The error response echoes the request.
    let echo = |request: &wiremock::Request| {
        let sent =
            request.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()));
        let message = sent.collect::<Vec<_>>().join("; ");
        ResponseTemplate::new(401).set_body_json(json!({ "message": format!("refused: {message}") }))
    };
    Mock::given(path("/v1/echo")).respond_with(echo).mount(&server).await;

    let mut canaries =
        BTreeSet::from([signed.to_owned(), "canary%2Fsignature".to_owned(), "canary/signature".to_owned()]);
    let pass = "canary pass/w\"rd+9\\";
    for (name, mut settings) in [
        ("key", json!({ "authentication": "apiKey", "apiKey": "canary/api \"key\"+7=\\" })),
        ("basic", json!({ "authentication": "basic", "username": "integration", "password": pass })),
        ("bearer", json!({ "authentication": "bearer", "token": "canary/bearer+token=~8" })),
    ] {
        for secret in ["apiKey", "password", "token"] {
            canaries.extend(settings[secret].as_str().map(str::to_owned));
        }
        (settings["name"], settings["connector"]) = (name.into(), "http-v1.0".into());
        settings["endpointUrl"] = format!("{}/v1", server.uri()).into();
        settings["allowPrivateNetwork"] = true.into();
        settings["checkPath"] = "/echo".into();
        watch.cli.add(&settings).await;
        watch.run(&["connection", "check", name, "--json"]).await.expect(3);
        watch.run(&["connection", "check", name]).await.expect(3);
        for path in ["/echo", "/nothing"] {
            let input = json!({ "method": "GET", "path": path }).to_string();
            for format in [&["--json"][..], &[]] {
                let call = ["call", "http.request", "--connection", name, "--input", &input];
                watch.run(&[&call[..], format].concat()).await.expect(1);
            }
        }
        watch.run(&["connection", "export", name]).await.expect(0);
    }
    canaries.insert(BASE64_STANDARD.encode(format!("integration:{pass}")));

    // In a run: a later step uses a signed URL from a response, and another one fails with it.
    let flow = json!({
        "name": "links", "connections": { "shop": "http" },
        "steps": [
            { "id": "link", "action": "request", "connection": "shop", "input": { "method": "GET", "path": "/link" } },
            { "id": "each", "each": "{{ steps.link.body['items'] }}", "key": "{{ item.id }}", "steps": [
                { "id": "again", "action": "request", "connection": "shop", "input": { "method": "GET", "path": "/link" } },
                { "id": "echo", "action": "request", "connection": "shop", "input": { "method": "GET", "path": "/echo" } }
            ] }
        ]
    });
    let flow = logs_all(&watch.cli, &flow.to_string());
    let mut id = String::new();
    for shop in ["shop=key", "shop=bearer", "shop=basic"] {
        let answer = watch.run(&["run", &flow, "--connection", shop, "--json"]).await.expect(5);
        id = answer.json()["id"].as_str().unwrap().to_owned();
    }
    let logged = watched(&mut watch, &id, 5).await;
    assert!(logged.contains("https://blob.test/c/b?***") && logged.contains("/echo"), "{logged}");
    let mut old = fs::read_to_string(watch.cli.key_file()).unwrap();
    for _ in 0..2 {
        for key in [old.trim().to_owned(), hex(&BASE64_STANDARD.decode(old.trim()).unwrap())] {
            canaries.insert(key);
        }
        watch.run(&["key", "rotate"]).await.expect(0);
        old = fs::read_to_string(watch.cli.key_file()).unwrap();
    }
    watch.run(&["runs", "show", &id, "--json"]).await.expect(0);
    watch.run(&["runs", "resume", &id]).await.expect(5);
    watch.run(&["runs", "resume", "no-such-run", "--json"]).await.expect(1);
    watch.run(&["connection", "export", "--all"]).await.expect(0);
    assert!(canaries.len() >= 10, "{canaries:?}");
    let names: Vec<_> = watch.places.iter().map(|(place, _)| place.as_str()).collect();
    assert!(names.iter().any(|name| name.ends_with("trunkline.db")), "{names:?}");
    let logged = watch.places.iter().filter(|(_, content)| contains(content, b"TRACE")).count();
    assert!(logged > 5, "the log is on: {logged}");
    assert_eq!(seen(&canaries, &watch.places), [""; 0]);
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The sabotage twin: a planted secret is found.
#[tokio::test]
async fn a_planted_secret_is_found_in_every_encoding() {
    let canaries = BTreeSet::from(["s3cret/of+the=\"house\" \\".to_owned()]);
    let canary = canaries.first().unwrap();
    let hex = HEXLOWER.encode(canary.as_bytes());
    for planted in [
        canary.clone(),
        serde_json::to_string(&json!({ "message": format!("refused: {canary}") })).unwrap(),
        serde_json::to_string(&json!({ "body": json!({ "key": canary }).to_string() })).unwrap(),
        format!("{:?}", Some(canary)),
        trunkline_rest::Url::parse_with_params("https://dam.test/", [("key", canary)]).unwrap().to_string(),
        format!("x{canary}y"),
        format!("?token={}&x", utf8_percent_encode(canary, NON_ALPHANUMERIC)),
        format!("ff{hex}00"),
        hex.to_uppercase(),
        BASE64_STANDARD.encode(canary),
        BASE64_STANDARD.encode(format!("a{canary}")),
        BASE64_STANDARD.encode(format!("ab{canary} and more")),
        BASE64_URL_SAFE.encode(format!("user:{canary}")),
        canary.chars().rev().collect(),
    ] {
        let content = [b"\0\xff noise ".as_slice(), planted.as_bytes(), b"\0"].concat();
        assert!(!seen(&canaries, &[("here".into(), content)]).is_empty(), "{planted}");
    }
    assert_eq!(seen(&canaries, &[("here".into(), b"nothing of the kind".to_vec())]), [""; 0]);

    // In the store: a setting that is not a secret is in plain text there.
    let cli = Cli::default();
    let settings = json!({
        "name": "dam", "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "client_credentials",
        "subscriptionKey": "k", "clientId": canary, "clientSecret": "another secret of the house"
    });
    cli.add(&settings).await;
    let mut places = Vec::new();
    collect(&cli.data(), &mut places);
    assert!(!seen(&canaries, &places).is_empty());
    assert_eq!(seen(&BTreeSet::from(["another secret of the house".to_owned()]), &places), [""; 0]);
}
