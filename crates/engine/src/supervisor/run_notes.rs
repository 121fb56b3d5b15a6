//! What a run does, for displays: this process notes it for the runs that it works on or keeps, and any process reads
//! it.

use std::time::Duration;

use trunkline_core::{Result, RunId};

use crate::{
    interpreter::ActivityMonitor,
    run::{Run, RunNote, RunState, RunStatus},
    supervisor::Engine,
};

/// A wait or a pause that is shorter is not noted.
const SHORTEST: Duration = Duration::from_secs(5);

impl Engine {
    /// Returns what a run does that has this status: nothing if it has ended, unless it failed and is resumed when its
    /// connections work again.
    ///
    /// # Errors
    ///
    /// `store` if the journal cannot be read.
    pub async fn state_of(&self, run: &RunId, status: RunStatus) -> Result<Option<RunState>> {
        let journal = self.journal();
        let note = match status {
            RunStatus::Running | RunStatus::Failed => journal.noted(run).await?,
            RunStatus::Succeeded | RunStatus::Partial | RunStatus::Cancelled => return Ok(None),
        };
        if status == RunStatus::Failed {
            let waits =
                |state: &RunState| matches!(state, RunState::Waiting { connections, .. } if !connections.is_empty());
            return Ok(note.map(|note| note.state).filter(waits));
        }
        let mut lives = journal.is_claimed(run).await?;
        if !lives && let Some(note) = &note {
            lives = journal.is_claimed(&note.by).await?;
        }
        if lives {
            return Ok(Some(note.map_or(RunState::Running, |note| note.state)));
        }
        // It may have ended since its status was read.
        let (status, _) = journal.events(run, u64::MAX).await?;
        Ok((status == RunStatus::Running).then_some(RunState::Left))
    }

    /// Notes what a run does that this process works on, or keeps to work on it later; `None` if it does neither. A
    /// note that cannot be written changes nothing but displays.
    pub async fn note(&self, run: &RunId, state: Option<RunState>) {
        let noted = async {
            let Some(state) = state else { return self.journal().note(run, None).await };
            let (by, _claim) = self.process.get_or_try_init(|| self.claim_process()).await?;
            self.journal().note(run, Some(&RunNote { by: by.clone(), state })).await
        };
        if let Err(error) = noted.await {
            tracing::debug!(%run, "what the run does cannot be noted: {error}");
        }
    }

    /// Claims an id of no run, which other processes can see is claimed as long as this process lives.
    async fn claim_process(&self) -> Result<(RunId, crate::journal::RunClaim)> {
        let id = RunId::new(self.now());
        let claim = self.journal().claim(&id).await?;
        Ok((id, claim))
    }

    /// Notes what a run does if that differs from what was noted.
    pub(super) async fn note_activity(&self, run: &RunId, activity: &ActivityMonitor, noted: &mut RunState) {
        let now = self.now();
        let mut state = activity.state(now);
        if state == *noted {
            return;
        }
        if state.until().is_some_and(|until| until.since(now) < SHORTEST) {
            state = RunState::Running;
        }
        if state != *noted {
            self.note(run, Some(state.clone()).filter(|state| *state != RunState::Running)).await;
            *noted = state;
        }
    }

    /// Notes what a run does that has stopped here. The note about a suspended run stays.
    pub(super) async fn note_end(&self, run: &Run) {
        if run.status == RunStatus::Running {
            return;
        }
        let stopped = run.is_stopped_by_connection() && !run.connections.is_empty();
        let connections = run.connections.values().cloned().collect();
        self.note(&run.id, stopped.then_some(RunState::Waiting { until: None, signal: None, connections })).await;
    }
}
