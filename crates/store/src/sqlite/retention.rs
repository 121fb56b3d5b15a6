//! The setting of how long ended runs are kept, with a MAC of its own: nothing without the key of the store can have
//! runs removed. A store of an earlier version has none.

use rusqlite::{Connection, OptionalExtension};
use trunkline_core::{Error, ErrorKind};
use trunkline_flow::Retention;

use crate::sqlite::ours;

pub(crate) fn read(store: &Connection) -> rusqlite::Result<Option<Retention>> {
    let sql = "SELECT value ->> 0 FROM meta
               WHERE name = 'retention' AND sound(value ->> 1 = mac('retention', value ->> 0), 'meta', name)";
    let found: Option<String> = store.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    let parse = |text: String| text.parse().map_err(|fault: String| ours(Error::new(ErrorKind::Store, fault)));
    found.map(parse).transpose()
}

pub(crate) fn write(store: &Connection, retention: Retention) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES ('retention', json_array(?1, mac('retention', ?1)))
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    store.prepare_cached(sql)?.execute([retention.to_string()]).map(drop)
}
