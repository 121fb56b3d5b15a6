//! MediaValet: a digital asset management system. See the crate's README for making a connection.
//!
//! What its API can do is in `operations/*.toml`, row by row; what does not fit a row is an action of its own.

mod bulk;
mod categories;
mod download;
mod export;
mod logo;
mod metadata;
mod operations;
mod package;
mod rendition;
mod settings;
mod source;
mod transfer;
mod upload;
mod version;
mod wait;
mod webhook;

use serde_json::{Value, json};
use trunkline_core::{
    ActionEntry, Authorization, CheckReport, Connector, ConnectorEntry, Error, ErrorKind, FileStream, Position, Result,
    Secret, VaultSlot, async_trait, submit,
};
use trunkline_rest::{Auth, Client, Grant, OAuth, Response, generic};

use operations::OPERATIONS;
use settings::{Authentication, Flows};

pub use bulk::Bulk;
pub use categories::SetCategories;
pub use download::AssetDownload;
pub use export::Export;
pub use logo::{SetLogo, SetPortalLogo};
pub use metadata::{SetKeywords, Update};
pub use package::Package;
pub use rendition::Rendition;
pub use settings::Settings;
pub use upload::AssetUpload;
pub use version::UploadVersion;
pub use wait::WaitUntilProcessed;
pub use webhook::{Subscribe, Unsubscribe};

/// The connector.
pub struct MediaValet;

#[async_trait]
impl Connector for MediaValet {
    const NAME: &'static str = "mediavalet";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "MediaValet";
    const DOCUMENTATION: &'static str = "https://docs.mediavalet.com";
    const SCOPES: &'static [&'static str] = &["api"];
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, vault: VaultSlot) -> Result<Client> {
        let Authentication::OAuth2 = settings.authentication;
        let auth = Auth::OAuth(OAuth {
            client_id: settings.client_id,
            client_secret: Some(settings.client_secret),
            client_auth: settings.client_authentication,
            revocation_url: settings.revocation_url.or_else(|| settings.token_url.join("revocation").ok()),
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
            .at_once(settings.requests_at_once.unwrap_or_default())
            .private_network(settings.allow_private_network)
            .data_hosts(["*.blob.core.windows.net", "*.mediavalet.com", "*.mediavalet.net"])
            .data_hosts(settings.data_hosts)
            .warnings("/warnings")
            .classify(classify)
            .build()
    }

    async fn check(client: &Client) -> CheckReport {
        client.check("user.current", json!({})).await
    }

    fn begin_authorization(client: &Client, redirect_uri: &str) -> Result<Authorization> {
        client.begin_authorization(redirect_uri)
    }

    async fn finish_authorization(client: &Client, begun: &Authorization, callback: &str) -> Result<()> {
        client.finish_authorization(begun, callback).await
    }

    async fn sign_out(client: &Client, held: &Secret) -> Result<()> {
        client.sign_out(held).await
    }

    async fn open(client: &Client, source: &Value, from: Position) -> Result<FileStream> {
        source::open(client, source, from).await
    }
}

/// What only MediaValet says: the gateway's 401 that means the key and not the token, and errors inside a 200.
fn classify(answer: &Response) -> Option<Error> {
    let what = &answer.operation;
    if answer.status == 401 && answer.text().to_lowercase().contains("subscription key") {
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
submit! { ActionEntry::of::<generic::RequestAction<MediaValet>>() }
submit! { ActionEntry::of::<generic::DownloadAction<MediaValet>>() }
submit! { ActionEntry::of::<generic::UploadAction<MediaValet>>() }
