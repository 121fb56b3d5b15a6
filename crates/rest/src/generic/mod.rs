//! Calls that no row describes: a path of the caller's own, with the connection's sign-in, limits and guards.
//!
//! The three actions are generic over the connector; one registers what it wants of them:
//! `submit! { ActionEntry::of::<generic::RequestAction<Shop>>() }`. A connector that hands out [`DownloadAction`]s opens them with [`open`].

mod download;
mod request;
mod target;
mod upload;

pub use download::{DownloadAction, file, open};
pub use request::RequestAction;
pub use target::Target;
pub(crate) use target::Verb;
pub use upload::{UploadAction, post_file};

/// What the actions stand under in a menu.
const GROUP: &str = "Any call";
