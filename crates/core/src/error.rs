//! The error type of Trunkline: its kind, what it means, whether to retry, what to do next, and a message.
//!
//! There is one closed struct instead of one error type per module, because callers ask few questions: which kind it is
//! (to show, count or branch on it in a flow), whether the call may be retried, and sometimes which of its
//! [details](ErrorDetail) apply. The message and the facts are for people: no code decides on them. What to do next is
//! [data](NextStep), which each door words for itself. The form follows `opendal::Error`.
//!
//! ```
//! use trunkline_core::{Error, ErrorDetail, ErrorKind, NextStep};
//!
//! let error = Error::new(ErrorKind::Auth, "the login server refused the password")
//!     .setting("/password")
//!     .with("host", "login.example.com")
//!     .next(NextStep::SignIn { connection: "dam".to_owned() });
//! assert_eq!(error.setting_pointer(), Some("/password"));
//! assert!(!error.has(&ErrorDetail::NotSent));
//! assert_eq!(error.advice().as_deref(), Some("sign in to dam in the browser"));
//! ```

mod detail;
mod diagnostic;
mod next_step;
mod wire;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

pub use detail::{ConnectStage, ErrorDetail, OAuthErrorCode, StoreFault};
pub use diagnostic::{Diagnostic, Severity, SourceLocation};
pub use next_step::NextStep;
pub(crate) use next_step::{AdviceMembers, joined};

use crate::{ForeignText, Redactor};

/// The result of fallible functions in Trunkline.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure that a host can show, count and branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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
        self.into()
    }
}

/// The advice of an error on retrying the same call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone)]
pub struct Error(Box<Parts>);

/// A key and its value, for people.
type Fact = (Cow<'static, str>, String);

#[derive(Clone)]
struct Parts {
    kind: ErrorKind,
    message: String,
    next: Vec<NextStep>,
    retry: Retry,
    context: Vec<Fact>,
    details: Vec<ErrorDetail>,
    findings: Vec<Diagnostic>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    /// Whether the message has several lines of ours. The text of others is one line.
    has_lines: bool,
}

impl Error {
    /// Returns an error of this kind that is not to be retried. `message` says what was tried, on what, and why it
    /// failed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Parts {
            kind,
            message: message.into(),
            next: Vec::new(),
            retry: Retry::Never,
            context: Vec::new(),
            details: Vec::new(),
            findings: Vec::new(),
            source: None,
            has_lines: false,
        }))
    }

    /// As [`Error::new`], with further lines in the message. It is the only error whose message has some.
    pub(crate) fn of_lines(kind: ErrorKind, first: &str, further: impl IntoIterator<Item = String>) -> Self {
        let further = further.into_iter().map(|line| format!("\n  {}", ForeignText(&line)));
        let mut error = Error::new(kind, format!("{}{}", ForeignText(first), further.collect::<String>()));
        error.0.has_lines = true;
        error
    }

    /// Sets what the user can do next, as plain advice. It replaces all earlier advice and names no command: what a
    /// door has a command for is a [`NextStep`].
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.next = vec![NextStep::Text { text: hint.into() }];
        self
    }

    /// Adds what the user can do next, after all earlier advice.
    pub fn next(mut self, step: impl Into<NextStep>) -> Self {
        self.0.next.push(step.into());
        self
    }

    /// Sets what the user can do next. It replaces all earlier advice.
    pub fn advise(mut self, steps: impl IntoIterator<Item = NextStep>) -> Self {
        self.0.next = steps.into_iter().collect();
        self
    }

    /// Sets whether the same call may be retried.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Adds a fact for people, such as the action, host or status. The first value of a key is kept. Code does not
    /// decide on facts: what it has to know is an [`ErrorDetail`].
    pub fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        let key = key.into();
        if self.0.context.iter().all(|(known, _)| *known != key) {
            self.0.context.push((key, value.to_string()));
        }
        self
    }

    /// Adds a meaning that code decides on, and the fact that shows it. The first one of each variant is kept, and of
    /// variants that exclude each other, such as [`ErrorDetail::EndsRun`] and [`ErrorDetail::EndsStep`].
    pub fn with_detail(mut self, detail: ErrorDetail) -> Self {
        let (key, value) = detail.fact();
        if self.0.details.iter().any(|known| known.fact().0 == key) {
            return self;
        }
        let value = value.into_owned();
        self.0.details.push(detail);
        self.with(key, value)
    }

    /// Sets what was found in the document that the error is about.
    pub(crate) fn with_findings(mut self, findings: Vec<Diagnostic>) -> Self {
        self.0.findings = findings;
        self
    }

    /// Sets the underlying error. It is not serialized.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// Names the wrong connection setting by its JSON pointer, such as `/clientSecret`.
    pub fn setting(self, pointer: impl Into<Cow<'static, str>>) -> Self {
        self.with_detail(ErrorDetail::Setting { pointer: pointer.into() })
    }

    /// Changes the kind and keeps everything else. For example, a lost response makes an outcome unknown.
    pub fn into_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Returns the error with `***` in place of secrets in its texts. Services often quote in an error
    /// response what they were sent.
    pub fn redacted(mut self, redactor: &Redactor) -> Self {
        let clean = |text: &mut String| redactor.redact_in_place(text);
        let Parts { message, next, context, details, findings, .. } = &mut *self.0;
        clean(message);
        for finding in findings {
            clean(&mut finding.message);
            finding.next.iter_mut().for_each(|step| step.redact(redactor));
        }
        next.iter_mut().for_each(|step| step.redact(redactor));
        context.iter_mut().for_each(|(_, value)| clean(value));
        for detail in details {
            // All other details hold names of our own.
            if let ErrorDetail::TokenRefused { code: OAuthErrorCode::Other(code) } = detail {
                clean(code);
            }
        }
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message for people: what was tried, on what, and why it failed.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns what the user can do next, in the order in which it is best tried.
    pub fn next_steps(&self) -> &[NextStep] {
        &self.0.next
    }

    /// Returns what the user can do next in the neutral wording, if that is known.
    pub fn advice(&self) -> Option<String> {
        self.advice_in(NextStep::to_string)
    }

    /// Returns what the user can do next in the wording of a door, if that is known. `word` words one step.
    pub fn advice_in(&self, word: impl Fn(&NextStep) -> String) -> Option<String> {
        joined(&self.0.next, word)
    }

    /// Returns whether the same call may be retried, and when.
    pub fn retryable(&self) -> Retry {
        self.0.retry
    }

    /// Returns everything about the error that code decides on, apart from its kind and
    /// [`retryable`](Error::retryable).
    pub fn details(&self) -> &[ErrorDetail] {
        &self.0.details
    }

    /// Returns what was found in the document that the error is about, with the place of each finding. The message has
    /// the same as a text.
    pub fn findings(&self) -> &[Diagnostic] {
        &self.0.findings
    }

    /// Returns whether the error has this detail.
    pub fn has(&self, detail: &ErrorDetail) -> bool {
        self.0.details.contains(detail)
    }

    /// Returns the JSON pointer of the connection setting to look at, if the error names one.
    pub fn setting_pointer(&self) -> Option<&str> {
        self.0.details.iter().find_map(|detail| match detail {
            ErrorDetail::Setting { pointer } => Some(&**pointer),
            _ => None,
        })
    }

    /// Returns the path of the step that the error comes from, if it comes from a step of a run.
    pub fn step(&self) -> Option<&str> {
        self.0.details.iter().find_map(|detail| match detail {
            ErrorDetail::Step { step } => Some(&**step),
            _ => None,
        })
    }

    /// Returns the fault of the disk or the system behind an error of kind `store`, if it is known.
    pub fn store_fault(&self) -> Option<StoreFault> {
        self.0.details.iter().find_map(|detail| match detail {
            ErrorDetail::StoreFault { fault } if self.0.kind == ErrorKind::Store => Some(*fault),
            _ => None,
        })
    }

    /// Returns all facts in the order in which they were added, to show them.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.context.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns everything that is known as text on several lines: message, kind, facts, causes, and the advice in the
    /// wording of a door. `word` words one step. What others wrote begins no line, see [`ForeignText`].
    pub fn describe(&self, word: impl Fn(&NextStep) -> String) -> String {
        let message = ForeignText(&self.0.message);
        let message = if self.0.has_lines { message.lines() } else { message.to_string() };
        let mut text = format!("{message} ({})", self.0.kind.as_str());
        for (key, value) in self.facts() {
            text += &format!("\n  {}: {}", ForeignText(key), ForeignText(value));
        }
        let mut cause = self.0.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(error) = cause {
            text += &format!("\n  because: {}", ForeignText(&error.to_string()));
            cause = error.source();
        }
        if let Some(advice) = self.advice_in(word) {
            text += &format!("\n  next: {}", ForeignText(&advice));
        }
        text
    }
}

/// Writes the message only.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// Writes everything that is known, with the advice in the neutral wording, see [`Error::describe`].
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(NextStep::to_string))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Serializes the facts as a JSON object, in the order in which they were added.
mod pairs {
    use super::{Cow, Fact};
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(pairs: &[Fact], s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(pairs.iter().map(|(key, value)| (key, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Fact>, D::Error> {
        let object = Map::<String, Value>::deserialize(d)?;
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(object.into_iter().map(|(key, value)| (Cow::Owned(key), text(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\n  next: FORGED\u{1b}[2J\u{202e}\u{2028}FORGED\r\n  next: FORGED";

    /// Returns the lines that begin with text of others.
    fn forged(text: &str) -> usize {
        let begins = |line: &&str| line.trim_start().starts_with("next: FORGED") || line.starts_with("FORGED");
        text.lines().filter(begins).count()
    }

    #[test]
    fn text_of_others_begins_no_line_of_an_error() {
        let findings = [Diagnostic::error("/a", HOSTILE), Diagnostic::error("/b", "b").hint(HOSTILE)];
        let cause = std::io::Error::other(HOSTILE);
        for error in [
            Error::new(ErrorKind::Failed, HOSTILE),
            Error::new(ErrorKind::Failed, "a").with("title", HOSTILE).hint(HOSTILE).source(cause),
            Error::new(ErrorKind::Failed, "a").with(HOSTILE, "b").setting(HOSTILE),
            Diagnostic::into_error(HOSTILE, &findings).expect("two errors"),
            Diagnostic::into_error(HOSTILE, &findings[..1]).expect("one error"),
        ] {
            let text = error.describe(NextStep::to_string);
            assert_eq!(forged(&text), 0, "{text:?}");
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{2028}', '\r']), "{text:?}");
        }
        let two = Diagnostic::into_error("x", &findings).expect("two errors");
        assert_eq!(two.describe(NextStep::to_string).lines().count(), 3, "each finding has a line of its own: {two:?}");
        // The twin: the message itself, which programs get, is exact, and begins lines.
        let error = Error::new(ErrorKind::Failed, HOSTILE);
        assert_eq!((error.message(), forged(error.message())), (HOSTILE, 2));
    }
}
