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
    CheckReport, Connector, ConnectorEntry, Context, FileStream, Position, Result, SignInClient, VaultSlot,
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
    const DOCUMENTATION: &'static str = "https://docs.mediaflow.com";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, vault: VaultSlot) -> Result<Client> {
        settings.client(Self::TITLE, &OPERATIONS, vault)
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
