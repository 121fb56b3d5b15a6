//! The login servers of both systems.

mod login;
mod token_endpoint;

pub(crate) use login::serve;
pub(crate) use token_endpoint::server_key;
