//! The simulator of MediaValet: its gateway, and a module for each resource.

mod asset_filter;
mod asset_search;
mod asset_writes;
mod categories;
mod check_in;
mod downloads;
mod gateway;
mod response;
mod rows;
mod uploads;
mod webhooks;

pub(crate) use gateway::serve;
