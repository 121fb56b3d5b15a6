//! Where the choices of an input come from: the keyword `x-options` of its schema, which names an action that lists them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::action::ActionSpec;
use crate::Effect;

/// The value of `x-options` in the schema of an input: the action whose items are the choices, and what to take of each
/// item. On a list, the choices are those of its items.
///
/// ```
/// use trunkline_core::OptionsSource;
///
/// let schema = serde_json::json!({
///     "type": "string", "x-options": { "action": "shop.shelf.list", "value": "/id", "title": "/name" }
/// });
/// assert_eq!(OptionsSource::of(&schema).unwrap().unwrap().value, "/id");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionsSource {
    /// The action that lists the choices, such as `mediavalet.category.list`: one of the same connector.
    pub action: String,
    /// JSON pointer (RFC 6901) to the value of the input in an item of the list.
    pub value: String,
    /// JSON pointer to the text that people choose by.
    pub title: String,
    /// JSON pointer to a text by which choices of one title differ.
    #[serde(default)]
    pub about: Option<String>,
    /// What the choices depend on: the input of the listing action, each member with `#` and a JSON pointer into the input
    /// that is being filled in.
    #[serde(default)]
    pub input: BTreeMap<String, String>,
    /// The input of the listing action that takes a text to search for, if the service searches.
    #[serde(default)]
    pub search: Option<String>,
}

impl OptionsSource {
    /// Returns the source of the choices that a schema names, if it names one.
    ///
    /// # Errors
    ///
    /// Why `x-options` cannot be read.
    pub fn of(schema: &Value) -> Option<Result<OptionsSource, String>> {
        let keyword = schema.get("x-options")?;
        Some(OptionsSource::deserialize(keyword).map_err(|error| error.to_string()))
    }

    /// Returns the sources in the schema of an input, with the JSON pointers of the inputs that they belong to. An item of a
    /// list is `0`.
    pub fn all(schema: &Value) -> Vec<(String, Result<OptionsSource, String>)> {
        let mut found = Vec::new();
        add(schema, String::new(), &mut found);
        found
    }

    /// Returns what is wrong with a source in the schema `input`, whose action is `listing`.
    pub(crate) fn faults(&self, input: &Value, listing: &ActionSpec) -> Vec<String> {
        let mut found = Vec::new();
        let item = listing.output.pointer("/properties/items/items").filter(|_| listing.lists);
        let item = item.or_else(|| listing.output.get("items"));
        match item.filter(|_| listing.effect == Effect::Read) {
            None => found.push(format!("{} is not an action that lists", self.action)),
            Some(item) => {
                let pointers = [Some(&self.value), Some(&self.title), self.about.as_ref()];
                let missing = pointers.into_iter().flatten().filter(|pointer| at(item, pointer).is_none());
                found.extend(missing.map(|pointer| format!("an item of {} has no {pointer}", self.action)));
            }
        }
        for (member, pointer) in &self.input {
            if pointer.strip_prefix('#').is_none_or(|pointer| at(input, pointer).is_none()) {
                found.push(format!("the input has no {pointer}"));
            }
            found.extend(missing_input(member, listing));
        }
        found.extend(self.search.iter().filter_map(|member| missing_input(member, listing)));
        found.into_iter().map(|fault| format!("x-options: {fault}")).collect()
    }
}

fn missing_input(member: &str, listing: &ActionSpec) -> Option<String> {
    let is_there = listing.input["properties"].get(member).is_some();
    (!is_there).then(|| format!("{} has no input {member}", listing.name))
}

/// Returns the schema at a JSON pointer of a value that a schema declares.
fn at<'a>(schema: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer.strip_prefix('/')?.split('/').try_fold(schema, |schema, name| {
        schema["properties"].get(name).or_else(|| schema.get("items").filter(|_| name.parse::<usize>().is_ok()))
    })
}

fn add(schema: &Value, pointer: String, found: &mut Vec<(String, Result<OptionsSource, String>)>) {
    if let Some(source) = OptionsSource::of(schema) {
        found.push((pointer.clone(), source));
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        add(member, format!("{pointer}/{}", crate::pointer_part(name)), found);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        add(items, format!("{pointer}/0"), found);
    }
}
