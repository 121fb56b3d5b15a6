//! The sign-ins of connections: begin one, list their changes, and discover the URLs of a login server.
//!
//! The callback ends a sign-in, see [`Runtime::finish_sign_in`]. It is not an operation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Result};
use trunkline_rest::Url;
use trunkline_store::SignInEvent;

use super::{Listed, PageRequest, operation_table};
use crate::{Runtime, StartedSignIn};

operation_table! {
    /// Begins a sign-in in the browser, and returns the URL to open.
    AuthorizeConnection: "connections.authorize", authorize(SignInRequest) -> StartedSignIn, Admin, Idempotent;
    /// Lists the changes of sign-in states, oldest first.
    ListSignInEvents: "connections.events", events(SignInEventQuery) -> Listed<SignInEvent>, Viewer, Read;
    /// Reads what a login server publishes about itself, as settings for a connection.
    DiscoverSettings: "connections.discover", discover(DiscoveryQuery) -> DiscoveredSettings, Admin, Read;
    /// Copies the URLs that a login server publishes into the settings of a connection; its scopes stay.
    ApplyDiscovery: "connections.apply_discovery",
        apply_discovery(DiscoveryTarget) -> ChangedSettings, Admin, Idempotent;
}

/// Which connection to sign in, and where the browser returns to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// The connection.
    pub name: String,
    /// The URL that the browser returns to, unless the settings of the connection name another one.
    pub redirect_uri: String,
}

async fn authorize(runtime: &Runtime, input: SignInRequest) -> Result<StartedSignIn> {
    runtime.begin_sign_in(&input.name, &input.redirect_uri).await
}

/// Which sign-in events to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SignInEventQuery {
    /// The connection; all if absent.
    pub name: Option<String>,
    /// Only events after the one with this id, for polling.
    pub after: u64,
    /// The most events to return, 1 to 500; without it, 50.
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<usize>,
    /// The `next` of the previous page.
    pub cursor: Option<String>,
}

async fn events(runtime: &Runtime, input: SignInEventQuery) -> Result<Listed<SignInEvent>> {
    let SignInEventQuery { name, after, limit, cursor } = input;
    let request = PageRequest::<u64>::read("connections.events", limit, cursor.as_deref())?;
    let after = request.after.unwrap_or_default().max(after);
    let found = runtime.connections().sign_in_events(name.as_deref(), after, request.limit + 1).await?;
    Ok(request.page(found, |event| event.id))
}

/// Which login server to look at.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryQuery {
    /// The login server's issuer, such as `https://login.example.com`.
    #[schemars(url)]
    pub issuer: String,
    /// Whether the issuer may be in a private network or on this machine.
    #[serde(default)]
    pub allow_private_network: bool,
}

/// What a login server publishes about itself.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DiscoveredSettings {
    /// Settings for a connection.
    pub settings: Map<String, Value>,
    /// The user-info endpoint.
    #[serde(rename = "userInfoUrl")]
    pub user_info_url: Option<Url>,
    /// What the login server supports.
    pub supported: LoginServerSupport,
}

/// What a login server supports.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LoginServerSupport {
    /// The scopes that it lists; it may support others.
    pub scopes: Vec<String>,
    /// The grant types.
    pub grants: Vec<String>,
}

async fn discover(runtime: &Runtime, input: DiscoveryQuery) -> Result<DiscoveredSettings> {
    let found = runtime.discover(&input.issuer, input.allow_private_network).await?;
    let offers = |scope: &&str| found.scopes.iter().any(|one| one == scope);
    let scopes: Vec<_> = ["openid", "offline_access"].into_iter().filter(offers).collect();
    let mut settings = found.settings();
    if !scopes.is_empty() {
        settings.insert("scopes".to_owned(), scopes.join(" ").into());
    }
    let supported = LoginServerSupport { scopes: found.scopes, grants: found.grants };
    Ok(DiscoveredSettings { settings, user_info_url: found.user_info_url, supported })
}

/// Which login server to look at, and the connection that gets its settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryTarget {
    /// The connection.
    pub name: String,
    /// The login server's issuer, such as `https://login.example.com`.
    #[schemars(url)]
    pub issuer: String,
    /// Whether the issuer may be in a private network or on this machine.
    #[serde(default)]
    pub allow_private_network: bool,
}

/// The settings that were changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangedSettings {
    /// The connection.
    pub changed: String,
    /// The settings that changed, with their new values.
    pub settings: Map<String, Value>,
    /// What the user has to know of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Diagnostic>,
}

async fn apply_discovery(runtime: &Runtime, input: DiscoveryTarget) -> Result<ChangedSettings> {
    let found = runtime.discover(&input.issuer, input.allow_private_network).await?;
    let names = [input.name];
    let before = runtime.remembering(&names).await?;
    let settings = runtime.apply_discovery(&names[0], &found).await?;
    let warnings = runtime.forgotten(&names, before).await?;
    let [changed] = names;
    Ok(ChangedSettings { changed, settings, warnings })
}
