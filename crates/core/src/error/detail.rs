//! What an error means to the code that handles it.
//!
//! The idea: a message and its facts are for people and may be reworded at any time. Everything that decides on an
//! error looks at its kind, at whether it may be retried, and at these details, and at nothing else.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::ErrorKind;

/// A meaning of an error that code decides on, see [`Error::details`](super::Error::details).
///
/// A detail is recorded together with its error: a run that is resumed after a restart decides as before. So the names
/// of the variants and of their members are part of the format of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorDetail {
    /// This setting of the connection is the one to look at.
    Setting {
        /// Its JSON pointer, such as `/clientSecret`.
        pointer: Cow<'static, str>,
    },
    /// The error comes from this step of the run.
    Step {
        /// The path of the step.
        step: String,
    },
    /// The outcome is unknown since an earlier run, and is resolved there.
    UnknownSince {
        /// The id of the earlier run.
        run: String,
    },
    /// The error ends the whole run: no step may handle it.
    EndsRun,
    /// The error ends this step: no step inside it may handle it.
    EndsStep {
        /// The path of the step.
        step: String,
    },
    /// The request did not arrive, so it had no effect.
    NotSent,
    /// The request may have arrived, although there was no response.
    MaybeSent,
    /// The call was sent several times, and the error is that of the last try. An earlier try may have taken effect.
    Repeated {
        /// The number of tries.
        tries: u32,
    },
    /// The login server refused the request for a token.
    TokenRefused {
        /// The error code of the login server.
        code: OAuthErrorCode,
    },
    /// The source of a file is not the version that was read before.
    SourceChanged,
    /// The signed URL of an upload has expired or was refused.
    UrlExpired,
    /// The storage no longer has the staged blocks of an upload.
    BlocksLost,
    /// No connection could be opened.
    NoConnection {
        /// The stage that failed.
        stage: ConnectStage,
    },
    /// What is saved is not as the caller expects it: it was changed, it exists already, or it does not exist.
    NotAsExpected,
    /// The caller has to say what it expects of what is saved, because the request would replace it.
    ExpectationMissing,
    /// The idempotency key was used before, with another request.
    KeyReused,
    /// A fault of the disk or the system keeps the store from working.
    StoreFault {
        /// The fault.
        fault: StoreFault,
    },
}

impl ErrorDetail {
    /// Returns the fact that shows this detail to people. Two details with the same key exclude each other.
    pub(super) fn fact(&self) -> (&'static str, Cow<'_, str>) {
        use ErrorDetail::*;
        match self {
            Setting { pointer } => ("setting", Cow::Borrowed(pointer)),
            Step { step } => ("step", Cow::Borrowed(step)),
            UnknownSince { run } => ("run", Cow::Borrowed(run)),
            EndsRun => (ENDS, Cow::Borrowed(THE_RUN)),
            EndsStep { step } => (ENDS, Cow::Borrowed(step)),
            NotSent => ("sent", Cow::Borrowed("no")),
            MaybeSent => ("sent", Cow::Borrowed("unclear")),
            Repeated { tries } => ("tries", Cow::Owned(tries.to_string())),
            TokenRefused { code } => ("oauth", Cow::Borrowed(code.as_str())),
            SourceChanged => ("source", Cow::Borrowed("changed")),
            UrlExpired => ("upload", Cow::Borrowed("address expired")),
            BlocksLost => ("upload", Cow::Borrowed("blocks lost")),
            NoConnection { stage } => ("stage", Cow::Borrowed(stage.as_str())),
            NotAsExpected => ("expected", Cow::Borrowed("something else")),
            ExpectationMissing => ("expected", Cow::Borrowed("nothing")),
            KeyReused => ("key", Cow::Borrowed("used before")),
            StoreFault { fault } => ("fault", Cow::Borrowed(fault.as_str())),
        }
    }

    /// Returns the detail that a fact stood for in errors recorded before there were details. Earlier versions decided
    /// on facts, and their errors are in journals and vaults. This is the only place that reads them.
    pub(super) fn of_recorded_fact(kind: ErrorKind, key: &str, value: &str) -> Option<ErrorDetail> {
        use ErrorDetail::*;
        Some(match (key, value) {
            ("setting", pointer) => Setting { pointer: Cow::Owned(pointer.to_owned()) },
            ("step", step) => Step { step: step.to_owned() },
            // Errors about a lock of a run named the run under the same key.
            ("run", run) if kind == ErrorKind::UnknownOutcome => UnknownSince { run: run.to_owned() },
            (ENDS, THE_RUN) => EndsRun,
            (ENDS, step) => EndsStep { step: step.to_owned() },
            ("sent", "no") => NotSent,
            ("sent", "unclear") => MaybeSent,
            ("tries", tries) => Repeated { tries: tries.parse().ok()? },
            ("oauth", code) => TokenRefused { code: OAuthErrorCode::from(code.to_owned()) },
            ("source", "changed") => SourceChanged,
            ("upload", "address expired") => UrlExpired,
            ("upload", "blocks lost") => BlocksLost,
            ("stage", name) => NoConnection { stage: name.parse().ok()? },
            ("fault", name) => StoreFault { fault: name.parse().ok()? },
            _ => return None,
        })
    }
}

const ENDS: &str = "ends";
/// The value for an error that ends the run. No path has this form.
const THE_RUN: &str = "the run";

/// The error code of a login server (RFC 6749 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, EnumString, IntoStaticStr)]
#[serde(from = "String", into = "String")]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum OAuthErrorCode {
    /// The request is malformed.
    InvalidRequest,
    /// The client ID or its secret is wrong.
    InvalidClient,
    /// The refresh token, code or password is wrong, expired or revoked.
    InvalidGrant,
    /// The client may not use this grant.
    UnauthorizedClient,
    /// The login server does not have this grant.
    UnsupportedGrantType,
    /// A scope is unknown or not allowed.
    InvalidScope,
    /// Another code.
    #[strum(default)]
    Other(String),
}

impl OAuthErrorCode {
    /// Returns the code as the login server writes it.
    pub fn as_str(&self) -> &str {
        match self {
            OAuthErrorCode::Other(code) => code,
            known => known.into(),
        }
    }
}

impl From<String> for OAuthErrorCode {
    fn from(code: String) -> Self {
        code.parse().unwrap_or(OAuthErrorCode::Other(code))
    }
}

impl From<OAuthErrorCode> for String {
    fn from(code: OAuthErrorCode) -> Self {
        code.as_str().to_owned()
    }
}

/// A stage of opening a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ConnectStage {
    /// Reaching the host through a proxy of the environment.
    Proxy,
    /// Looking up the name of the host.
    Name,
    /// Opening the TCP connection.
    Tcp,
    /// The TLS handshake.
    Tls,
}

impl ConnectStage {
    /// Returns the stage as it is written in JSON, such as `tcp`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A fault of the disk or the system that keeps the store from working although its content is intact.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
pub enum StoreFault {
    /// No space or no inode is left.
    #[strum(serialize = "store: disk full")]
    Full,
    /// The file system or the file is read-only.
    #[strum(serialize = "store: read-only")]
    ReadOnly,
    /// The limit of open files of the process or the system is reached.
    #[strum(serialize = "store: too many open files")]
    Files,
    /// Another process keeps the write lock.
    #[strum(serialize = "store: locked by another process")]
    Busy,
    /// The store does not respond: the disk hangs, or another process keeps the write lock.
    #[strum(serialize = "store: no answer")]
    Silent,
    /// The disk returned an error.
    #[strum(serialize = "store: the disk refused")]
    Refused,
    /// A flush failed. Earlier writes may be lost, and the system may have dropped them without a trace. This process
    /// can no longer know what is on disk, and another flush would prove nothing.
    #[strum(serialize = "store: a flush failed")]
    Flush,
}

impl StoreFault {
    /// All faults.
    pub const ALL: &[StoreFault] = StoreFault::VARIANTS;

    /// Returns its short public name. It holds no path and no number, so it can be shown without authentication.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns what to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            StoreFault::Full => "free space or inodes on that disk: runs continue by themselves",
            StoreFault::ReadOnly => {
                "the user that Trunkline runs as must be able to write this file and its directory; a file system that \
                 became read-only by itself has had an error: see the system's log"
            }
            StoreFault::Files => {
                "raise the limit of open files (`ulimit -n`), or close connections: runs continue by themselves"
            }
            StoreFault::Busy => "another process keeps the store's write lock: find it, and end it",
            StoreFault::Silent => {
                "another process may hold the store's write lock, or the disk hangs: look for other Trunkline processes \
                 on this data directory, and see the system's log"
            }
            StoreFault::Refused => {
                "the disk returned an error: check the system's log and the disk's free space, then start Trunkline again"
            }
            StoreFault::Flush => {
                "the disk did not keep what was written: check the system's log and the disk, then start Trunkline \
                 again: runs continue from what is on disk"
            }
        }
    }

    /// Returns whether a process can continue by itself when the cause is gone.
    pub fn passes(self) -> bool {
        self != StoreFault::Flush
    }
}
