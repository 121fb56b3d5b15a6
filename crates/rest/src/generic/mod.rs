//! Calls that no row describes: a path that the caller chooses, with the sign-in, limits and checks of the connection.
//!
//! The three actions are generic over the connector. A connector registers those that it offers: `submit! {
//! ActionEntry::of::<generic::RequestAction<Shop>>() }`. If it offers [`DownloadAction`], its `open` calls [`open`].

mod call;
mod download;
mod request;
mod upload;

pub use download::{DownloadAction, file, open};
pub use request::RequestAction;
pub use upload::{FilePost, UploadAction, post_file};

pub use crate::table::Target;
