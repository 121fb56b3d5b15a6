//! [`GrantedScopes`], which the host knows from its sign-ins.

use std::collections::{BTreeMap, BTreeSet};

/// The OAuth scopes granted to the connections of a flow, by connection binding. Bindings whose scopes are not known
/// are left out.
pub type GrantedScopes = BTreeMap<String, BTreeSet<String>>;
