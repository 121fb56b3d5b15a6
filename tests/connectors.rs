//! Connectors against the sandbox, against misbehaving servers, and against Azurite.

mod azurite;
mod check;
mod duplicates;
mod faults;
mod files;
mod folders;
mod lists;
mod outgoing;
mod polling_kills;
