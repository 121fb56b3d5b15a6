//! Connectors against servers of the tests' own: the sandbox, servers that misbehave, and Azurite.

mod azurite;
mod check;
mod faults;
mod files;
mod http;
mod lists;
mod mediaflow;
mod mediavalet;
mod outgoing;
