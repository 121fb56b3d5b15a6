//! What the trigger of a saved flow remembers of the list that it polls.
//!
//! A memory belongs to what is watched, its *feed*: the connection and the account that it reaches, the action, its input
//! and the key of the items. A flow that watches something else begins with a first look, and if it watches the earlier
//! list again, the earlier memory counts again. A memory is a set of deduplication keys. Two of them are not keys of
//! items: [`LOOKED`] stands for the end of the first look, and [`TYPED`] says that keys in the form of early versions no
//! longer count.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use data_encoding::HEXLOWER;
use serde_json::json;
use trunkline_core::{Diagnostic, Error, ErrorKind, Result, Timestamp};
use trunkline_engine::{Journal, PolledItem, TriggerEvent};
use trunkline_flow::{Flow, InitialItems, Trigger};
use trunkline_store::SavedFlow;

use accounts::{OwnFeed, other_account};

use crate::{runtime::Runtime, token::hash};

mod accounts;

/// The key that is taken when the first look has ended. No item has the empty key.
const LOOKED: &str = "";
/// The key that is taken when every item of the list has been seen under its typed key. No item has this key.
const TYPED: &str = "#";

/// What a trigger remembers of a list.
pub struct FeedMemory {
    journal: Arc<dyn Journal>,
    flow: String,
    feed: String,
    /// The keys that mark the memory as that of an account, if they are not recorded yet.
    marks: Vec<String>,
    is_new: bool,
    /// What a user has to know if another account has looked at the same list.
    change: Option<Diagnostic>,
    /// Whether items whose keys an early version has recorded, without a feed, are known.
    reads_plain: bool,
    /// The keys of early versions for which an item was found.
    claimed: HashSet<String>,
}

impl FeedMemory {
    /// Returns whether no look at the list has ended yet.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns what a user has to know if the first look is one only because the connection reaches another account.
    pub fn change(&self) -> Option<&Diagnostic> {
        self.change.as_ref().filter(|_| self.is_new)
    }

    /// Returns those items that are not known, in their order.
    ///
    /// # Errors
    ///
    /// `store` if the keys cannot be read.
    pub async fn unknown(&mut self, items: Vec<PolledItem>) -> Result<Vec<PolledItem>> {
        let keys = items.iter().map(|item| item.key.typed.clone()).collect();
        let mut new = self.journal.not_taken(&self.flow, &self.feed, keys).await?;
        // An earlier version has recorded a number as it was written.
        let mut forms = vec![(self.feed.clone(), false)];
        forms.extend(self.reads_plain.then(|| (String::new(), true)));
        for (feed, any) in forms {
            let left = items.iter().filter(|item| new.contains(&item.key.typed) && (any || item.key.is_respelled()));
            let known = self.claim(&feed, left.collect()).await?;
            new.retain(|key| !known.contains(key));
        }
        Ok(items.into_iter().filter(|item| new.contains(&item.key.typed)).collect())
    }

    /// Returns the typed keys of those items that an earlier version has recorded in a feed, and records them for this
    /// one. A key of an earlier version stands for one item: for the first one.
    async fn claim(&mut self, feed: &str, items: Vec<&PolledItem>) -> Result<BTreeSet<String>> {
        if items.is_empty() {
            return Ok(BTreeSet::new());
        }
        let plain = items.iter().map(|item| item.key.plain.clone()).collect();
        let new = self.journal.not_taken(&self.flow, feed, plain).await?;
        let known = items.into_iter().map(|item| &item.key).filter(|key| !new.contains(&key.plain));
        let known = known.filter(|key| self.claimed.insert(key.plain.clone())).map(|key| key.typed.clone());
        let known: BTreeSet<_> = known.collect();
        if !known.is_empty() {
            self.journal.remember_trigger(self.taking(known.iter().cloned().collect())).await?;
        }
        Ok(known)
    }

    /// Returns the event that takes these keys. The other keys of the feed are kept.
    pub fn taking(&self, mut keys: Vec<String>) -> TriggerEvent {
        keys.extend_from_slice(&self.marks);
        let (flow, feed) = (self.flow.clone(), self.feed.clone());
        TriggerEvent { flow, feed, keys, through: None, keep: true }
    }

    /// Records the end of a look that began at this time. `existing` are keys that are known from now on. If the list
    /// was read to its end, keys of items that have left the list long ago may be removed.
    ///
    /// # Errors
    ///
    /// `store` if that cannot be written.
    pub async fn looked(&self, at: Timestamp, existing: Vec<String>, to_the_end: bool) -> Result<()> {
        let mut event = TriggerEvent { through: Some(at), keep: !to_the_end, ..self.taking(existing) };
        event.keys.extend(self.is_new.then(|| LOOKED.to_owned()));
        event.keys.extend((to_the_end && (self.is_new || self.reads_plain)).then(|| TYPED.to_owned()));
        self.journal.remember_trigger(event).await
    }
}

/// Returns what the trigger of a flow watches, as text; nothing for a webhook, an event and a flow without a trigger.
fn watched(flow: &Flow, connections: &BTreeMap<String, String>) -> Option<String> {
    let document = &flow.document()["trigger"];
    let mut watched = match flow.trigger()? {
        Trigger::Poll(poll) => {
            let (action, poll) = (poll.action(), &document["poll"]);
            json!({ "connection": connections.get(&action.binding), "action": action.action, "input": poll["input"],
                    "key": poll["key"].as_str().map(without_outer_spaces) })
        }
        Trigger::Schedule(_) => {
            let mut schedule = document["schedule"].clone();
            schedule.as_object_mut().into_iter().for_each(|schedule| drop(schedule.remove("missed")));
            schedule
        }
        Trigger::Webhook(_) | Trigger::Event(_) => return None,
    };
    watched.sort_all_objects();
    Some(watched.to_string())
}

/// Returns an expression without spaces beside its braces.
fn without_outer_spaces(expression: &str) -> String {
    let inner = expression.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inner.map_or_else(|| expression.to_owned(), |inner| format!("{{{{{}}}}}", inner.trim()))
}

/// Returns the name of the feed of a flow that polls.
fn feed_of(flow: &Flow, connections: &BTreeMap<String, String>) -> Option<String> {
    let polls = matches!(flow.trigger(), Some(Trigger::Poll(_)));
    watched(flow, connections).filter(|_| polls).map(|watched| digest(&watched))
}

/// Returns a short digest of a text.
fn digest(text: &str) -> String {
    HEXLOWER.encode(&hash(text)[..12])
}

/// Returns what a first look does with the items that it finds, and what to do if that is not wanted.
fn first_look(existing: InitialItems) -> (&'static str, &'static str) {
    match existing {
        InitialItems::Skip => (
            "the items that its first look finds do not count as new",
            "to get them too, start a run with them as `items` of its input",
        ),
        InitialItems::Take => (
            "all items that its first look finds count as new, because `existing` is `take`",
            "to leave them out, set `existing` to `skip`",
        ),
    }
}

impl Runtime {
    /// Returns what the trigger of a saved flow remembers of the list that it polls in this account.
    pub(crate) async fn feed_memory(&self, saved: &SavedFlow, flow: &Flow, account: &[String]) -> Result<FeedMemory> {
        let (Some(list), Some(Trigger::Poll(poll))) = (feed_of(flow, &saved.connections), flow.trigger()) else {
            return Err(Error::new(ErrorKind::Internal, "the flow does not poll"));
        };
        let journal = self.journal();
        if !journal.not_taken(&saved.name, &list, vec![LOOKED.to_owned()]).await?.is_empty() {
            self.adopt_keys(saved, flow).await?;
        }
        let OwnFeed { name: feed, marks, has_other } = self.own_feed(&saved.name, list.clone(), account).await?;
        let missing = journal.not_taken(&saved.name, &feed, vec![LOOKED.to_owned(), TYPED.to_owned()]).await?;
        let is_new = missing.contains(LOOKED);
        let reads_plain = !is_new && missing.contains(TYPED) && feed == list;
        let connection = saved.connections.get(&poll.action().binding).map_or("", String::as_str);
        let change = has_other.then(|| other_account("the trigger", connection, poll.existing()));
        let (journal, flow) = (self.ports().journal.clone(), saved.name.clone());
        Ok(FeedMemory { journal, flow, feed, marks, is_new, change, reads_plain, claimed: HashSet::new() })
    }

    /// Assigns the keys that an early version has recorded for a saved flow, if it has, to what that flow watches. This
    /// has to happen before the flow watches something else.
    async fn adopt_keys(&self, saved: &SavedFlow, flow: &Flow) -> Result<()> {
        let (journal, looked) = (self.journal(), || vec![LOOKED.to_owned()]);
        if journal.not_taken(&saved.name, "", looked()).await?.is_empty() {
            return Ok(());
        }
        let event = |feed| TriggerEvent { flow: saved.name.clone(), feed, keys: looked(), through: None, keep: true };
        let takes = matches!(flow.trigger(), Some(Trigger::Poll(poll)) if poll.existing() == InitialItems::Take);
        if let Some(feed) = feed_of(flow, &saved.connections).filter(|_| takes || saved.through.is_some()) {
            journal.remember_trigger(event(feed)).await?;
        }
        journal.remember_trigger(event(String::new())).await
    }

    /// Returns whether a flow that replaces a saved one watches something else, so that its trigger has to begin again.
    pub(crate) async fn watches_another(
        &self,
        previous: &SavedFlow,
        flow: &Flow,
        connections: &BTreeMap<String, String>,
    ) -> Result<bool> {
        let before = match self.flow_of(previous).await {
            Ok(before) => before,
            Err(error) if error.kind() == ErrorKind::Store => return Err(error),
            Err(_) => return Ok(true),
        };
        self.adopt_keys(previous, &before).await?;
        Ok(watched(&before, &previous.connections) != watched(flow, connections))
    }

    /// Returns what a user has to know before a flow that polls is saved: that its trigger begins with a first look,
    /// although this flow, or another one of them, has looked at a list before.
    pub(crate) async fn first_look_warning(
        &self,
        flow: &Flow,
        connections: &BTreeMap<String, String>,
    ) -> Result<Option<Diagnostic>> {
        let (Some(feed), Some(Trigger::Poll(poll))) = (feed_of(flow, connections), flow.trigger()) else {
            return Ok(None);
        };
        let saved = self.flows().saved_flows().await?;
        let message = match saved.iter().find(|one| one.name == flow.name()) {
            Some(previous) => {
                let known =
                    !self.journal().not_taken(flow.name(), &feed, vec![LOOKED.to_owned()]).await?.contains(LOOKED);
                let before = self.flow_of(previous).await.ok();
                let polled = before.is_some_and(|before| feed_of(&before, &previous.connections).is_some());
                if known || !polled || !self.watches_another(previous, flow, connections).await? {
                    return Ok(None);
                }
                "the trigger watches another list than before, or knows its items by another key".to_owned()
            }
            None => {
                let mut same = None;
                for other in &saved {
                    let watches = self.flow_of(other).await.ok().and_then(|flow| feed_of(&flow, &other.connections));
                    same = same.or(watches.filter(|one| *one == feed).map(|_| &other.name));
                }
                let Some(other) = same else { return Ok(None) };
                format!("flow {other} watches the same list; what it remembers does not count for this flow")
            }
        };
        let (first, hint) = first_look(poll.existing());
        let pointer = "/trigger/poll";
        Ok(Some(Diagnostic::warning(pointer, format!("{message}: {first}")).hint(hint)))
    }
}
