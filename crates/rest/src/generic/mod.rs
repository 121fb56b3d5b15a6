//! Calls that no row describes: a path that the caller chooses, with the sign-in, limits and checks of the connection.
//!
//! The three actions are generic over the connector. A connector registers those that it offers: `submit! {
//! ActionEntry::of::<generic::RequestAction<Shop>>() }`. If it offers [`DownloadAction`], its `open` calls [`open`].

mod download;
mod request;
mod target;
mod upload;

pub use download::{DownloadAction, file, open};
pub use request::RequestAction;
pub use target::Target;
pub(crate) use target::Verb;
pub use upload::{FilePost, UploadAction, post_file};

/// The heading under which a menu lists the actions.
const GROUP: &str = "Any call";
