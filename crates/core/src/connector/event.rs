//! Events of a service: what a trigger of a flow can name, and which actions subscribe to it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::schema_of;

/// An event of a service, as its connector declares it, or an alias of one.
///
/// A service sends its events as CloudEvents 1.0 in JSON to a URL that it was given by the action `subscribe`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventSpec {
    /// The name that the vendor gives it, such as `Asset.StatusUpdated`, or an alias.
    pub name: String,
    /// A title of a few words.
    pub title: String,
    /// The vendor's event that an alias stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_of: Option<String>,
    /// The filter of an alias: an expression over `input.event`. Events for which it is false start no run.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// JSON Schema of the event. One that does not fit starts no run.
    pub schema: Value,
    /// The action that subscribes a URL. Its input is `{"address": URL, "events": [NAME]}`, and its output has the `id` of
    /// the subscription.
    pub subscribe: String,
    /// The action that ends a subscription. Its input is `{"id": ID}`, or `{"address": URL}` if the id is not known. It
    /// succeeds if there is none.
    pub unsubscribe: String,
}

impl EventSpec {
    /// Returns an event that has this name at its vendor, and data of the type `D`. `actions` are those that subscribe
    /// and unsubscribe.
    pub fn of<D: JsonSchema>(name: &str, title: &str, actions: [&str; 2]) -> EventSpec {
        let mut data = schema_of::<D>();
        data.as_object_mut().into_iter().for_each(|data| drop(data.remove("$schema")));
        EventSpec::with_data(name, title, actions, data)
    }

    /// As [`EventSpec::of`], with the JSON Schema of the data.
    pub fn with_data(name: &str, title: &str, actions: [&str; 2], data: Value) -> EventSpec {
        let text = json!({ "type": "string" });
        let schema = json!({
            "type": "object",
            "properties": {
                "id": text, "source": text, "type": { "const": name }, "specversion": text, "time": text, "subject": text,
                "data": data
            },
            "required": ["id", "source", "type", "specversion", "data"]
        });
        let [subscribe, unsubscribe] = actions.map(str::to_owned);
        EventSpec {
            name: name.into(),
            title: title.into(),
            alias_of: None,
            filter: None,
            schema,
            subscribe,
            unsubscribe,
        }
    }

    /// Returns an alias of this event, with a filter.
    pub fn alias(&self, name: &str, title: &str, filter: &str) -> EventSpec {
        let (name, title, filter) = (name.to_owned(), title.to_owned(), Some(filter.to_owned()));
        EventSpec { name, title, filter, alias_of: Some(self.name.clone()), ..self.clone() }
    }

    /// Returns the name that the vendor gives the event.
    pub fn at_vendor(&self) -> &str {
        self.alias_of.as_deref().unwrap_or(&self.name)
    }
}
