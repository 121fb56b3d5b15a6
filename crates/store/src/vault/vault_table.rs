//! The vault of connections. A replacement is a compare-and-set in the writer, so one of several tasks and processes
//! wins. The state of the sign-in is stored beside the encrypted tokens, and its changes are kept as events.

use rusqlite::{OptionalExtension, params};
use trunkline_core::{Result, Secret, SignIn, Vault, VaultEntry, async_trait};

use crate::{
    database::Store,
    encryption::{AssociatedData, Seal, Sealed},
    lookup::not_found::no_connection,
    sqlite::{
        manifest::{self, Manifest, Record},
        now, seal_in,
    },
};

/// The field is bound to the version, so an old value cannot be put back under a new version.
pub(crate) fn field(version: i64) -> String {
    format!("version {version}")
}

#[async_trait]
impl Vault for Store {
    async fn load(&self, connection: &str) -> Result<Option<VaultEntry>> {
        self.readers.look("reading the vault", |store| entry(store, &self.inner.seal, connection))?.transpose()
    }

    /// Fails with `not_found` for a removed connection too: its tokens must not come back.
    async fn replace(&self, connection: &str, expected: u64, content: &Secret, sign_in: &SignIn) -> Result<bool> {
        let Ok(expected) = i64::try_from(expected) else { return Ok(false) };
        let (name, content, seal) = (connection.to_owned(), content.clone(), self.inner.seal.clone());
        let sign_in = sign_in.clone();
        let replaced = self.inner.writer.run(move |store| {
            if !exists(store, &name)? {
                return Err(no_connection(&name, &[]).into());
            }
            let place = AssociatedData { table: "vault", row: &[&name], field: &field(expected + 1) };
            let sealed = seal_in(store, &seal, &place, content.expose().as_bytes())?;
            let manifest = Manifest::read(store)?;
            let before = sign_in_of(store, &name)?;
            let sql = if expected == 0 {
                "INSERT INTO vault (connection, version, key_id, sealed, updated_at, sign_in)
                 VALUES (?1, ?2 + 1, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING"
            } else {
                "UPDATE vault SET version = version + 1, key_id = ?3, sealed = ?4, updated_at = ?5, sign_in = ?6
                 WHERE connection = ?1 AND version = ?2"
            };
            let text = serde_json::to_string(&sign_in).unwrap_or_default();
            let (at, key_id, bytes) = (now(), sealed.key_id, sealed.bytes);
            let changed = store.prepare_cached(sql)?.execute(params![name, expected, key_id, bytes, at, text])?;
            if changed == 1 {
                manifest.save(store, &[Record::Tokens(&name)])?;
            }
            if changed == 1 && before.is_none_or(|before| before.state.differs(&sign_in.state)) {
                note(store, &name, at, &text)?;
            }
            Ok(changed == 1)
        });
        replaced.await
    }
}

fn exists(store: &rusqlite::Connection, name: &str) -> rusqlite::Result<bool> {
    store.prepare_cached("SELECT 1 FROM connections WHERE name = ?1")?.exists([name])
}

/// Returns the decrypted vault entry of a connection.
fn entry(store: &rusqlite::Connection, seal: &Seal, connection: &str) -> rusqlite::Result<Option<Result<VaultEntry>>> {
    manifest::check(store, Record::Tokens(connection))?;
    let mut statement = store.prepare_cached("SELECT version, key_id, sealed FROM good_vault WHERE connection = ?1")?;
    let sealed =
        |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, Sealed { key_id: row.get(1)?, bytes: row.get(2)? }));
    let found = statement.query_row([connection], sealed).optional()?;
    Ok(found.map(|(version, sealed)| {
        let place = AssociatedData { table: "vault", row: &[connection], field: &field(version) };
        let content = seal.open_text(&place, &sealed)?;
        Ok(VaultEntry { version: version.unsigned_abs(), content })
    }))
}

/// Returns the decrypted vault entry of a connection, or `None` if it cannot be decrypted.
pub(crate) fn open(store: &rusqlite::Connection, seal: &Seal, connection: &str) -> rusqlite::Result<Option<Secret>> {
    if manifest::check(store, Record::Tokens(connection)).is_err() {
        return Ok(None);
    }
    Ok(entry(store, seal, connection)?.and_then(Result::ok).map(|entry| entry.content))
}

/// The number of events kept for each connection.
const EVENTS: i64 = 200;

fn note(store: &rusqlite::Connection, connection: &str, at: i64, sign_in: &str) -> rusqlite::Result<()> {
    let insert = "INSERT INTO sign_ins (connection, at, sign_in) VALUES (?1, ?2, ?3)";
    store.prepare_cached(insert)?.execute(params![connection, at, sign_in])?;
    let old = "DELETE FROM sign_ins WHERE connection = ?1 AND id <=
               (SELECT id FROM sign_ins WHERE connection = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    store.prepare_cached(old)?.execute(params![connection, EVENTS])?;
    Ok(())
}

/// Returns the sign-in state when the vault was last written, or `None` if it never was.
fn sign_in_of(store: &rusqlite::Connection, connection: &str) -> rusqlite::Result<Option<SignIn>> {
    let mut statement = store.prepare_cached("SELECT sign_in FROM good_vault WHERE connection = ?1")?;
    let state = |row: &rusqlite::Row<'_>| Ok(read(row.get::<_, Option<String>>(0)?.as_deref()));
    statement.query_row([connection], state).optional()
}

/// Reads a stored sign-in state. Entries of versions before 3 have none.
pub(crate) fn read(text: Option<&str>) -> SignIn {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(SignIn { renewable: true, ..SignIn::default() })
}
