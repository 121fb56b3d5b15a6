//! The events of a connector that is loaded from a folder, as rows of its manifest.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use trunkline_core::{EventSpec, Schema};
use trunkline_rest::Table;

/// An event of the service, or an alias of one.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventRow {
    /// The name that the vendor gives it, or the name of an alias.
    #[schemars(extend("examples" = ["Task.Done"]))]
    pub(crate) name: String,
    /// A title of a few words.
    title: String,
    /// JSON Schema of the event's `data`. Without it, the data can be anything.
    data: Option<Map<String, Value>>,
    /// The name of the operation that subscribes a URL. Its inputs are `address`, the URL, and `events`, a list of one name;
    /// its output has the `id` of the subscription.
    subscribe: Option<String>,
    /// The name of the operation that ends a subscription. Its input is `id`, or `address` if the id is not known.
    unsubscribe: Option<String>,
    /// The event that an alias stands for. An alias has no other members than its title and its filter.
    of: Option<String>,
    /// The filter of an alias, an expression over `input.event`.
    #[serde(rename = "where")]
    filter: Option<String>,
}

impl EventRow {
    /// Returns the event as a coded connector declares it. `known` are the events before it.
    pub(crate) fn spec(&self, known: &[EventSpec], table: &Table) -> Result<EventSpec, String> {
        let name = &self.name;
        if known.iter().any(|one| one.name == *name) {
            return Err(format!("the event {name} is declared twice"));
        }
        if let Some(of) = &self.of {
            let event = known.iter().find(|one| one.name == *of && one.alias_of.is_none());
            let event = event.ok_or_else(|| format!("{name} stands for {of}, which is not an event above it"))?;
            let filter = self.filter.as_ref().ok_or_else(|| format!("the alias {name} has no `where`"))?;
            if self.data.is_some() || self.subscribe.is_some() || self.unsubscribe.is_some() {
                return Err(format!("the alias {name} has data and operations of its own: they are those of {of}"));
            }
            return Ok(event.alias(name, &self.title, filter));
        }
        if self.filter.is_some() {
            return Err(format!("the event {name} has a `where`: only an alias, which has `of`, can have one"));
        }
        let operation = |member: &str, wanted: &Option<String>| {
            let wanted = wanted.as_ref().ok_or_else(|| format!("the event {name} has no `{member}`"))?;
            table.operation(wanted).map(|_| wanted.clone()).map_err(|error| format!("{name}: {}", error.message()))
        };
        let actions = [operation("subscribe", &self.subscribe)?, operation("unsubscribe", &self.unsubscribe)?];
        let data = self.data.clone().map_or(Value::Bool(true), Value::Object);
        let spec = EventSpec::with_data(name, &self.title, actions.each_ref().map(String::as_str), data);
        let fault = Schema::from(spec.schema.clone()).size_fault();
        fault.map_or(Ok(spec), |fault| Err(format!("the data of {name}: {}", fault.message)))
    }
}
