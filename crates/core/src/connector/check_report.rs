//! The result of checking a connection: the stages that the check went through, and its findings.
//!
//! Stages are in the order in which they were tried, from the name look-up to a harmless call, so that the first failed
//! stage shows where the connection breaks. A finding names the setting to change.

use schemars::JsonSchema;
use serde::Serialize;
use strum::IntoStaticStr;

use crate::{Diagnostic, Error, Redactor, Severity};

/// The outcome of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum StageOutcome {
    /// The stage succeeded.
    Ok,
    /// The stage failed; a finding says why.
    Failed,
    /// The stage was not tried, because an earlier stage failed.
    Skipped,
}

impl StageOutcome {
    /// Returns the outcome as it is written in JSON, such as `skipped`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One stage of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stage {
    /// The name of the stage: `proxy`, `name`, `tcp`, `tls`, `token`, `discovery`, `call`, or one that the connector defines.
    pub stage: &'static str,
    /// The host or the action that was tried.
    pub target: String,
    /// The outcome.
    pub outcome: StageOutcome,
}

/// The report on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckReport {
    /// The stages, in the order in which they were tried.
    pub stages: Vec<Stage>,
    /// The findings, each with the JSON pointer of the setting; empty if the connection works.
    pub findings: Vec<Diagnostic>,
}

impl CheckReport {
    /// Adds a stage.
    pub fn stage(&mut self, stage: &'static str, target: impl Into<String>, outcome: StageOutcome) {
        self.stages.push(Stage { stage, target: target.into(), outcome });
    }

    /// Adds a failed stage and the error as a finding.
    pub fn failed(&mut self, stage: &'static str, target: impl Into<String>, error: &Error) {
        self.stage(stage, target, StageOutcome::Failed);
        self.findings.push(Diagnostic::from(error));
    }

    /// Returns the report with `***` in place of secrets in its texts.
    pub fn redacted(mut self, redactor: &Redactor) -> Self {
        for finding in &mut self.findings {
            redactor.redact_in_place(&mut finding.message);
            finding.next.iter_mut().for_each(|step| step.redact(redactor));
        }
        self
    }

    /// Returns whether the connection can be used: no finding is worse than a warning.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

impl CheckReport {
    /// Returns the report of a check that failed before its first stage, because the settings of `connection` are
    /// wrong.
    pub fn of_settings(connection: &str, error: &Error) -> Self {
        let mut report = CheckReport::default();
        report.failed("settings", connection, error);
        report
    }
}
