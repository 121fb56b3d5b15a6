//! The error type of Trunkline: its kind, a message, whether to retry, and what to do next.
//!
//! There is one closed struct instead of one error type per module, because callers ask only two questions: which kind
//! it is (to show, count or branch on it in a flow), and whether the call may be retried. The form follows
//! `opendal::Error`.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::redact;

/// The result of fallible functions in Trunkline.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure that a host can show, count and branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting of a connection, an operation row or a flow is wrong. A user has to change it.
    Config,
    /// The sign-in failed or has expired. The connection has to be authorized again.
    Auth,
    /// The connection is signed in but not allowed to make this call.
    Permission,
    /// The requested object does not exist.
    NotFound,
    /// The input was rejected, by Trunkline or by the service.
    InvalidInput,
    /// The call conflicts with the present state of an object.
    Conflict,
    /// The service limits the rate of calls; a later call may succeed.
    RateLimited,
    /// The service or the network to it is down; a later call may succeed.
    Unavailable,
    /// The call may or may not have taken effect, so it must not simply be repeated.
    UnknownOutcome,
    /// The service sent a response that its reference does not allow.
    Unexpected,
    /// A limit of Trunkline was reached: size, depth, number of pages or time.
    Limit,
    /// A step, a wait or a run took longer than the flow allows.
    Timeout,
    /// The run was cancelled.
    Cancelled,
    /// A `fail` step ended the flow.
    Failed,
    /// The store is damaged, full or unreadable, or the machine has run out of something that all work needs, such as
    /// open files.
    Store,
    /// A bug in Trunkline or in a connector.
    Internal,
}

impl ErrorKind {
    /// Returns the kind as it is written in JSON, such as `rate_limited`.
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

/// The advice of an error on retrying the same call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Do not retry: the call will fail again until something is changed.
    #[default]
    Never,
    /// Retry, with a longer delay each time.
    Backoff,
    /// Retry when this duration has passed.
    After(Duration),
}

/// A failure, described for users and for the engine.
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
    /// Returns an error of this kind that is not to be retried. `message` says what was tried, on what, and why it
    /// failed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), hint: None, retry: Retry::Never, context: Vec::new(), source: None }
    }

    /// Sets what the user can do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets whether the same call may be retried.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Adds a fact, such as the connection, action, host, status or setting. The first value of a key is kept.
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        let key = key.into();
        if self.context(&key).is_none() {
            self.context.push((key, value.to_string()));
        }
        self
    }

    /// Sets the underlying error. It is not serialized.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Names the wrong connection setting by its JSON pointer, such as `/clientSecret`.
    pub fn setting(self, pointer: &'static str) -> Self {
        self.with("setting", pointer)
    }

    /// Changes the kind and keeps everything else. For example, a lost response makes an outcome unknown.
    pub fn into_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Returns the error with `***` in place of secrets in its texts, see [`redact`]. Services often quote in an error
    /// response what they were sent.
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

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the message: what was tried, on what, and why it failed.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the hint: what the user can do next, if that is known.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns whether the same call may be retried, and when.
    pub fn retryable(&self) -> Retry {
        self.retry
    }

    /// Returns the fact that was added under this key.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.context.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// Writes the message only.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Writes everything that is known, on several lines: message, kind, facts, causes and hint.
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

/// Serializes the facts as a JSON object, in the order in which they were added.
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
    fn errors_survive_serialization() {
        let error = Error::new(ErrorKind::RateLimited, "asset.get was refused")
            .retry(Retry::After(Duration::from_secs(2)))
            .with("status", 429)
            .hint("lower the rate");
        let back: Error = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{error:?}"));
        assert_eq!(back.retryable(), Retry::After(Duration::from_secs(2)));
    }
}
