//! The connector `http`, for any HTTP service without a connector of its own. The crate's README explains how to make a
//! connection.
//!
//! It has the three [`generic`] actions: any call, a download from a path and an upload to a path. [`load`] goes
//! further: it reads connectors from folders, each with a manifest and a table of operations, so that a connector needs
//! no compiler.

mod data;
mod settings;

use serde_json::Value;
use trunkline_core::{
    ActionEntry, Authorization, CheckReport, Connector, ConnectorEntry, FileStream, Position, Result, Secret,
    VaultSlot, async_trait, submit,
};
use trunkline_rest::{Client, Table, generic};

pub use data::{load, manifest_schema};
pub use settings::Settings;

/// The connector has no rows: the user writes every call.
static NO_OPERATIONS: Table = Table::new("http", &[]);

/// The connector `http`.
pub struct Http;

#[async_trait]
impl Connector for Http {
    const NAME: &'static str = "http";
    const VERSION: &'static str = "1.0";
    const TITLE: &'static str = "HTTP";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, vault: VaultSlot) -> Result<Client> {
        settings.client(Self::TITLE, &NO_OPERATIONS, &[], vault)
    }

    async fn check(client: &Client) -> CheckReport {
        client.check_path().await
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
        generic::open(client, source, from).await
    }
}

submit! { ConnectorEntry::of::<Http>() }
submit! { ActionEntry::of::<generic::RequestAction<Http>>() }
submit! { ActionEntry::of::<generic::DownloadAction<Http>>() }
submit! { ActionEntry::of::<generic::UploadAction<Http>>() }
