//! The server that all services share.

mod inject;
mod sandbox;
mod throttled_stream;

pub use sandbox::Sandbox;
