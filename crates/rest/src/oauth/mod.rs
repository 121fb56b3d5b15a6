//! OAuth 2: settings, tokens and their refresh, sign-in in the browser, and discovery.

mod discover;
mod id_token;
mod login_server;
mod refresh;
mod refresh_lease;
mod refusal;
mod settings;
pub(crate) mod sign_in;
mod token;
mod token_endpoint;
#[cfg(test)]
mod token_lifetime_tests;
mod token_response;
#[cfg(test)]
mod token_simulation_tests;
mod tokens;

pub(crate) use discover::discover_over;
pub use discover::{Discovered, discover};
pub use settings::{ClientAuth, Grant, OAuth};
pub(crate) use token::Token;
pub(crate) use tokens::{ClientParts, Tokens};
