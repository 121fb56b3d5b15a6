//! Processes that share a connection with expired tokens, and a proxy between them and their login server.
//!
//! The idea: the processes, their shared store and the login server are real; only the proxy between them belongs to
//! the test. It can hold a request or a response, so that a process is stopped or killed at a known point, and it
//! compares each token request with the row in the store. Each process is another instance of the test program, with
//! one client.
#![allow(clippy::unwrap_used)]

mod gate;
mod kills;
mod process;

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use trunkline::Runtime;
use trunkline_core::{Connections, Context, Secret, SignIn, SignInClient, SignInState, Vault};
use trunkline_sandbox::Sandbox;

pub use gate::{Gate, HeldRequest, HoldPoint, Pair, Post, Upstream};
pub use kills::{Rounds, Tally, WINDOWS, Window, kill};
pub use process::{CallOutcome, Grant, PATIENCE, Point, Process, Sabotage, Signal, process};

use crate::Cli;
use process::Setup;

/// The name of the one connection.
pub const CONNECTION: &str = "login";

/// The redirect URI of sign-ins.
pub const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The store, the proxy and the settings that the processes share.
pub struct World {
    /// The command line on the same data directory, which is removed when dropped.
    pub home: Cli,
    runtime: Runtime,
    /// The proxy in front of the login server and its API.
    pub gate: Gate,
    setup: Setup,
}

impl World {
    /// Prepares a connection that is not signed in. A token call ends after `attempt`, so a lease lasts twice as long;
    /// `program` is the name of the test that calls [`process()`].
    pub async fn new(program: &str, upstream: Upstream, grant: Grant, attempt: Duration) -> World {
        let home = Cli::default();
        let runtime = home.runtime();
        let vault: Arc<dyn Vault> = runtime.ports().vault.clone();
        let gate = Gate::start(upstream, vault).await;
        let setup = Setup {
            program: program.to_owned(),
            data: home.data(),
            key_file: home.key_file(),
            base: gate.url(""),
            authorization_url: gate.upstream().authorization_url.clone(),
            client_id: gate.upstream().client_id.clone(),
            client_secret: gate.upstream().client_secret.clone(),
            scopes: gate.upstream().scopes.clone(),
            grant,
            attempt,
            stop: None,
            stop_for: FOREVER,
            sabotage: None,
        };
        // Only the name matters here: the processes use the settings in `setup`.
        let document = json!({
            "name": CONNECTION, "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": gate.url("/api"),
            "authentication": "oauth2", "flows": "authorization_code", "clientId": setup.client_id,
            "clientSecret": setup.client_secret, "tokenUrl": gate.url("/token"),
            "authorizationUrl": setup.authorization_url, "scopes": setup.scopes.join(" "),
        });
        runtime.add_connection(document).await.unwrap();
        World { home, runtime, gate, setup }
    }

    /// Returns the duration of a lease that is not renewed.
    pub fn lease(&self) -> Duration {
        self.setup.attempt * 2
    }

    fn vault(&self) -> Arc<dyn Vault> {
        self.runtime.ports().vault.clone()
    }

    /// Signs in: with `browser`, which follows the authorization URL and returns the callback URL, or with the grant of
    /// the settings.
    pub async fn sign_in(&self, browser: &impl AsyncFn(String) -> String) {
        let client = self.setup.client(self.vault());
        if matches!(self.setup.grant, Grant::Browser) {
            let begun = client.begin_authorization(CALLBACK).unwrap();
            let back = browser(begun.url.clone()).await;
            client.finish_authorization(&begun, &back).await.unwrap();
        } else {
            client.call("me.get", json!({}), &Context::new("", CONNECTION, Connections::default())).await.unwrap();
        }
    }

    /// Returns the row of the connection, and its version.
    pub async fn row(&self) -> (u64, Map<String, Value>) {
        let entry = self.vault().load(CONNECTION).await.unwrap().unwrap();
        (entry.version, serde_json::from_str(entry.content.expose()).unwrap())
    }

    /// Returns the tokens in the row.
    pub async fn tokens(&self) -> Pair {
        let (_, row) = self.row().await;
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        Pair { access: text("accessToken").unwrap(), refresh: text("refreshToken") }
    }

    /// Changes the row, and tries again if another process wrote it at the same time.
    async fn change(&self, change: impl Fn(&mut Map<String, Value>)) {
        loop {
            let (version, mut row) = self.row().await;
            change(&mut row);
            let content = Secret::from(Value::from(row).to_string());
            if self.vault().replace(CONNECTION, version, &content, &SignIn::default()).await.unwrap() {
                return;
            }
        }
    }

    /// Sets the expiry of the stored token to the past.
    pub async fn expire(&self) {
        self.change(|row| row["expiresAt"] = 1.into()).await;
    }

    /// Returns the state of the sign-in as a host shows it.
    pub async fn state(&self) -> SignInState {
        let all = self.runtime.connections().connections().await.unwrap();
        all.into_iter().find(|one| one.name == CONNECTION).unwrap().sign_in.unwrap().state
    }

    /// Starts another process with a client for the connection.
    pub async fn process(&self) -> Process {
        self.started(None, None).await
    }

    /// Starts a process that pauses for `stop_for` at a point.
    pub async fn held_up(&self, point: Point, stop_for: Duration) -> Process {
        Process::start(&Setup { stop: Some(point), stop_for, ..self.setup.clone() }).await
    }

    /// Starts a process that stops at a point, if there is one, and has a defect, if there is one.
    pub async fn started(&self, stop: Option<Point>, sabotage: Option<Sabotage>) -> Process {
        Process::start(&Setup { stop, sabotage, ..self.setup.clone() }).await
    }
}

impl Upstream {
    /// Returns MediaValet's login server in a sandbox, with the API that accepts its tokens.
    pub fn sandbox(sandbox: &Sandbox) -> Upstream {
        let (endpoint, credentials) = (sandbox.endpoints().mediavalet, sandbox.credentials().mediavalet);
        Upstream {
            token_url: endpoint.token_url,
            authorization_url: endpoint.authorization_url,
            api_url: format!("{}/users/current", endpoint.endpoint_url),
            headers: vec![
                ("Ocp-Apim-Subscription-Key".into(), credentials.subscription_key),
                ("x-mv-api-version".into(), "1.2".into()),
            ],
            client_id: credentials.client_id,
            client_secret: credentials.client_secret,
            scopes: ["openid", "api", "offline_access"].map(str::to_owned).into(),
        }
    }
}
