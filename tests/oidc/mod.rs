//! Sign-ins and tokens against a login server nobody here wrote: oidc-provider, which is certified, rotates strictly and ends
//! a sign-in whose refresh token is used twice (`tests/peers/oidc.mjs`).
//!
//! The idea: our own look-alike believes what we believe of OAuth. Here the connector `http` signs in as a browser would,
//! and an API asks the login server about every token it is shown. Each promise has a twin that breaks it on purpose and has
//! to lose the sign-in.
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

/// A connection of this document, signed in.
pub(crate) async fn signed_in(runtime: &Runtime, document: Value) -> Connected {
    let name = runtime.add_connection(document).await.unwrap();
    let connected = runtime.connect(&name).await.unwrap();
    let begun = connected.begin_authorization(CALLBACK).unwrap();
    connected.finish_authorization(&begun, &walk(&begun.url).await).await.unwrap();
    connected
}

/// The connection with a client of its own, as another process has one: it knows only what is stored.
pub(crate) async fn anew(runtime: &Runtime) -> Connected {
    let connection = runtime.store().connection("login").await.unwrap();
    let lookup = |_: &SecretSource| unreachable!("no references");
    runtime.registry().connect(&connection, vault(runtime), &lookup).unwrap()
}

/// What a call of the API is.
pub(crate) fn input() -> Value {
    json!({ "method": "GET", "path": "/me" })
}

/// A call of the API: whose token it was.
pub(crate) async fn call(connected: &Connected) -> Result<Value> {
    let cx = Context::new("", connected.name(), Connections::default());
    Ok(connected.run("request", input(), &cx).await?["body"]["sub"].clone())
}

/// Changes what is stored, after all that was written before.
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

/// Makes the stored tokens look as if they had run out.
pub(crate) async fn expire(vault: &dyn Vault, connection: &str) {
    change(vault, connection, |record| record["expiresAt"] = 1.into()).await;
}

/// Makes nobody wait for whoever is at work on the stored tokens.
pub(crate) async fn forget_lease(vault: &dyn Vault, connection: &str) {
    change(vault, connection, |record| drop(record.shift_remove("lease"))).await;
}

/// Whether somebody is at work on the stored tokens.
pub(crate) async fn is_leased(vault: &dyn Vault, connection: &str) -> bool {
    vault.load(connection).await.unwrap().is_some_and(|entry| entry.content.expose().contains("\"lease\""))
}

pub(crate) fn vault(runtime: &Runtime) -> Arc<dyn Vault> {
    Arc::new(runtime.store().clone())
}
