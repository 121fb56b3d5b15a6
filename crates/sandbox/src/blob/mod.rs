//! The blob storage of MediaValet.

mod archive;
mod blob;
mod zip;

pub(crate) use blob::{error, serve};
