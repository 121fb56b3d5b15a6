//! Connectors against the sandbox, against misbehaving servers, and against Azurite.

mod azurite;
mod check;
mod faults;
mod files;
mod http;
mod lists;
mod mediaflow;
mod mediavalet;
mod outgoing;
