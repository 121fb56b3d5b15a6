//! Transfers of files at signed URLs, which continue after a failure.

mod block_checkpoint;
mod content_range;
mod download;
mod file_name;
mod read_ahead;
mod status;
mod upload;
mod version;
mod web_page;

pub use block_checkpoint::BlockCheckpoint;
#[cfg(feature = "fuzz")]
pub(crate) use content_range::content_range;
pub(crate) use download::ApiFile;
pub use file_name::file_name;
pub(crate) use file_name::{clean, with_extension};
pub use upload::{Uploaded, address_expired};
pub(crate) use web_page::is_page_name;
