//! Idempotency keys (draft-ietf-httpapi-idempotency-key-header-07): a request that is sent again with its key starts no
//! second run.
//!
//! The key and a fingerprint of the request are taken as the keys of a trigger event are: in the transaction that accepts
//! the run, as hashes. So there is no time at which one of them is stored without the other, and no secret is stored.

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::json;
use trunkline_core::{Error, ErrorDetail, ErrorKind, Result, RunId};
use trunkline_engine::TriggerEvent;

use super::FlowChoice;
use crate::{Runtime, token::hash};

/// The feed of these keys. No trigger has a feed of this name.
const FEED: &str = "idempotency-key";

/// A start that is made once.
pub(super) struct OneStart {
    flow: String,
    key: String,
    fingerprint: String,
}

impl OneStart {
    /// Reads a key, which may be in quotes as the draft has it. `payload` is what else the request says.
    ///
    /// # Errors
    ///
    /// `invalid_input` if it is not a key.
    pub(super) fn new(key: &str, flow: &FlowChoice, payload: &impl Serialize) -> Result<OneStart> {
        let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        let plain = quoted.unwrap_or(key);
        let is_key = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if !(1..=255).contains(&plain.len()) || !plain.chars().all(is_key) {
            let message = "`Idempotency-Key` has to have 1 to 255 ASCII characters, without spaces and quotes inside";
            return Err(Error::new(ErrorKind::InvalidInput, message).hint("use a new UUID for each request"));
        }
        let hex = |text: &str| HEXLOWER.encode(&hash(text));
        let key = hex(plain);
        let fingerprint = hex(&format!("{key} {}", json!([flow, payload])));
        // The key of a flow that is not saved is not that of a saved one: names are not empty.
        let flow = if let FlowChoice::Saved(name) = flow { name.clone() } else { String::new() };
        Ok(OneStart { flow, key, fingerprint })
    }

    /// Returns the event whose keys the run takes.
    pub(super) fn event(&self) -> TriggerEvent {
        let keys = vec![self.key.clone(), self.fingerprint.clone()];
        TriggerEvent { flow: self.flow.clone(), feed: FEED.to_owned(), keys, ..TriggerEvent::default() }
    }

    /// Returns the run that an earlier request with this key has started.
    ///
    /// # Errors
    ///
    /// `invalid_input` with the detail [`ErrorDetail::KeyReused`] if that was another request.
    pub(super) async fn earlier(&self, runtime: &Runtime) -> Result<Option<RunId>> {
        let Some(run) = runtime.journal().taken_by(&self.flow, FEED, &self.key).await? else { return Ok(None) };
        if runtime.journal().taken_by(&self.flow, FEED, &self.fingerprint).await?.is_none() {
            let message = format!("the idempotency key was used for another request, which has started run {run}");
            let error = Error::new(ErrorKind::InvalidInput, message).with_detail(ErrorDetail::KeyReused);
            return Err(error.hint("use a new key for each request, and the same one only to repeat it"));
        }
        Ok(Some(run))
    }
}
