//! An operation is an action of a connector whose client is a [`Client`].

use serde_json::Value;
use trunkline_core::{ActionSpec, AnyAction, AnyClient, Context, Error, ErrorKind, Page, Result, async_trait};

use super::handle::Client;
use crate::table::CompiledRow;

#[async_trait]
impl AnyAction for &'static CompiledRow {
    fn spec(&self) -> &ActionSpec {
        CompiledRow::spec(self)
    }

    fn origin(&self) -> String {
        self.location.to_string()
    }

    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value> {
        own_client(self, client)?.run(self, input, cx).await
    }

    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        own_client(self, client)?.page_of(self, input, from, cx).await
    }
}

fn own_client<'a>(operation: &CompiledRow, client: &'a AnyClient) -> Result<&'a Client> {
    client.downcast_ref().ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("{} was called with the client of another connector", operation.name()))
    })
}
