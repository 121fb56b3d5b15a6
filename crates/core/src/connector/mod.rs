//! The contract of a connector: its actions, their context, and its client.

pub(crate) mod action;
pub(crate) mod check_report;
pub(crate) mod client;
pub(crate) mod connection_context;
pub(crate) mod connector;
pub(crate) mod context;
pub(crate) mod event;
pub(crate) mod options;
pub(crate) mod package;
