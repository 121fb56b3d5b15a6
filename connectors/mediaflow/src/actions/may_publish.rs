//! `file.may_publish`: checks permissions, rights, licence and consent of a file.
//!
//! The check is as careful as Mediaflow's own file picker: a right that is missing or has expired is a reason against
//! publishing, and information that Mediaflow does not have is a warning.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{Mediaflow, actions::download::missing};

/// The states of consent that forbid use.
const NO_CONSENT: [&str; 3] = ["MISSING_CONSENT", "INVALID_CONSENT", "AWAIT_CONSENT"];

/// The action `file.may_publish`.
pub struct MayPublish;

/// The file to check.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # File
    /// Id of the file; may be negative.
    id: i64,
}

/// Whether the file may be published today, with reasons and warnings.
#[derive(Default, Serialize, JsonSchema)]
pub struct Output {
    /// # Allowed
    /// Whether the file may be published: true if there are no reasons against it.
    pub(crate) allowed: bool,
    /// # Reasons
    /// Reasons against publishing: MARKING_DENIED, LICENCE_RIGHTS, FILE_DENIED, FOLDER_DENIED, DATE_DENIED,
    /// DOWNLOAD_DENIED, RIGHTS_EXPIRED, RIGHTS_NOT_YET, RIGHTS_NO, MISSING_CONSENT, INVALID_CONSENT or AWAIT_CONSENT.
    pub(crate) reasons: Vec<String>,
    /// # Warnings
    /// Points to look at that do not forbid publishing: RIGHTS_EXPIRE (soon), DOWNLOAD_WARNING, LICENCE_UNKNOWN (older
    /// installations do not report the licence) or CONSENT_UNKNOWN (not yet assessed).
    warnings: Vec<String>,
}

#[async_trait]
impl Action for MayPublish {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.may_publish";
    const TITLE: &'static str = "Check whether a file may be published";
    const GROUP: &'static str = "Files";
    const ABOUT: &'static str = "Checks download permission, rights, licence and GDPR consent, and returns the reasons \
        against using the file. Days are days in UTC. The check uses the data in Mediaflow and is not legal advice.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        check(client, input.id, cx).await.map(|checked| checked.result)
    }
}

submit! { ActionEntry::of::<MayPublish>() }

/// The result of the check, with the file's id, type, consent and rights.
pub(crate) struct CheckedFile {
    pub(crate) result: Output,
    pub(crate) file: Value,
}

/// Checks whether a file may be published today.
pub(crate) async fn check(client: &Client, id: i64, cx: &Context) -> Result<CheckedFile> {
    let fields = ["id", "type", "gdprstatus", "gdprtype", "rights"];
    let licence = async {
        match client.call("file.license", json!({ "id": id }), cx).await {
            // Older installations do not have this call.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Value::Null),
            result => result,
        }
    };
    let (permissions, licence, file) = futures::try_join!(
        client.call("file.check_permissions", json!({ "id": id }), cx),
        licence,
        client.call("file.get", json!({ "id": id, "fields": fields }), cx),
    )?;
    if file.is_null() {
        return Err(missing(id));
    }
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    Ok(CheckedFile { result: evaluate(&permissions, &licence, &file, today), file })
}

/// Returns the string at a pointer, in upper case; empty if there is none.
fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim().to_uppercase()
}

/// Returns the date at a pointer. A time of day after it is ignored.
fn day(value: &Value, pointer: &str) -> Option<Date> {
    value.pointer(pointer)?.as_str()?.get(..10)?.parse().ok()
}

/// Returns the reasons and warnings that follow from the three responses.
fn evaluate(permissions: &Value, licence: &Value, file: &Value, today: Date) -> Output {
    let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
    if permissions.get("allowDownload") != Some(&Value::Bool(true)) {
        let reason = text(permissions, "/allowDownloadReason");
        reasons.push(if reason.is_empty() { "DOWNLOAD_DENIED".into() } else { reason });
    }
    let lock = text(permissions, "/lockWarningMessage");
    // The days of a licence count if it is limited in time (2) or does not say what kind it is.
    let limited = matches!(licence.get("rightsExists").and_then(Value::as_i64), None | Some(2));
    let [from, to] = ["/useFrom", "/useTo"].map(|name| day(licence, name).filter(|_| limited));
    let until = [to, day(file, "/rights/useTom")];
    // `RIGHTS_EXPIRE` is a prefix of `RIGHTS_EXPIRED`, so the longer one is tested first.
    if lock.starts_with("RIGHTS_EXPIRED") || until.iter().flatten().any(|last| *last < today) {
        reasons.push("RIGHTS_EXPIRED".into());
    } else if lock.starts_with("RIGHTS_EXPIRE") {
        warnings.push("RIGHTS_EXPIRE".into());
    }
    if from.is_some_and(|first| first > today) {
        reasons.push("RIGHTS_NOT_YET".into());
    }
    if text(file, "/rights/rightsType") == "NO" {
        reasons.push("RIGHTS_NO".into());
    }
    let consent = text(file, "/gdprStatus");
    if NO_CONSENT.contains(&&*consent) {
        reasons.push(consent);
    } else if text(file, "/gdprType") == "UNKNOWN" {
        warnings.push("CONSENT_UNKNOWN".into());
    }
    if licence.is_null() {
        warnings.push("LICENCE_UNKNOWN".into());
    }
    // The type of `downloadWarning` is not documented: everything except an explicitly empty value is a warning.
    let no_warning = [json!(false), json!(0), json!(""), json!("false"), json!("0"), Value::Null];
    if licence.get("downloadWarning").is_some_and(|warning| !no_warning.contains(warning)) {
        warnings.push("DOWNLOAD_WARNING".into());
    }
    Output { allowed: reasons.is_empty(), reasons, warnings }
}
