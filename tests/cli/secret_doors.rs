//! Secrets through doors that are not marked as such: responses of a service that echoes its request, arguments, proxies,
//! and what the operating system keeps of a process.

use serde_json::{Value, json};
use trunkline_tests::{Cli, serve::Serve};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

const CANARY: &str = "canary/token+of=the \"service\"";
/// What is echoed and is not a secret: it shows that a door does show the echo.
const PLAIN: &str = "echo-of-a-parameter";

/// A service that returns what it was sent, in values and in names of members.
async fn echo() -> MockServer {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let sent = request.headers["authorization"].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
        let parameter = request.url.query_pairs().next().map(|(_, value)| value.into_owned()).unwrap_or_default();
        ResponseTemplate::new(200).set_body_json(json!({
            "echo": format!("{parameter}: {sent}"), "names": { sent.clone(): 1 }, "list": [sent]
        }))
    };
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn flow() -> Value {
    let request =
        json!({ "action": "request", "connection": "api", "input": { "path": "/", "query": { "q": PLAIN } } });
    let step = |id: &str| {
        let mut step = request.clone();
        step["id"] = id.into();
        step
    };
    json!({
        "name": "echoes", "connections": { "api": "http" }, "log": "all", "overlap": "parallel",
        "trigger": { "webhook": { "answer": "result" } },
        "steps": [step("first"), { "id": "all", "each": [1, 2, 3], "key": "{{ item }}",
            "label": "{{ steps.first.body.echo }}", "result": "{{ steps.second.body.list }}",
            "collect": "{{ steps.second.body }}", "steps": [
            step("second"),
            { "id": "no", "if": "{{ item == 1 }}", "skip": "{{ steps.second.body.echo }}" },
            { "id": "bad", "if": "{{ item == 2 }}", "fail": "{{ steps.second.body.echo }}" }
        ] }],
        "output": { "echo": "{{ steps.first.body }}", "all": "{{ steps.all }}" }
    })
}

async fn connected(server: &MockServer) -> Cli {
    let cli = Cli::default();
    cli.add(
        &json!({ "name": "http", "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": server.uri(),
        "authentication": "bearer", "token": CANARY.replace('"', "") }),
    )
    .await;
    cli
}

/// Returns whether a text shows the canary, as it is or escaped.
fn shows(text: &str) -> bool {
    // A store has a name `canary` of its own.
    ["canary/", "canary\\/", "canary%2", "Y2FuYXJ5"].iter().any(|form| text.contains(form))
}

#[tokio::test]
async fn a_service_that_echoes_its_request_shows_no_secret_through_any_door() {
    let server = echo().await;
    let cli = connected(&server).await;
    let added = trunkline_tests::serve::add(&cli, &flow(), &[]).await.expect(0).json();
    let run = cli.run(&["run", "echoes", "--json", "--log", "trace"]).await.expect(4);
    let id = run.json()["id"].as_str().unwrap().to_owned();
    let input = json!({ "path": "/", "query": { "q": PLAIN } }).to_string();
    let mut seen = vec![("run".to_owned(), run.stdout), ("the log of run".to_owned(), run.stderr)];
    for command in [
        &["call", "http.request", "--connection", "http", "--input", &*input][..],
        &["run", "echoes"],
        &["runs", "show", &id],
        &["runs", "items", &id],
        &["runs", "items", &id, "--csv"],
        &["runs", "find", "3"],
        &["runs", "tail", &id],
        &["runs", "log", &id],
        &["connection", "export", "--all"],
    ] {
        for more in [&[][..], &["--json"], &["--log", "trace"]] {
            let output = cli.run(&[command, more].concat()).await;
            seen.push((format!("{command:?} {more:?}"), output.stdout));
            seen.push((format!("the errors of {command:?} {more:?}"), output.stderr));
        }
    }
    // Labels and results are recorded in plain text.
    let kept = std::fs::read_dir(cli.data()).unwrap().filter_map(|file| std::fs::read(file.unwrap().path()).ok());
    let kept: Vec<_> = kept.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    assert!(kept.iter().any(|text| text.contains(&format!("\"label\":\"{PLAIN}"))), "the label is there");
    seen.extend(kept.into_iter().map(|text| ("a file of the data directory".to_owned(), text)));
    let serve = Serve::start(&cli).await;
    for part in ["", "/items", "/events", "/timeline", "/log"] {
        let url = serve.url(&format!("/rest/v1/runs/{id}{part}"));
        let text = serve.http.get(url).bearer_auth(&serve.token).send().await.unwrap().text().await.unwrap();
        seen.push((format!("GET {part}"), text));
    }
    let called = serve.http.post(serve.url(added["webhook"].as_str().unwrap())).send().await.unwrap();
    seen.push(("the answer of a webhook".to_owned(), called.text().await.unwrap()));
    // With what stands before it.
    let context = |text: &str| {
        let at = text.find("canary/").or_else(|| text.find("Y2FuYXJ5")).unwrap_or_default();
        text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect::<String>()
    };
    let shown: Vec<_> = seen.iter().filter(|(_, text)| shows(text)).map(|(door, text)| (door, context(text))).collect();
    assert!(shown.is_empty(), "{shown:#?}");
    // The twin: what is echoed and is not a secret is shown by most doors, so that they do show the echo.
    let echoed = seen.iter().filter(|(_, text)| text.contains(PLAIN)).count();
    assert!(echoed > 20, "{echoed} of {}", seen.len());
    let sent = server.received_requests().await.unwrap();
    assert!(sent.iter().all(|one| shows(one.headers["authorization"].to_str().unwrap())), "the service gets it");
}

#[tokio::test]
async fn a_secret_in_an_argument_is_warned_of_and_not_one_in_a_file() {
    let cli = Cli::default();
    let flow = cli.write("takes.json", &json!({ "name": "takes", "steps": [] }).to_string());
    for (input, is_secret) in [
        (r#"{"password":"p"}"#, true),
        (r#"{"login":{"api_key":"k"}}"#, true),
        (r#"{"all":[{"Client-Secret":"s"}]}"#, true),
        (r#"{"Authorization":"Bearer t"}"#, true),
        (r#"{"password":""}"#, false),
        (r#"{"tokens":7}"#, false),
        (r#"{"search":"spring"}"#, false),
    ] {
        let said = cli.run(&["run", &flow, "--input", input]).await.expect(0).stderr;
        assert_eq!(said.contains("other users of this machine can read the arguments"), is_secret, "{input}: {said}");
        // The twin: the same input from a file.
        let file = format!("@{}", cli.write("input.json", input));
        let said = cli.run(&["run", &flow, "--input", &file]).await.expect(0).stderr;
        assert!(!said.contains("arguments"), "{said}");
    }
}

#[tokio::test]
async fn the_password_of_a_proxy_is_not_logged() {
    let cli = Cli::default();
    cli.add(&json!({ "name": "http", "connector": "http-v1.0", "endpointUrl": "https://api.example.com",
        "authentication": "none" }))
        .await;
    let call = ["call", "http.request", "--connection", "http", "--input", r#"{"path":"/"}"#, "--log", "trace"];
    for proxy in ["http://ada:canary-of-a-proxy@127.0.0.1:9", "ada:canary-of-a-proxy@127.0.0.1:9"] {
        let mut command = cli.command(&call);
        let child = command.env("http_proxy", proxy).env("https_proxy", proxy).env_remove("no_proxy").spawn().unwrap();
        let output = trunkline_tests::finish(child).await.expect(1);
        assert!(!shows(&output.stdout) && !shows(&output.stderr), "{output:?}");
    }
}

/// A crash of the process leaves no file with its memory.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_core_dump_is_written() {
    let limits = |process: u32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        text.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned()
    };
    let cli = Cli::default();
    let serve = Serve::start(&cli).await;
    let line = limits(serve.process.id().unwrap());
    let numbers: Vec<_> = line.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers, ["0", "0"], "{line}");
    // The system lets only its administrator read the memory and the environment of such a process.
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(format!("/proc/{}/environ", serve.process.id().unwrap())).unwrap().uid();
    assert_eq!(owner, 0, "a file of the administrator");
}
