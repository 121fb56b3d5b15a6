//! The documents of flow versions. A version never changes, because runs are pinned to it.

use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, async_trait};
use trunkline_engine::FlowVersions;

use crate::{
    database::Store,
    sqlite::{WorkResult, text},
};

#[async_trait]
impl FlowVersions for Store {
    async fn keep_version(&self, version: &str, flow: &Value) -> Result<()> {
        let (version, document) = (version.to_owned(), text(flow)?);
        self.inner.writer.run(move |store| pin(store, &version, &document)).await
    }

    async fn flow(&self, version: &str) -> Result<Value> {
        let document = self.readers.look("reading a flow", |store| flow_document(store, version))?;
        let document =
            document.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no flow version {version}")))?;
        serde_json::from_str(&document).map_err(|error| {
            Error::new(ErrorKind::Store, format!("the stored flow version {version} cannot be read"))
                .hint("restore the last backup of the data directory")
                .source(error)
        })
    }
}

/// Saves the document of a flow version. Fails with `conflict` if the version exists with another document.
pub(crate) fn pin(store: &Connection, version: &str, document: &str) -> WorkResult<()> {
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    match flow_document(store, version)? {
        None => {
            let mut insert = store.prepare_cached("INSERT INTO flows (version, document) VALUES (?1, ?2)")?;
            insert.execute([version, document])?;
            Ok(())
        }
        Some(known) if known == document || value(&known) == value(document) => Ok(()),
        Some(_) => {
            let message = format!("another flow has the version {version} already");
            Err(Error::new(ErrorKind::Conflict, message).hint("give the changed flow a new version").into())
        }
    }
}

fn flow_document(store: &Connection, version: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = store.prepare_cached("SELECT document FROM good_flows WHERE version = ?1")?;
    statement.query_row([version], |row| row.get(0)).optional()
}
