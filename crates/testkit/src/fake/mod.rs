//! One fake connector for tests: actions of every effect, whose answers, delays and failures the test chooses.
//!
//! The idea: a [`Fake`] is a connector that is assembled at run time and needs no HTTP. Its [`FakeSystem`] plays the
//! system behind it: it counts the calls, has the created things, and plays scripted replies. What a call does is
//! decided in this order: a reply that the test has scripted, the fault that the input asks for (see
//! [`Fake::of_things`]), the switches of the system, and then the action itself.
//!
//! A test of a journal or an engine that needs no special action takes [`Fake::of_things`]:
//!
//! ```
//! use trunkline_testkit::fake::Fake;
//!
//! let shop = Fake::of_things("shop");
//! let registry = shop.registry();
//! assert!(registry.action("shop.thing.make_blindly").is_ok());
//! ```
//!
//! An action of its own is a function:
//!
//! ```
//! use serde_json::json;
//! use trunkline_core::{Context, Effect};
//! use trunkline_testkit::fake::{Fake, FakeAction};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> trunkline_core::Result<()> {
//! let twice = FakeAction::new("number.double", Effect::Read, |call| async move {
//!     Ok(json!(call.input["n"].as_u64().unwrap_or_default() * 2))
//! });
//! let numbers = Fake::new("numbers").with(twice);
//! let output = numbers.connected().run("number.double", json!({ "n": 4 }), &Context::default()).await?;
//! assert_eq!(output, 8);
//! assert_eq!(numbers.system().calls("number.double"), 1);
//! # Ok(())
//! # }
//! ```

mod action;
mod file;
mod step;
mod system;
mod things;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use trunkline_core::{
    AnyAction, AnyClient, AnyConnector, CheckReport, Connected, Connection, ConnectionContext, ConnectorSpec, Context,
    Error, ErrorKind, FileStream, MemoryVault, Position, Registry, Result, SignInClient,
};

pub use action::{FakeAction, FakeCall};
pub use file::FakeFile;
pub use step::FakeStep;
pub use system::{FakeReply, FakeSystem};

/// A connector of a test. Its clones share the system.
#[derive(Clone)]
pub struct Fake {
    name: String,
    actions: Vec<FakeAction>,
    file: Option<FakeFile>,
    system: Arc<FakeSystem>,
}

impl Fake {
    /// Creates a connector without actions; its version is 1.0.
    pub fn new(name: &str) -> Fake {
        Fake { name: name.to_owned(), actions: Vec::new(), file: None, system: FakeSystem::new() }
    }

    /// Creates a connector with one action per effect. All take `name` and `fault`; the action lists say more.
    ///
    /// | action | effect | does |
    /// | --- | --- | --- |
    /// | `thing.look` | read | returns the name and the idempotency key; also takes `items` |
    /// | `thing.list` | read | lists `pages` pages of three things; the first `failures` requests fail |
    /// | `thing.put` | idempotent | creates the thing if it does not exist |
    /// | `thing.make` | create | creates a thing, and can look up whether an earlier call did |
    /// | `thing.make_blindly` | create | creates a thing, and cannot look it up |
    /// | `thing.drop` | delete | removes the thing if it exists |
    ///
    /// | fault | the call |
    /// | --- | --- |
    /// | `busy N` | fails N times with a transient error |
    /// | `later N` | fails N times and asks for a retry in 40 minutes |
    /// | `starved N` | fails N times for lack of a local resource |
    /// | `sleep MS` | takes this many milliseconds |
    /// | `auth` | fails with `auth` |
    /// | `down` | fails with `auth` while the system is down |
    /// | `door` | creates nothing while the system refuses the name |
    /// | `lost` | takes effect the first time, and its response is lost |
    /// | `early` | is lost itself the first time |
    /// | `missing`, `panic`, `forever`, `big BYTES` | for `thing.look`: fails, panics, waits for its cancellation, is large |
    ///
    /// The system counts calls by action, by idempotency key, and by verb and name, such as `look chair`.
    pub fn of_things(name: &str) -> Fake {
        things::all().into_iter().fold(Fake::new(name), Fake::with)
    }

    /// Adds an action.
    pub fn with(mut self, action: FakeAction) -> Fake {
        self.actions.push(action);
        self
    }

    /// Adds a file: every source of the connector opens it.
    pub fn with_file(self, file: FakeFile) -> Fake {
        Fake { file: Some(file), ..self }
    }

    /// Uses a system that exists, for example to connect to it a second time.
    pub fn on(self, system: Arc<FakeSystem>) -> Fake {
        Fake { system, ..self }
    }

    /// Returns the system behind the connector.
    pub fn system(&self) -> &Arc<FakeSystem> {
        &self.system
    }

    /// Returns a registry of this connector.
    ///
    /// # Panics
    ///
    /// If two actions have the same name.
    pub fn registry(&self) -> Registry {
        self.register(Registry::empty()).checked().expect("actions with different names")
    }

    /// Adds the connector to a registry.
    pub fn register(&self, registry: Registry) -> Registry {
        let id = format!("{}-v1.0", self.name);
        let spec = ConnectorSpec {
            name: self.name.clone(),
            version: "1.0".into(),
            title: self.name.clone(),
            about: String::new(),
            documentation: String::new(),
            scopes: Vec::new(),
            events: Vec::new(),
            connection: json!({
                "type": "object", "required": ["name", "connector"], "unevaluatedProperties": false,
                "properties": { "name": { "type": "string" }, "connector": { "const": id } }
            }),
        };
        let connector = FakeConnector { spec, file: self.file.clone(), system: self.system.clone() };
        let actions = self.actions.iter().map(|action| Box::new(action.clone()) as Box<dyn AnyAction>);
        registry.with_any(Box::new(connector), actions.collect(), "a fake connector")
    }

    /// Connects: returns a connection that has the connector's name.
    ///
    /// # Panics
    ///
    /// If two actions have the same name.
    pub fn connected(&self) -> Connected {
        let document = json!({ "name": self.name, "connector": format!("{}-v1.0", self.name) });
        let connection = Connection::from_value(document).expect("a connection");
        let no_secrets = |_: &_| unreachable!("there are no secrets");
        self.registry().connect(&connection, Arc::new(MemoryVault::default()), &no_secrets).expect("the fake connects")
    }
}

struct FakeConnector {
    spec: ConnectorSpec,
    file: Option<FakeFile>,
    system: Arc<FakeSystem>,
}

fn unsupported<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Config, format!("a fake connector has no {what}")))
}

#[async_trait]
impl AnyConnector for FakeConnector {
    fn spec(&self) -> &ConnectorSpec {
        &self.spec
    }

    fn connect(&self, _: Value, _: ConnectionContext) -> Result<Arc<AnyClient>> {
        self.system.count("connect");
        Ok(self.system.clone())
    }

    async fn check(&self, _: &AnyClient) -> CheckReport {
        CheckReport::default()
    }

    fn sign_in<'a>(&self, _: &'a AnyClient) -> Result<Option<&'a dyn SignInClient>> {
        Ok(None)
    }

    async fn open(&self, _: &AnyClient, _: &Value, from: Position, _: &Context) -> Result<FileStream> {
        self.file.as_ref().map_or_else(|| unsupported("files"), |file| Ok(file.open(from)))
    }
}
