//! Which requests a webhook accepts, what a run gets from them, and how they are responded to.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use trunkline_core::Diagnostic;

use crate::{
    steps::{parse_duration, reader::Reader},
    trigger::{
        signature::{Signature, SignatureDocument},
        webhook_method::WebhookMethod,
    },
};

/// Which requests a webhook accepts, what a run gets from them, and how they are responded to. The URL of a webhook
/// also holds a secret token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookDocument {
    /// The methods of the requests that start runs: only `POST` by default.
    #[serde(default = "post")]
    #[schemars(length(min = 1))]
    pub(crate) methods: Vec<WebhookMethod>,
    /// Where the id of a delivery is: the name of a header, such as `X-GitHub-Delivery`; a JSON pointer into the body, such
    /// as `/id`; or `{body}`, if no two deliveries have the same body. A repeated delivery does not start a second run.
    /// Without this member, the `source` and `id` of a CloudEvent are used.
    #[schemars(length(min = 1))]
    pub(crate) delivery: Option<String>,
    /// The headers that become part of the run's input, under their names in lower case.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// How requests are signed. If it is set, a request without a valid signature is rejected.
    pub(crate) signature: Option<SignatureDocument>,
    /// The content of the response.
    #[serde(default)]
    pub(crate) answer: WebhookResponseMode,
    /// How long a response with the result may wait for the end of the run, at most one minute. After that, the
    /// response has the run's id.
    #[serde(default = "half_a_minute")]
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) timeout: String,
}

/// The content of the response to a webhook's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookResponseMode {
    /// The run's id, at once.
    #[default]
    Run,
    /// The result of the run, if it ends in time.
    Result,
    /// What the flow's `output` says, if the run ends in time: `status`, `headers` and `body`, all optional.
    Response,
}

fn post() -> Vec<WebhookMethod> {
    vec![WebhookMethod::Post]
}

fn half_a_minute() -> String {
    "30s".into()
}

/// A webhook: which requests it accepts, what a run gets from them, and how they are responded to.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The methods of the requests that start runs.
    pub methods: Vec<WebhookMethod>,
    /// Where the id of a delivery is.
    pub delivery: Option<DeliveryPlace>,
    /// The headers that become part of the run's input.
    pub headers: Vec<String>,
    /// How requests are signed, if they have to be.
    pub signature: Option<Signature>,
    /// The content of the response.
    pub answer: WebhookResponseMode,
    /// How long a response waits for the end of a run, at most one minute.
    pub patience: Duration,
}

/// Where the id of a delivery is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryPlace {
    /// In a header of this name.
    Header(String),
    /// In the body, at this JSON pointer.
    Member(String),
    /// The whole body is the id.
    Body,
}

impl DeliveryPlace {
    fn read(text: String) -> DeliveryPlace {
        // The name of a header has neither character.
        match &*text {
            "{body}" => DeliveryPlace::Body,
            pointer if pointer.starts_with('/') => DeliveryPlace::Member(text),
            _ => DeliveryPlace::Header(text),
        }
    }
}

/// The longest tolerance of a time for which the memory of deliveries of a month is long enough without a doubt.
const SHORT_TOLERANCE: Duration = Duration::from_hours(24);

/// The members that the output of a flow may have if it is the response to a webhook.
const RESPONSE_MEMBERS: [&str; 3] = ["status", "headers", "body"];

impl Webhook {
    /// Reads a webhook, and reports settings that cannot work or that would not be safe. `output` is the output of the
    /// flow.
    pub(crate) fn read(document: WebhookDocument, output: Option<&Map<String, Value>>, reader: &mut Reader) -> Webhook {
        let WebhookDocument { methods, delivery, headers, signature, answer, timeout } = document;
        reader.duration(&timeout, "/trigger/webhook/timeout".to_owned());
        let delivery = delivery.map(DeliveryPlace::read);
        let has_header = matches!(delivery, Some(DeliveryPlace::Header(_)));
        let signature = signature.map(|signature| Signature::read(signature, has_header, reader));
        let is_signed = |method: &WebhookMethod| !signature.as_ref().is_some_and(|one| one.unsigned.contains(method));
        if !methods.iter().any(is_signed) {
            let message = "no request has to be signed: all methods of the webhook are in `unsigned`";
            let hint = "take the methods out of `unsigned` whose requests the sender signs";
            reader.found.push(Diagnostic::error("/trigger/webhook/signature/unsigned", message).hint(hint));
        }
        if answer == WebhookResponseMode::Response {
            check_response(output, reader);
        }
        let patience = parse_duration(&timeout).unwrap_or_default().min(Duration::from_secs(60));
        Webhook { methods, delivery, headers, signature, answer, patience }
    }

    /// Returns the webhook that a service calls with events that a flow is subscribed to.
    pub(crate) fn of_events() -> Webhook {
        let (methods, answer) = (vec![WebhookMethod::Post], WebhookResponseMode::Run);
        Webhook { methods, delivery: None, headers: Vec::new(), signature: None, answer, patience: Duration::ZERO }
    }

    /// Returns whether each signed call is different from all others by what is signed: by a time, or by the id of its
    /// delivery. A call with the same signed content is a repeated one then, whatever else of it has changed.
    pub fn signs_identity(&self) -> bool {
        let Some(signature) = &self.signature else { return false };
        signature.timestamp.is_some()
            || match &self.delivery {
                Some(DeliveryPlace::Header(name)) => {
                    signature.signs_header(name) || signature.signed.contains("{delivery}")
                }
                Some(DeliveryPlace::Member(_) | DeliveryPlace::Body) => true,
                None => false,
            }
    }

    /// Returns whether deliveries have to be remembered without a limit: those whose signature stays valid.
    pub fn remembers_all(&self) -> bool {
        let expires = |one: &Signature| one.timestamp.is_some() && one.tolerance <= SHORT_TOLERANCE;
        self.signs_identity() && !self.signature.as_ref().is_some_and(expires)
    }

    /// Returns warnings about calls that can be repeated by anyone that has seen one, or made by anyone that has the URL.
    pub(crate) fn replay_warnings(&self) -> Vec<Diagnostic> {
        let warning = |member: &str, message: String, hint: &str| {
            Diagnostic::warning(format!("/trigger/webhook{member}"), message).hint(hint)
        };
        let Some(signature) = &self.signature else {
            let message =
                "calls are not signed, so anyone that has the URL can make them, and repeat those of the sender";
            let hint = "set `signature` if the sender can sign its calls; otherwise keep the URL secret, and let the \
                        steps do only what may be repeated";
            return vec![warning("", message.into(), hint)];
        };
        let mut found = Vec::new();
        if !self.signs_identity() {
            let why = match &self.delivery {
                Some(DeliveryPlace::Header(name)) => format!("neither a time nor the header {name} is signed"),
                _ => "neither a time nor an id of the delivery is signed".to_owned(),
            };
            let message = format!("anyone that has seen a call can repeat it: {why}");
            let hint = "set `delivery` to a member of the body that no two deliveries share, such as \"/id\", or to \
                        \"{body}\" if no two deliveries have the same body";
            found.push(warning("/delivery", message, hint));
        }
        let unsigned = self.methods.iter().filter(|method| signature.unsigned.contains(method));
        let unsigned: Vec<_> = unsigned.map(|method| method.as_str()).collect();
        if !unsigned.is_empty() {
            let message = format!(
                "calls with {} are not signed, so anyone that has the URL can make and repeat them",
                unsigned.join(" and ")
            );
            let hint = "let the steps do nothing for these calls; they are meant for challenges";
            found.push(warning("/signature/unsigned", message, hint));
        }
        found
    }

    /// Returns the schemas of the members that a delivery adds to a run's input.
    pub(super) fn input(&self) -> Value {
        let text = json!({ "type": "string" });
        let headers: BTreeMap<_, _> = self.headers.iter().map(|name| (name.to_lowercase(), text.clone())).collect();
        json!({
            "headers": { "type": "object", "properties": headers },
            "body": true, "delivery": true, "method": text, "query": { "type": "object" }
        })
    }
}

/// Reports an output that cannot be a response.
fn check_response(output: Option<&Map<String, Value>>, reader: &mut Reader) {
    let hint = "the output of a flow with `\"answer\": \"response\"` has `status`, `headers` and `body`, all optional";
    let Some(output) = output else {
        let message = "the flow responds with its output, but it has none";
        reader.found.push(Diagnostic::error("/trigger/webhook/answer", message).hint(hint));
        return;
    };
    for name in output.keys().filter(|name| !RESPONSE_MEMBERS.contains(&name.as_str())) {
        let pointer = format!("/output/{}", trunkline_core::pointer_part(name));
        reader.found.push(Diagnostic::error(pointer, format!("a response has no member {name}")).hint(hint));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trunkline_core::Registry;

    use crate::Flow;

    /// Returns the pointers of all findings about a flow with this webhook.
    fn findings(webhook: Value, output: Value) -> Vec<String> {
        let mut flow = json!({ "name": "hook", "trigger": { "webhook": webhook }, "steps": [] });
        if !output.is_null() {
            flow["output"] = output;
        }
        Flow::from_value(flow).err().unwrap_or_default().into_iter().map(|one| one.pointer).collect()
    }

    #[test]
    fn settings_that_cannot_work_or_are_not_safe_are_errors_of_the_check() {
        let signature = |settings: Value| json!({ "signature": settings });
        for (webhook, expected) in [
            (json!({}), None),
            (json!({ "methods": ["GET", "POST"], "answer": "run" }), None),
            (json!({ "methods": [] }), Some("/methods")),
            (json!({ "methods": ["get"] }), Some("/methods/0")),
            (json!({ "timeout": "soon" }), Some("/timeout")),
            (json!({ "answer": "response" }), Some("/answer")),
            (signature(json!({ "sender": "slack" })), None),
            (signature(json!({ "sender": "standard-webhooks" })), None),
            (signature(json!({ "sender": "unheard-of" })), Some("/signature/sender")),
            (signature(json!({ "sender": "stripe", "tolerance": "1m" })), None),
            (signature(json!({ "sender": "stripe", "tolerance": "short" })), Some("/signature/tolerance")),
            (signature(json!({})), Some("/signature/header")),
            (signature(json!({ "header": "X-S" })), None),
            (signature(json!({ "header": ["X-S", "X-T"], "algorithm": "sha512", "key": "hex" })), None),
            (signature(json!({ "header": "X-S", "algorithm": "md5" })), Some("/signature/algorithm")),
            (signature(json!({ "header": "X-S", "signed": "{timestamp}" })), Some("/signature/signed")),
            (signature(json!({ "header": "X-S", "signed": "{timestamp}{body}" })), Some("/signature/signed")),
            (signature(json!({ "header": "X-S", "signed": "{delivery}{body}" })), Some("/signature/signed")),
            (signature(json!({ "header": "X-S", "timestamp": "X-Time" })), Some("/signature/timestamp")),
            (signature(json!({ "header": "X-S", "timestamp": "t=" })), Some("/signature/timestamp")),
            (signature(json!({ "header": "X-S", "timestamp": "/sentAt" })), None),
            (
                signature(json!({ "header": "X-S", "timestamp": "/sentAt", "signed": "{timestamp}{body}" })),
                Some("/signature/signed"),
            ),
            (signature(json!({ "header": "X-S", "separator": ",", "prefix": "v1," })), Some("/signature/prefix")),
            (signature(json!({ "header": "X-S", "unsigned": ["POST"] })), Some("/signature/unsigned")),
        ] {
            let found = findings(webhook.clone(), Value::Null);
            let expected = expected.map(|pointer| format!("/trigger/webhook{pointer}"));
            let is_expected = match &expected {
                None => found.is_empty(),
                Some(pointer) => found.iter().any(|one| one.starts_with(&**pointer)),
            };
            assert!(is_expected, "{webhook}: {found:?}, not {expected:?}");
        }
    }

    /// Settings with which a call can be repeated or made by anyone, and settings with which it cannot.
    #[test]
    fn the_check_warns_of_calls_that_can_be_repeated() {
        let signature = |more: Value, delivery: Value| {
            let mut webhook = json!({ "signature": more });
            if !delivery.is_null() {
                webhook["delivery"] = delivery;
            }
            webhook
        };
        let plain = || json!({ "header": "X-S" });
        let with = |signed: &str| json!({ "header": "X-S", "signed": signed });
        let timed = || json!({ "header": "X-S", "timestamp": "X-T", "signed": "{timestamp}{body}" });
        for (webhook, expected) in [
            (json!({}), vec![""]),
            (json!({ "delivery": "X-Id" }), vec![""]),
            (json!({ "delivery": "{body}" }), vec![""]),
            (signature(plain(), Value::Null), vec!["/delivery"]),
            (signature(plain(), json!("X-Id")), vec!["/delivery"]),
            (signature(with("{body}{header:X-Other}"), json!("X-Id")), vec!["/delivery"]),
            (signature(with("{body}{header:x-id}"), json!("X-Id")), vec![]),
            (signature(with("{delivery}.{body}"), json!("X-Id")), vec![]),
            (signature(plain(), json!("/id")), vec![]),
            (signature(plain(), json!("{body}")), vec![]),
            (signature(timed(), Value::Null), vec![]),
            (signature(timed(), json!("X-Id")), vec![]),
            (signature(json!({ "sender": "github" }), json!("X-GitHub-Delivery")), vec!["/delivery"]),
            (signature(json!({ "sender": "slack" }), Value::Null), vec![]),
            (signature(json!({ "sender": "meta" }), json!("{body}")), vec![]),
            (
                json!({ "methods": ["GET", "POST"], "delivery": "{body}", "signature": { "sender": "meta" } }),
                vec!["/signature/unsigned"],
            ),
        ] {
            let flow = json!({ "name": "hook", "trigger": { "webhook": webhook }, "steps": [] });
            let found = Flow::from_value(flow).unwrap().check(&Registry::default());
            let found: Vec<_> = found.into_iter().map(|one| one.pointer).collect();
            let expected: Vec<_> = expected.iter().map(|pointer| format!("/trigger/webhook{pointer}")).collect();
            assert_eq!(found, expected, "{webhook}");
        }
    }

    #[test]
    fn the_output_of_a_flow_that_responds_has_the_members_of_a_response() {
        let answer = json!({ "answer": "response" });
        assert!(
            findings(answer.clone(), json!({ "status": 204, "headers": {}, "body": "{{ input.body }}" })).is_empty()
        );
        assert!(findings(answer.clone(), json!({})).is_empty());
        assert_eq!(findings(answer, json!({ "challenge": "{{ input.body.challenge }}" })), ["/output/challenge"]);
    }
}
