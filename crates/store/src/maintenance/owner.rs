//! Whether a store is the only one of its name, and whether all that it has acknowledged is there.
//!
//! What is spent by use (refresh tokens, deduplication keys, positions of triggers) must not exist twice. A copy, a
//! restored backup, and a store whose last commits a disk has lost are noticed when they are opened. They can be read,
//! and every change fails, until an operator has decided which one goes on.

use std::{io, path::Path, thread, time::Duration};

use rusqlite::Connection;
use trunkline_core::{Error, ErrorKind, Result};

use crate::{
    database::Store,
    encryption::{KeySource, Ring},
    files::{BEHIND, CommitMark, file_fault, is_shared, make_data_directory, place},
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
        if let Some(refusal) = hard_link(&path)? {
            return Err(refusal);
        }
        let mut connection = match open_writer(&path)? {
            Opened::ToWrite(connection) => connection,
            Opened::ToRead(refusal) => return Err(refusal),
        };
        schema::migrate(&mut connection, &path, &ring)?.unlock(ring, &path)?;
        let failed = |error| file_fault("adopting the store", &path, error);
        let here = place(&path).map_err(failed)?;
        let commits =
            schema::set_place(&connection, &here).map_err(|error| fault("adopting the store", &path, error))?;
        CommitMark::make(dir, commits).map(drop).map_err(failed)
    }
}

/// Returns the mark of the last commit, or why nothing may be changed in a store: something keeps it from being the only
/// one or the last one.
pub(crate) fn claim(store: &Connection, path: &Path, dir: &Path) -> Result<std::result::Result<CommitMark, Error>> {
    if let Some(refusal) = hard_link(path)? {
        return Ok(Err(refusal));
    }
    // In this order, because other processes may commit in between; and again, because the mark may be read while one
    // of them writes or makes it.
    let read = || -> Result<_> {
        let mark = CommitMark::open(dir);
        let (made_for, commits) =
            schema::place_and_commits(store).map_err(|error| fault("reading the store", path, error))?;
        Ok((made_for, commits, mark))
    };
    let (mut made_for, mut commits, mut mark) = read()?;
    for _ in 0..3 {
        if lost(commits, &mark).is_some() {
            thread::sleep(Duration::from_millis(20));
            (made_for, commits, mark) = read()?;
        }
    }
    let here = place(path).map_err(|error| file_fault("reading the place of the store", path, error))?;
    if made_for.is_none_or(|place| place != here) {
        return Ok(Err(refusal(
            "this data directory is a copy of another one, or was moved or restored: nothing is changed in it, because \
             both would use the same refresh tokens and deliveries",
            "if the original is still in use, leave this one alone: it can be read. If not, make this one the owner with \
             the command `store adopt`",
            path,
        )));
    }
    if let Some(lost) = lost(commits, &mark) {
        return Ok(Err(refusal(
            &lost,
            "restore the last backup, or go on with the store as it is with the command `store adopt`; look first at what \
             runs did last: calls of lost commits may be made again, and connections may need a new sign-in",
            path,
        )));
    }
    let failed = |error| file_fault("opening the number of the last commit (commits/last)", path, error);
    Ok(match mark {
        Ok(Some((mark, Some(_)))) => Ok(mark),
        Ok(_) => CommitMark::make(dir, commits).map_err(failed),
        Err(error) => Err(failed(error)),
    })
}

/// Returns what may be lost of a store with this number of commits, by its mark. A store without a mark is a new one, or
/// of a version that had none, which has one commit now.
fn lost(commits: i64, mark: &io::Result<Option<(CommitMark, Option<i64>)>>) -> Option<String> {
    let found = match mark {
        Err(_) => return None,
        Ok(None | Some((_, None))) if commits <= 1 => return None,
        Ok(Some((_, Some(marked)))) if commits < *marked => {
            return Some(format!(
                "the store has {commits} commits, but {marked} were acknowledged: the end of its log is damaged, or its \
                 file was replaced by an earlier one"
            ));
        }
        Ok(Some((_, Some(marked)))) if commits - marked < BEHIND => return None,
        Ok(None) => "is missing".to_owned(),
        Ok(Some((_, None))) => "is empty or damaged".to_owned(),
        Ok(Some((_, Some(marked)))) => format!("has the number {marked}, which is too low"),
    };
    Some(format!(
        "the store has {commits} commits, but the file commits/last beside it, which has the number of the last one, {found}: \
         so the end of the log may have been lost, or the store replaced by an earlier one, and nothing is changed in it"
    ))
}

/// Refuses a store whose file is in two directories: each would have a log of its own for it.
fn hard_link(path: &Path) -> Result<Option<Error>> {
    let shared = is_shared(path).map_err(|error| file_fault("reading the place of the store", path, error))?;
    Ok(shared.then(|| {
        refusal(
            "this data directory is a copy of another one, or has one, that was made with hard links (`cp -al`): both have \
             the same database file, and nothing is changed in it",
            "remove the other directory if it is not needed; or copy the database to a file of its own (`cp trunkline.db \
             new && mv new trunkline.db`) and make it the owner with the command `store adopt`",
            path,
        )
    }))
}

fn refusal(message: &str, hint: &str, path: &Path) -> Error {
    Error::new(ErrorKind::Store, message).hint(hint).with("file", path.display())
}
