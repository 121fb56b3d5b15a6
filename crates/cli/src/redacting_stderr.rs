//! Standard error behind the redactor. Everything that the process prints there, log and panics included, passes
//! through it, so that no known secret is shown.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic,
    sync::{LazyLock, PoisonError, RwLock},
};

use serde::Serialize;
use trunkline::core::Redactor;

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

/// A writer that redacts known secrets. A secret that is split over two writes is not found, so callers write whole
/// lines.
pub(crate) struct Redacting<W>(pub(crate) W);

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(&redactor().redact_bytes(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints a line to standard error.
pub(crate) fn print_line(text: &str) {
    // A write fails if the reader has closed the pipe; there is no one else to report that to.
    let _ = Redacting(io::stderr()).write_all(format!("{text}\n").as_bytes());
}

/// Formats a value as JSON without secrets.
pub(crate) fn json(value: &impl Serialize) -> String {
    redactor().redact_json(value).to_string()
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

    use trunkline::core::Secret;

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
        let text = logged(Redacting);
        assert!(!text.contains("canary"), "{text}");
        assert_eq!((text.matches("***").count(), text.lines().count()), (3, 3), "{text}");
        assert!(text.contains("refused: ***") && text.contains("Bearer ***") && text.contains("?key=***"), "{text}");
    }

    /// The sabotage twin: without the redactor, the same lines show the secret.
    #[test]
    fn without_the_redactor_the_log_shows_the_secret() {
        let text = logged(|writer| writer);
        assert_eq!(text.matches("canary").count(), 3, "{text}");
    }
}
