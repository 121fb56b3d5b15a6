//! What all services work with: their shared context, signed URLs, and the bytes of files.

mod app;
mod content;
mod signature;

pub(crate) use app::App;
pub(crate) use content::{content, source_file};
pub(crate) use signature::{BLOB_LIFETIME, blob_url, sign};
