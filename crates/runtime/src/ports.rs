//! The ports: what a host can replace below the [`Runtime`](crate::Runtime).

use std::{io, path::Path, sync::Arc};

use trunkline_core::{
    Clock, Error, ErrorKind, MemoryBudget, Redactor, Result, Secret, SecretSource, Staging, SystemClock, Vault,
};
use trunkline_engine::Journal;
use trunkline_rest::{HttpEnvironment, read_text_file};
use trunkline_store::{ConnectionStore, FlowStore, MemoryStore, StoreHealth};
#[cfg(feature = "sqlite")]
use trunkline_store::{KeySource, Store};

use crate::environment::environment_variable;

/// What a [`Runtime`](crate::Runtime) stands on. Each port can be replaced. Two runtimes share what their ports share, and
/// nothing else.
///
/// ```
/// use std::sync::Arc;
/// use trunkline::{Ports, Runtime, SecretResolver, core::{Registry, Result, Secret, SecretSource}};
///
/// /// Looks secrets up in a password manager.
/// struct PasswordManager;
/// impl SecretResolver for PasswordManager {
///     fn secret(&self, source: &SecretSource) -> Result<Secret> {
///         Ok(format!("the password of {source:?}").into())
///     }
/// }
///
/// let ports = Ports { secrets: Arc::new(PasswordManager), ..Ports::in_memory() };
/// let runtime = Runtime::new(Registry::empty(), ports);
/// # drop(runtime);
/// ```
#[derive(Clone)]
pub struct Ports {
    /// The events of runs.
    pub journal: Arc<dyn Journal>,
    /// The tokens of connections.
    pub vault: Arc<dyn Vault>,
    /// Connections, with their secrets.
    pub connections: Arc<dyn ConnectionStore>,
    /// Saved flows.
    pub flows: Arc<dyn FlowStore>,
    /// Where files are staged that cannot be read from their middle; `None` if nowhere.
    pub staging: Option<Arc<dyn Staging>>,
    /// Secrets that settings refer to.
    pub secrets: Arc<dyn SecretResolver>,
    /// Whether the storage works.
    pub health: Arc<dyn StoreHealth>,
    /// How requests are sent, what the HTTP clients share, and what they may reach: every public host, unless the host
    /// decides otherwise with [`HttpEnvironment::with_network`].
    pub http: HttpEnvironment,
    /// What the values of runs, calls and requests may take of the memory of the process.
    pub memory: MemoryBudget,
    /// The current time.
    pub clock: Arc<dyn Clock>,
    /// What learns all secrets of this runtime, and removes them from texts. Secrets of the storage, such as its keys,
    /// are in the redactor that the constructors of `Ports` return: a host with a redactor of its own adds them with
    /// [`Redactor::add_all`].
    pub redactor: Redactor,
}

impl Ports {
    /// Opens or creates a data directory: one SQLite file for everything, and staged files beside it. Secrets come from the
    /// environment and from files.
    ///
    /// # Errors
    ///
    /// `config` if the key is not the one that the data directory was written with, `store` if it cannot be opened.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(data: &Path, key: KeySource) -> Result<Ports> {
        let store = Arc::new(Store::open(data, key)?);
        let (redactor, staging) = (store.redactor().clone(), Some(store.clone() as Arc<dyn Staging>));
        Ok(Ports { redactor, staging, ..Ports::of(store.clone(), store) })
    }

    /// Returns ports that keep everything in memory, for tests and for hosts that need no durability. Nothing is staged.
    /// Secrets come from the environment and from files.
    pub fn in_memory() -> Ports {
        let store = Arc::new(MemoryStore::default());
        Ports::of(store.clone(), Arc::new(store.journal()))
    }

    /// Returns ports that keep everything but the runs in one store, and stage nothing. Secrets come from the environment
    /// and from files.
    pub fn of<S>(store: Arc<S>, journal: Arc<dyn Journal>) -> Ports
    where
        S: Vault + ConnectionStore + FlowStore + StoreHealth + 'static,
    {
        Ports {
            journal,
            vault: store.clone(),
            connections: store.clone(),
            flows: store.clone(),
            staging: None,
            secrets: Arc::new(EnvironmentSecrets),
            health: store,
            http: HttpEnvironment::default(),
            memory: MemoryBudget::default(),
            clock: Arc::new(SystemClock),
            redactor: Redactor::default(),
        }
    }
}

/// Reads secrets that settings refer to.
pub trait SecretResolver: Send + Sync {
    /// Returns the secret. It is called whenever a connection is used, and must not block for long.
    ///
    /// # Errors
    ///
    /// `config` if there is no such secret.
    fn secret(&self, source: &SecretSource) -> Result<Secret>;
}

/// Reads secrets from the environment of the process and from files.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvironmentSecrets;

impl SecretResolver for EnvironmentSecrets {
    fn secret(&self, source: &SecretSource) -> Result<Secret> {
        let missing = |what: String| {
            Error::new(ErrorKind::Config, what)
                .hint("it is needed whenever the connection is used, not only when it is added")
        };
        match source {
            SecretSource::Env(name) => {
                let text = environment_variable(name)?;
                let text = text.ok_or_else(|| missing(format!("the environment variable {name} is not set")))?;
                Secret::of_text(&text).ok_or_else(|| missing(format!("the environment variable {name} is empty")))
            }
            SecretSource::File(path) => {
                let text = secret_file(path)
                    .map_err(|error| missing(format!("the secret file {path} cannot be read: {error}")))?;
                Secret::of_text(&text).ok_or_else(|| missing(format!("the secret file {path} is empty")))
            }
        }
    }
}

/// The longest secret in a file, in bytes. A longer file is another file.
const MAX_SECRET: u64 = 64 * 1024;

/// Reads the text of a secret file.
fn secret_file(path: &str) -> io::Result<String> {
    // Programs that use the connection are started in other directories, and no shell expands a `~` here.
    if !Path::new(path).is_absolute() {
        return Err(io::Error::other("its path is not absolute; write it from the root on, without ~"));
    }
    read_text_file(Path::new(path), MAX_SECRET)
}
