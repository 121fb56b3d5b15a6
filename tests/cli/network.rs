//! What the operator lets connections reach: the options of every command, and of `serve`.

use serde_json::{Value, json};
use trunkline_tests::{Cli, CommandOutput, finish};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const CALL: [&str; 7] = ["call", "http.request", "--connection", "shop", "--input", r#"{ "path": "/" }"#, "--json"];
const CONSENT: &str = "TRUNKLINE_ALLOW_PRIVATE_NETWORK";
const HOSTS: &str = "TRUNKLINE_ALLOW_HOSTS";

async fn server() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(json!({}))).mount(&server).await;
    server
}

fn shop(server: &MockServer) -> Value {
    json!({ "name": "shop", "connector": "http-v1.0", "endpointUrl": server.uri(), "allowPrivateNetwork": true,
        "authentication": "none" })
}

/// Runs a command with these variables instead of the consent that all tests give.
async fn run(cli: &Cli, arguments: &[&str], variables: &[(&str, &str)]) -> CommandOutput {
    let mut command = cli.command(arguments);
    command.env_remove(CONSENT).envs(variables.iter().copied());
    finish(command.spawn().unwrap()).await
}

#[tokio::test]
async fn a_private_network_needs_the_consent_of_the_operator() {
    let (cli, server) = (Cli::default(), server().await);
    cli.add(&shop(&server)).await;
    for variables in [&[][..], &[(CONSENT, "false")], &[(CONSENT, "0")]] {
        let error = run(&cli, &CALL, variables).await.expect(1).error();
        assert_eq!(error["kind"], "config", "{error}");
        let hint = error["hint"].as_str().unwrap();
        assert!(hint.contains("allowPrivateNetwork") && hint.contains("--allow-private-network"), "{hint}");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
    // The twins: each way to consent.
    run(&cli, &CALL, &[(CONSENT, "true")]).await.expect(0);
    run(&cli, &CALL, &[(CONSENT, "1")]).await.expect(0);
    run(&cli, &[&CALL[..], &["--allow-private-network"]].concat(), &[]).await.expect(0);
    // It is refused when it is added, too.
    let file = cli.write("shop.json", &shop(&server).to_string());
    let text = run(&cli, &["connection", "add", &file, "--replace"], &[]).await.expect(1).stderr;
    assert!(text.contains("allow-private-network"), "{text}");
    let issuer = server.uri();
    run(&cli, &["connection", "discover", &issuer], &[]).await.expect(1);
    // The command that starts simulators is the consent to reach them.
    run(&cli, &["demo", "--files", "3", "--json"], &[]).await.expect(0);
}

#[tokio::test]
async fn only_hosts_in_the_list_are_reached() {
    let (cli, server) = (Cli::default(), server().await);
    cli.add(&shop(&server)).await;
    let address = server.address().to_string();
    let file = format!("@{}", cli.write("hosts", &format!("# the shop\n{address}\n\napi.example.com # the vendor\n")));
    let missing = format!("@{}", cli.home().join("nowhere").display());
    for (list, code) in [
        (&*address, 0),
        ("127.0.0.1", 0),
        ("127.0.0.0/8, api.example.com", 0),
        ("*", 0),
        (&file, 0),
        ("", 1),
        ("api.example.com", 1),
        ("127.0.0.1:1", 1),
        ("localhost", 1),
        ("https://127.0.0.1", 1),
        (&missing, 1),
    ] {
        let before = server.received_requests().await.unwrap().len();
        let variables = [(CONSENT, "true"), (HOSTS, list)];
        let ended = run(&cli, &CALL, &variables).await.expect(code);
        let option = [&CALL[..], &["--allow-hosts", list]].concat();
        run(&cli, &option, &[(CONSENT, "true"), (HOSTS, "*")]).await.expect(code);
        let arrived = server.received_requests().await.unwrap().len() - before;
        assert_eq!(arrived > 0, code == 0, "{list}");
        if code == 1 && !list.is_empty() && !list.starts_with('@') {
            assert!(ended.error()["hint"].as_str().unwrap().contains("--allow-hosts"), "{list}: {}", ended.stderr);
        }
    }
}
