//! Simulators of two digital asset management systems, MediaValet and Mediaflow, with their login servers, MediaValet's
//! blob storage and Mediaflow's download host. One process on loopback serves all of them, for demos and tests.
//!
//! The simulators are strict. They reject what the real services would reject, and they also detect mistakes that the
//! real services might not (a bearer token sent to the storage, a replayed authorization code). Faults can be switched
//! on. With a state folder, every change that a client has received a response for survives a crash of the process.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use trunkline_sandbox::{Options, Sandbox};
//!
//! let sandbox = Sandbox::start(Options { files: 20, ..Options::default() }).await?;
//! println!("{}", sandbox.endpoints().mediaflow.endpoint_url);
//! assert_eq!(sandbox.report().source_files, 20);
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! ```

mod app;
mod blob;
mod config;
mod control;
mod faults;
mod http;
mod library;
mod login;
mod mediaflow;
mod mediavalet;
mod server;
mod state;

pub use config::{
    Credentials, Endpoint, Endpoints, Faults, MediaflowCredentials, MediavaletCredentials, Options, RefreshPolicy,
};
pub use control::Report;
pub use server::Sandbox;
