//! The data of both systems, and the log that restores it after a crash.

mod asset;
mod package;
mod private;
mod seed;
mod state;
mod time;
mod tokens;
mod webhook;

pub(crate) use asset::{
    Asset, Blob, Category, CheckOut, Content, EPOCH, MediaFile, ROOT_CATEGORY, TARGET_CATEGORY, stem,
};
pub(crate) use package::Package;
pub(crate) use private::{create_folder, private_file};
pub(crate) use seed::seed;
pub(crate) use state::{Event, State, StateStore};
pub(crate) use time::{now, timestamp};
pub(crate) use tokens::{AuthorizationCode, CODE_LIFETIME, Grant, LoginServer, RefreshToken, random};
pub(crate) use webhook::Webhook;
