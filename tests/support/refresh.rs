//! Processes that share a connection whose tokens have run out, and what stands between them and their login server.
//!
//! The idea: the processes are real, and so are the store they share and the login server; only the wire between them is the
//! test's. At it a request or an answer can be held, so that a process can be stopped or killed at a known instant; whatever
//! goes over it is held against the row in the store. A process is the test's own program once more, with one client.
#![allow(clippy::unwrap_used)]

mod gate;
mod kills;
mod process;

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use trunkline::Runtime;
use trunkline_core::{Connections, Context, Secret, SignIn, SignInState, Vault};
use trunkline_sandbox::Sandbox;

pub use gate::{Door, Gate, Held, Pair, Post, Upstream};
pub use kills::{Tally, WINDOWS, Window, kill};
pub use process::{Called, Grant, Point, Process, Sabotage, Signal, process};

use crate::Cli;
use process::Setup;

/// The name of the one connection.
pub const CONNECTION: &str = "login";

/// Where sign-ins come back to.
pub const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";

/// No test lasts as long.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// The store, the gate and the settings that processes share.
pub struct World {
    /// The command line on the same data directory, gone with everything in it when dropped.
    pub home: Cli,
    runtime: Runtime,
    /// The wire to the login server and to its API.
    pub gate: Gate,
    setup: Setup,
}

impl World {
    /// A world whose connection is not signed in. A token call ends after `attempt`, so a lease lasts twice as long;
    /// `program` is the name of the test that calls [`process()`].
    pub async fn new(program: &str, upstream: Upstream, grant: Grant, attempt: Duration) -> World {
        let home = Cli::default();
        let runtime = home.runtime();
        let vault: Arc<dyn Vault> = Arc::new(runtime.store().clone());
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
            stop_for: FOR_EVER,
            sabotage: None,
        };
        // Only its name matters here: what the processes do with it is in `setup`.
        let document = json!({
            "name": CONNECTION, "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": gate.url("/api"),
            "authentication": "oauth2", "flows": "authorization_code", "clientId": setup.client_id,
            "clientSecret": setup.client_secret, "tokenUrl": gate.url("/token"),
            "authorizationUrl": setup.authorization_url, "scopes": setup.scopes.join(" "),
        });
        runtime.add_connection(document).await.unwrap();
        World { home, runtime, gate, setup }
    }

    /// How long a lease lasts that nobody renews.
    pub fn lease(&self) -> Duration {
        self.setup.attempt * 2
    }

    fn vault(&self) -> Arc<dyn Vault> {
        Arc::new(self.runtime.store().clone())
    }

    /// Signs in, with a browser that follows an address to where it comes back, or with what the settings have.
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

    /// What the row of the connection holds, and its version.
    pub async fn row(&self) -> (u64, Map<String, Value>) {
        let entry = self.vault().load(CONNECTION).await.unwrap().unwrap();
        (entry.version, serde_json::from_str(entry.content.expose()).unwrap())
    }

    /// The tokens in the row.
    pub async fn tokens(&self) -> Pair {
        let (_, row) = self.row().await;
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        Pair { access: text("accessToken").unwrap(), refresh: text("refreshToken") }
    }

    /// Changes the row after all that was written before.
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

    /// Makes the stored token look as if it had run out.
    pub async fn expire(&self) {
        self.change(|row| row["expiresAt"] = 1.into()).await;
    }

    /// How a host would show the sign-in.
    pub async fn state(&self) -> SignInState {
        let all = self.runtime.store().connections().await.unwrap();
        all.into_iter().find(|one| one.name == CONNECTION).unwrap().sign_in.unwrap().state
    }

    /// Another process with a client for the connection.
    pub async fn process(&self) -> Process {
        self.started(None, None).await
    }

    /// One that is held up for this long at this point.
    pub async fn held_up(&self, point: Point, stop_for: Duration) -> Process {
        Process::start(&Setup { stop: Some(point), stop_for, ..self.setup.clone() }).await
    }

    /// One with or without a defence less, that stops at a point or at none.
    pub async fn started(&self, stop: Option<Point>, sabotage: Option<Sabotage>) -> Process {
        Process::start(&Setup { stop, sabotage, ..self.setup.clone() }).await
    }
}

impl Upstream {
    /// MediaValet's login server in a sandbox, with the API that believes it.
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
