//! What the HTTP clients of one host share.

use std::{fmt, sync::Arc};

use tokio_util::task::TaskTracker;
use trunkline_core::ConnectionContext;

use crate::{
    budget::Budgets,
    transport::{HttpTransport, NetworkPolicy},
};

/// What the clients of one host share: the transport, the pace of each connection, and the running token requests.
///
/// A host makes one and adds it to what its connections get, see
/// [`ConnectionHost::with_extension`](trunkline_core::ConnectionHost::with_extension). Clones share everything; two
/// environments share nothing. A client of a host without one gets an environment of its own.
#[derive(Clone)]
pub struct HttpEnvironment {
    parts: Arc<Parts>,
    network: NetworkPolicy,
}

struct Parts {
    transport: Arc<dyn HttpTransport>,
    budgets: Budgets,
    /// The tasks of all token refreshes and sign-ins.
    token_requests: TaskTracker,
}

impl HttpEnvironment {
    /// Returns an environment whose clients send their requests with this transport.
    pub fn new(transport: Arc<dyn HttpTransport>) -> HttpEnvironment {
        let token_requests = TaskTracker::new();
        token_requests.close();
        let parts = Arc::new(Parts { transport, budgets: Budgets::default(), token_requests });
        HttpEnvironment { parts, network: NetworkPolicy::default() }
    }

    /// Sets what the connections of this host may reach. The default is every public host.
    pub fn with_network(self, network: NetworkPolicy) -> HttpEnvironment {
        HttpEnvironment { network, ..self }
    }

    /// Returns the environment of a connection's host. Without one, a program makes the client itself, and what its
    /// code says about private networks counts.
    pub fn of(context: &ConnectionContext) -> HttpEnvironment {
        let own = || HttpEnvironment::default().with_network(NetworkPolicy::any());
        context.extension::<HttpEnvironment>().map_or_else(own, |environment| (*environment).clone())
    }

    /// Waits until no token request of these clients is running. Returns immediately if there is none.
    ///
    /// Call it before the process ends: the response of a token request that is not stored may cost a connection its
    /// sign-in. It takes no longer than a token request may take.
    pub async fn drain_token_requests(&self) {
        self.parts.token_requests.wait().await;
    }

    pub(crate) fn network(&self) -> &NetworkPolicy {
        &self.network
    }

    pub(crate) fn transport(&self) -> Arc<dyn HttpTransport> {
        self.parts.transport.clone()
    }

    pub(crate) fn budgets(&self) -> &Budgets {
        &self.parts.budgets
    }

    pub(crate) fn token_requests(&self) -> TaskTracker {
        self.parts.token_requests.clone()
    }
}

/// An environment with the transport of this build: `ReqwestTransport` with the feature `reqwest`, else one that refuses
/// every request.
impl Default for HttpEnvironment {
    fn default() -> Self {
        #[cfg(feature = "reqwest")]
        let transport = crate::transport::ReqwestTransport::default();
        #[cfg(not(feature = "reqwest"))]
        let transport = crate::transport::NoTransport;
        HttpEnvironment::new(Arc::new(transport))
    }
}

impl fmt::Debug for HttpEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEnvironment").finish_non_exhaustive()
    }
}
