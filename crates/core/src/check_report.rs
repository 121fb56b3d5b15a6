//! What became of the check of a connection: the stages it went through, and what is wrong.

use serde::Serialize;

use crate::{Diagnostic, Error, Severity, redact};

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageOutcome {
    /// It works.
    Ok,
    /// It does not: a finding says why.
    Failed,
    /// It was not tried, for one before it failed.
    Skipped,
}

impl StageOutcome {
    /// The word that stands for it, such as `skipped`.
    pub fn as_str(self) -> &'static str {
        match self {
            StageOutcome::Ok => "ok",
            StageOutcome::Failed => "failed",
            StageOutcome::Skipped => "skipped",
        }
    }
}

/// One thing that a check tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// What was tried: `name`, `tcp`, `tls`, `token`, `discovery`, `call`, or a word of the connector's own.
    pub stage: &'static str,
    /// On what: a host, or an action.
    pub target: String,
    /// What became of it.
    pub outcome: StageOutcome,
}

/// All that a check of a connection tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What was tried, in order.
    pub stages: Vec<Stage>,
    /// What is wrong, by the JSON pointer of the setting; empty if nothing is.
    pub findings: Vec<Diagnostic>,
}

impl CheckReport {
    /// Adds a stage.
    pub fn stage(&mut self, stage: &'static str, target: impl Into<String>, outcome: StageOutcome) {
        self.stages.push(Stage { stage, target: target.into(), outcome });
    }

    /// Adds a stage that failed, and why.
    pub fn failed(&mut self, stage: &'static str, target: impl Into<String>, error: &Error) {
        self.stage(stage, target, StageOutcome::Failed);
        self.findings.push(Diagnostic::from(error));
    }

    /// The same without the secrets that came into its words, see [`redact`].
    pub(crate) fn redacted(mut self) -> Self {
        for one in &mut self.findings {
            one.message = redact(&one.message).into_owned();
            one.hint = one.hint.take().map(|hint| redact(&hint).into_owned());
        }
        self
    }

    /// Whether the connection can be worked with: nothing is worse than a warning.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|one| one.severity != Severity::Error)
    }
}

/// A check that ended before it could try anything.
impl From<&Error> for CheckReport {
    fn from(error: &Error) -> Self {
        let mut checked = CheckReport::default();
        checked.failed("settings", error.context("connection").unwrap_or_default(), error);
        checked.redacted()
    }
}
