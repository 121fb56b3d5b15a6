//! The client of a connection: its layers, its credentials, and what its responses mean.

mod action;
mod auth;
mod batch;
mod builder;
mod check;
mod handle;
mod layers;
mod named_input;
mod refusals;
mod response;

pub use auth::Auth;
pub(crate) use auth::Credentials;
pub use builder::ClientBuilder;
pub use handle::Client;
pub use response::Response;
pub(crate) use response::{AcceptedResponse, is_throttle};
