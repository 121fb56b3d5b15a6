//! What starts runs automatically, as the flow document says it.

mod calendar;
mod cron_expression;
mod event;
mod overlap;
mod schedule;
mod signature;
mod trigger;
mod webhook;
mod webhook_method;

pub use event::EventTrigger;
pub use overlap::Overlap;
pub(crate) use overlap::OverlapDocument;
pub use schedule::{Missed, Schedule};
pub use signature::{Encoding, Signature, SignatureAlgorithm, SigningKeyForm, TimestampPlace};
pub(crate) use trigger::TriggerDocument;
pub use trigger::{InitialItems, Poll, Trigger};
pub use webhook::{DeliveryPlace, Webhook, WebhookResponseMode};
pub use webhook_method::WebhookMethod;
