//! A run event as a row of the journal: which part of it is encrypted, and what it changes in other tables.

use std::collections::BTreeSet;

use rusqlite::Row as SqlRow;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use trunkline_core::{Error, ErrorKind, Result, RunId, StepPath};
use trunkline_engine::{Item, ItemOutcome, RunEvent, RunStatus};
use zeroize::Zeroizing;

use crate::{
    encryption::{AssociatedData, Seal, Sealed},
    sqlite::{column, text},
};

/// The run, step and key of an item.
pub(crate) type ItemKey = (RunId, StepPath, String);

/// An event to be written.
pub(crate) struct Row {
    pub(crate) kind: &'static str,
    pub(crate) event: String,
    /// The part that is encrypted.
    pub(crate) secret: Option<SecretPart>,
    pub(crate) change: Change,
}

pub(crate) struct SecretPart {
    pub(crate) row: String,
    pub(crate) field: &'static str,
    pub(crate) plain: Zeroizing<String>,
}

/// The change that an event makes in other tables.
pub(crate) enum Change {
    None,
    Status { status: RunStatus, error: Option<ErrorKind>, finished_at: Option<i64> },
    Cancel,
    Item(Outcome),
}

/// The outcome of an item, as it is stored.
pub(crate) struct Outcome {
    pub(crate) step: StepPath,
    pub(crate) key: String,
    pub(crate) status: &'static str,
    /// A [`StoredOutcome`].
    pub(crate) outcome: String,
    /// The label, and the ids of what the item has become.
    pub(crate) names: BTreeSet<String>,
    pub(crate) at: i64,
    /// The fingerprint of the item, if it is remembered across runs.
    pub(crate) once: Option<String>,
    /// Whether an operator resolved the item.
    pub(crate) resolved: bool,
}

/// The outcome of an item in its row.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredOutcome {
    #[serde(flatten)]
    pub(crate) outcome: ItemOutcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Value>,
}

impl Outcome {
    /// Returns the outcome that an event records, if it is one of an item.
    fn of(event: &RunEvent) -> Result<Option<Outcome>> {
        let Some(item) = Item::of(event) else { return Ok(None) };
        let (once, resolved) = match event {
            RunEvent::ItemFinished { once, .. } => (once.clone(), false),
            _ => (None, true),
        };
        let (names, status) = (item.names(), item.outcome.status());
        let Item { step, key, outcome, label, result, at } = item;
        let outcome = text(&StoredOutcome { outcome, label, result })?;
        Ok(Some(Outcome { step, key, status, outcome, names, at: column(at), once, resolved }))
    }
}

/// Returns the encrypted part of an event and its place: values that may hold signed URLs or secrets of services.
pub(crate) fn secret_part(event: &mut RunEvent) -> Option<(&str, &'static str, &mut Value)> {
    match event {
        RunEvent::Checkpoint { step, value } => Some((step.as_str(), "/value", value)),
        RunEvent::StepFinished { step, output, .. } => Some((step.as_str(), "/output", output)),
        RunEvent::StepResolved { step, output, .. } => Some((step.as_str(), "/output", output)),
        RunEvent::Signalled { name, payload, .. } => Some((name, "/payload", payload)),
        RunEvent::ItemFinished { key, note, .. } => {
            note.collected.as_mut().map(|collected| (&**key, "/collected", &mut collected.value))
        }
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
            RunEvent::Resumed { .. } => Change::Status { status: RunStatus::Running, error: None, finished_at: None },
            RunEvent::Finished { status, error, at } => {
                let error = error.as_ref().map(Error::kind);
                Change::Status { status: *status, error, finished_at: Some(column(*at)) }
            }
            RunEvent::CancelRequested { .. } => Change::Cancel,
            event => Outcome::of(event)?.map_or(Change::None, Change::Item),
        };
        let kind = event.name();
        Ok(Row { kind, event: text(&event)?, secret, change })
    }

    /// Returns the item that the event belongs to.
    pub(crate) fn item(&self, run: &RunId) -> Option<ItemKey> {
        match &self.change {
            Change::Item(Outcome { step, key, .. }) => Some((run.clone(), step.clone(), key.clone())),
            _ => None,
        }
    }
}

/// An event as it is stored.
pub(crate) struct StoredEvent {
    pub(crate) seq: i64,
    pub(crate) event: String,
    pub(crate) sealed: Option<Sealed>,
}

impl StoredEvent {
    /// Reads the columns seq, event, key_id, sealed.
    pub(crate) fn read(row: &SqlRow<'_>) -> rusqlite::Result<StoredEvent> {
        let (key_id, sealed): (Option<String>, Option<Vec<u8>>) = (row.get(2)?, row.get(3)?);
        let sealed = key_id.zip(sealed).map(|(key_id, bytes)| Sealed { key_id, bytes });
        Ok(StoredEvent { seq: row.get(0)?, event: row.get(1)?, sealed })
    }

    /// Returns the event with its decrypted part.
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

pub(crate) fn parse<T: DeserializeOwned>(run: &RunId, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| damaged(run).source(error))
}

pub(crate) fn damaged(run: &RunId) -> Error {
    Error::new(ErrorKind::Store, format!("the journal of run {run} is damaged"))
        .hint("put back the last backup of the data directory, or start the flow again as a new run")
        .with("run", run)
}
