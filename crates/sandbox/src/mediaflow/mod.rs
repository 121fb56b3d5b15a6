//! The simulator of Mediaflow: its API and its download host.

pub(crate) mod files;
mod formats;
mod mediaflow;
mod rows;

pub(crate) use mediaflow::serve;
pub(crate) use rows::ROOT_FOLDER;
