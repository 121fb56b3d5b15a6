//! The connector of Mediaflow, a digital asset management system. The crate's README explains how to make a connection.
//!
//! The operations of Mediaflow's API are the rows of `operations/*.toml`. An action that does not fit a row has a
//! module in `actions`.

mod actions;
mod errors;
mod files;
mod settings;

use serde_json::{Value, json};
use trunkline_core::{
    CheckReport, ConnectionContext, Connector, ConnectorEntry, Context, FileStream, Position, Result, SignInClient,
    async_trait, submit,
};
use trunkline_rest::{Client, Table, operations};

pub use actions::{Changes, FileDownload, MayPublish, Permalink, ReportUsage};
pub use settings::Settings;

static OPERATIONS: Table = operations!("mediaflow": account, files, folders, shapes, usage);

/// The connector of Mediaflow.
pub struct Mediaflow;

#[async_trait]
impl Connector for Mediaflow {
    const NAME: &'static str = "mediaflow";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "Mediaflow";
    const ABOUT: &'static str = "Digital asset management: images, films and documents with their metadata.";
    const DOCUMENTATION: &'static str = "https://docs.mediaflow.com";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, context: ConnectionContext) -> Result<Client> {
        settings.client(Self::TITLE, &OPERATIONS, context)
    }

    async fn check(client: &Client) -> CheckReport {
        client.check("user.current", json!({})).await
    }

    fn sign_in(client: &Client) -> Option<&dyn SignInClient> {
        Some(client)
    }

    async fn open(client: &Client, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
        files::open(client, source, from, cx).await
    }
}

submit! { ConnectorEntry::of::<Mediaflow>() }
