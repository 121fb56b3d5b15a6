//! The vault of connections: compare-and-set in the writer, so that of several tasks and processes one wins.

use rusqlite::{OptionalExtension, params};
use trunkline_core::{Result, Secret, Vault, VaultEntry, async_trait};

use crate::{
    Store,
    connections::{exists, unknown},
    now,
    seal::{Place, Sealed},
};

/// Each version is sealed for itself: an old one cannot be put back under a new number.
pub(crate) fn field(version: i64) -> String {
    format!("version {version}")
}

#[async_trait]
impl Vault for Store {
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
        let name = connection.to_owned();
        let found = self.readers.read("reading the vault", move |store| {
            let mut statement =
                store.prepare_cached("SELECT version, key_id, sealed FROM vault WHERE connection = ?1")?;
            let entry = |row: &rusqlite::Row<'_>| {
                Ok((row.get::<_, i64>(0)?, Sealed { key_id: row.get(1)?, bytes: row.get(2)? }))
            };
            statement.query_row([name], entry).optional()
        });
        let Some((version, sealed)) = found.await? else { return Ok(None) };
        let place = Place { table: "vault", row: &[connection], field: &field(version) };
        let content = self.inner.seal.open_text(&place, &sealed)?;
        Ok(Some(VaultEntry { version: version.unsigned_abs(), content }))
    }

    /// Also fails, with `not_found`, for a connection that has been removed: its tokens must not come back.
    async fn replace(&self, connection: &str, expected: u64, content: &Secret) -> Result<bool> {
        let Ok(expected) = i64::try_from(expected) else { return Ok(false) };
        let (name, content, seal) = (connection.to_owned(), content.clone(), self.inner.seal.clone());
        let replaced = self.inner.writer.run(move |store| {
            if !exists(store, &name)? {
                return Ok(Ok(None));
            }
            let place = Place { table: "vault", row: &[&name], field: &field(expected + 1) };
            let sealed = match seal.seal(store, &place, content.expose().as_bytes())? {
                Ok(sealed) => sealed,
                Err(error) => return Ok(Err(error)),
            };
            let sql = if expected == 0 {
                "INSERT INTO vault (connection, version, key_id, sealed, updated_at) VALUES (?1, ?2 + 1, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING"
            } else {
                "UPDATE vault SET version = version + 1, key_id = ?3, sealed = ?4, updated_at = ?5
                 WHERE connection = ?1 AND version = ?2"
            };
            let changed =
                store.prepare_cached(sql)?.execute(params![name, expected, sealed.key_id, sealed.bytes, now()])?;
            Ok(Ok(Some(changed == 1)))
        });
        match replaced.await?? {
            Some(replaced) => Ok(replaced),
            None => Err(unknown(connection, &[])),
        }
    }
}
