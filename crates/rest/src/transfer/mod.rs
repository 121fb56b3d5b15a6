//! Transfers of files at signed URLs, which continue after a failure.

mod block_checkpoint;
mod content_range;
mod download;
mod file_name;
mod read_ahead;
mod upload;
mod version;

pub use block_checkpoint::BlockCheckpoint;
pub use upload::{Uploaded, address_expired};
