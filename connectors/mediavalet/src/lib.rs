//! MediaValet: a digital asset management system. See the crate's README for making a connection.
//!
//! What its API can do is in `operations/*.toml`, row by row; what does not fit a row is an action of its own.

mod categories;
mod download;
mod metadata;
mod operations;
mod upload;
mod wait;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_core::{
    ActionEntry, Authorization, Connector, ConnectorEntry, Diagnostic, Error, ErrorKind, FileStream, Result, Secret,
    VaultSlot, async_trait, submit,
};
use trunkline_rest::{Answer, Auth, Client, ClientAuth, Grant, OAuth, raw};
use url::Url;

use operations::OPERATIONS;

pub use categories::SetCategories;
pub use download::Download;
pub use metadata::{SetKeywords, Update};
pub use upload::Upload;
pub use wait::WaitUntilProcessed;

/// The connector.
pub struct MediaValet;

/// How to reach a MediaValet library. Client ID, client secret and subscription key come from MediaValet support and the
/// developer portal; support also registers each redirect URI.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// # Endpoint URL
    /// Address of the API.
    #[serde(default = "endpoint_url")]
    endpoint_url: Url,
    /// # Subscription Key
    /// From the developer portal; sent with every call as `Ocp-Apim-Subscription-Key`.
    subscription_key: Secret,
    /// # Authentication
    authentication: Authentication,
    #[serde(flatten)]
    flows: Flows,
    /// # Client ID
    /// From MediaValet support.
    client_id: String,
    /// # Client Secret
    /// From MediaValet support.
    client_secret: Secret,
    /// # Client Authentication
    /// How client ID and secret are sent to the token URL: as form fields, or as Basic authentication.
    #[serde(default)]
    client_authentication: ClientAuth,
    /// # Token URL
    /// Where tokens come from.
    #[serde(default = "token_url")]
    token_url: Url,
    /// # Authorization URL
    /// Where a user signs in; only for the flow `authorization_code`.
    #[serde(default = "authorization_url")]
    authorization_url: Url,
    /// # Redirect URI
    /// Where the browser comes back to, exactly as MediaValet support has registered it; the host's own address if absent.
    redirect_uri: Option<Url>,
    /// # Scopes
    /// What to ask for, with spaces between; `offline_access` is what gives a refresh token.
    #[serde(default = "scopes")]
    scopes: String,
    /// # Requests a Second
    /// How many calls the connection makes at most; without it, the service's own throttling sets the pace.
    #[schemars(range(min = 1, max = 1000))]
    requests_per_second: Option<u32>,
}

/// How to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Authentication {
    /// OAuth 2
    OAuth2,
}

/// The OAuth 2 flows that MediaValet has.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
enum Flows {
    /// # Authorization Code
    /// A user signs in with the browser, once; the refresh token keeps the connection alive.
    AuthorizationCode {},
    /// # Refresh Token
    /// With a refresh token that was made elsewhere. MediaValet may give a new one each time: it is kept.
    RefreshToken {
        /// # Refresh Token
        #[serde(rename = "refreshToken")]
        refresh_token: Secret,
    },
    /// # Password
    /// With a user's name and password: for unattended use. A user of its own is advisable.
    Password {
        /// # Username
        username: String,
        /// # Password
        password: Secret,
    },
    /// # Client Credentials
    /// Without a user. Announced by MediaValet; ask support whether your client may use it.
    ClientCredentials {},
}

fn default_url(text: &str) -> Url {
    Url::parse(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

fn endpoint_url() -> Url {
    default_url("https://api.mediavalet.com")
}

fn token_url() -> Url {
    default_url("https://login.mediavalet.com/connect/token")
}

fn authorization_url() -> Url {
    default_url("https://login.mediavalet.com/connect/authorize")
}

fn scopes() -> String {
    "openid api offline_access".to_owned()
}

#[async_trait]
impl Connector for MediaValet {
    const NAME: &'static str = "mediavalet";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "MediaValet";
    const DOCUMENTATION: &'static str = "https://docs.mediavalet.com";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, vault: VaultSlot) -> Result<Client> {
        let Authentication::OAuth2 = settings.authentication;
        let auth = Auth::OAuth(OAuth {
            client_id: settings.client_id,
            client_secret: Some(settings.client_secret),
            client_auth: settings.client_authentication,
            token_url: settings.token_url,
            authorization_url: Some(settings.authorization_url),
            redirect_uri: settings.redirect_uri,
            scopes: settings.scopes.split_whitespace().map(str::to_owned).collect(),
            grant: match settings.flows {
                Flows::AuthorizationCode {} => Grant::AuthorizationCode,
                Flows::RefreshToken { refresh_token } => Grant::RefreshToken { refresh_token },
                Flows::Password { username, password } => Grant::Password { username, password },
                Flows::ClientCredentials {} => Grant::ClientCredentials,
            },
        });
        Client::builder(Self::TITLE, settings.endpoint_url, &OPERATIONS)
            .auth(auth, vault)
            .header("Ocp-Apim-Subscription-Key", settings.subscription_key, Some("/subscriptionKey"))
            .plain_header("x-mv-api-version", "1.2")
            .rate(settings.requests_per_second.unwrap_or_default())
            .warnings("/warnings")
            .classify(classify)
            .build()
    }

    async fn check(client: &Client) -> Vec<Diagnostic> {
        client.check("user.current", json!({})).await
    }

    fn begin_authorization(client: &Client, redirect_uri: &str) -> Result<Authorization> {
        client.begin_authorization(redirect_uri)
    }

    async fn finish_authorization(client: &Client, begun: &Authorization, callback: &str) -> Result<()> {
        client.finish_authorization(begun, callback).await
    }

    async fn open(client: &Client, source: &Value, from: u64) -> Result<FileStream> {
        download::open(client, source, from).await
    }
}

/// What only MediaValet says: the gateway's 401 that means the key and not the token, and errors inside a 200.
fn classify(answer: &Answer) -> Option<Error> {
    let what = &answer.operation;
    if answer.status == 401 && answer.text.to_lowercase().contains("subscription key") {
        return Some(
            Error::new(ErrorKind::Config, format!("{what}: MediaValet's gateway refused the subscription key"))
                .setting("/subscriptionKey")
                .hint("copy the key of your subscription from the developer portal; support has to have approved it"),
        );
    }
    let errors = answer.body.as_ref()?.get("errors")?.as_array().filter(|errors| !errors.is_empty())?;
    (answer.status < 300).then(|| {
        let told: Vec<_> =
            errors.iter().map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned)).collect();
        Error::new(
            ErrorKind::InvalidInput,
            format!("{what}: MediaValet took the call but reports: {}", told.join("; ")),
        )
        .hint("parts of the call may have been carried out: look before you send it again")
    })
}

/// The id in a payload.
fn id(payload: &Value, name: &str) -> Result<String> {
    payload
        .get(name)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, format!("MediaValet's answer has no {name}")))
}

submit! { ConnectorEntry::of::<MediaValet>() }
submit! { ActionEntry::many::<MediaValet>(|| OPERATIONS.actions()) }
submit! { ActionEntry::of::<raw::Request<MediaValet>>() }
