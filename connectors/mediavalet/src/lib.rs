//! The connector of MediaValet, a digital asset management system. The crate's README explains how to make a
//! connection.
//!
//! The operations of MediaValet's API are the rows of `operations/*.toml`. An action that does not fit a row has a
//! module in `actions`.

mod actions;
mod errors;
mod events;
mod files;
mod settings;

use serde_json::{Value, json};
use trunkline_core::{
    CheckReport, ConnectionContext, Connector, ConnectorEntry, Context, EventSpec, FileStream, Position, Result,
    SignInClient, async_trait, submit,
};
use trunkline_rest::{Client, Table, operations};

pub use actions::{
    AssetDownload, AssetUpload, Bulk, Export, Package, Rendition, SetCategories, SetKeywords, SetLogo, SetPortalLogo,
    Subscribe, Unsubscribe, Update, UploadVersion, WaitUntilProcessed,
};
pub use settings::Settings;

static OPERATIONS: Table = operations!(
    "mediavalet": asset_metadata, asset_video, assets, attributes, authorization, categories, config, crops, direct_links,
    downloads, integrations, keywords, lightboxes, notifications, org_units, persons, portal_settings, portals,
    portals_public, reports, searches, shapes, shares, uploads, user_groups, users, webhooks
);

/// The connector of MediaValet.
pub struct MediaValet;

#[async_trait]
impl Connector for MediaValet {
    const NAME: &'static str = "mediavalet";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "MediaValet";
    const ABOUT: &'static str = "Digital asset management: a library of images, films and documents in the cloud.";
    const DOCUMENTATION: &'static str = "https://docs.mediavalet.com";
    const SCOPES: &'static [&'static str] = &["api"];
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, context: ConnectionContext) -> Result<Client> {
        settings.client(Self::TITLE, &OPERATIONS, context)
    }

    async fn check(client: &Client) -> CheckReport {
        client.check("user.current", json!({})).await
    }

    fn events() -> Vec<EventSpec> {
        events::events()
    }

    fn sign_in(client: &Client) -> Option<&dyn SignInClient> {
        Some(client)
    }

    async fn open(client: &Client, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
        files::open(client, source, from, cx).await
    }
}

submit! { ConnectorEntry::of::<MediaValet>() }
