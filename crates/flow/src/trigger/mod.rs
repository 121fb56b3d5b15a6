//! What starts runs automatically, as the flow document says it.

mod calendar;
mod cron_expression;
mod overlap;
mod schedule;
mod trigger;

pub use overlap::Overlap;
pub(crate) use overlap::OverlapDocument;
pub use schedule::{Missed, Schedule};
pub(crate) use trigger::TriggerDocument;
pub use trigger::{Encoding, InitialItems, Poll, Signature, Trigger, Webhook, WebhookResponseMode};
