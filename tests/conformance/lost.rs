//! Responses that are lost after the service received the request, for all actions: reads and idempotent changes are
//! repeated, a repeated delete that finds nothing succeeds, and a create is sent once, whatever the response to a
//! second one would be.

use serde_json::Value;
use trunkline_core::{Effect, ErrorKind};

use crate::{
    behaviours::{Verdict, failed, gone},
    service::{Reply, answer},
    subject::ActionOutcome,
};

/// The action that polls by itself, see `tests/mediavalet/polling.rs`.
pub(crate) const POLLS: &str = "asset.wait_until_processed";

/// The responses after the lost one, and the required result of an action that may be repeated.
pub(crate) struct After {
    pub(crate) name: &'static str,
    pub(crate) replies: Vec<Reply>,
    /// Number of requests in all.
    asks: usize,
    judge: fn(&ActionOutcome<'_>) -> Verdict,
}

fn lost() -> Reply {
    Reply::Whole(Vec::new())
}

fn done(ended: &ActionOutcome<'_>) -> Verdict {
    match &ended.result {
        Err(error) => Err(format!("failed: {error:?}")),
        Ok(_) => Ok(()),
    }
}

/// Returns the table of cases; `body` is that of a success.
pub(crate) fn afters(body: &Value) -> Vec<After> {
    let success = || answer(200, "", &body.to_string());
    let (no, throttle) = (answer(404, "", "{}"), answer(429, "retry-after: 0\r\n", "{}"));
    vec![
        After { name: "a loss, a success", replies: vec![lost(), success()], asks: 2, judge: done },
        After { name: "two losses, a success", replies: vec![lost(), lost(), success()], asks: 3, judge: done },
        After { name: "a loss, a 404", replies: vec![lost(), no.clone()], asks: 2, judge: gone },
        After { name: "a loss, a throttle, a 404", replies: vec![lost(), throttle, no], asks: 3, judge: gone },
    ]
}

impl After {
    /// Checks that the action did what its effect allows. Later calls of a hand-written action get the same responses,
    /// which need not fit: `tests/mediavalet/lost.rs` covers each of its calls.
    pub(crate) fn judge(&self, ended: &ActionOutcome<'_>) -> Verdict {
        let (asks, effect) = (ended.requests(), ended.effect());
        let create = effect == Effect::Create;
        if ended.subject.spec.route.is_none() && !create {
            return Ok(());
        }
        let wanted = if create { 1 } else { self.asks };
        if asks != wanted {
            return Err(format!("({effect:?}) sent {asks} requests, not {wanted}"));
        }
        if create { failed(ended, &[ErrorKind::UnknownOutcome]) } else { (self.judge)(ended) }
    }
}
