//! What the user of a saved flow has to know about its trigger: collected in one check, and merged with what was found
//! before.

use std::{collections::BTreeMap, time::Duration};

use trunkline_core::{Diagnostic, Error, ErrorKind, Redactor, Timestamp};
use trunkline_store::TriggerFinding;

/// The maximum number of findings; further ones are counted together.
const MAX_FINDINGS: usize = 20;
/// A finding that is as before is written again after this time, in milliseconds, to say that it was seen.
const REFRESH: u64 = 60 * 60 * 1000;
/// A finding of a part of a list that is not read any more is removed after this time, in milliseconds: 30 days.
const KEEP: u64 = 30 * 24 * 60 * 60 * 1000;
/// A change of what a trigger watches is shown for this time.
const SHOWN: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The findings of one check of a trigger, by their message.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    all: BTreeMap<String, Found>,
    /// The number of items that cannot be the input of a run.
    pub(crate) refused: usize,
}

#[derive(Debug, Default)]
struct Found {
    hint: Option<String>,
    place: Option<String>,
    items: Option<u64>,
    until: Option<Timestamp>,
}

impl Findings {
    /// Returns the findings of a trigger that failed.
    pub(crate) fn of(error: &Error) -> Findings {
        let mut findings = Findings::default();
        let hint = error.advice().map(|hint| hint.to_string());
        findings.all.insert(format!("the trigger failed: {error}"), Found { hint, ..Found::default() });
        findings
    }

    /// Adds that the list may be incomplete, for this reason, in a look that `was_to_be_first`.
    pub(crate) fn incomplete(&mut self, reason: String, was_to_be_first: bool) {
        let hint = "if it is so in every look, give its action an input that lists less, or let all items count as new \
                    with `existing`";
        let (message, hint) = match was_to_be_first {
            true => ("the list may be incomplete, so this was not its first look", Some(hint.to_owned())),
            false => ("the list may be incomplete", None),
        };
        self.all.insert(message.to_owned(), Found { hint, place: Some(reason), ..Found::default() });
    }

    /// Adds that the trigger watches something else since now.
    pub(crate) fn changed(&mut self, change: &Diagnostic, now: Timestamp) {
        let found = Found { hint: change.advice(), until: Some(now + SHOWN), ..Found::default() };
        self.all.insert(change.message.clone(), found);
    }

    /// Adds the item of this number that is left out because of this error, on the page of this number.
    pub(crate) fn left_out(&mut self, error: &Error, page: usize, item: usize) {
        let place = format!("page {page}, item {item}");
        let hint = error.advice().map(|hint| hint.to_string());
        self.item(format!("left out of the list: {}", error.message()), hint, place);
    }

    /// Adds an item that cannot be the input of a run.
    pub(crate) fn refused(&mut self, error: &Error, key: &str) {
        self.refused += 1;
        let hint = error.advice().map(|hint| hint.to_string());
        let message = match error.kind() {
            ErrorKind::Limit => "left out of the list: the item is too large for the input of a run".to_owned(),
            _ => format!("left out of the list: the flow does not take the item: {}", error.message()),
        };
        self.item(message, hint, format!("key {key}"));
    }

    /// Adds an item whose key occurred before in the list.
    pub(crate) fn repeated(&mut self, equal: bool, key: &str, page: usize) {
        let place = format!("page {page}, key {key}");
        match equal {
            true => self.item("the same item occurs again in the list; it starts one run".to_owned(), None, place),
            false => {
                let hint = "set `key` of the trigger to what identifies one item";
                let message = "left out of the list: another item of it has the same key";
                self.item(message.to_owned(), Some(hint.to_owned()), place);
            }
        }
    }

    fn item(&mut self, message: String, hint: Option<String>, place: String) {
        let full = self.all.len() >= MAX_FINDINGS && !self.all.contains_key(&message);
        let message = if full { "left out of the list for other reasons".to_owned() } else { message };
        let found = self.all.entry(message).or_insert(Found { hint, place: Some(place), ..Found::default() });
        *found.items.get_or_insert(0) += 1;
    }

    /// Returns the message of a finding.
    pub(crate) fn first_reason(&self) -> Option<&str> {
        self.all.keys().next().map(String::as_str)
    }

    /// Returns what is known of a trigger after a check. If the check did not read its list `to_the_end`, items that
    /// were found before may still be there.
    pub(crate) fn merge(
        self,
        before: &[TriggerFinding],
        to_the_end: bool,
        now: Timestamp,
        redactor: &Redactor,
    ) -> Vec<TriggerFinding> {
        let redact = |text: String| redactor.redact(&text).into_owned();
        let mut all = Vec::new();
        for (what, Found { hint, place, items, until }) in self.all {
            let what = redact(what);
            let since = before.iter().find(|one| one.what == what).map_or(now, |one| one.since);
            let (hint, place) = (hint.map(redact), place.map(redact));
            all.push(TriggerFinding { what, hint, place, items, since, seen: now, until });
        }
        let is_kept = |one: &&TriggerFinding| {
            let found_again = all.iter().any(|now| now.what == one.what);
            let is_shown = one.until.is_some_and(|until| until > now);
            let is_young = one.items.is_some() && now.since(one.seen).as_millis() < u128::from(KEEP);
            !found_again && (is_shown || !to_the_end && is_young)
        };
        let kept: Vec<_> = before.iter().filter(is_kept).cloned().collect();
        all.extend(kept);
        all
    }
}

/// Returns whether findings have to be written again.
pub(crate) fn changed(before: &[TriggerFinding], now: &[TriggerFinding]) -> bool {
    let same = |(before, now): (&TriggerFinding, &TriggerFinding)| {
        before.what == now.what
            && before.items == now.items
            && now.seen.since(before.seen).as_millis() < u128::from(REFRESH)
    };
    before.len() != now.len() || !before.iter().zip(now).all(same)
}
