//! The caller of an operation, and what a role may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// What a caller may do. Each role may do everything that the roles before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Look at connectors, connections, flows and runs, without secrets.
    Viewer,
    /// Start, cancel, resume, rerun and resolve runs, and call actions.
    Operator,
    /// Save and remove flows.
    Editor,
    /// Save, sign in, export and remove connections.
    Admin,
    /// Everything.
    Owner,
}

impl Role {
    /// Returns the role as it is written in JSON.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The person or program that asks for an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    name: String,
    role: Role,
}

impl Caller {
    /// Returns a caller. `name` is shown to other users, so it must not be a secret.
    pub fn new(name: impl Into<String>, role: Role) -> Caller {
        Caller { name: name.into(), role }
    }

    /// Returns the owner of the data directory, such as the user of the command line.
    pub fn owner() -> Caller {
        Caller::new("owner", Role::Owner)
    }

    /// Returns the caller's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the caller's role.
    pub fn role(&self) -> Role {
        self.role
    }
}
