//! Standard error behind the redactor. Everything that the process prints there, log and panics included, passes
//! through it, so that no known secret is shown.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic,
    sync::{LazyLock, PoisonError, RwLock},
};

use serde::Serialize;
use trunkline::{
    core::{ForeignText, Redactor, Secret},
    rest::Url,
};

/// The redactor of the process: that of its runtime, once there is one. Standard error belongs to the process, and the
/// command line has only one runtime in a process.
static REDACTOR: LazyLock<RwLock<Redactor>> = LazyLock::new(RwLock::default);

/// Returns the redactor of the process.
pub(crate) fn redactor() -> Redactor {
    REDACTOR.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Uses the redactor of a runtime from now on. It learns the secrets that were known before.
pub(crate) fn use_redactor(new: &Redactor) {
    let mut current = REDACTOR.write().unwrap_or_else(PoisonError::into_inner);
    new.add_all(&current);
    *current = new.clone();
}

/// Adds the passwords in the URLs of proxies, which the environment has.
pub(crate) fn add_proxy_passwords() {
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        let set = std::env::var(name).or_else(|_| std::env::var(name.to_uppercase()));
        let url = set.ok().and_then(|text| Url::parse(&text).or_else(|_| Url::parse(&format!("http://{text}"))).ok());
        url.as_ref().and_then(Url::password).into_iter().for_each(|password| redactor().add(&Secret::from(password)));
    }
}

/// A writer of a log that redacts known secrets, and writes each entry as one line that controls no terminal: all fields
/// of all spans pass it, those of other crates too. A secret that is split over two writes is not found, so callers write
/// whole entries.
pub(crate) struct LogWriter<W> {
    to: W,
    is_json: bool,
}

impl<W> LogWriter<W> {
    pub(crate) fn new(to: W, is_json: bool) -> LogWriter<W> {
        LogWriter { to, is_json }
    }
}

impl<W: Write> Write for LogWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = redactor().redact_bytes(bytes);
        let text = String::from_utf8_lossy(&text);
        let entry = ForeignText(text.strip_suffix('\n').unwrap_or(&text));
        let line = if self.is_json { entry.json() } else { entry.to_string() };
        self.to.write_all(format!("{line}\n").as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Prints one or more lines to standard error.
pub(crate) fn print_line(text: &str) {
    let redacted = redactor().redact_bytes(text.as_bytes());
    let lines = ForeignText(&String::from_utf8_lossy(&redacted)).lines();
    // A write fails if the reader has closed the pipe; there is no one else to report that to.
    let _ = io::stderr().write_all(format!("{lines}\n").as_bytes());
}

/// Formats a value as JSON without secrets.
pub(crate) fn json(value: &impl Serialize) -> String {
    ForeignText(&redactor().redact_json(value).to_string()).json()
}

/// Reports panics through the redactor too.
pub(crate) fn redact_panics() {
    panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => print_line(&format!("{panic}\n{trace}")),
            _ => print_line(&panic.to_string()),
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::io::PipeWriter;

    use super::*;

    /// Logs a secret by mistake, in several ways, and returns the log.
    fn logged<W: Write + 'static>(writer_to: impl Fn(PipeWriter) -> W + Send + Sync + 'static) -> String {
        let (log, writer) = io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let subscriber = subscriber.with_writer(move || writer_to(writer.try_clone().unwrap()));
        let secret = Secret::from("canary/of \"the\" log");
        redactor().add(&secret);
        let headers = [("authorization", format!("Bearer {}", secret.expose()))];
        tracing::subscriber::with_default(subscriber.finish(), || {
            tracing::error!("refused: {}", secret.expose());
            tracing::trace!(header = ?headers, "sending");
            tracing::debug!(url = "https://dam.test/?key=canary%2Fof%20%22the%22%20log", "asking");
        });
        io::read_to_string(log).unwrap()
    }

    #[test]
    fn the_log_shows_no_secret() {
        let text = logged(|writer| LogWriter::new(writer, false));
        assert!(!text.contains("canary"), "{text}");
        assert_eq!((text.matches("***").count(), text.lines().count()), (3, 3), "{text}");
        assert!(text.contains("refused: ***") && text.contains("Bearer ***") && text.contains("?key=***"), "{text}");
    }

    /// Logs hostile text as a message, a field, and a field of a span, and returns the log.
    fn hostile<W: Write + 'static>(
        is_json: bool,
        writer_to: impl Fn(PipeWriter) -> W + Send + Sync + 'static,
    ) -> String {
        let (log, writer) = io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let make = move || writer_to(writer.try_clone().unwrap());
        let text = "a\u{1b}[2J\u{202e}\u{9b}1m\n2026-11-30 ERROR forged";
        let events = || {
            let span = tracing::info_span!("item", key = text);
            let _entered = span.enter();
            tracing::warn!(title = text, other = ?text, "got {text}");
        };
        if is_json {
            tracing::subscriber::with_default(subscriber.json().with_writer(make).finish(), events);
        } else {
            tracing::subscriber::with_default(subscriber.with_writer(make).finish(), events);
        }
        io::read_to_string(log).unwrap()
    }

    #[test]
    fn a_log_entry_is_one_line_that_controls_no_terminal() {
        for is_json in [false, true] {
            let text = hostile(is_json, move |writer| LogWriter::new(writer, is_json));
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{text:?}");
            assert!(text.contains("forged"), "{text:?}");
        }
    }

    /// The sabotage twin: without the writer, a field begins a line and has control characters.
    #[test]
    fn without_the_writer_a_field_forges_a_line_of_the_log() {
        let text = hostile(false, |writer| writer);
        assert!(text.lines().count() > 1 && text.contains('\u{202e}'), "{text:?}");
    }

    /// The sabotage twin: without the redactor, the same lines show the secret.
    #[test]
    fn without_the_redactor_the_log_shows_the_secret() {
        let text = logged(|writer| writer);
        assert_eq!(text.matches("canary").count(), 3, "{text}");
    }
}
