//! Compares the effects that the witness recorded with the journals.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_core::{ErrorKind, RunId};
use trunkline_engine::{EventLog, RunEvent, RunIndex, RunStatus};
use trunkline_store::{KeySource, Store};
use trunkline_tests::Cli;

use crate::witness::Effect;

/// Counts of everything that a store has recorded of its runs. A place is `RUN/ITEM/STEP`, an item `RUN/ITEM`.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) runs: BTreeMap<String, RunStatus>,
    pub(crate) steps: BTreeMap<String, u64>,
    pub(crate) started: BTreeMap<String, u64>,
    pub(crate) items: BTreeMap<String, (u64, &'static str)>,
    pub(crate) ends: BTreeMap<String, u64>,
}

impl Account {
    /// Reads the store as the next process will, while no process works on it.
    pub(crate) async fn of(cli: &Cli) -> Account {
        let store = Store::open(&cli.data(), KeySource::File(cli.key_file())).unwrap();
        let mut account = Account::default();
        for run in store.runs().await.unwrap() {
            account.add(&store, &run.id).await;
            account.runs.insert(run.id.to_string(), run.status);
        }
        account
    }

    async fn add(&mut self, store: &Store, run: &RunId) {
        let place = |step: &str| format!("{run}/{}", step.strip_prefix("all/").unwrap_or(step));
        let visit = &mut |event| match event {
            RunEvent::StepStarted { step, .. } => *self.started.entry(place(step.as_str())).or_default() += 1,
            // The machine failed before the call: nothing was called.
            RunEvent::StepFailed { error, .. } if error.kind() == ErrorKind::Store => {}
            RunEvent::StepFinished { step, .. } | RunEvent::StepFailed { step, .. } => {
                *self.steps.entry(place(step.as_str())).or_default() += 1;
            }
            // A failed attempt does not end the step.
            RunEvent::StepRetried { step, .. } => drop(self.steps.remove(&place(step.as_str()))),
            RunEvent::ItemFinished { key, outcome, .. } => {
                let item = self.items.entry(format!("{run}/{key}")).or_insert((0, outcome.status()));
                item.0 += 1;
            }
            RunEvent::Finished { .. } => *self.ends.entry(run.to_string()).or_default() += 1,
            _ => {}
        };
        store.replay(run, visit).await.unwrap();
    }

    /// Returns the number of items with this status.
    pub(crate) fn count(&self, status: &str) -> usize {
        self.items.values().filter(|(_, one)| *one == status).count()
    }

    /// Returns the effects in `later` that belong to steps which were recorded before.
    pub(crate) fn called_again(&self, later: &[Effect]) -> Vec<String> {
        let again = later.iter().filter(|effect| self.steps.contains_key(&effect.place));
        again.map(|effect| format!("{} was called after it was recorded", effect.place)).collect()
    }

    /// Returns everything that ended more than once.
    pub(crate) fn doubles(&self) -> Vec<String> {
        let items = self.items.iter().map(|(item, (times, _))| (item, times));
        let all = self.steps.iter().chain(&self.ends).chain(items);
        all.filter(|(_, times)| **times > 1).map(|(what, times)| format!("{what} ended {times} times")).collect()
    }

    /// Returns the runs that were accepted and are missing.
    pub(crate) fn lost<'a>(&self, accepted: &'a BTreeSet<String>) -> Vec<&'a String> {
        accepted.iter().filter(|run| !self.runs.contains_key(*run)).collect()
    }

    /// Returns the items that are recorded as done although a step has no effect, or a create does not have exactly
    /// one.
    pub(crate) fn not_done(&self, effects: &[Effect]) -> Vec<String> {
        let places: BTreeSet<_> = effects.iter().map(|effect| effect.place.as_str()).collect();
        let mut found = Vec::new();
        for (item, _) in self.items.iter().filter(|(_, (_, status))| *status == "done") {
            let missing = ["read", "put", "create"].iter().map(|step| format!("{item}/{step}"));
            found.extend(missing.filter(|place| !places.contains(place.as_str())));
        }
        found
    }

    /// Returns the number of runs that have ended.
    pub(crate) fn through(&self) -> usize {
        let through = |status: &&RunStatus| matches!(status, RunStatus::Succeeded | RunStatus::Partial);
        self.runs.values().filter(through).count()
    }
}

/// Returns violations in the effects alone: a repeated create, or a call that was repeated with another key.
pub(crate) fn unsafe_repeats(effects: &[Effect]) -> Vec<String> {
    let mut keys = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut creates = BTreeMap::<&str, u64>::new();
    for effect in effects {
        keys.entry(&effect.place).or_default().insert(&effect.key);
        *creates.entry(&effect.place).or_default() += u64::from(effect.method == "POST");
    }
    let keys = keys.iter().filter(|(_, keys)| keys.len() > 1).map(|(place, keys)| format!("{place} had {keys:?}"));
    let creates = creates.iter().filter(|(_, times)| **times > 1);
    keys.chain(creates.map(|(place, times)| format!("{place} created {times} times"))).collect()
}

/// Returns the number of repeated calls.
pub(crate) fn repeats(effects: &[Effect]) -> usize {
    effects.len() - effects.iter().map(|effect| &effect.place).collect::<BTreeSet<_>>().len()
}

/// The sabotage twin: each kind of fault is found.
#[test]
fn lost_doubled_and_repeated_effects_are_found() {
    let effect =
        |method: &str, place: &str, key: &str| Effect { method: method.into(), place: place.into(), key: key.into() };
    let good = [effect("GET", "r/i/read", "1"), effect("PUT", "r/i/put", "2"), effect("PUT", "r/i/put", "2")];
    assert_eq!((unsafe_repeats(&good), repeats(&good)), (vec![], 1));
    assert_eq!(unsafe_repeats(&[good[1].clone(), effect("PUT", "r/i/put", "3")]).len(), 1, "another key");
    assert_eq!(unsafe_repeats(&[effect("POST", "r/i/create", "1"), effect("POST", "r/i/create", "1")]).len(), 1);
    let mut account = Account::default();
    assert!(account.called_again(&good).is_empty() && account.doubles().is_empty());
    account.steps.insert("r/i/put".into(), 1);
    account.items.insert("r/i".into(), (1, "done"));
    assert_eq!((account.called_again(&good).len(), account.doubles().len()), (2, 0));
    assert_eq!(account.not_done(&good), ["r/i/create"]);
    assert_eq!(account.lost(&BTreeSet::from(["r".to_owned()])), ["r"]);
    for double in 0..3 {
        let mut account = Account::default();
        match double {
            0 => drop(account.steps.insert("r/i/put".into(), 2)),
            1 => drop(account.items.insert("r/i".into(), (2, "done"))),
            _ => drop(account.ends.insert("r".into(), 2)),
        }
        assert_eq!(account.doubles().len(), 1);
    }
}
