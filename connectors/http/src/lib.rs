//! HTTP: any service without a connector of its own. See the crate's README for making a connection.
//!
//! It has three actions, [`raw`](trunkline_rest::raw): any call, a file from a path, a file to a path. With a table of
//! operations beside it, a folder becomes a whole connector without a compiler: [`load`].

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

/// There are no rows: all calls are the user's own.
static NO_OPERATIONS: Table = Table::new("http", &[]);

/// The connector.
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

    async fn finish_authorization(client: &Client, begun: &Authorization, callback: &str) -> Result<()> {
        client.finish_authorization(begun, callback).await
    }

    async fn sign_out(client: &Client, held: &Secret) -> Result<()> {
        client.sign_out(held).await
    }

    async fn open(client: &Client, source: &Value, from: Position) -> Result<FileStream> {
        generic::open(client, source, from).await
    }
}

submit! { ConnectorEntry::of::<Http>() }
submit! { ActionEntry::of::<generic::RequestAction<Http>>() }
submit! { ActionEntry::of::<generic::DownloadAction<Http>>() }
submit! { ActionEntry::of::<generic::UploadAction<Http>>() }
