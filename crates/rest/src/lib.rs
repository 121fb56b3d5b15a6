//! What connectors of HTTP services share: a table of operations, a client that calls them, and the transfer of files.
//!
//! A connector's calls are rows of a [`Table`]; each row is an action as it stands. A [`Client`] knows the connection: its
//! credentials ([`Auth`]), its rate, its bounds ([`Limits`]). All that goes wrong on a network is dealt with here, once:
//! what may be tried again is, what may have been done is never done twice, and what a person has to decide is said in
//! words.
//!
//! Hand-written actions call rows (`client.call("upload.create", ..)`) and move bytes with [`Client::download`] and
//! [`Client::upload_blocks`]; they write no route again.

mod address;
mod ahead;
mod answer;
mod auth;
mod batch;
mod blocks;
mod budget;
mod builder;
mod check;
mod client;
mod digests;
mod discover;
mod download;
mod granted;
mod guard;
mod id_token;
mod json;
mod lease;
#[cfg(test)]
mod lifetimes;
mod limits;
mod login_server;
mod oauth;
mod operation;
mod page;
mod path;
mod payload;
pub mod raw;
mod refresh;
mod request;
mod retry;
mod row;
mod shift;
mod sign_in;
#[cfg(test)]
mod simulation;
mod table;
mod token;
mod tokens;
mod transport;
mod upload;
mod version;
mod within;

pub use answer::Answer;
pub use auth::Auth;
pub use blocks::Blocks;
pub use builder::ClientBuilder;
pub use client::Client;
pub use discover::{Discovered, discover};
pub use limits::Limits;
pub use oauth::{ClientAuth, Grant, OAuth};
pub use operation::Operation;
pub use row::{In, InputRow, InputRows, OperationRow, PageRow, operation_schema};
pub use table::Table;
pub use tokens::settle;
pub use upload::{Uploaded, address_expired};
pub use url::Url;
pub use within::within;
