//! The log of all actions at the most verbose level contains no secret and no token.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::fmt::MakeWriter;

/// The prefix of all secrets of the suite.
pub(crate) const CANARY: &str = "canary-";

/// Scans everything that is logged, and keeps lines with secrets.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Found>>);

#[derive(Default)]
struct Found {
    lines: usize,
    secrets: Vec<String>,
}

impl Watch {
    pub(crate) fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false).with_writer(self.clone()).finish()
    }

    /// Fails if a secret was logged, or if nothing was logged.
    #[track_caller]
    pub(crate) fn shows_no_secret(&self) {
        let found = self.0.lock().unwrap();
        assert!(found.secrets.is_empty(), "{:#?}", found.secrets);
        assert!(found.lines > 0, "nothing was logged");
    }
}

impl<'a> MakeWriter<'a> for Watch {
    type Writer = Watch;

    fn make_writer(&'a self) -> Watch {
        self.clone()
    }
}

/// Each call has one complete event with its spans.
impl io::Write for Watch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut found = self.0.lock().unwrap();
        found.lines += 1;
        if text.contains(CANARY) {
            found.secrets.push(text.into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sabotage twin: a logged secret is found.
#[test]
fn a_secret_in_the_log_is_found() {
    let watch = Watch::default();
    tracing::subscriber::with_default(watch.subscriber(), || {
        tracing::debug!("nothing");
        watch.shows_no_secret();
        let _span = tracing::info_span!("call", header = format!("Bearer {}", crate::service::TOKEN)).entered();
        tracing::trace!("sent");
    });
    let found = watch.0.lock().unwrap();
    assert_eq!((found.lines, found.secrets.len()), (2, 1));
}
