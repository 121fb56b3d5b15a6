//! The core types of Trunkline, without any I/O: connectors, actions, connections, errors, files and secrets.
//!
//! A connector author implements [`Connector`] and [`Action`] and registers both with [`submit!`]. A host calls
//! [`Registry::discover`], checks a [`Connection`] against the connector's schema and gets a [`Connected`], which runs
//! actions by name, with JSON input and JSON output. The host provides what needs I/O through the traits [`Vault`],
//! [`Staging`] and [`Recorder`], and the time through [`Clock`].
//!
//! ```
//! use trunkline_core::{Action, CheckReport, ConnectionContext, Connector, Context, Effect, Registry, Result, async_trait};
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
//!     fn connect(settings: Settings, _: ConnectionContext) -> Result<Settings> { Ok(settings) }
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

mod connection;
mod connector;
mod error;
mod files;
mod foreign_text;
mod schema;
mod schema_defaults;
mod schema_form;
mod schema_work;
mod secrets;
mod settings_schema;
mod values;
mod vault;

pub use async_trait::async_trait;
pub use connection::connection::{Connected, Connection, Connections};
pub use connection::registry::{Registered, Registry};
pub use connector::action::{Action, ActionEntry, ActionSpec, Actions, AnyAction, Effect, Page, any_action};
pub use connector::check_report::{CheckReport, Stage, StageOutcome};
pub use connector::client::AnyClient;
pub use connector::connection_context::{ConnectionContext, ConnectionHost};
pub use connector::connector::{
    AnyConnector, Authorization, Connector, ConnectorEntry, ConnectorSpec, SignInClient, any_connector,
};
pub use connector::context::{ByteProgress, Context, FileOpener, Quota, Recorder};
pub use connector::event::EventSpec;
pub use connector::options::OptionsSource;
pub use error::{
    ConnectStage, Diagnostic, Error, ErrorDetail, ErrorKind, NextStep, OAuthErrorCode, Result, Retry, Severity,
    SourceLocation, StoreFault,
};
pub use files::file::{FileRef, FileStream, Position};
pub use files::staging::{STAGED, Staging};
pub use foreign_text::ForeignText;
#[doc(hidden)]
pub use inventory;
pub use schema::{Schema, schema_of, written_schema_of};
pub use schema_form::form_schema;
pub use secrets::redact::Redactor;
pub use secrets::secret::{Secret, SecretSource};
pub use settings_schema::{Setting, connection_schema};
pub use tokio_util::sync::CancellationToken;
pub use values::clock::{Clock, SystemClock};
pub use values::digest::{Algorithm, Digest};

pub use values::ids::{RunId, StepPath};
pub use values::json_error::{JsonError, MAX_NESTING};
pub use values::kind::kind_of;
pub use values::memory::{VALUE_MEMORY, check_value_memory, memory_of, memory_of_json};
pub use values::memory_budget::{HeldMemory, MemoryAccount, MemoryBudget};
pub use values::number::{NUMBER_HINT, lossy_number, lossy_number_message};
pub use values::pointer::{check_pointer, pointer_name, pointer_names, pointer_part};
pub use values::spelling::{by_similarity, closest};
pub use values::strict_json::{RepeatedMember, TextPlaces, read_json, read_json_as};
pub use values::timestamp::Timestamp;
pub use values::url_text::hide_url_passwords;
pub use vault::sign_in::{ReauthCause, SignIn, SignInState};
pub use vault::vault::{MemoryVault, Vault, VaultEntry};

/// Registers a [`ConnectorEntry`] or an [`ActionEntry`], with the name and the version of the crate that it is written
/// in. [`Registry::discover`] finds what is registered.
#[macro_export]
macro_rules! submit {
    ($entry:expr) => {
        $crate::inventory::submit! {
            ($entry).from_package(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        }
    };
}
