//! The context that all services share.

use std::sync::atomic::AtomicU64;

use crate::faults::FaultInjector;
use crate::library::Library;
use crate::state::{Event, StateStore};
use crate::{Credentials, Endpoints, Options};

/// The shared context of all request handlers.
#[derive(Debug)]
pub(crate) struct App {
    pub options: Options,
    pub credentials: Credentials,
    pub endpoints: Endpoints,
    /// The base URL `http://ADDRESS`, without a trailing slash.
    pub base: String,
    pub library: Library,
    pub state: StateStore,
    pub fault_injector: FaultInjector,
    /// The number of signed blob URLs issued so far.
    pub signed_urls: AtomicU64,
}

impl App {
    /// Counts a credential that arrived at a host where no credential may be sent.
    pub(crate) fn count_leak(&self) {
        self.state.with(|state| state.record(Event::Fault("credential_leak".to_owned())));
    }
}
