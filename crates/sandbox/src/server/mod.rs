//! The server that all services share.

mod inject;
mod sandbox;
mod throttled_stream;
mod unread_body;

pub use sandbox::Sandbox;
