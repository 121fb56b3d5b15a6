//! The engine: accepts runs, executes them in the background, resumes, reruns and resolves them.

mod engine;
mod recorded_scope;
mod rerun;
mod resolve_unknown;
mod resume;
mod run_end;
mod run_handle;
mod run_notes;
mod run_task;
mod step_trial;

pub use engine::Engine;
pub use resolve_unknown::Resolution;
pub use resume::{MOST_CRASHES, ResumeOptions};
pub use run_handle::{AcceptOutcome, AcceptedRun, RunHandle};
pub use step_trial::{StepTrial, TriedStep};
