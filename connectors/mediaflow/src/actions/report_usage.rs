//! `file.report_usage`: reports to Mediaflow where files are used, or withdraws a report.
//!
//! Mediaflow expects numbers and booleans of a report as strings; the action converts them. It is not documented
//! whether a second report of the same usage is counted again, so after a lost response the action looks for the usage
//! before it reports it again.

use std::collections::BTreeSet;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::Mediaflow;

/// The action `file.report_usage`.
pub struct ReportUsage;

/// The files and the page on which they are used.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Files
    /// Ids of the files; may be negative. Several are reported at once.
    #[schemars(length(min = 1))]
    ids: BTreeSet<i64>,
    /// # Contact
    /// The person who answers for the usage.
    #[schemars(length(min = 1))]
    contact: String,
    /// # Date of publication
    /// As YYYY-MM-DD.
    #[schemars(extend("format" = "date"))]
    date: String,
    /// # Project
    /// Name of the site or system.
    #[schemars(length(min = 1))]
    project: String,
    /// # Page URL
    #[schemars(extend("format" = "uri"))]
    page_url: String,
    /// # Page name
    #[serde(default)]
    page_name: String,
    /// # Description
    #[serde(default)]
    description: String,
    /// # Removed
    /// Withdraws the usage. All other inputs have to be the same as in the report.
    #[serde(default)]
    removed: bool,
}

/// The result of a report.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Files
    /// The number of files in the report.
    files: usize,
    /// # Removed
    /// Whether the usage was withdrawn.
    removed: bool,
}

#[async_trait]
impl Action for ReportUsage {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.report_usage";
    const TITLE: &'static str = "Report where files are used";
    const GROUP: &'static str = "Usage";
    const ABOUT: &'static str = "Reports that files are used on a web page, or withdraws the report. If the response \
        to a report was lost, the usage is looked up before it is reported again.";
    const EFFECT: Effect = Effect::Create;
    const LOOKS_UP: bool = true;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let mut report = input.report()?;
        match input.ids.first() {
            Some(id) if input.ids.len() == 1 => {
                report["id"] = json!(id);
                client.call("usage.report", report, cx).await?;
            }
            Some(_) => {
                report["id"] = json!(input.ids);
                client.call("usage.report_many", report, cx).await?;
            }
            None => return Err(Error::new(ErrorKind::InvalidInput, "the list of files is empty")),
        }
        Ok(input.output())
    }

    /// Done if every file has the usage, or if none has a usage to withdraw. To be sent again if no file has the usage.
    /// If only some files have it, an operator has to decide.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let mut listed = 0;
        for id in &input.ids {
            let usages = client.call("file.usages", json!({ "id": id }), cx).await?;
            let usages = usages.as_array().ok_or_else(|| {
                Error::new(ErrorKind::Unexpected, format!("Mediaflow did not return a list of the usages of file {id}"))
                    .hint("look at them with `file.usages`")
            })?;
            listed += usize::from(usages.iter().any(|usage| input.matches(usage)));
        }
        match (listed, input.removed) {
            (0, true) => Ok(Some(input.output())),
            // Withdrawing a usage that is still listed changes nothing else.
            (_, true) | (0, false) => Ok(None),
            (all, false) if all == input.ids.len() => Ok(Some(input.output())),
            (some, false) => {
                let message = format!("{some} of {} files have the usage on {}", input.ids.len(), input.page_url);
                Err(Error::new(ErrorKind::UnknownOutcome, message)
                    .hint("find the other files with `file.usages` and report the usage for them"))
            }
        }
    }
}

submit! { ActionEntry::of::<ReportUsage>() }

impl Input {
    /// Returns the report in Mediaflow's form, without the files.
    fn report(&self) -> Result<Value> {
        // The length is checked because the parser also accepts a time of day and a date without dashes.
        if self.date.len() != 10 || self.date.parse::<Date>().is_err() {
            let message = format!("`{}` is not a date", self.date);
            return Err(Error::new(ErrorKind::InvalidInput, message).with("input", "date").hint("write YYYY-MM-DD"));
        }
        Ok(json!({
            "contact": self.contact, "date": self.date, "amount": "1", "description": self.description,
            "project": self.project, "types": ["web"], "removed": self.removed.to_string(),
            "web": { "page": self.page_url, "pageName": self.page_name },
        }))
    }

    /// Returns whether `usage`, as Mediaflow lists it, is the one of this report.
    fn matches(&self, usage: &Value) -> bool {
        let text = |name: &str| usage.get(name).and_then(Value::as_str).unwrap_or_default();
        let same = text("url") == self.page_url && text("project") == self.project && text("contact") == self.contact;
        same && text("publishDate").starts_with(&self.date)
    }

    fn output(&self) -> Output {
        Output { files: self.ids.len(), removed: self.removed }
    }
}
