//! [`Ledger`]: the outcomes of the items of a list.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::run::ItemOutcome;

/// The number of different reasons that a ledger counts; further ones are counted together.
const MAX_REASONS: usize = 50;

/// The outcomes of the items of one `each` step: how many, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Ledger {
    /// The number of items whose steps all ran.
    pub done: u64,
    /// The numbers of skipped items, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// The numbers of failed items, by reason.
    pub failed: BTreeMap<String, u64>,
    /// The numbers of items with an unknown outcome, by reason.
    pub unknown: BTreeMap<String, u64>,
    /// The evidence, if the list seems to have changed while it was read: items of it may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maybe_incomplete: Option<String>,
}

impl Ledger {
    /// Returns the number of items that have an outcome.
    pub fn total(&self) -> u64 {
        self.done
            + [&self.skipped, &self.failed, &self.unknown].iter().flat_map(|reasons| reasons.values()).sum::<u64>()
    }

    /// Returns the number of items that failed or are unknown.
    pub fn faults(&self) -> u64 {
        self.failed.values().chain(self.unknown.values()).sum()
    }

    pub(crate) fn add(&mut self, other: Ledger) {
        self.done += other.done;
        self.maybe_incomplete = self.maybe_incomplete.take().or(other.maybe_incomplete);
        let theirs = [other.skipped, other.failed, other.unknown];
        for (ours, theirs) in [&mut self.skipped, &mut self.failed, &mut self.unknown].into_iter().zip(theirs) {
            theirs.into_iter().for_each(|(reason, count)| tally(ours, &reason, count));
        }
    }

    pub(crate) fn count(&mut self, outcome: &ItemOutcome) {
        match self.reasons(outcome) {
            None => self.done += 1,
            Some(reasons) => tally(reasons, outcome.reason().unwrap_or_default(), 1),
        }
    }

    /// Removes an outcome that was counted before.
    pub(crate) fn discount(&mut self, outcome: &ItemOutcome) {
        let Some(reasons) = self.reasons(outcome) else {
            self.done = self.done.saturating_sub(1);
            return;
        };
        let reason = outcome.reason().unwrap_or_default();
        let reason = if reasons.contains_key(reason) { reason } else { OTHER_REASONS };
        if let Some(count) = reasons.get_mut(reason) {
            *count -= 1;
        }
        reasons.retain(|_, count| *count > 0);
    }

    /// Returns the counts by reason for outcomes of this kind; nothing for `Done`, which
    /// is one count: the warnings of the run are counted by themselves.
    fn reasons(&mut self, outcome: &ItemOutcome) -> Option<&mut BTreeMap<String, u64>> {
        match outcome {
            ItemOutcome::Done { .. } => None,
            ItemOutcome::Skipped { .. } => Some(&mut self.skipped),
            ItemOutcome::Failed { .. } => Some(&mut self.failed),
            ItemOutcome::Unknown { .. } => Some(&mut self.unknown),
        }
    }
}

/// The name under which further reasons are counted.
const OTHER_REASONS: &str = "other reasons";

pub(crate) fn tally(reasons: &mut BTreeMap<String, u64>, reason: &str, count: u64) {
    let counted = reasons.len() < MAX_REASONS || reasons.contains_key(reason);
    *reasons.entry(if counted { reason } else { OTHER_REASONS }.to_owned()).or_default() += count;
}
