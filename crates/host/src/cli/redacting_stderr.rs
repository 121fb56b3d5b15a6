//! Standard error with the second net before it: what is said there, by whatever code, shows no secret that is known.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic,
};

use serde::Serialize;
use trunkline::core::redact_bytes;

/// Writes through the net. A secret that comes in two pieces is not found: who writes hands over whole lines.
pub(crate) struct Net<W>(pub(crate) W);

impl<W: Write> Write for Net<W> {
    fn write(&mut self, said: &[u8]) -> io::Result<usize> {
        self.0.write_all(&redact_bytes(said))?;
        Ok(said.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Says a line on standard error.
pub(crate) fn say(text: &str) {
    // Nothing can be said to a reader who is gone.
    let _ = Net(io::stderr()).write_all(format!("{text}\n").as_bytes());
}

/// A value as JSON without secrets.
pub(crate) fn json(value: &impl Serialize) -> String {
    trunkline::redacted(value).to_string()
}

/// Has panics, too, told through the net.
pub(crate) fn catch_panics() {
    panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => say(&format!("{panic}\n{trace}")),
            _ => say(&panic.to_string()),
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use trunkline::core::Secret;

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, said: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(said);
            Ok(said.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs a secret by mistake, in several ways.
    fn logged<W: Write + 'static>(writer: impl for<'a> MakeWriter<'a, Writer = W> + Send + Sync + 'static) {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(writer);
        let secret = Secret::from("canary/of \"the\" log");
        let headers = [("authorization", format!("Bearer {}", secret.expose()))];
        tracing::subscriber::with_default(subscriber.finish(), || {
            tracing::error!("refused: {}", secret.expose());
            tracing::trace!(header = ?headers, "sending");
            tracing::debug!(url = "https://dam.test/?key=canary%2Fof%20%22the%22%20log", "asking");
        });
    }

    #[test]
    fn the_log_shows_no_secret() {
        let said = Said::default();
        let through = said.clone();
        logged(move || Net(through.clone()));
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("canary"), "{text}");
        assert_eq!((text.matches("***").count(), text.lines().count()), (3, 3), "{text}");
        assert!(text.contains("refused: ***") && text.contains("Bearer ***") && text.contains("?key=***"), "{text}");
    }

    /// The sabotage twin: without the net, the same lines show it.
    #[test]
    fn without_the_net_it_would() {
        let said = Said::default();
        let through = said.clone();
        logged(move || through.clone());
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("canary").count(), 3, "{text}");
    }
}
