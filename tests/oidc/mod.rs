//! Sign-ins and tokens against a login server of another project: oidc-provider, which is OpenID certified, rotates
//! refresh tokens strictly, and revokes a sign-in if a refresh token is used twice (`tests/peers/oidc.mjs`).
//!
//! The idea: our own simulator shares our misunderstandings of OAuth. Here the connector `http` signs in through the
//! browser flow, and an API asks the login server about every token that it receives. Each guarantee has a twin that
//! breaks it on purpose and has to lose the sign-in.
#![allow(clippy::unwrap_used)]

mod cancel;
mod check;
mod discover;
mod herd;
mod kills;
mod removal;
mod sign_in;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use trunkline::Runtime;
use trunkline_core::{Connected, Connections, Context, Result, Secret, SecretSource, SignIn, Vault};

pub(crate) use trunkline_tests::login::{Login, walk};

pub(crate) const CALLBACK: &str = "http://127.0.0.1:8700/rest/v1/oauth2/callback";

/// Adds a connection with this document, and signs in.
pub(crate) async fn signed_in(runtime: &Runtime, document: Value) -> Connected {
    let name = runtime.add_connection(document).await.unwrap();
    let connected = runtime.connect(&name).await.unwrap();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    connected.finish_authorization(&begun, &walk(&begun.url).await).await.unwrap();
    connected
}

/// Makes the connection again with a new client, as in another process: it knows only the stored tokens.
pub(crate) async fn reconnect(runtime: &Runtime) -> Connected {
    let connection = runtime.connections().connection("login").await.unwrap();
    let lookup = |_: &SecretSource| unreachable!("no references");
    runtime.registry().connect(&connection, vault(runtime), &lookup).unwrap()
}

/// Returns the input of a call of the API.
pub(crate) fn input() -> Value {
    json!({ "method": "GET", "path": "/me" })
}

/// Calls the API, which returns the user of the token.
pub(crate) async fn call(connected: &Connected) -> Result<Value> {
    let cx = Context::new("", connected.name(), Connections::default());
    Ok(connected.run("request", input(), &cx).await?["body"]["sub"].clone())
}

/// Changes the stored tokens, and tries again if another process wrote them at the same time.
async fn change(vault: &dyn Vault, connection: &str, change: impl Fn(&mut Map<String, Value>)) {
    loop {
        let found = vault.load(connection).await.unwrap().unwrap();
        let mut record = serde_json::from_str(found.content.expose()).unwrap();
        change(&mut record);
        let content = Secret::from(Value::from(record).to_string());
        if vault.replace(connection, found.version, &content, &SignIn::default()).await.unwrap() {
            return;
        }
    }
}

/// Sets the expiry of the stored tokens to the past.
pub(crate) async fn expire(vault: &dyn Vault, connection: &str) {
    change(vault, connection, |record| record["expiresAt"] = 1.into()).await;
}

/// Removes the lease on the stored tokens.
pub(crate) async fn forget_lease(vault: &dyn Vault, connection: &str) {
    change(vault, connection, |record| drop(record.shift_remove("lease"))).await;
}

/// Returns whether a process has the lease on the stored tokens.
pub(crate) async fn is_leased(vault: &dyn Vault, connection: &str) -> bool {
    vault.load(connection).await.unwrap().is_some_and(|entry| entry.content.expose().contains("\"lease\""))
}

pub(crate) fn vault(runtime: &Runtime) -> Arc<dyn Vault> {
    runtime.ports().vault.clone()
}
