//! Each port replaced once: what the runtime stores, reads or sends goes through the replacement.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use trunkline::{
    EnvironmentSecrets, Ports, SaveOptions, SecretResolver,
    core::{
        Clock, ErrorKind, FileRef, FileStream, Position, Redactor, Result, Secret, SecretSource, Staging, Timestamp,
        async_trait,
    },
    engine::RunStatus,
    flow::Flow,
    operations::{
        Caller,
        run_queries::{ItemQuery, ListItems},
    },
    rest::HttpResponse,
    store::MemoryStore,
};

use super::{FakeTransport, Received, ports, read, runtime, shop};

fn fine(_: &Received) -> HttpResponse {
    HttpResponse::of(200, "{}")
}

fn flow() -> Flow {
    Flow::from_value(json!({ "name": "nothing", "steps": [{ "id": "one", "set": { "a": 1 } }] })).unwrap()
}

#[tokio::test]
async fn the_transport_is_replaced() {
    let transport =
        FakeTransport::new(|received: &Received| HttpResponse::of(200, json!({ "path": received.path }).to_string()));
    let runtime = runtime(&ports(transport.clone()));
    runtime.add_connection(shop("canary-token")).await.unwrap();
    let output = read(&runtime, "/orders").await.unwrap();
    assert_eq!(output["body"]["path"], "/v1/orders");
    let received = transport.received("/v1/orders");
    assert_eq!((&*received[0].host, &*received[0].authorization), ("api.shop.test", "Bearer canary-token"));
    // The policy for private networks does not depend on the transport.
    let mut private = shop("canary-token");
    private["endpointUrl"] = "https://127.0.0.1/v1".into();
    assert_eq!(runtime.add_connection(private).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn connections_flows_and_journal_are_replaced() {
    let (connections, flows, journal) =
        (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()), MemoryStore::default());
    let usual = ports(FakeTransport::new(fine));
    let replaced = Ports {
        connections: connections.clone(),
        flows: flows.clone(),
        journal: Arc::new(journal.journal()),
        ..usual.clone()
    };
    let runtime = runtime(&replaced);
    runtime.add_connection(shop("canary-token")).await.unwrap();
    runtime.save_flow(&flow(), SaveOptions::default()).await.unwrap();
    let run = runtime.start(&flow(), json!({}), BTreeMap::new()).await.unwrap().wait().await.unwrap();
    assert_eq!(run.status, RunStatus::Succeeded);
    let found = |ports: Ports| async move {
        let connections = ports.connections.connections().await.unwrap().len();
        (connections, ports.flows.saved_flows().await.unwrap().len(), ports.journal.runs().await.unwrap().len())
    };
    assert_eq!((found(replaced).await, found(usual).await), ((1, 1, 1), (0, 0, 0)));
}

#[tokio::test]
async fn the_vault_is_replaced() {
    let login = |received: &Received| match received.path.as_str() {
        "/token" => HttpResponse::of(200, r#"{ "access_token": "canary-access", "token_type": "bearer" }"#),
        _ => HttpResponse::of(200, "{}"),
    };
    let vault = Arc::new(MemoryStore::default());
    let usual = ports(FakeTransport::new(login));
    // This vault accepts tokens only of connections that it has.
    let replaced = Ports { vault: vault.clone(), connections: vault.clone(), ..usual.clone() };
    let runtime = runtime(&replaced);
    let oauth = json!({ "name": "shop", "connector": "http-v1.0", "endpointUrl": "https://api.shop.test/v1",
        "authentication": "oauth2", "flows": "client_credentials", "tokenUrl": "https://login.shop.test/token",
        "clientId": "one", "clientSecret": "canary-of-a-client" });
    runtime.add_connection(oauth).await.unwrap();
    read(&runtime, "/orders").await.unwrap();
    let entry = replaced.vault.load("shop").await.unwrap().unwrap();
    assert!(entry.content.expose().contains("canary-access"));
    assert!(usual.vault.load("shop").await.unwrap().is_none());
}

struct PasswordManager;

impl SecretResolver for PasswordManager {
    fn secret(&self, source: &SecretSource) -> Result<Secret> {
        Ok(format!("canary of {source:?}").into())
    }
}

#[tokio::test]
async fn secrets_and_redactor_are_replaced() {
    let (transport, redactor) = (FakeTransport::new(fine), Redactor::default());
    let replaced = Ports { secrets: Arc::new(PasswordManager), redactor: redactor.clone(), ..ports(transport.clone()) };
    let runtime = runtime(&replaced);
    runtime.add_connection(shop(json!({ "env": "SHOP_TOKEN" }))).await.unwrap();
    read(&runtime, "/orders").await.unwrap();
    let sent = &transport.received("/v1/orders")[0].authorization;
    assert_eq!(sent, "Bearer canary of Env(\"SHOP_TOKEN\")");
    // The redactor has learned what the password manager returned.
    assert_eq!(redactor.redact(sent), "Bearer ***");
    assert_eq!(Redactor::default().redact(sent), *sent);
}

/// Secrets in files are read as other programs read them, or refused with the file and the reason.
#[test]
fn secrets_in_files_and_variables_are_read_whole_or_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("secret").to_string_lossy().into_owned();
    let of = |source: SecretSource| EnvironmentSecrets.secret(&source);
    let long = vec![b'x'; 64 * 1024 + 1];
    for (bytes, expected) in [
        (&b"secret"[..], Ok("secret")),
        (b"secret\n", Ok("secret")),
        (b"secret\r\n", Ok("secret")),
        (b"secret\n\n", Ok("secret\n")),
        (b" secret ", Ok(" secret ")),
        (b"\xef\xbb\xbfsecret\r\n", Ok("secret")),
        (b"-----BEGIN KEY-----\nabc\n-----END KEY-----\n", Ok("-----BEGIN KEY-----\nabc\n-----END KEY-----")),
        (b"", Err("is empty")),
        (b"\n", Err("is empty")),
        (b"\xef\xbb\xbf\r\n", Err("is empty")),
        (b" \t\n", Err("is empty")),
        (b"\xff\xfes\0", Err("cannot be read")),
        (&long, Err("is longer than")),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let found = of(SecretSource::File(path.clone()));
        match expected {
            Ok(expected) => assert_eq!(found.unwrap().expose(), expected),
            Err(reason) => {
                let error = found.unwrap_err();
                let text = error.to_string();
                assert!(error.kind() == ErrorKind::Config && text.contains(reason) && text.contains(&path), "{text}");
            }
        }
    }
    let fifo = home.path().join("fifo").to_string_lossy().into_owned();
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&fifo, &link).unwrap();
    let socket = home.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    for (missing, why) in [
        (format!("{path}.none"), "No such file"),
        (text(home.path()), "is a directory"),
        ("/dev/zero".to_owned(), "a device"),
        (fifo, "is a pipe"),
        (text(&link), "is a pipe"),
        (text(&socket), "a socket"),
        ("secret".to_owned(), "not absolute"),
        ("./secret".to_owned(), "not absolute"),
        ("~/secret".to_owned(), "without ~"),
        (String::new(), "not absolute"),
    ] {
        let error = of(SecretSource::File(missing.clone())).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&missing) && text.contains("cannot be read") && text.contains(why), "{text}");
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    }
    assert!(of(SecretSource::Env("PATH".to_owned())).is_ok());
    let error = of(SecretSource::Env("TRUNKLINE_TEST_NOT_SET".to_owned())).unwrap_err();
    assert!(error.to_string().contains("TRUNKLINE_TEST_NOT_SET"), "{error}");
}

/// The sabotage twin: a pipe that is opened without a look at it waits for a writer.
#[test]
fn a_pipe_that_is_read_without_a_look_at_it_waits() {
    let home = tempfile::tempdir().unwrap();
    let fifo = home.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (path, (sender, receiver)) = (fifo.clone(), std::sync::mpsc::channel());
    let reader = std::thread::spawn(move || sender.send(std::fs::read_to_string(path).unwrap()));
    assert!(receiver.recv_timeout(std::time::Duration::from_millis(200)).is_err(), "it waits");
    std::fs::write(&fifo, "late").unwrap();
    assert_eq!(receiver.recv().unwrap(), "late");
    reader.join().unwrap().unwrap();
}

/// A staging area that counts.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Staging for Counting {
    async fn staging(&self, _: &str, _: &str, _: &FileRef, stream: FileStream) -> Result<FileStream> {
        Ok(stream)
    }

    async fn staged(&self, _: &str, _: &str, _: &Position) -> Result<Option<FileStream>> {
        Ok(None)
    }

    async fn unstage(&self, _: &str, _: Option<&str>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn staging_and_clock_are_replaced() {
    let staging = Arc::new(Counting::default());
    let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::from_millis(7_000));
    let replaced = Ports { staging: Some(staging.clone()), clock, ..ports(FakeTransport::new(fine)) };
    let runtime = runtime(&replaced);
    assert_eq!(runtime.now().as_millis(), 7_000);
    let handle = runtime.start(&flow(), json!({}), BTreeMap::new()).await.unwrap();
    let run = handle.wait().await.unwrap();
    assert_eq!((run.status, run.started_at.as_millis()), (RunStatus::Succeeded, 7_000));
    assert!(staging.0.load(Ordering::SeqCst) > 0, "the end of a run clears its copies");
}

/// The sources of the secrets that were asked for.
#[derive(Default)]
struct Asked(std::sync::Mutex<Vec<String>>);

impl SecretResolver for Asked {
    fn secret(&self, source: &SecretSource) -> Result<Secret> {
        self.0.lock().unwrap().push(format!("{source:?}"));
        Ok("canary of all".into())
    }
}

/// A page of items is shown without the secrets of its run's connections. No other connection is opened for it.
#[tokio::test]
async fn a_page_of_items_opens_only_the_connections_of_its_run() {
    let asked = Arc::new(Asked::default());
    let runtime = runtime(&Ports { secrets: asked.clone(), ..ports(FakeTransport::new(fine)) });
    for name in ["ONE", "TWO", "THREE"] {
        let mut connection = shop("");
        connection["name"] = name.into();
        connection["token"] = json!({ "env": name });
        runtime.add_connection(connection).await.unwrap();
    }
    let flow = json!({ "name": "items", "connections": { "a": "http" }, "steps": [
        { "id": "each", "each": "{{ input.names }}", "key": "{{ item }}", "steps": [{ "id": "no", "fail": "{{ item }}" }] }
    ] });
    let flow = Flow::from_value(flow).unwrap_or_else(|found| panic!("{found:?}"));
    let bound = BTreeMap::from([("a".to_owned(), "ONE".to_owned())]);
    let run = runtime.start(&flow, json!({ "names": ["canary of all", "z"] }), bound).await.unwrap();
    let (id, _) = (run.id().to_string(), run.wait().await.unwrap());
    asked.0.lock().unwrap().clear();
    let read = async |cursor: Value| {
        let query: ItemQuery = serde_json::from_value(json!({ "run": id, "limit": 1, "cursor": cursor })).unwrap();
        let page = runtime.execute::<ListItems>(&Caller::owner(), query).await.unwrap();
        serde_json::to_value(&page).unwrap()
    };
    let page = read(Value::Null).await;
    assert!(page["items"][0]["key"] == "***", "{page}");
    // A client sees what is in a cursor, so a place with a secret stands there as its hash.
    let cursor = data_encoding::BASE64URL_NOPAD.decode(page["next"].as_str().unwrap().as_bytes()).unwrap();
    let cursor = String::from_utf8(cursor).unwrap();
    assert!(cursor.contains("sha256") && !cursor.contains("canary"), "{cursor}");
    let second = read(page["next"].clone()).await;
    assert_eq!((&second["items"][0]["key"], &second["next"]), (&json!("z"), &Value::Null));
    let asked = asked.0.lock().unwrap().join(" ");
    assert!(asked.contains("ONE") && !asked.contains("TWO") && !asked.contains("THREE"), "{asked}");
}
