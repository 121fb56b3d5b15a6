//! What tests of Trunkline and of its connectors share.
//!
//! - [`fake`]: one fake connector with actions of every effect, whose answers, delays and failures a test chooses.
//! - [`process`] and [`kill`]: processes that a test starts, reads, kills at a chosen point and starts again.
//! - [`cases`]: checks the rows of a connector against cases written from the vendor's reference, and against the
//!   vendor's list of operations.
//! - [`clock`]: one clock that a test can move, inside the process and for another process.
//! - [`dice`]: random numbers from a printed seed, so that a failed test can be repeated.
//! - [`proxy`]: a proxy that loses, doubles or changes responses.
//!
//! The crate is a dev-dependency: nothing that is shipped depends on it. It does not know flows, runs or stores, so
//! every crate above `core` can use it.
//!
//! ```
//! use serde_json::json;
//! use trunkline_core::{Context, ErrorKind};
//! use trunkline_testkit::fake::{Fake, FakeReply};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> trunkline_core::Result<()> {
//! let fake = Fake::of_things("shop");
//! fake.system().script("thing.make", [FakeReply::Lost]);
//! let (shop, cx) = (fake.connected(), Context::default());
//! let error = shop.run("thing.make", json!({ "name": "chair" }), &cx).await.unwrap_err();
//! // The response was lost, but the call took effect.
//! assert_eq!(error.kind(), ErrorKind::UnknownOutcome);
//! assert_eq!(fake.system().created(), ["chair"]);
//! # Ok(())
//! # }
//! ```

pub mod cases;
pub mod clock;
pub mod dice;
pub mod fake;
pub mod kill;
pub mod process;
pub mod proxy;

/// Returns the fact with this key that an error shows. Tests only look at it: code decides on an error's details.
pub fn fact<'a>(error: &'a trunkline_core::Error, key: &str) -> Option<&'a str> {
    error.facts().find(|(known, _)| *known == key).map(|(_, value)| value)
}
