//! Answers that are lost after the service took the request, over all actions: what may be asked again is, a second delete
//! that finds nothing is done, and a create is sent once, whatever would be answered to a second one.

use trunkline_core::{Effect, ErrorKind};

use crate::{
    behaviours::{Verdict, failed},
    service::{Reply, answer},
    subject::Ended,
};

/// It asks again and again by itself, see `tests/mediavalet/polling.rs`.
pub(crate) const POLLS: &str = "asset.wait_until_processed";

/// What comes after the lost answer, and what an action that may be repeated makes of it.
pub(crate) struct After {
    pub(crate) name: &'static str,
    pub(crate) replies: Vec<Reply>,
    /// How often it asks in all.
    asks: usize,
    judge: fn(&Ended<'_>) -> Verdict,
}

fn lost() -> Reply {
    Reply::Whole(Vec::new())
}

fn done(ended: &Ended<'_>) -> Verdict {
    match &ended.result {
        Err(error) => Err(format!("failed: {error:?}")),
        Ok(_) => Ok(()),
    }
}

/// Gone: what a delete was asked for.
fn gone(ended: &Ended<'_>) -> Verdict {
    if ended.effect() == Effect::Delete { done(ended) } else { failed(ended, &[ErrorKind::NotFound]) }
}

/// The table.
pub(crate) fn afters() -> Vec<After> {
    let success = || answer(200, "", "{\"payload\":{}}");
    let (no, throttle) = (answer(404, "", "{}"), answer(429, "retry-after: 0\r\n", "{}"));
    vec![
        After { name: "a loss, a success", replies: vec![lost(), success()], asks: 2, judge: done },
        After { name: "two losses, a success", replies: vec![lost(), lost(), success()], asks: 3, judge: done },
        After { name: "a loss, a 404", replies: vec![lost(), no.clone()], asks: 2, judge: gone },
        After { name: "a loss, a throttle, a 404", replies: vec![lost(), throttle, no], asks: 3, judge: gone },
    ]
}

impl After {
    /// Whether the action did what its effect allows. What a hand-written action does after its first call, and beside it,
    /// is answered alike and need not please it: `tests/mediavalet/lost.rs` has each of its calls.
    pub(crate) fn judge(&self, ended: &Ended<'_>) -> Verdict {
        let (asks, effect) = (ended.requests(), ended.effect());
        let create = effect == Effect::Create;
        if ended.subject.spec.route.is_none() && !create {
            return Ok(());
        }
        let wanted = if create { 1 } else { self.asks };
        if asks != wanted {
            return Err(format!("({effect:?}) asked {asks} times, not {wanted}"));
        }
        if create { failed(ended, &[ErrorKind::UnknownOutcome]) } else { (self.judge)(ended) }
    }
}
