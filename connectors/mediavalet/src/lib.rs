//! The connector of MediaValet, a digital asset management system. The crate's README explains how to make a
//! connection.
//!
//! The operations of MediaValet's API are the rows of `operations/*.toml`. An action that does not fit a row has a
//! module here.

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

/// The connector of MediaValet.
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

    async fn finish_authorization(client: &Client, authorization: &Authorization, callback: &str) -> Result<()> {
        client.finish_authorization(authorization, callback).await
    }

    async fn sign_out(client: &Client, content: &Secret) -> Result<()> {
        client.sign_out(content).await
    }

    async fn open(client: &Client, source: &Value, from: Position) -> Result<FileStream> {
        source::open(client, source, from).await
    }
}

/// Returns the error of a response, if it is one that only MediaValet sends: the gateway's status 401 for a wrong
/// subscription key, which does not mean the token, and errors in a response with the status 200.
fn classify(response: &Response) -> Option<Error> {
    let operation = &response.operation;
    if response.status == 401 && response.text().to_lowercase().contains("subscription key") {
        return Some(
            Error::new(ErrorKind::Config, format!("{operation}: MediaValet's gateway rejected the subscription key"))
                .setting("/subscriptionKey")
                .hint(
                    "copy the key of your subscription from the developer portal; MediaValet support has to approve it",
                ),
        );
    }
    let errors = response.body.as_ref()?.get("errors")?.as_array().filter(|errors| !errors.is_empty())?;
    (response.status < 300).then(|| {
        let errors: Vec<_> =
            errors.iter().map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned)).collect();
        Error::new(
            ErrorKind::InvalidInput,
            format!("{operation}: MediaValet accepted the call but reports: {}", errors.join("; ")),
        )
        .hint("parts of the call may have taken effect: check the result before you send it again")
    })
}

/// Returns the string with this name in a payload, such as an id.
fn id(payload: &Value, name: &str) -> Result<String> {
    payload
        .get(name)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::Unexpected, format!("MediaValet's response has no {name}")))
}

submit! { ConnectorEntry::of::<MediaValet>() }
submit! { ActionEntry::many::<MediaValet>(|| OPERATIONS.actions()) }
submit! { ActionEntry::of::<generic::RequestAction<MediaValet>>() }
submit! { ActionEntry::of::<generic::DownloadAction<MediaValet>>() }
submit! { ActionEntry::of::<generic::UploadAction<MediaValet>>() }
