//! What a trigger remembers belongs to an account of a service: another one may be reached by a connection of the same
//! name.
//!
//! The idea: the account that is seen first owns the memory of a list, and marks it as its own. Each other account gets a
//! memory of its own, so a connection that reaches the earlier account again finds what was remembered of it.

use std::collections::BTreeMap;

use serde_json::json;
use trunkline_core::{Connected, Connection, Diagnostic, Error, ErrorKind, Result, SecretSource};
use trunkline_engine::TriggerEvent;
use trunkline_flow::{Flow, InitialItems, Trigger};
use trunkline_rest::Url;
use trunkline_store::{ConnectionSummary, SavedFlow};

use super::{FeedMemory, LOOKED, digest, first_look};
use crate::Runtime;

/// The settings that say which account of which service a connection reaches. A new secret or another pace are still the
/// same account.
const SETTINGS: [&str; 4] = ["endpointUrl", "tokenUrl", "clientId", "username"];

/// The keys that mark a memory as owned: by the settings of a connection, and by the user that has signed in. The mark
/// of the owner has a digest behind it. No item has such a key.
const OWNED: [&str; 2] = ["#settings", "#user"];

/// The flows that remember a list, by connection and flow, each with what counts at a first look.
pub(crate) type Remembering = BTreeMap<(String, String), InitialItems>;

/// A feed as one account sees it.
pub(crate) struct OwnFeed {
    pub(crate) name: String,
    /// The marks that are not recorded yet.
    pub(crate) marks: Vec<String>,
    /// Whether another account has looked at the same list.
    pub(crate) has_other: bool,
}

impl Runtime {
    /// Returns the connection that a saved flow polls, ready to run actions, and what its trigger remembers of the list
    /// there; nothing if the flow polls none. `flow` is its document.
    ///
    /// # Errors
    ///
    /// `config` if the connection is not bound, those of [`Runtime::connect`], and `store` if the journal cannot be read or
    /// written.
    pub async fn connect_feed(&self, saved: &SavedFlow, flow: &Flow) -> Result<Option<(Connected, FeedMemory)>> {
        let Some(Trigger::Poll(poll)) = flow.trigger() else { return Ok(None) };
        let binding = &poll.action().binding;
        let name = saved.connections.get(binding).ok_or_else(|| {
            let message = format!("the connection {binding} of flow {} is not bound", saved.name);
            Error::new(ErrorKind::Config, message)
        })?;
        // Read once: the memory has to be that of the account which the client reaches.
        let connection = self.connections().connection(name).await?;
        let account = self.account(&connection, &self.connections().connections().await?)?;
        let memory = self.feed_memory(saved, flow, &account).await?;
        Ok(Some((self.client_of(&connection)?, memory)))
    }

    /// Returns what is known of the account that a connection reaches: a digest of its settings, and one of the user that
    /// has signed in, see `connections`.
    fn account(&self, connection: &Connection, connections: &[ConnectionSummary]) -> Result<Vec<String>> {
        let registered = self.registry().connector(connection.connector_name())?;
        let document = registered.settings().with_defaults(connection.document());
        let setting = |name: &str| match document[name].as_str().and_then(|text| Url::parse(text).ok()) {
            // The path of a token URL may change with the version of a login server.
            Some(url) if name == "tokenUrl" => json!(url.host_str()),
            Some(url) => json!(url.as_str().trim_end_matches('/')),
            None => document[name].clone(),
        };
        let settings = json!([connection.connector_name(), SETTINGS.map(setting)]);
        let summary = connections.iter().find(|one| one.name == connection.name);
        let user = summary.and_then(|one| one.sign_in.as_ref()?.account.as_deref());
        Ok([Some(settings.to_string().as_str()), user].into_iter().flatten().map(digest).collect())
    }

    /// Returns the feed of an account for a list of a saved flow. A memory without an owner gets one if there is something
    /// in it.
    pub(crate) async fn own_feed(&self, flow: &str, list: String, account: &[String]) -> Result<OwnFeed> {
        let journal = self.journal();
        let mut own = OwnFeed { name: list, marks: Vec::new(), has_other: false };
        for (owned, part) in OWNED.into_iter().zip(account) {
            let (any, mark) = (owned.to_owned(), format!("{owned} {part}"));
            let keys = vec![LOOKED.to_owned(), any.clone(), mark.clone()];
            let missing = journal.not_taken(flow, &own.name, keys).await?;
            let has_looked = !missing.contains(LOOKED);
            match missing.contains(&any) {
                true if has_looked => {
                    let (flow, feed, keys) = (flow.to_owned(), own.name.clone(), vec![any, mark]);
                    journal.remember_trigger(TriggerEvent { flow, feed, keys, through: None, keep: true }).await?;
                }
                true => own.marks.extend([any, mark]),
                false if missing.contains(&mark) => {
                    own.has_other |= has_looked;
                    own.name = digest(&format!("{} {mark}", own.name));
                }
                false => {}
            }
        }
        Ok(own)
    }

    /// Returns the saved flows that remember a list of one of these connections, as they are now: by connection and flow,
    /// each with what counts at a first look. A connection that does not exist or cannot be read has none.
    pub(crate) async fn remembering(&self, names: &[String]) -> Result<Remembering> {
        let (mut found, all) = (Remembering::new(), self.connections().connections().await?);
        let mut accounts = BTreeMap::new();
        for name in names.iter().filter(|name| all.iter().any(|one| one.name == **name)) {
            let Ok(connection) = self.connections().connection(name).await else { continue };
            accounts.extend(self.account(&connection, &all).ok().map(|account| (name, account)));
        }
        if accounts.is_empty() {
            return Ok(found);
        }
        for saved in self.flows().saved_flows().await?.iter().filter(|one| one.damaged.is_none()) {
            let Ok(flow) = self.flow_of(saved).await else { continue };
            let Some(Trigger::Poll(poll)) = flow.trigger() else { continue };
            let Some(name) = saved.connections.get(&poll.action().binding) else { continue };
            let Some(account) = accounts.get(name) else { continue };
            if !self.feed_memory(saved, &flow, account).await?.is_new() {
                found.insert((name.clone(), saved.name.clone()), poll.existing());
            }
        }
        Ok(found)
    }

    /// Returns a warning for each flow that remembered a list of one of these connections before they were changed, and does
    /// not any more.
    pub(crate) async fn forgotten(&self, names: &[String], before: Remembering) -> Result<Vec<Diagnostic>> {
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.remembering(names).await?;
        let lost = before.into_iter().filter(|(place, _)| !now.contains_key(place));
        Ok(lost.map(|((name, flow), existing)| other_account(&format!("flow {flow}"), &name, existing)).collect())
    }

    /// Returns the client of a connection, which is made only if its settings have changed.
    pub(crate) fn client_of(&self, connection: &Connection) -> Result<Connected> {
        let (name, secret) = (&connection.name, |source: &SecretSource| self.ports().secrets.secret(source));
        let resolved = self.registry().resolved(connection, &secret)?;
        let known = self.clients().get(name).filter(|(of, _)| of.expose() == resolved.expose()).cloned();
        if let Some((_, connected)) = known {
            return Ok(connected);
        }
        let connected = self.registry().connect(connection, &self.host, &secret)?;
        self.clients().put(name.clone(), (resolved, connected.clone()));
        Ok(connected)
    }
}

/// Returns what a user has to know of a flow whose connection reaches another account than before.
pub(crate) fn other_account(who: &str, connection: &str, existing: InitialItems) -> Diagnostic {
    let (first, hint) = first_look(existing);
    let message = format!("{who} polls connection {connection}, which reaches another account or service now: {first}");
    Diagnostic::warning("", message).hint(hint)
}
