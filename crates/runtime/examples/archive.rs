//! A connector with OAuth 2, a list in pages, and uploads: `cargo run --example archive`.
//!
//! The guide "write a connector" explains it. The archive is a small service that `serve` starts, so that the example
//! runs without any account.

use std::collections::BTreeMap;

use futures::FutureExt;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline::{
    Ports, Runtime,
    core::{
        Action, ActionEntry, CheckReport, ConnectionContext, Connector, ConnectorEntry, Context, Effect, Error,
        ErrorKind, FileRef, FileStream, Position, Registry, Result, Secret, SignInClient, async_trait, submit,
    },
    engine::RunStatus,
    flow::Flow,
    rest::{
        Auth, BlockCheckpoint, Client, Grant, HttpEnvironment, HttpSettings, NetworkPolicy, OAuthPresets,
        OAuthSettings, Table, Url,
    },
};

/// The vendor's API: one row for each call. In a crate of its own, this is a file in `operations/`.
const DOCUMENTS: &str = r#"
[[operation]]
name   = "document.list"
group  = "Documents"
title  = "List documents"
route  = "GET /documents"
page   = { kind = "cursor", cursor = "after", next = "/next", items = "/documents" }
output = "Document"
input.after = { type = "string", title = "After" }

[[operation]]
name   = "document.create"
group  = "Documents"
title  = "Create a document without content"
route  = "POST /documents"
effect = "create"
input.name = { type = "string", title = "Name", required = true }

[[operation]]
name  = "document.link"
group = "Documents"
title = "Get a link to the content"
route = "GET /documents/{id}/link"
input.id = { type = "integer", title = "Document" }

[shapes.Document]
type = "object"
properties.id   = { type = "integer" }
properties.name = { type = "string" }
"#;

static OPERATIONS: Table = Table::new("archive", &[("operations/documents.toml", DOCUMENTS)]);

/// What the vendor fixes: a user need not enter it.
const OAUTH: OAuthPresets = OAuthPresets {
    token_url: "https://login.archive.example/token",
    authorization_url: "https://login.archive.example/authorize",
    credentials: "From the page API Keys of the archive.",
    documentation: "https://docs.archive.example/sign-in",
    revocation_url: None,
    redirect_uri: None,
};

/// The settings of a connection. The form is derived from them: doc comments are its labels and help.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = |schema: &mut Schema| OAUTH.describe(schema))]
struct Settings {
    /// # Endpoint URL
    endpoint_url: Url,
    #[serde(flatten)]
    flows: Flows,
    #[serde(flatten)]
    oauth: OAuthSettings,
    #[serde(flatten)]
    http: HttpSettings,
}

/// The OAuth 2 flows of the archive.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
enum Flows {
    /// # Authorization Code
    /// A user signs in with the browser, once.
    AuthorizationCode {},
    /// # Password
    /// Uses a user's name and password.
    Password {
        /// # Username
        username: String,
        /// # Password
        password: Secret,
    },
}

struct Archive;

#[async_trait]
impl Connector for Archive {
    const NAME: &'static str = "archive";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Archive";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, context: ConnectionContext) -> Result<Client> {
        let grant = match settings.flows {
            Flows::AuthorizationCode {} => Grant::AuthorizationCode,
            Flows::Password { username, password } => Grant::Password { username, password },
        };
        Client::builder(Self::TITLE, settings.endpoint_url, &OPERATIONS)
            .auth(Auth::OAuth(OAUTH.fill(settings.oauth)?.oauth(grant, "documents")?), context)
            .settings(&settings.http)
            .build()
    }

    /// A harmless call shows whether the connection works. The stages before it are those of the client.
    async fn check(client: &Client) -> CheckReport {
        client.check("document.list", json!({})).await
    }

    /// The client signs in, in the browser too. This one line is all that a connector does for it.
    fn sign_in(client: &Client) -> Option<&dyn SignInClient> {
        Some(client)
    }

    /// Reads a file that [`Content`] has returned. A cut connection goes on where it was, with a new link.
    async fn open(client: &Client, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
        let (client, id) = (client.clone(), source["id"].clone());
        let locate = client.clone();
        let link = move |cx: Context| {
            let (client, id) = (locate.clone(), id.clone());
            async move { link(client.call("document.link", json!({ "id": id }), &cx).await?) }.boxed()
        };
        client.download(link, from, cx).await
    }
}

fn link(answer: Value) -> Result<Url> {
    let text = answer["url"].as_str().unwrap_or_default();
    Url::parse(text).map_err(|_| Error::new(ErrorKind::Unexpected, "the archive returned no link to the document"))
}

/// Returns the content of a document by reference: a step that needs the bytes opens it.
struct Content;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DocumentId {
    /// # Document
    id: u64,
}

#[derive(Serialize, JsonSchema)]
struct ContentOutput {
    /// # File
    file: FileRef,
}

#[async_trait]
impl Action for Content {
    type Connector = Archive;
    type Input = DocumentId;
    type Output = ContentOutput;
    const NAME: &'static str = "document.content";
    const TITLE: &'static str = "Get the content of a document";
    const GROUP: &'static str = "Documents";
    const EFFECT: Effect = Effect::Read;

    async fn run(_: &Client, input: DocumentId, cx: &Context) -> Result<ContentOutput> {
        let (name, connection) = (format!("document-{}.txt", input.id), cx.connection().into());
        let source = json!({ "id": input.id });
        Ok(ContentOutput { file: FileRef { name, media_type: None, size: None, digest: None, connection, source } })
    }
}

/// Creates a document and sends its content. It is a `Create`: after an unclear failure it is not repeated.
struct Upload;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UploadInput {
    /// # File
    file: FileRef,
}

/// What a second attempt continues with, also after a crash.
#[derive(Serialize, Deserialize)]
struct Begun {
    id: Value,
    url: String,
    blocks: BlockCheckpoint,
}

#[derive(Serialize, JsonSchema)]
struct Uploaded {
    /// # Document
    id: Value,
    /// # Size in bytes
    bytes: u64,
}

#[async_trait]
impl Action for Upload {
    type Connector = Archive;
    type Input = UploadInput;
    type Output = Uploaded;
    const NAME: &'static str = "document.upload";
    const TITLE: &'static str = "Upload a document";
    const GROUP: &'static str = "Documents";
    const EFFECT: Effect = Effect::Create;

    async fn run(client: &Client, input: UploadInput, cx: &Context) -> Result<Uploaded> {
        let begun = match cx.checkpoint().and_then(|saved| Begun::deserialize(saved).ok()) {
            Some(begun) => begun,
            None => {
                let made = client.call("document.create", json!({ "name": input.file.name }), cx).await?;
                let url = made["uploadUrl"].as_str().unwrap_or_default().to_owned();
                Begun { id: made["id"].clone(), url, blocks: BlockCheckpoint::default() }
            }
        };
        let Begun { id, url, blocks } = begun;
        // Saved after each block: at most one is sent again.
        let save = |blocks| {
            let begun = json!(Begun { id: id.clone(), url: url.clone(), blocks });
            async move { cx.save_checkpoint(begun).await }
        };
        let sent = client.upload_blocks(&Secret::from(&*url), &input.file, blocks, save, cx).await?;
        Ok(Uploaded { id, bytes: sent.bytes })
    }
}

submit! { ConnectorEntry::of::<Archive>() }
submit! { ActionEntry::many::<Archive>(|| OPERATIONS.actions()) }
submit! { ActionEntry::of::<Content>() }
submit! { ActionEntry::of::<Upload>() }

#[tokio::main]
async fn main() -> Result<()> {
    let address = service::serve().await;
    // Only because this example runs the service on this machine.
    let http = HttpEnvironment::default().with_network(NetworkPolicy::default().with_private_network(true));
    let runtime = Runtime::new(Registry::discover()?, Ports { http, ..Ports::in_memory() });
    let connection = json!({
        "name": "archive", "connector": "archive-v1.0", "endpointUrl": address, "tokenUrl": format!("{address}/token"),
        "flows": "password", "username": "ada", "password": "correct horse", "clientId": "flows",
        "clientSecret": "hard to guess", "allowPrivateNetwork": true
    });
    runtime.add_connection(connection).await?;
    let report = runtime.connect("archive").await?.check().await;
    assert!(report.is_ok(), "{report:?}");
    let copy = json!({
        "name": "copy",
        "connections": { "archive": "archive" },
        "steps": [{
            "id": "documents", "each": { "action": "document.list", "connection": "archive" }, "key": "{{ item.id }}",
            "steps": [
                { "id": "content", "action": "document.content", "connection": "archive", "input": { "id": "{{ item.id }}" } },
                { "id": "copy", "action": "document.upload", "connection": "archive",
                  "input": { "file": "{{ steps.content.file }}" } }
            ]
        }]
    });
    let flow = Flow::from_value(copy).map_err(|found| Error::new(ErrorKind::Config, format!("{found:?}")))?;
    let run = runtime.start(&flow, json!({}), BTreeMap::new()).await?.wait().await?;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:?}");
    let ledger = run.ledger.values().next().map(|ledger| ledger.done);
    assert_eq!((ledger, service::uploaded()), (Some(3), 3));
    println!("Copied 3 documents.");
    Ok(())
}

/// The archive: a login server, documents on two pages, links that need no sign-in, and storage that takes uploads.
mod service {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{
        Json, Router,
        extract::{Path, Query},
        http::{HeaderMap, StatusCode},
        routing::{get, post, put},
    };
    use serde_json::{Value, json};

    static UPLOADED: AtomicUsize = AtomicUsize::new(0);

    pub fn uploaded() -> usize {
        UPLOADED.load(Ordering::SeqCst)
    }

    fn signed_in(headers: &HeaderMap) -> Result<(), StatusCode> {
        let sent = headers.get("authorization").and_then(|value| value.to_str().ok());
        if sent == Some("Bearer one") { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    async fn list(headers: HeaderMap, Query(query): Query<Value>) -> Result<Json<Value>, StatusCode> {
        signed_in(&headers)?;
        Ok(Json(match query["after"].as_str() {
            None => json!({ "documents": [{ "id": 1, "name": "one" }, { "id": 2, "name": "two" }], "next": "2" }),
            Some(_) => json!({ "documents": [{ "id": 3, "name": "three" }], "next": null }),
        }))
    }

    pub async fn serve() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let token = || async { Json(json!({ "access_token": "one", "token_type": "Bearer", "expires_in": 3600 })) };
        let (here, there) = (address.clone(), address.clone());
        let create = move |headers: HeaderMap| async move {
            signed_in(&headers)?;
            Ok::<_, StatusCode>(Json(json!({ "id": 9, "uploadUrl": format!("{here}/storage/9?signature=abc") })))
        };
        let link = move |headers: HeaderMap, Path(id): Path<u64>| async move {
            signed_in(&headers)?;
            Ok::<_, StatusCode>(Json(json!({ "url": format!("{there}/content/{id}?signature=abc") })))
        };
        let content = |Path(id): Path<u64>| async move { format!("The text of document {id}.") };
        // The file is there when its blocks are listed.
        let store = |Query(query): Query<Value>| async move {
            UPLOADED.fetch_add(usize::from(query["comp"] == "blocklist"), Ordering::SeqCst);
            StatusCode::CREATED
        };
        let router = Router::new()
            .route("/token", post(token))
            .route("/documents", get(list).post(create))
            .route("/documents/{id}/link", get(link))
            .route("/content/{id}", get(content))
            .route("/storage/{id}", put(store));
        tokio::spawn(axum::serve(listener, router).into_future());
        address
    }
}

#[test]
fn runs() -> Result<()> {
    main()
}
