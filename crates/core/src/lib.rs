//! The core types of Trunkline, without any I/O: connectors, actions, connections, errors, files and secrets.
//!
//! A connector author implements [`Connector`] and [`Action`] and registers both with [`submit!`]. A host calls
//! [`Registry::discover`], checks a [`Connection`] against the connector's schema and gets a [`Connected`], which runs
//! actions by name, with JSON input and JSON output. The host provides what needs I/O through the traits [`Vault`],
//! [`Staging`] and [`Recorder`].
//!
//! ```
//! use trunkline_core::{Action, CheckReport, Connector, Context, Effect, Registry, Result, VaultSlot, async_trait};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! pub struct Greeter;
//!
//! #[derive(Deserialize, JsonSchema)]
//! pub struct Settings {
//!     /// # Greeting
//!     /// The first word of every greeting.
//!     greeting: String,
//! }
//!
//! #[async_trait]
//! impl Connector for Greeter {
//!     const NAME: &'static str = "greeter";
//!     const VERSION: &'static str = "1.0";
//!     const TITLE: &'static str = "Greeter";
//!     type Settings = Settings;
//!     type Client = Settings;
//!     fn connect(settings: Settings, _: VaultSlot) -> Result<Settings> { Ok(settings) }
//!     async fn check(_: &Settings) -> CheckReport { CheckReport::default() }
//! }
//!
//! pub struct Greet;
//!
//! #[derive(Deserialize, JsonSchema)]
//! pub struct Name { name: String }
//!
//! #[derive(Serialize, JsonSchema)]
//! pub struct Greeting { text: String }
//!
//! #[async_trait]
//! impl Action for Greet {
//!     type Connector = Greeter;
//!     type Input = Name;
//!     type Output = Greeting;
//!     const NAME: &'static str = "person.greet";
//!     const TITLE: &'static str = "Greet a person";
//!     const EFFECT: Effect = Effect::Read;
//!     async fn run(client: &Settings, input: Name, _: &Context) -> Result<Greeting> {
//!         Ok(Greeting { text: format!("{}, {}!", client.greeting, input.name) })
//!     }
//! }
//!
//! let registry = Registry::empty().with_connector::<Greeter>().with_action::<Greet>();
//! let names: Vec<_> = registry.connector("greeter")?.actions().map(|action| action.name.clone()).collect();
//! assert_eq!(names, ["person.greet"]);
//! # Ok::<(), trunkline_core::Error>(())
//! ```

mod action;
mod check_report;
mod connection;
mod connector;
mod context;
mod diagnostic;
mod digest;
mod error;
mod file;
mod ids;
mod pointer;
mod redact;
mod registry;
mod schema;
mod secret;
mod sign_in;
mod spelling;
mod staging;
mod timestamp;
mod vault;

pub use action::{Action, ActionEntry, ActionSpec, Actions, AnyAction, AnyClient, Effect, Page, any_action};
pub use async_trait::async_trait;
pub use check_report::{CheckReport, Stage, StageOutcome};
pub use connection::{Connected, Connection, Connections};
pub use connector::{AnyConnector, Authorization, Connector, ConnectorEntry, ConnectorSpec, any_connector};
pub use context::{ByteProgress, Context, Recorder};
pub use diagnostic::{Diagnostic, Severity, SourceLocation};
pub use digest::{Algorithm, Digest};
pub use error::{ConnectStage, Error, ErrorDetail, ErrorKind, NextStep, OAuthErrorCode, Result, Retry, StoreFault};
pub use file::{FileRef, FileStream, Position};
pub use ids::{RunId, StepPath};
pub use inventory::submit;
pub use pointer::{check_pointer, pointer_name, pointer_names, pointer_part};
pub use redact::{redact, redact_bytes};
pub use registry::{Registered, Registry};
pub use schema::{Schema, schema_of, written_schema_of};
pub use secret::{Secret, SecretSource};
pub use sign_in::{ReauthCause, SignIn, SignInState};
pub use spelling::{by_similarity, closest};
pub use staging::{STAGED, Staging};
pub use timestamp::Timestamp;
pub use tokio_util::sync::CancellationToken;
pub use vault::{MemoryVault, Vault, VaultEntry, VaultSlot};
