//! Whether a store is the only one of its name, and whether all that it has acknowledged is there.
//!
//! What is spent by use (refresh tokens, deduplication keys, positions of triggers) must not exist twice. A copy, a
//! restored backup, and a store whose last commits a disk has lost are noticed when they are opened. They can be read,
//! and every change fails, until an operator has decided which one goes on.

use std::{path::Path, thread, time::Duration};

use rusqlite::Connection;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    database::Store,
    encryption::{KeySource, Ring},
    files::{CommitMark, file_fault, make_data_directory, place},
    sqlite::{Opened, fault, open_writer, schema},
};

impl Store {
    /// Makes the store in this directory the owner of its name: a copy, or one that was moved to another disk or
    /// machine, restored from a backup, or has lost its last commits. The names of deliveries and the keys of calls
    /// stay, so that what was done before is recognized.
    ///
    /// No other store with the same content may be in use: it would not notice, and both would use the same refresh
    /// tokens.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; `not_found` if there is no store in the directory.
    pub fn adopt(dir: &Path, key: KeySource) -> Result<()> {
        let path = dir.join("trunkline.db");
        let Some(meta) = schema::inspect(&path)? else {
            let message = format!("there is no store in {}", dir.display());
            return Err(Error::new(ErrorKind::NotFound, message).hint("name the data directory of the store"));
        };
        let ring = Ring::read(key, Some(&path))?;
        meta.check(&ring, &path)?;
        make_data_directory(dir, &path)?;
        let mut connection = match open_writer(&path)? {
            Opened::ToWrite(connection) => connection,
            Opened::ToRead(refusal) => return Err(refusal),
        };
        schema::migrate(&mut connection, &path, &ring)?.unlock(ring, &path)?;
        let failed = |error| file_fault("adopting the store", &path, error);
        let here = place(&path).map_err(failed)?;
        let commits =
            schema::set_place(&connection, &here).map_err(|error| fault("adopting the store", &path, error))?;
        CommitMark::open(dir).and_then(|mark| mark.write(commits)).map_err(failed)
    }
}

/// Returns why nothing may be changed in a store, if something keeps it from being the only one or the last one.
pub(crate) fn refusal(store: &Connection, path: &Path, mark: Option<&CommitMark>) -> Result<Option<Error>> {
    let failed = |error| fault("reading the store", path, error);
    // In this order, because other processes may commit in between; and again, because the mark may be read while one
    // of them writes it.
    let read = || -> Result<_> {
        let marked = mark.map_or(Ok(0), CommitMark::read).unwrap_or_default();
        let (made_for, commits) = schema::place_and_commits(store).map_err(failed)?;
        Ok((made_for, commits, marked))
    };
    let (mut made_for, mut commits, mut marked) = read()?;
    for _ in 0..3 {
        if commits < marked {
            thread::sleep(Duration::from_millis(20));
            (made_for, commits, marked) = read()?;
        }
    }
    let here = place(path).map_err(|error| file_fault("reading the place of the store", path, error))?;
    let refused =
        |message: &str, hint: &str| Some(Error::new(ErrorKind::Store, message).hint(hint).with("file", path.display()));
    if made_for.is_none_or(|place| place != here) {
        return Ok(refused(
            "this data directory is a copy of another one, or was moved or restored: nothing is changed in it, because \
             both would use the same refresh tokens and deliveries",
            "if the original is still in use, leave this one alone: it can be read. If not, make this one the owner with \
             the command `store adopt`",
        ));
    }
    if commits < marked {
        return Ok(refused(
            &format!(
                "the store has {commits} commits, but {marked} were acknowledged: the end of its log is damaged, or its \
                 file was replaced by an earlier one"
            ),
            "restore the last backup, or go on without the lost commits with the command `store adopt`; look first at \
             what runs did last: calls of the lost commits may be made again, and connections may need a new sign-in",
        ));
    }
    Ok(None)
}
