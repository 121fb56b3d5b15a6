//! Secrets as a type, and their removal from texts.

pub(crate) mod redact;
pub(crate) mod secret;
