//! What a caller starts the sandbox with.

mod faults;
mod options;

pub use faults::Faults;
pub(crate) use options::settings;
pub use options::{
    Credentials, Endpoint, Endpoints, MediaflowCredentials, MediavaletCredentials, Options, RefreshPolicy,
};
