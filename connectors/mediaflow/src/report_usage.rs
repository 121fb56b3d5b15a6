//! `file.report_usage`: writes down in Mediaflow where files are used, or takes it back.
//!
//! Mediaflow wants numbers and booleans of a report as texts; nobody who fills in a form has to know. Whether it takes a
//! report twice is not documented, so a report whose answer was lost is looked up before it is made again.

use std::collections::BTreeSet;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::Mediaflow;

/// The action.
pub struct ReportUsage;

/// Which files are used where.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Input {
    /// # Files
    /// Ids of the files; may be negative. Several are reported at once.
    #[schemars(length(min = 1))]
    ids: BTreeSet<i64>,
    /// # Contact
    /// Who is responsible for the usage.
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
    /// # Page address
    #[schemars(extend("format" = "uri"))]
    page_url: String,
    /// # Page name
    #[serde(default)]
    page_name: String,
    /// # Description
    #[serde(default)]
    description: String,
    /// # Removed
    /// Takes the usage back: give otherwise the same as when it was reported.
    #[serde(default)]
    removed: bool,
}

/// What was reported.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Files
    /// How many the report was for.
    files: usize,
    /// # Removed
    /// Whether the usage was taken back.
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
    const ABOUT: &'static str = "Writes down that files are used on a web page, or takes it back. A report whose answer was \
        lost is looked up before it is made again.";
    const EFFECT: Effect = Effect::Create;

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
            None => return Err(Error::new(ErrorKind::InvalidInput, "there is no file to report")),
        }
        Ok(input.done())
    }

    /// Done if every file has the usage (or, taken back, none has); to be made if none has it. Something in between is for
    /// a person to look at.
    async fn reconcile(client: &Client, input: Input, cx: &Context) -> Result<Option<Output>> {
        let mut listed = 0;
        for id in &input.ids {
            let found = client.call("file.usages", json!({ "id": id }), cx).await?;
            listed += usize::from(found.as_array().into_iter().flatten().any(|usage| input.is(usage)));
        }
        match (listed, input.removed) {
            (0, true) => Ok(Some(input.done())),
            // To take back again what is still there changes nothing else.
            (_, true) | (0, false) => Ok(None),
            (all, false) if all == input.ids.len() => Ok(Some(input.done())),
            (some, false) => {
                let message = format!("{some} of {} files have the usage on {}", input.ids.len(), input.page_url);
                Err(Error::new(ErrorKind::UnknownOutcome, message).hint("report it for the others, see `file.usages`"))
            }
        }
    }
}

submit! { ActionEntry::of::<ReportUsage>() }

impl Input {
    /// The report as Mediaflow takes it, without the files.
    fn report(&self) -> Result<Value> {
        // A date and nothing else: the library would take a moment or a date without dashes, too.
        if self.date.len() != 10 || self.date.parse::<Date>().is_err() {
            let message = format!("`{}` is no date", self.date);
            return Err(Error::new(ErrorKind::InvalidInput, message).with("input", "date").hint("write YYYY-MM-DD"));
        }
        Ok(json!({
            "contact": self.contact, "date": self.date, "amount": "1", "description": self.description,
            "project": self.project, "types": ["web"], "removed": self.removed.to_string(),
            "web": { "page": self.page_url, "pageName": self.page_name },
        }))
    }

    /// Whether this is the usage, as Mediaflow gives it back.
    fn is(&self, usage: &Value) -> bool {
        let text = |name: &str| usage.get(name).and_then(Value::as_str).unwrap_or_default();
        let same = text("url") == self.page_url && text("project") == self.project && text("contact") == self.contact;
        same && text("publishDate").starts_with(&self.date)
    }

    fn done(&self) -> Output {
        Output { files: self.ids.len(), removed: self.removed }
    }
}
