//! The trigger of an event: a connector's event by its name, the connection whose service sends it, and a filter.
//!
//! The service calls the webhook of the flow. What it sends is a CloudEvent, so a repeated delivery starts no second run.

use serde_json::Value;
use trunkline_core::{Diagnostic, Error, ErrorKind, Result};

use crate::{
    expression::{Scope, Template},
    steps::reader::Reader,
    trigger::webhook::Webhook,
};

/// An event of a connector that starts runs.
#[derive(Debug)]
pub struct EventTrigger {
    name: String,
    binding: String,
    filter: Option<Template>,
    webhook: Webhook,
}

impl EventTrigger {
    /// Reads the trigger of an event. What is wrong is reported to the reader.
    pub(crate) fn read(name: String, binding: String, filter: Option<String>, reader: &mut Reader) -> EventTrigger {
        reader.check_binding(&binding, "/trigger/connection".to_owned());
        let filter = filter.map(|filter| reader.template(filter.into(), "/trigger/where"));
        EventTrigger { name, binding, filter, webhook: Webhook::of_events() }
    }

    /// The name of the event, or of an alias of it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The connection binding of the service that sends it.
    pub fn binding(&self) -> &str {
        &self.binding
    }

    /// The filter: an event for which it is false starts no run.
    pub fn filter(&self) -> Option<&Template> {
        self.filter.as_ref()
    }

    /// The webhook that the service calls.
    pub fn webhook(&self) -> &Webhook {
        &self.webhook
    }

    /// Returns whether an event starts a run, by the filter of the flow and that of an alias. `input` is the input of
    /// the run.
    ///
    /// # Errors
    ///
    /// `invalid_input` if a filter cannot be evaluated on the event, or yields neither true nor false.
    pub fn matches(&self, alias: Option<&str>, input: &Value, tables: &Value) -> Result<bool> {
        let mut found = Vec::new();
        let alias = alias.map(|filter| Template::compile(filter.into(), "", &mut found));
        if let Some(error) = Diagnostic::into_error(&format!("the filter of the event {}", self.name), &found) {
            return Err(error);
        }
        let scope = Scope::new(input, "", tables);
        for filter in alias.iter().chain(&self.filter) {
            match filter.render(&scope)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(false),
                _ => {
                    let message = format!("the filter of the event {} yields neither true nor false", self.name);
                    return Err(Error::new(ErrorKind::InvalidInput, message).hint("compare a member of `input.event`"));
                }
            }
        }
        Ok(true)
    }
}
