//! One error for everything: what kind, what was tried on what and why it failed, whether to try again, what to do next.
//!
//! One closed struct instead of an error type a module: callers ask only two questions, "which kind is it?" (to show, to
//! count, to branch in a flow) and "may it be tried again?". The form follows `opendal::Error`.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::redact;

/// What all fallible functions of Trunkline return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure a host can show, count and branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting of the connection, a row or a flow is wrong: a person has to change it.
    Config,
    /// The sign-in failed or ran out: the connection has to be authorized anew.
    Auth,
    /// Signed in, but not allowed to do this.
    Permission,
    /// The thing asked for does not exist.
    NotFound,
    /// The input was refused, by us or by the service.
    InvalidInput,
    /// The service says that it collides with what is there.
    Conflict,
    /// Too many calls for now.
    RateLimited,
    /// The service or the way to it is down for now.
    Unavailable,
    /// The call may or may not have taken effect; nobody may repeat it blindly.
    UnknownOutcome,
    /// The service answered something that its reference does not allow.
    Unexpected,
    /// A limit of ours was reached: size, depth, pages, time.
    Limit,
    /// A step, a wait or a run took longer than the flow allows.
    Timeout,
    /// The run was cancelled.
    Cancelled,
    /// A flow ended itself with a `fail` step.
    Failed,
    /// The store is damaged, full or cannot be read, or the machine does not give what all work needs, such as open files.
    Store,
    /// A fault of Trunkline or of a connector.
    Internal,
}

impl ErrorKind {
    /// The word that stands for this kind in JSON, such as `rate_limited`.
    pub fn as_str(self) -> &'static str {
        use ErrorKind::*;
        match self {
            Config => "config",
            Auth => "auth",
            Permission => "permission",
            NotFound => "not_found",
            InvalidInput => "invalid_input",
            Conflict => "conflict",
            RateLimited => "rate_limited",
            Unavailable => "unavailable",
            UnknownOutcome => "unknown_outcome",
            Unexpected => "unexpected",
            Limit => "limit",
            Timeout => "timeout",
            Cancelled => "cancelled",
            Failed => "failed",
            Store => "store",
            Internal => "internal",
        }
    }
}

/// Whether the same call may succeed later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// It will fail again until somebody changes something.
    #[default]
    Never,
    /// Try again, waiting longer each time.
    Backoff,
    /// Try again, not before this has passed.
    After(Duration),
}

/// A failure, for the person at the console and for the engine.
#[derive(Clone, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "is_never")]
    retry: Retry,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "pairs")]
    context: Vec<(Cow<'static, str>, String)>,
    #[serde(skip)]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

fn is_never(retry: &Retry) -> bool {
    *retry == Retry::Never
}

impl Error {
    /// An error of this kind; `message` says what was tried, on what, and why it failed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, retry: Retry::Never, context: Vec::new(), source: None }
    }

    /// Says what the user can do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says whether the same call may succeed later.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Adds a fact: which connection, action, host, status, setting. A key that is there already is kept.
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        let key = key.into();
        if self.context(&key).is_none() {
            self.context.push((key, value.to_string()));
        }
        self
    }

    /// Keeps the error underneath.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Names the connection setting at fault by its JSON pointer, such as `/clientSecret`.
    pub fn setting(self, pointer: &'static str) -> Self {
        self.with("setting", pointer)
    }

    /// Turns this error into another kind and keeps all else, as when a lost answer makes an outcome unknown.
    pub fn into_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// This error without the secrets that came into its words, see [`redact`]: services like to say back what they were
    /// sent.
    pub(crate) fn redacted(mut self) -> Self {
        let clean = |text: &mut String| {
            if let Cow::Owned(clean) = redact(text) {
                *text = clean;
            }
        };
        clean(&mut self.message);
        self.hint.iter_mut().for_each(clean);
        self.context.iter_mut().for_each(|(_, value)| clean(value));
        self
    }

    /// Which kind it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was tried, on what, and why it failed.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the user can do next, if anything is known.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether to try again.
    pub fn retryable(&self) -> Retry {
        self.retry
    }

    /// A fact that was added under this key.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.context.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// The message alone: one line.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// All that is known, over several lines: message, facts, cause, what to do next.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.kind.as_str())?;
        for (key, value) in &self.context {
            write!(f, "\n  {key}: {value}")?;
        }
        let mut cause = self.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(error) = cause {
            write!(f, "\n  because: {error}")?;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  next: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Context pairs are an object in JSON, in the order they were added.
mod pairs {
    use super::Cow;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(pairs: &[(Cow<'static, str>, String)], s: S) -> Result<S::Ok, S::Error> {
        let object: Map<String, Value> =
            pairs.iter().map(|(key, value)| (key.to_string(), Value::from(value.as_str()))).collect();
        object.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<(Cow<'static, str>, String)>, D::Error> {
        let object = Map::<String, Value>::deserialize(d)?;
        Ok(object
            .into_iter()
            .map(|(key, value)| {
                (Cow::Owned(key), value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string()))
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_and_comes_back() {
        let error = Error::new(ErrorKind::RateLimited, "asset.get was refused")
            .retry(Retry::After(Duration::from_secs(2)))
            .with("status", 429)
            .hint("lower the rate");
        let back: Error = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
        assert_eq!(back.retryable(), Retry::After(Duration::from_secs(2)));
    }
}
