//! `file.may_publish`: permissions, rights, licence and consent in one answer, as careful as the vendor's own file picker:
//! what is forbidden or has run out is refused, what is merely not known is said.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_core::{Action, ActionEntry, Context, Effect, ErrorKind, Result, async_trait, submit};
use trunkline_rest::Client;

use crate::{Mediaflow, download::missing};

/// States of consent that forbid use.
const NO_CONSENT: [&str; 3] = ["MISSING_CONSENT", "INVALID_CONSENT", "AWAIT_CONSENT"];

/// The action.
pub struct MayPublish;

/// Which file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # File
    /// Id of the file; may be negative.
    id: i64,
}

/// Whether the file may be published today, and what speaks against it.
#[derive(Default, Serialize, JsonSchema)]
pub struct Output {
    /// # Allowed
    /// Whether there is no reason against it.
    pub(crate) allowed: bool,
    /// # Reasons
    /// Why not: MARKING_DENIED, LICENCE_RIGHTS, FILE_DENIED, FOLDER_DENIED, DATE_DENIED, DOWNLOAD_DENIED, RIGHTS_EXPIRED,
    /// RIGHTS_NOT_YET, RIGHTS_NO, MISSING_CONSENT, INVALID_CONSENT or AWAIT_CONSENT.
    pub(crate) reasons: Vec<String>,
    /// # Warnings
    /// What to look at, though it forbids nothing: RIGHTS_EXPIRE (soon), DOWNLOAD_WARNING, LICENCE_UNKNOWN (older
    /// installations do not tell) or CONSENT_UNKNOWN (not yet assessed).
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
    const ABOUT: &'static str = "Weighs download permission, rights, licence and GDPR consent, and says what speaks against \
        using the file. Days are those of UTC. It knows what is written in Mediaflow, and is no legal advice.";
    const EFFECT: Effect = Effect::Read;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        weigh(client, input.id, cx).await.map(|(verdict, _)| verdict)
    }
}

submit! { ActionEntry::of::<MayPublish>() }

/// The verdict, and what is known of the file: id, type, consent and rights.
pub(crate) async fn weigh(client: &Client, id: i64, cx: &Context) -> Result<(Output, Value)> {
    let fields = ["id", "type", "gdprstatus", "gdprtype", "rights"];
    let licence = async {
        match client.call("file.license", json!({ "id": id }), cx).await {
            // Older installations do not have the call.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Value::Null),
            answered => answered,
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
    Ok((judge(&permissions, &licence, &file, today), file))
}

/// A text of the answer, in capitals; empty if there is none.
fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().trim().to_uppercase()
}

/// The day a date or a moment begins with.
fn day(value: &Value, pointer: &str) -> Option<Date> {
    value.pointer(pointer)?.as_str()?.get(..10)?.parse().ok()
}

fn judge(permissions: &Value, licence: &Value, file: &Value, today: Date) -> Output {
    let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
    if permissions.get("allowDownload") != Some(&Value::Bool(true)) {
        let reason = text(permissions, "/allowDownloadReason");
        reasons.push(if reason.is_empty() { "DOWNLOAD_DENIED".into() } else { reason });
    }
    let lock = text(permissions, "/lockWarningMessage");
    // Days of a licence count where it says that it is limited in time (2), or does not say what it is.
    let limited = matches!(licence.get("rightsExists").and_then(Value::as_i64), None | Some(2));
    let [from, to] = ["/useFrom", "/useTo"].map(|name| day(licence, name).filter(|_| limited));
    let until = [to, day(file, "/rights/useTom")];
    // The shorter word is the beginning of the longer.
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
    // The type of this one is not documented: anything but an explicit nothing is a warning.
    let quiet = [json!(false), json!(0), json!(""), json!("false"), json!("0"), Value::Null];
    if licence.get("downloadWarning").is_some_and(|warning| !quiet.contains(warning)) {
        warnings.push("DOWNLOAD_WARNING".into());
    }
    Output { allowed: reasons.is_empty(), reasons, warnings }
}
