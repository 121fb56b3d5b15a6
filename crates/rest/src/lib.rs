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
//!
//! The folders are roles, and each one imports only those below it: `generic` and `transfer`, `client`, `table`, then
//! `oauth`, `paging` and `budget`, and `transport` as the ground floor. The [`HttpEnvironment`] is what the clients of one host
//! share; its [`HttpTransport`] sends the requests.

mod budget;
mod client;
mod environment;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod generic;
mod oauth;
mod paging;
mod settings;
mod table;
mod text_file;
mod transfer;
mod transport;

pub use client::{Auth, Client, ClientBuilder, Response};
pub use environment::HttpEnvironment;
pub use oauth::{ClientAuth, Discovered, Grant, OAuth, discover};
pub use paging::{PageKind, PageRow};
pub use settings::{HttpSettings, OAuthPresets, OAuthSettings};
pub use table::{
    CompiledRow, In, InputRow, InputRows, Lists, OperationRow, Slashes, Table, TableHandle, lossy_toml_numbers,
    operation_schema,
};
pub use text_file::read_text_file;
pub use transfer::{BlockCheckpoint, Uploaded, address_expired, file_name};
#[cfg(feature = "reqwest")]
pub use transport::ReqwestTransport;
pub use transport::{
    ClientLimits, HttpBody, HttpRequest, HttpResponse, HttpTransport, NetworkPolicy, TransportFailure,
    TransportOptions, plain_header, text_of_body, with_deadline,
};
// The types of a transport's requests and responses.
pub use http::{HeaderMap, Method, StatusCode};
pub use url::Url;
