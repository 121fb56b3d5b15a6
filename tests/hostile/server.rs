//! The attacked server: its connections and flows, its memory, its log and its routes.

use std::{fs, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::process::Child;
use trunkline_tests::{
    Cli, CommandOutput, LONG, finish, memory,
    serve::{Serve, add},
};

use super::{healthy::Target, peer::Peer, secrets};

/// The memory at which a process is killed, in KiB: other tests run on this machine.
const KILLED_AT: u64 = 1_500_000;

/// The token and the client secret of the connections, and what Basic authentication makes of the latter.
const CANARIES: [&str; 3] =
    ["canary-b3arer-t0ken-51f7", "canary-cl1ent-secret-8a20", "client:canary-cl1ent-secret-8a20"];
/// The behaviours of the peer as a token endpoint.
const TOKEN_ENDPOINTS: [&str; 5] = ["values", "huge", "slow", "echo", "echo401"];

/// What was seen of a process.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The most memory, in KiB.
    pub(crate) peak: u64,
    /// Why the process has ended too early, if it has.
    pub(crate) ended: Option<String>,
}

/// A server under attack, with the same connections and flows each time.
pub(crate) struct Attacked {
    cli: Cli,
    serve: Serve,
    hook: String,
    /// A finished run with many events.
    pub(crate) watched: String,
    memory: tokio::task::JoinHandle<Seen>,
}

impl Attacked {
    /// Starts a server. It has connections to the peer, and flows that call it, if the peer is to attack it.
    pub(crate) async fn start(peer: &Peer, with_services: bool) -> Attacked {
        let cli = Cli::default();
        if with_services {
            connections(&cli, peer).await;
            flows(&cli).await;
        }
        let folder = folder(&cli);
        let log = fs::File::create(cli.home().join("log")).unwrap();
        let arguments = ["--connectors", &folder, "--listen", "127.0.0.1:0", "--log", "debug"];
        let mut serve = Serve::logging(&cli, &arguments, Stdio::from(log)).await;
        let memory = tokio::spawn(peak(serve.process.id().unwrap()));
        add(&cli, &many(), &[]).await.expect(0);
        let hook = add(&cli, &healthy(), &[]).await.expect(0).json()["webhook"].as_str().unwrap().to_owned();
        let watched = serve.run("many", &json!({})).await;
        serve.ended(&watched).await;
        assert!(serve.process.try_wait().unwrap().is_none());
        Attacked { cli, serve, hook, watched, memory }
    }

    pub(crate) fn target(&self) -> Target {
        Target { server: self.serve.address.clone(), hook: self.hook.clone(), token: self.serve.token.clone() }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.serve.process.try_wait().unwrap().is_none()
    }

    /// Returns the places at which a secret can be seen: in the log, and in all that the API shows of runs. If the peer
    /// repeats secrets, they have to be there as `***`.
    pub(crate) async fn secrets(&self, are_repeated: bool) -> Vec<String> {
        let token = self.serve.token.trim().to_owned();
        let get = async |path: &str| {
            let request = self.serve.http.get(self.serve.url(path)).bearer_auth(&self.serve.token);
            request.timeout(LONG).send().await.unwrap().text().await.unwrap()
        };
        let list = get("/rest/v1/runs?limit=500").await;
        let mut page: Value = serde_json::from_str(&list).unwrap();
        let runs: Vec<Value> = serde_json::from_value(page["items"].take()).unwrap();
        let mut texts = vec![("/rest/v1/runs".to_owned(), list)];
        let of_attack = |run: &&Value| run["status"] != "running" && run["flow"] != "healthy" && run["flow"] != "many";
        let ended: Vec<_> = runs.iter().filter(of_attack).take(12).collect();
        println!("looked for secrets in the log and in {} runs", ended.len());
        for run in ended {
            for part in ["", "/log", "/items", "/timeline", "/events"] {
                let path = format!("/rest/v1/runs/{}{part}", run["id"].as_str().unwrap());
                texts.push((path.clone(), get(&path).await));
            }
        }
        for path in ["/rest/v1/connections", "/rest/v1/flows", "/health"] {
            texts.push((path.to_owned(), get(path).await));
        }
        texts.push(("the log".to_owned(), self.log()));
        if are_repeated && !texts.iter().any(|(_, text)| text.contains("***")) {
            return vec!["no text at all, which proves nothing".to_owned()];
        }
        let canaries: Vec<&str> = CANARIES.into_iter().chain([&*token]).collect();
        secrets::places(texts, &canaries)
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.cli.home().join("log")).unwrap()).into_owned()
    }

    /// Ends the server, and returns what was seen of it.
    pub(crate) async fn stop(mut self) -> Seen {
        let ended = self.serve.process.try_wait().unwrap();
        self.serve.kill().await;
        let seen = self.memory.await.unwrap();
        let ended = ended.map(|status| format!("{status}, after {} KiB of memory", seen.peak));
        Seen { ended, ..seen }
    }
}

/// Returns the most memory of a process until it ends. A process that needs far too much is killed.
async fn peak(process: u32) -> Seen {
    let mut seen = Seen::default();
    while let Some(peak) = memory::status(process, "VmHWM") {
        seen.peak = peak.max(seen.peak);
        if memory::status(process, "VmRSS").is_some_and(|now| now > KILLED_AT) {
            let _ = std::process::Command::new("kill").args(["-9", &process.to_string()]).status();
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen
}

/// Watches a process until it ends, or kills it after this time.
pub(crate) async fn watch(child: Child, most: Duration) -> (Seen, CommandOutput) {
    let memory = tokio::spawn(peak(child.id().unwrap()));
    let output = tokio::time::timeout(most, finish(child)).await.unwrap();
    (memory.await.unwrap(), output)
}

/// Runs a command to its end, and watches it.
pub(crate) async fn command(cli: &Cli, arguments: &[&str]) -> (Seen, CommandOutput) {
    watch(cli.start(arguments), LONG).await
}

/// Writes a connector that lists, and returns the folder of connectors.
fn folder(cli: &Cli) -> String {
    let folder = cli.home().join("connectors");
    fs::create_dir_all(folder.join("lister/operations")).unwrap();
    let manifest = "name = 'lister'\ntitle = 'Lister'\nversion = '1.0'\n[settings]\nauthentication = 'none'\n";
    fs::write(folder.join("lister/connector.toml"), manifest).unwrap();
    let row = "[[operation]]\nname = 'item.list'\ntitle = 'Items'\nroute = 'GET /{kind}'\n\
        input.kind = { type = 'string' }\npage = { kind = 'number', page = 'page', items = '' }\n";
    fs::write(folder.join("lister/operations/items.toml"), row).unwrap();
    folder.to_string_lossy().into_owned()
}

/// Adds connections to the peer: with a token, for lists, and with a login server of each kind.
async fn connections(cli: &Cli, peer: &Peer) {
    let (url, folder) = (peer.url(), folder(cli));
    let common = json!({ "endpointUrl": url, "allowPrivateNetwork": true, "requestsAtOnce": 100 });
    let mut documents = vec![
        json!({ "name": "peer", "connector": "http-v1.0", "authentication": "bearer", "token": CANARIES[0] }),
        json!({ "name": "lister", "connector": "lister-v1.0" }),
    ];
    for kind in TOKEN_ENDPOINTS {
        let client_authentication = if kind == "echo401" { "basic" } else { "form" };
        documents.push(json!({ "name": format!("token-{kind}"), "connector": "http-v1.0", "authentication": "oauth2",
            "flows": "client_credentials", "clientId": "client", "clientSecret": CANARIES[1],
            "clientAuthentication": client_authentication, "tokenUrl": format!("{url}/{kind}") }));
    }
    for mut document in documents {
        document.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        let add = ["--connectors", &folder, "connection", "add", "-"];
        cli.pipe(&add, &document.to_string()).await.expect(0);
    }
}

/// A webhook that responds with what it was sent.
fn healthy() -> Value {
    json!({ "name": "healthy", "overlap": "parallel", "trigger": { "webhook": { "answer": "result" } },
        "steps": [{ "id": "got", "set": { "n": "{{ input.body.n }}" } }], "output": { "n": "{{ steps.got.n }}" } })
}

/// A flow whose run has many events.
fn many() -> Value {
    json!({ "name": "many", "steps": [{ "id": "all", "each": (0..500).collect::<Vec<_>>(), "key": "{{ item }}",
        "steps": [{ "id": "got", "set": { "text": "x".repeat(1000) } }] }] })
}

/// Saves the flows that call the peer.
async fn flows(cli: &Cli) {
    let call = |connection: &str, path: &str| {
        let input = json!({ "method": "GET", "path": path });
        json!([{ "id": "call", "action": "request", "connection": connection, "input": input }])
    };
    let items = json!({ "action": "item.list", "connection": "lister", "input": { "kind": "{{ input.kind }}" } });
    let step = json!({ "id": "got", "set": { "value": "{{ item }}" } });
    let each = json!([{ "id": "all", "each": items, "key": "{{ item }}", "steps": [step] }]);
    let copy = |to: &str| {
        let from = if to == "/sink" { "{{ input.path }}" } else { "/file" };
        json!([
            { "id": "file", "action": "download", "connection": "peer", "input": { "path": from } },
            { "id": "copy", "action": "upload", "connection": "peer",
                "input": { "path": to, "file": "{{ steps.file.file }}" } }
        ])
    };
    let mut all = vec![
        ("call".to_owned(), "peer".to_owned(), call("peer", "{{ input.path }}")),
        ("list".to_owned(), "lister".to_owned(), each),
        ("copy".to_owned(), "peer".to_owned(), copy("/sink")),
        ("send".to_owned(), "peer".to_owned(), copy("/unread")),
    ];
    for kind in TOKEN_ENDPOINTS {
        let name = format!("token-{kind}");
        all.push((name.clone(), name.clone(), call(&name, "/pages")));
    }
    let folder = folder(cli);
    for (name, connection, steps) in all {
        let connector = if connection == "lister" { "lister" } else { "http" };
        let flow =
            json!({ "name": name, "overlap": "parallel", "connections": { &connection: connector }, "steps": steps });
        let bound = format!("{connection}={connection}");
        add(cli, &flow, &["--connectors", &folder, "--connection", &bound]).await.expect(0);
    }
}
