//! What a run does, for displays: this process notes it for the runs that it works on or keeps, and any process reads
//! it.

use std::time::Duration;

use trunkline_core::{Result, RunId, Timestamp};

use crate::{
    interpreter::ActivityMonitor,
    journal::journaled_run::JournaledRun,
    run::{QuotaUse, Run, RunNote, RunState, RunStatus, quota::QuotaMeter},
    supervisor::Engine,
};

/// What the poll of a run has noted.
pub(super) struct Noted {
    state: RunState,
    quota: Option<QuotaUse>,
    quota_at: Option<Timestamp>,
    meter: QuotaMeter,
}

impl Default for Noted {
    fn default() -> Noted {
        Noted { state: RunState::Running, quota: None, quota_at: None, meter: QuotaMeter::default() }
    }
}

/// The time between two looks at what a list takes of a quota.
const QUOTA_EVERY: Duration = Duration::from_secs(5);
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
        self.note_all(run, state, None).await;
    }

    async fn note_all(&self, run: &RunId, state: Option<RunState>, quota: Option<QuotaUse>) {
        let noted = async {
            let Some(state) = state else { return self.journal().note(run, None).await };
            let (by, _claim) = self.process.get_or_try_init(|| self.claim_process()).await?;
            self.journal().note(run, Some(&RunNote { by: by.clone(), state, quota })).await
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

    /// Returns what the list that a run works on takes of a quota, as the process has noted it that works on the run.
    ///
    /// # Errors
    ///
    /// `store` if the journal cannot be read.
    pub async fn quota_of(&self, run: &RunId) -> Result<Option<QuotaUse>> {
        Ok(self.journal().noted(run).await?.and_then(|note| note.quota).filter(|quota| quota.until > self.now()))
    }

    /// Notes what a run does, and what it takes of a quota, if that differs from what was noted.
    pub(super) async fn note_activity(&self, run: &JournaledRun, activity: &ActivityMonitor, noted: &mut Noted) {
        let now = self.now();
        let mut state = activity.state(now);
        if state != noted.state && state.until().is_some_and(|until| until.since(now) < SHORTEST) {
            state = RunState::Running;
        }
        let quotas = activity.quotas();
        let mut quota = noted.quota.clone();
        if !quotas.is_empty() && noted.quota_at.is_none_or(|at| now.since(at) >= QUOTA_EVERY) {
            let lists = run.read(|run| run.progress(now));
            (quota, noted.quota_at) = (noted.meter.measure(&lists, &quotas, now), Some(now));
            activity.set_quota(quota.clone());
        }
        if state != noted.state || quota != noted.quota {
            (noted.state, noted.quota) = (state.clone(), quota.clone());
            let is_shown = state != RunState::Running || quota.is_some();
            self.note_all(run.id(), Some(state).filter(|_| is_shown), quota).await;
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
