//! Lists of operations, read to their ends.

use trunkline::{
    Runtime,
    core::Result,
    operations::{
        Caller, Listed, PageQuery,
        catalogue::{ConnectorQuery, ConnectorSummary, ListConnectors},
        connections::ListConnections,
    },
    store::ConnectionSummary,
};

/// Returns all connectors.
pub(crate) async fn all_connectors(runtime: &Runtime) -> Result<Vec<ConnectorSummary>> {
    let page = async |cursor| {
        let query = ConnectorQuery { limit: Some(PageQuery::MOST), cursor, ..ConnectorQuery::default() };
        runtime.execute::<ListConnectors>(&Caller::owner(), query).await
    };
    Listed::all(page).await
}

/// Returns all saved connections.
pub(crate) async fn saved_connections(runtime: &Runtime) -> Result<Vec<ConnectionSummary>> {
    let page = async |cursor| runtime.execute::<ListConnections>(&Caller::owner(), PageQuery::largest(cursor)).await;
    Listed::all(page).await
}
