//! The port for secrets and tokens of connections, and what a host shows of a sign-in.

pub(crate) mod sign_in;
pub(crate) mod vault;
