//! The connector `http`, for any HTTP service without a connector of its own. The crate's README explains how to make a
//! connection.
//!
//! It has the three [`generic`] actions: any call, a download from a path and an upload to a path. [`load`] goes
//! further: it reads connectors from folders, each with a manifest and a table of operations, so that a connector needs
//! no compiler.

mod actions;
mod data;
mod errors;
mod events;
mod settings;

use serde_json::Value;
use trunkline_core::{
    CheckReport, ConnectionContext, Connector, ConnectorEntry, Context, FileStream, Position, Result, SignInClient,
    async_trait, submit,
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
    const ABOUT: &'static str = "Any service with an HTTP API.";
    type Settings = Settings;
    type Client = Client;

    fn connect(settings: Settings, context: ConnectionContext) -> Result<Client> {
        settings.client(Self::TITLE, &NO_OPERATIONS, &[], context)
    }

    async fn check(client: &Client) -> CheckReport {
        client.check_path().await
    }

    fn sign_in(client: &Client) -> Option<&dyn SignInClient> {
        Some(client)
    }

    async fn open(client: &Client, source: &Value, from: Position, cx: &Context) -> Result<FileStream> {
        generic::open(client, source, from, cx).await
    }
}

submit! { ConnectorEntry::of::<Http>() }
