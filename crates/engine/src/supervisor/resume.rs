//! Resuming a run that has stopped.

use std::{collections::BTreeMap, sync::Arc};

use trunkline_core::{Connected, Error, ErrorKind, HeldMemory, MemoryAccount, NextStep, Result, RunId};

use crate::{
    interpreter::{previous_run::PreviousRun, record::COPIES},
    journal::Flush,
    run::{Run, RunEvent, RunStatus},
    supervisor::{AcceptedRun, Engine, RunHandle, engine::check_bindings},
};

/// A run that was active in this many crashes, and recorded nothing between them, is not resumed by itself any more: it
/// may be their cause.
pub const MOST_CRASHES: u32 = 3;

/// How a run is resumed. The default is that of an operator.
#[derive(Clone, Debug, Default)]
pub struct ResumeOptions {
    /// Whether a server that has just started resumes the run by itself. Only then are crashes counted.
    pub after_crash: bool,
    /// The account of the memory that the values of the run take; by default a new one.
    pub memory: Option<MemoryAccount>,
}

impl Engine {
    /// Resumes a run that a crash, a drain or an error of the whole run has stopped. Recorded steps are not called
    /// again.
    ///
    /// # Errors
    ///
    /// - `conflict` if another process works on the run, or if the run has ended, was rerun or is past its timeout.
    /// - `not_found` if there is no such run.
    /// - `config` if a connection binding has no connection, or if the flow version can no longer be read.
    pub async fn resume(&self, id: &RunId, bindings: BTreeMap<String, Connected>) -> Result<RunHandle> {
        self.resume_with(id, bindings, ResumeOptions::default()).await
    }

    /// Resumes a run as [`resume`](Engine::resume) does. It waits until there is memory for the values of the run.
    ///
    /// # Errors
    ///
    /// As [`resume`](Engine::resume). `limit` if the values of the run take more memory than a run may. After a crash,
    /// `internal` if the run was active in the last three: it is failed then, and an operator can resume it.
    pub async fn resume_with(
        &self,
        id: &RunId,
        bindings: BTreeMap<String, Connected>,
        options: ResumeOptions,
    ) -> Result<RunHandle> {
        let ResumeOptions { after_crash, memory } = options;
        let claim = self.journal.claim(id).await?;
        self.note(id, None).await;
        let memory = memory.unwrap_or_else(|| self.account());
        // Read under the claim: no other process appends to the run now.
        let (mut run, held) = self.read_with_memory(id, &memory).await?;
        if let RunStatus::Succeeded | RunStatus::Partial | RunStatus::Cancelled = run.status {
            let message = format!("run {id} has ended ({}) and cannot be resumed", run.status.as_str());
            return Err(Error::new(ErrorKind::Conflict, message).hint("start a new run of its flow"));
        }
        if let Some(by) = &run.rerun_by {
            let message = format!("run {id} was rerun as run {by} and cannot be resumed");
            return Err(Error::new(ErrorKind::Conflict, message)
                .next(NextStep::ResumeRun { run: Some(by.as_str().to_owned()) }));
        }
        let crashes = self.journal.active_marks(id).await?;
        match after_crash && run.status == RunStatus::Running {
            true if crashes >= MOST_CRASHES => return Err(self.suspend_crashing(&run, crashes).await?),
            true => {}
            // An operator, or the same process.
            false if crashes > 0 => self.journal.clear_active(id).await?,
            false => {}
        }
        let flow = self.flow_of(&run).await?;
        if run.start_error.is_none() {
            check_bindings(&flow, &bindings)?;
        }
        // A run that was only interrupted is resumed in any case: its end has to be recorded.
        if run.status == RunStatus::Failed
            && let Err(over) = self.bounds(&flow, &run).check(self.now())
        {
            let message = format!("run {id} cannot be resumed: {over}");
            return Err(Error::new(ErrorKind::Conflict, message).hint("start a new run of its flow"));
        }
        let active = run.waiting.is_empty();
        let resumed = RunEvent::Resumed { at: self.now() };
        self.journal.append(id, vec![resumed.clone()], Flush::Now).await?;
        run.apply(resumed);
        let previous = match &run.retry {
            Some(retry) => Some(Arc::new(PreviousRun::read(&*self.journal, retry, &flow).await?)),
            None => None,
        };
        Ok(self.begin(AcceptedRun {
            flow,
            run,
            bindings,
            claim,
            previous,
            memory,
            held: Some(held),
            // A crash is not the fault of a run that only waited.
            after_crash: after_crash && active,
        }))
    }

    /// Reads the state of a run once there is memory for it. How much it takes is known only when it was read, so it may
    /// be read twice: while it waits, it takes none.
    async fn read_with_memory(&self, id: &RunId, memory: &MemoryAccount) -> Result<(Run, HeldMemory)> {
        let mut held = None;
        loop {
            let needed = {
                let _one = self.reading.lock().await;
                let run = self.read(id).await?;
                let needed = COPIES * run.memory();
                if let Some(held) = held.take().or_else(|| memory.try_reserve(needed)) {
                    return Ok((run, held));
                }
                needed
            };
            held = Some(memory.reserve("the state of the run", needed).await?);
        }
    }

    /// Ends a run that was active in several crashes, so that it is not resumed by itself again. Returns the reason. The
    /// run keeps its marks, so a server reports it until an operator resumes it.
    async fn suspend_crashing(&self, run: &Run, crashes: u32) -> Result<Error> {
        let message = format!(
            "run {} was active in the last {crashes} crashes of its process and recorded nothing, so it is suspended",
            run.id
        );
        let error = Error::new(ErrorKind::Internal, message)
            .next("find the cause of the crashes first: memory, or the log of the process")
            .next(NextStep::ResumeRun { run: Some(run.id.as_str().to_owned()) });
        let finished = RunEvent::Finished { status: RunStatus::Failed, error: Some(error.clone()), at: self.now() };
        self.journal.append(&run.id, vec![finished], Flush::Now).await?;
        Ok(error)
    }
}
