//! An event as a row of the journal: what of it is sealed, and what it changes in other tables.

use rusqlite::Row as SqlRow;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, Timestamp};
use trunkline_engine::{ItemOutcome, RunEvent, RunId, RunStatus, StepPath};
use zeroize::Zeroizing;

use crate::{
    pending_writes::ItemKey,
    seal::{AssociatedData, Seal, Sealed},
};

/// An event as it is written.
pub(crate) struct Row {
    pub(crate) kind: String,
    pub(crate) event: String,
    /// What is kept sealed of it.
    pub(crate) secret: Option<SecretPart>,
    pub(crate) change: Change,
}

pub(crate) struct SecretPart {
    pub(crate) row: String,
    pub(crate) field: &'static str,
    pub(crate) plain: Zeroizing<String>,
}

/// What an event changes beside being there.
pub(crate) enum Change {
    None,
    Status { status: RunStatus, finished_at: Option<i64> },
    Cancel,
    Item(Outcome),
}

/// What has become of an item.
pub(crate) struct Outcome {
    pub(crate) step: StepPath,
    pub(crate) key: String,
    pub(crate) status: &'static str,
    pub(crate) outcome: String,
    pub(crate) at: i64,
    /// What the item was like, if that is remembered across runs.
    pub(crate) once: Option<String>,
    /// Whether a person has said so.
    pub(crate) settles: bool,
}

impl Outcome {
    fn of(step: &StepPath, key: &str, outcome: &ItemOutcome, at: Timestamp) -> Result<Outcome> {
        let (step, key, status, at) = (step.clone(), key.to_owned(), outcome.status(), column(at));
        Ok(Outcome { step, key, status, outcome: text(outcome)?, at, once: None, settles: false })
    }
}

/// What is kept sealed of an event, and where it belongs: what may hold signed addresses or what services handed out.
pub(crate) fn secret_part(event: &mut RunEvent) -> Option<(&str, &'static str, &mut Value)> {
    match event {
        RunEvent::Checkpoint { step, value } => Some((step.as_str(), "/value", value)),
        RunEvent::StepFinished { step, output, .. } => Some((step.as_str(), "/output", output)),
        RunEvent::StepResolved { step, output, .. } => Some((step.as_str(), "/output", output)),
        RunEvent::Signalled { name, payload, .. } => Some((name, "/payload", payload)),
        _ => None,
    }
}

impl Row {
    pub(crate) fn new(event: RunEvent) -> Result<Row> {
        let mut event = event;
        let mut secret = None;
        if let Some((row, field, value)) = secret_part(&mut event) {
            let plain = Zeroizing::new(text(&std::mem::take(value))?);
            secret = Some(SecretPart { row: row.to_owned(), field, plain });
        }
        let change = match &event {
            RunEvent::ItemFinished { step, key, outcome, once, at } => {
                Change::Item(Outcome { once: once.clone(), ..Outcome::of(step, key, outcome, *at)? })
            }
            RunEvent::ItemResolved { step, key, outcome, at, .. } => {
                Change::Item(Outcome { settles: true, ..Outcome::of(step, key, outcome, *at)? })
            }
            RunEvent::Resumed { .. } => Change::Status { status: RunStatus::Running, finished_at: None },
            RunEvent::Finished { status, at, .. } => Change::Status { status: *status, finished_at: Some(column(*at)) },
            RunEvent::CancelRequested { .. } => Change::Cancel,
            _ => Change::None,
        };
        let event = text(&event)?;
        // The tag of an event stands before all else.
        let kind = event.strip_prefix(r#"{"event":""#).and_then(|rest| rest.split('"').next());
        let kind = kind.ok_or_else(|| Error::new(ErrorKind::Internal, "an event does not say what it is"))?.to_owned();
        Ok(Row { kind, event, secret, change })
    }

    /// The item that the event is about.
    pub(crate) fn item(&self, run: &RunId) -> Option<ItemKey> {
        match &self.change {
            Change::Item(Outcome { step, key, .. }) => Some((run.clone(), step.clone(), key.clone())),
            _ => None,
        }
    }
}

/// An event as it is read.
pub(crate) struct Kept {
    pub(crate) seq: i64,
    pub(crate) event: String,
    pub(crate) sealed: Option<Sealed>,
}

impl Kept {
    /// Of the columns seq, event, key_id, sealed.
    pub(crate) fn of(row: &SqlRow<'_>) -> rusqlite::Result<Kept> {
        let (key_id, sealed): (Option<String>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
        let sealed = key_id.zip(sealed).map(|(key_id, bytes)| Sealed { key_id, bytes });
        Ok(Kept { seq: row.get(0)?, event: row.get(1)?, sealed })
    }

    /// The event with its secret part.
    pub(crate) fn event(self, seal: &Seal, run: &RunId) -> Result<RunEvent> {
        let mut event: RunEvent = parse(run, &self.event)?;
        let is_output = matches!(event, RunEvent::StepFinished { .. });
        match (secret_part(&mut event), self.sealed) {
            (Some((row, field, value)), Some(sealed)) => {
                let place = AssociatedData { table: "events", row: &[run.as_str(), row], field };
                let plain = seal.open(&place, &sealed).map_err(|error| error.with("run", run))?;
                *value = serde_json::from_slice(&plain).map_err(|_| damaged(run))?;
            }
            // An output of a step from the time when only checkpoints were sealed.
            (Some(_), None) if is_output => {}
            (None, None) => {}
            _ => return Err(damaged(run)),
        }
        Ok(event)
    }
}

/// A number as SQLite stores it, which has no unsigned ones.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as it is stored: milliseconds since 1970.
pub(crate) fn column(time: Timestamp) -> i64 {
    signed(time.as_millis())
}

/// The time in a column, see [`column`].
pub(crate) fn time(column: i64) -> Timestamp {
    Timestamp::from_millis(column.unsigned_abs())
}

fn not_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "an event is not JSON").source(error)
}

pub(crate) fn text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(not_json)
}

pub(crate) fn parse<T: DeserializeOwned>(run: &RunId, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged(run).source(error))
}

pub(crate) fn damaged(run: &RunId) -> Error {
    Error::new(ErrorKind::Store, format!("the journal of run {run} is damaged"))
        .hint("put back the last backup of the data directory, or start the flow again as a new run")
        .with("run", run)
}
