//! What the steps after a list see of its items: the values that the items have collected, and the items that failed.
//!
//! Both come from the outcomes of the items, so a resumed run sees the same.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use serde_json::{Value, json};
use trunkline_core::{Error, ErrorKind, Result, StepPath, memory_of};

use super::{CountedMemory, Run};
use crate::run::{Collected, ItemNote, ItemOutcome, json_size};

/// The number of failed items of a list that are kept, and that a failure handler sees in all.
const MAX_FAILURES: usize = 100;
/// The largest number of values that the items of a list may collect, and their size in bytes of JSON.
const MAX_COLLECTED: usize = 10_000;
pub(crate) const MAX_COLLECTED_BYTES: usize = 1 << 20;

/// What the steps after a list see of its items.
#[derive(Debug, Default)]
pub(super) struct ListValues {
    /// The collected values, by the numbers of their items.
    collected: BTreeMap<u64, Value>,
    /// The size of these values in bytes of JSON.
    bytes: usize,
    memory: Option<CountedMemory>,
    /// The first items that failed or are unknown, by key, in the order in which they ended.
    failures: Vec<(String, Value)>,
}

impl Run {
    /// Keeps what the steps after a list see of an item that has an outcome.
    pub(super) fn keep(&mut self, each: &StepPath, key: &str, outcome: &ItemOutcome, note: ItemNote) {
        if let Some(values) = self.values.get_mut(each) {
            values.failures.retain(|(failed, _)| failed != key);
        }
        if let Some(Collected { index, value }) = note.collected {
            let (memory, values) = (memory_of(&value), self.values.entry(each.clone()).or_default());
            let counted = values.memory.get_or_insert_with(|| CountedMemory { bytes: 0, run: self.memory.clone() });
            counted.bytes += memory;
            self.memory.fetch_add(memory, Ordering::Relaxed);
            values.bytes += json_size(&value);
            values.collected.insert(index, value);
        }
        if let Some(error) = outcome.error() {
            let values = self.values.entry(each.clone()).or_default();
            if values.failures.len() < MAX_FAILURES {
                let failure = json!({
                    "step": each, "key": key, "label": note.label.as_deref().unwrap_or(key), "status": outcome.status(), "reason": error.message()
                });
                values.failures.push((key.to_owned(), failure));
            }
        }
    }

    /// Returns the values that the items of a list have collected, in the order of the list.
    pub(crate) fn collected(&self, each: &StepPath) -> Vec<Value> {
        self.values.get(each).map(|values| values.collected.values().cloned().collect()).unwrap_or_default()
    }

    /// Returns the output of an `each` whose items all have outcomes: how many have which, which ones failed, and what
    /// they have collected.
    pub(crate) fn list_output(&self, each: &StepPath, collects: bool) -> Value {
        let ledger = self.ledger.get(each).cloned().unwrap_or_default();
        let sum = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
        let mut output = json!({
            "done": ledger.done, "skipped": sum(&ledger.skipped),
            "failed": sum(&ledger.failed), "unknown": sum(&ledger.unknown),
            "maybe_incomplete": ledger.maybe_incomplete.is_some(), "failures": self.failures(each)
        });
        if collects {
            output["collected"] = self.collected(each).into();
        }
        output
    }

    /// Fails with `limit` if the items of a list have collected more than they may.
    pub(crate) fn check_collected(&self, each: &StepPath) -> Result<()> {
        let Some(ListValues { collected, bytes, .. }) = self.values.get(each) else { return Ok(()) };
        let message = if collected.len() > MAX_COLLECTED {
            format!("`collect` of {each} has more than {MAX_COLLECTED} values, which is the limit")
        } else if *bytes > MAX_COLLECTED_BYTES {
            format!("the values of `collect` of {each} are {bytes} bytes of JSON; the limit is {MAX_COLLECTED_BYTES}")
        } else {
            return Ok(());
        };
        let hint = "collect only what later steps need, such as an id, or divide the list among several runs";
        Err(Error::new(ErrorKind::Limit, message).hint(hint))
    }

    /// Returns the first items that failed in this list, or in the lists below this path.
    pub(crate) fn failures(&self, within: &StepPath) -> Vec<Value> {
        let lists = self.values.iter().filter(|(each, _)| each.is_within(within));
        let failures = lists.flat_map(|(_, values)| &values.failures);
        failures.map(|(_, failure)| failure.clone()).take(MAX_FAILURES).collect()
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::RunId;

    use super::*;

    /// The twin of the limit: a run keeps all that its items collect, so only the check bounds it.
    #[test]
    fn without_the_check_a_run_keeps_whatever_its_items_collect() {
        let (mut run, each) = (Run::new(RunId::from("r")), StepPath::from("all"));
        let mut collect = |index: u64, value: Value| {
            let collected = Some(Collected { index, value });
            let note = ItemNote { collected, ..ItemNote::default() };
            run.keep(&each, &index.to_string(), &ItemOutcome::Done { reason: None }, note);
            (run.collected(&each).len(), run.check_collected(&each).is_ok())
        };
        for index in 0..MAX_COLLECTED as u64 {
            collect(index, Value::Null);
        }
        assert_eq!(collect(MAX_COLLECTED as u64 - 1, json!(1)), (MAX_COLLECTED, true));
        assert_eq!(collect(MAX_COLLECTED as u64, json!(1)), (MAX_COLLECTED + 1, false));
    }
}
