//! Guides: longer texts with examples that run in the tests.
//!
//! - [`embed`]: a host of its own, such as a flow builder.
//! - [`connector`]: a connector for a system, with OAuth 2, lists and uploads.
//! - [`own_store`]: runs, connections and flows in a storage of your own.

#[doc = include_str!("connector.md")]
#[doc = concat!("```no_run\n", include_str!("../../examples/archive.rs"), "\n```")]
pub mod connector {}

#[doc = include_str!("embed.md")]
pub mod embed {}

#[doc = include_str!("own_store.md")]
pub mod own_store {}
