//! How the sender of a webhook signs its requests: an HMAC over the body, and over what else the sender signs.
//!
//! The schemes of known senders have names, such as `stripe`. Each is only a set of the same settings, so a sender that
//! is not in the list is described by the settings themselves.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use trunkline_core::Diagnostic;

use crate::{
    steps::{parse_duration, reader::Reader},
    trigger::webhook_method::WebhookMethod,
};

const POINTER: &str = "/trigger/webhook/signature";

/// How requests are signed. With `sender`, the other settings replace single settings of that sender.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignatureDocument {
    /// A sender whose scheme is known. Its settings count where nothing else is set.
    pub(crate) sender: Option<Sender>,
    /// The header with the signature, or a list of headers, one of which has to hold a valid one.
    pub(crate) header: Option<HeaderNames>,
    /// The hash function of the HMAC: `sha256` by default.
    pub(crate) algorithm: Option<SignatureAlgorithm>,
    /// A text in the header before the signature, such as `sha256=`.
    pub(crate) prefix: Option<String>,
    /// The character between the parts of the header, if it holds several: white space by default.
    #[schemars(length(min = 1, max = 1))]
    pub(crate) separator: Option<char>,
    /// The encoding of the signature: `hex` by default.
    pub(crate) encoding: Option<Encoding>,
    /// How the saved secret becomes the key: `text` by default.
    pub(crate) key: Option<SigningKeyForm>,
    /// The signed content: `{body}`, which is the bytes of the request's body, with text, `{timestamp}`, `{delivery}`,
    /// `{method}`, `{url}` and `{header:NAME}` around it where the sender signs them too.
    pub(crate) signed: Option<String>,
    /// Where the time of sending is: the name of a header; a part of the signature's header, such as `t=`; or a JSON
    /// pointer into the body, such as `/sentAt`. It is in seconds or milliseconds since 1970, or as in RFC 3339.
    pub(crate) timestamp: Option<String>,
    /// The longest time between sending and receipt: `5m` by default.
    #[schemars(regex(pattern = "^[0-9]"), extend("examples" = ["10m"]))]
    pub(crate) tolerance: Option<String>,
    /// The methods whose requests the sender does not sign, such as the `GET` of a challenge.
    pub(crate) unsigned: Option<Vec<WebhookMethod>>,
}

/// The name of a header, or a list of names.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum HeaderNames {
    /// One header.
    One(#[schemars(length(min = 1))] String),
    /// Several headers.
    Several(#[schemars(length(min = 1))] Vec<String>),
}

/// A sender whose scheme is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub(crate) enum Sender {
    Bitbucket,
    Box,
    Calendly,
    Dropbox,
    Github,
    Hubspot,
    Intercom,
    Linear,
    Meta,
    Mux,
    Paddle,
    Shopify,
    Slack,
    StandardWebhooks,
    Stripe,
    Svix,
    Typeform,
    Woocommerce,
    Zendesk,
    Zoom,
}

/// The hash function of an HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1, for senders that have nothing else.
    Sha1,
    /// SHA-512.
    Sha512,
}

/// The encoding of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64.
    Base64,
}

/// How the saved secret becomes the key of the HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SigningKeyForm {
    /// The bytes of the text.
    #[default]
    Text,
    /// Base64, also after `whsec_`.
    Base64,
    /// Hexadecimal digits.
    Hex,
}

/// Where the time of sending is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampPlace {
    /// In a header of this name.
    Header(String),
    /// In the part of the signature's header that begins with this text.
    Part(String),
    /// In the body, at this JSON pointer.
    Body(String),
}

/// How the sender of a webhook signs its requests.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The headers, one of which has to hold a valid signature.
    pub headers: Vec<String>,
    /// The hash function.
    pub algorithm: SignatureAlgorithm,
    /// The text before a signature.
    pub prefix: String,
    /// The character between the parts of a header; `None` for white space.
    pub separator: Option<char>,
    /// The encoding of a signature.
    pub encoding: Encoding,
    /// How the saved secret becomes the key.
    pub key: SigningKeyForm,
    /// The signed content, with its places in braces.
    pub signed: String,
    /// Where the time of sending is, if it is checked.
    pub timestamp: Option<TimestampPlace>,
    /// The longest time between sending and receipt.
    pub tolerance: Duration,
    /// The methods whose requests are not signed.
    pub unsigned: Vec<WebhookMethod>,
}

impl Sender {
    /// Returns the settings that the sender documents.
    fn settings(self) -> SignatureDocument {
        use SignatureAlgorithm::Sha1;
        let text = |text: &str| Some(text.to_owned());
        let of = |header: &str| SignatureDocument {
            header: Some(HeaderNames::One(header.to_owned())),
            ..SignatureDocument::default()
        };
        let after = |prefix: &str, of: SignatureDocument| SignatureDocument { prefix: text(prefix), ..of };
        let base64 = |of: SignatureDocument| SignatureDocument { encoding: Some(Encoding::Base64), ..of };
        // The header has the time and the signatures: `t=1700000000,v1=..`.
        let parts = |header: &str| SignatureDocument {
            separator: Some(','),
            timestamp: text("t="),
            signed: text("{timestamp}.{body}"),
            ..after("v1=", of(header))
        };
        let timed = |time: &str, signed: &str, of: SignatureDocument| SignatureDocument {
            timestamp: text(time),
            signed: text(signed),
            ..of
        };
        let standard = |name: &str| SignatureDocument {
            key: Some(SigningKeyForm::Base64),
            timestamp: Some(format!("{name}-timestamp")),
            signed: Some(format!("{{header:{name}-id}}.{{timestamp}}.{{body}}")),
            ..after("v1,", base64(of(&format!("{name}-signature"))))
        };
        let get_unsigned = |of: SignatureDocument| SignatureDocument { unsigned: Some(vec![WebhookMethod::Get]), ..of };
        match self {
            Sender::Bitbucket => after("sha256=", of("X-Hub-Signature")),
            Sender::Box => {
                let headers = ["BOX-SIGNATURE-PRIMARY", "BOX-SIGNATURE-SECONDARY"].map(str::to_owned);
                let settings = timed("BOX-DELIVERY-TIMESTAMP", "{body}{timestamp}", base64(of("")));
                SignatureDocument {
                    header: Some(HeaderNames::Several(headers.into())),
                    tolerance: text("10m"),
                    ..settings
                }
            }
            Sender::Calendly => parts("Calendly-Webhook-Signature"),
            Sender::Dropbox => get_unsigned(of("X-Dropbox-Signature")),
            Sender::Github => after("sha256=", of("X-Hub-Signature-256")),
            Sender::Hubspot => timed(
                "X-HubSpot-Request-Timestamp",
                "{method}{url}{body}{timestamp}",
                base64(of("X-HubSpot-Signature-v3")),
            ),
            Sender::Intercom => SignatureDocument { algorithm: Some(Sha1), ..after("sha1=", of("X-Hub-Signature")) },
            Sender::Linear => timed("/webhookTimestamp", "{body}", of("Linear-Signature")),
            Sender::Meta => get_unsigned(after("sha256=", of("X-Hub-Signature-256"))),
            Sender::Mux => parts("Mux-Signature"),
            Sender::Paddle => SignatureDocument {
                separator: Some(';'),
                ..timed("ts=", "{timestamp}:{body}", after("h1=", of("Paddle-Signature")))
            },
            Sender::Shopify => base64(of("X-Shopify-Hmac-SHA256")),
            Sender::Slack => {
                timed("X-Slack-Request-Timestamp", "v0:{timestamp}:{body}", after("v0=", of("X-Slack-Signature")))
            }
            Sender::StandardWebhooks => standard("webhook"),
            Sender::Stripe => parts("Stripe-Signature"),
            Sender::Svix => standard("svix"),
            Sender::Typeform => base64(after("sha256=", of("Typeform-Signature"))),
            Sender::Woocommerce => base64(of("X-WC-Webhook-Signature")),
            Sender::Zendesk => timed(
                "X-Zendesk-Webhook-Signature-Timestamp",
                "{timestamp}{body}",
                base64(of("X-Zendesk-Webhook-Signature")),
            ),
            Sender::Zoom => {
                timed("x-zm-request-timestamp", "v0:{timestamp}:{body}", after("v0=", of("x-zm-signature")))
            }
        }
    }
}

impl Signature {
    /// Reads a signature, and reports settings that cannot work or that would not be safe. `delivery` is whether the
    /// webhook names a header with the id of a delivery.
    pub(crate) fn read(given: SignatureDocument, delivery: bool, reader: &mut Reader) -> Signature {
        let known = given.sender.map(Sender::settings).unwrap_or_default();
        let headers = match given.header.or(known.header) {
            Some(HeaderNames::One(header)) => vec![header],
            Some(HeaderNames::Several(headers)) => headers,
            None => Vec::new(),
        };
        let tolerance = given.tolerance.or(known.tolerance).unwrap_or_else(|| "5m".to_owned());
        reader.duration(&tolerance, format!("{POINTER}/tolerance"));
        let signature = Signature {
            headers,
            algorithm: given.algorithm.or(known.algorithm).unwrap_or_default(),
            prefix: given.prefix.or(known.prefix).unwrap_or_default(),
            separator: given.separator.or(known.separator),
            encoding: given.encoding.or(known.encoding).unwrap_or_default(),
            key: given.key.or(known.key).unwrap_or_default(),
            signed: given.signed.or(known.signed).unwrap_or_else(|| "{body}".to_owned()),
            timestamp: given.timestamp.or(known.timestamp).map(TimestampPlace::read),
            tolerance: parse_duration(&tolerance).unwrap_or_default(),
            unsigned: given.unsigned.or(known.unsigned).unwrap_or_default(),
        };
        signature.check(delivery, reader);
        signature
    }

    /// Returns whether a header of this name is part of the signed content.
    pub(crate) fn signs_header(&self, name: &str) -> bool {
        self.signed.to_ascii_lowercase().contains(&format!("{{header:{}}}", name.to_ascii_lowercase()))
    }

    fn check(&self, delivery: bool, reader: &mut Reader) {
        let mut report = |member: &str, message: &str, hint: &str| {
            let found = Diagnostic::error(format!("{POINTER}/{member}"), message);
            reader.found.push(found.hint(hint));
        };
        if self.headers.is_empty() {
            let message = "the header with the signature is not set";
            report("header", message, "set `header`, or `sender` to the name of a known sender");
        }
        if !self.signed.contains("{body}") {
            let message = "`signed` does not contain {body}: a signature could be reused with any other body";
            report("signed", message, "put {body} into `signed`, as the sender signs it");
        }
        let is_signed = |name: &str| self.signed.contains(name);
        match &self.timestamp {
            Some(TimestampPlace::Body(_)) if is_signed("{timestamp}") => {
                let message = "`signed` contains {timestamp}, but the time of sending is in the body";
                report("signed", message, "leave {timestamp} out: it is signed as a part of {body}");
            }
            Some(TimestampPlace::Header(_) | TimestampPlace::Part(_)) if !is_signed("{timestamp}") => {
                let message = "the time of sending is not signed, so an attacker could change it";
                report("timestamp", message, "put {timestamp} into `signed`, as the sender signs it");
            }
            None if is_signed("{timestamp}") => {
                let message = "`signed` contains {timestamp}, but no header is set for it";
                report("signed", message, "set `timestamp` to the name of the header with the time of sending");
            }
            _ => {}
        }
        if is_signed("{delivery}") && !delivery {
            let message = "`signed` contains {delivery}, but no header is set for it";
            report("signed", message, "set `delivery` of the webhook to the name of the header with the delivery's id");
        }
        if self.separator.is_some_and(|separator| self.prefix.contains(separator)) {
            let message = "`prefix` contains the separator, so no part of the header can begin with it";
            report("prefix", message, "write `separator` as the character between the parts of the header");
        }
    }
}

impl TimestampPlace {
    fn read(text: String) -> TimestampPlace {
        // Neither character can be in the name of a header.
        if text.starts_with('/') {
            TimestampPlace::Body(text)
        } else if text.ends_with('=') {
            TimestampPlace::Part(text)
        } else {
            TimestampPlace::Header(text)
        }
    }
}
