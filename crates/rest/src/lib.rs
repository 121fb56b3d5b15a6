//! The REST client that connectors of HTTP services share: a table of operations, a client that calls them, and the
//! transfer of files.
//!
//! The idea: the calls of a connector are rows of a [`Table`], and each row is an action without further code. A
//! [`Client`] belongs to a connection and knows its credentials ([`Auth`]), its rate and its limits ([`ClientLimits`]).
//! Network failures are handled here, once: a call is repeated only if it is safe, a call that may have taken effect is
//! never repeated, and an error explains a decision that is left to an operator.
//!
//! Hand-written actions call rows (`client.call("upload.create", ..)`) and transfer files with [`Client::download`] and
//! [`Client::upload_blocks`]; they do not repeat routes.

mod auth;
mod batch;
mod block_checkpoint;
mod budget;
mod builder;
mod check;
mod client;
mod deadline;
mod digests;
mod discover;
mod download;
pub mod generic;
mod id_token;
mod json;
mod limits;
mod list_changes;
mod login_server;
mod oauth;
mod operation;
mod paging;
mod path;
mod payload;
mod read_ahead;
mod refresh;
mod refresh_lease;
mod request;
mod response;
mod retry;
mod row;
mod settings;
mod shapes;
mod sign_in;
mod ssrf;
mod table;
mod token;
#[cfg(test)]
mod token_lifetime_tests;
mod token_response;
#[cfg(test)]
mod token_simulation_tests;
mod tokens;
mod transport;
mod upload;
mod url_policy;
mod version;

pub use auth::Auth;
pub use block_checkpoint::BlockCheckpoint;
pub use builder::ClientBuilder;
pub use client::Client;
pub use deadline::with_deadline;
pub use discover::{Discovered, discover};
pub use limits::ClientLimits;
pub use oauth::{ClientAuth, Grant, OAuth};
pub use operation::Operation;
pub use response::Response;
pub use row::{In, InputRow, InputRows, OperationRow, PageRow, operation_schema};
pub use settings::{HttpSettings, OAuthPresets, OAuthSettings};
pub use table::Table;
pub use tokens::drain_token_refreshes;
pub use upload::{Uploaded, address_expired};
pub use url::Url;
