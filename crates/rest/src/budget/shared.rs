//! The budgets of a host: one for all clients of a connection, whichever run made them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use url::Url;

use super::permits::{Bounds, Budget};

/// The budgets of all connections of a host. They are locked when a client is made, never when one is used.
#[derive(Default)]
pub(crate) struct Budgets(Mutex<HashMap<(Identity, Bounds), Arc<Budget>>>);

/// The identity of a connection towards its service. The name alone is not enough: a connection may be removed
/// and made again for another user.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    connection: String,
    base: Url,
    credentials: [u8; 32],
}

impl Identity {
    /// Returns the identity of a connection, from its name, its endpoint and the credentials that distinguish its user.
    pub(crate) fn new<'a>(connection: &str, base: &Url, credentials: impl IntoIterator<Item = &'a str>) -> Identity {
        let mut digest = Sha256::new();
        for part in credentials {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        Identity { connection: connection.to_owned(), base: base.clone(), credentials: digest.finalize().into() }
    }
}

impl Budgets {
    /// Returns the budget that the clients of this connection share. It lives as long as one of its clients, or as long
    /// as it holds a pause or a lowered rate. Other bounds, as after a change of settings, make a new budget. A
    /// connection without a name shares nothing.
    pub(crate) fn shared(&self, service: &Arc<str>, identity: Identity, bounds: Bounds) -> Arc<Budget> {
        let fresh = || Arc::new(Budget::new(service, &identity.connection, bounds.clone()));
        if identity.connection.is_empty() {
            return fresh();
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, budget| Arc::strong_count(budget) > 1 || budget.remembers());
        all.entry((identity.clone(), bounds.clone())).or_insert_with(fresh).clone()
    }
}
