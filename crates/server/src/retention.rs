//! The removal of ended runs by their age. In a store that an earlier version has made, nothing is removed before its
//! operator has decided how long runs are kept; a warning and `/health` say so.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use trunkline::Runtime;
use trunkline_core::{CancellationToken, Result};
use trunkline_flow::Retention;

use crate::health::Health;

/// The time between two looks at the setting.
const LOOK: Duration = Duration::from_secs(5);
/// The time between two removals, unless the setting changes.
const PASS: Duration = Duration::from_secs(60 * 60);

/// What the last look has found.
#[derive(Default)]
struct Looked {
    retention: Option<Retention>,
    is_reported: bool,
    passed: Option<Instant>,
}

/// Removes ended runs from now on, until `closing` is cancelled. A removal that is cut off goes on with the next one.
pub(crate) fn start(runtime: Runtime, health: Arc<Health>, closing: CancellationToken) {
    tokio::spawn(async move {
        let mut looked = Looked::default();
        let endless = async {
            loop {
                if health.is_ok()
                    && let Err(error) = looked.look(&runtime, &health).await
                {
                    health.report(&error);
                    tracing::warn!("ended runs cannot be removed now: {error}");
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        closing.run_until_cancelled(endless).await;
    });
}

impl Looked {
    async fn look(&mut self, runtime: &Runtime, health: &Health) -> Result<()> {
        let retention = runtime.journal().retention().await?;
        health.set_retention_decided(retention.is_some());
        if retention.is_none() && !self.is_reported {
            self.is_reported = true;
            tracing::warn!(
                "ended runs are kept without a limit, because an earlier version has made this store: set the retention \
                 of the store, and older runs are removed, or kept for good"
            );
        }
        let is_due = self.passed.is_none_or(|passed| passed.elapsed() >= PASS);
        if retention.is_some() && (is_due || retention != self.retention) {
            let pruned = runtime.apply_retention().await?;
            (self.passed, self.retention) = (Some(Instant::now()), retention);
            if pruned.removed > 0 {
                tracing::info!(removed = pruned.removed, kept = pruned.kept, "ended runs were removed by their age");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::to_bytes;
    use serde_json::{Map, Value, json};
    use trunkline::Ports;
    use trunkline_core::{Registry, RunId, async_trait};
    use trunkline_engine::{Flush, Journal, JournalParts, RunEvent, RunRemoval};

    use super::*;

    /// A storage that an earlier version has made.
    struct MadeBefore(Arc<dyn Journal>, Mutex<Option<Retention>>);

    #[async_trait]
    impl RunRemoval for MadeBefore {
        async fn remove_run(&self, run: &RunId) -> Result<()> {
            self.0.remove_run(run).await
        }

        async fn retention(&self) -> Result<Option<Retention>> {
            Ok(*self.1.lock().unwrap())
        }

        async fn set_retention(&self, retention: Retention) -> Result<()> {
            *self.1.lock().unwrap() = Some(retention);
            Ok(())
        }
    }

    /// Returns the health and the number of runs after a look at a storage with a run that ended in 1970.
    async fn after_a_look(setting: Option<Retention>, change: Option<Retention>) -> (Value, usize) {
        let ports = Ports::in_memory();
        let removal = Arc::new(MadeBefore(ports.journal.clone(), Mutex::new(setting)));
        let journal = Arc::new(JournalParts { removal, ..JournalParts::of(ports.journal.clone()) });
        let runtime = Runtime::new(Registry::empty(), Ports { journal: journal.clone(), ..ports });
        let events = json!([
            { "event": "started", "flow": "copy", "version": "v1", "input": {}, "connections": {}, "at": 1 },
            { "event": "finished", "status": "succeeded", "error": null, "at": 2 }
        ]);
        let [started, finished]: [RunEvent; 2] = serde_json::from_value(events).unwrap();
        let journal = runtime.journal();
        journal.accept(&"old".into(), "v1", &json!({ "name": "copy" }), started, Flush::Now).await.unwrap();
        journal.append(&"old".into(), vec![finished], Flush::Now).await.unwrap();
        let (health, mut looked) = (Health::of(runtime.ports().health.clone()), Looked::default());
        looked.look(&runtime, &health).await.unwrap();
        if let Some(change) = change {
            journal.set_retention(change).await.unwrap();
            looked.look(&runtime, &health).await.unwrap();
        }
        let body = to_bytes(health.response(Map::new()).into_body(), usize::MAX).await.unwrap();
        (serde_json::from_slice(&body).unwrap(), journal.runs().await.unwrap().len())
    }

    #[tokio::test]
    async fn a_store_of_an_earlier_version_is_pruned_only_after_its_operator_has_decided() {
        let (health, runs) = after_a_look(None, None).await;
        assert_eq!((health["retention"].as_str(), runs), (Some("undecided"), 1));
        assert!(health["hint"].as_str().unwrap().contains("retention"), "{health}");
        let (health, runs) = after_a_look(None, Some(Retention::DEFAULT)).await;
        assert_eq!((health.get("retention"), runs), (None, 0), "the operator has confirmed it");
        assert_eq!(after_a_look(None, Some(Retention::Forever)).await.1, 1, "the operator keeps them");
    }

    /// The sabotage twin: a store that takes the default for a decision removes the run.
    #[tokio::test]
    async fn a_default_in_place_of_a_decision_removes_runs() {
        assert_eq!(after_a_look(Some(Retention::DEFAULT), None).await.1, 0);
    }
}
