//! The examples in the description of the API. They are made of the schemas of the operations, so that each fits; the
//! values of members that a person reads come from a table.
//!
//! A key of the table is the name of a member, `Definition.member` or `noun.member` if it means something else there,
//! the name of a definition for a whole value, or the name of an operation for its whole output.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value};

static KNOWN: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("api_examples.json")).unwrap_or_default());

/// How deep an example shows members that are not required.
const DEPTH: u8 = 2;

/// Makes examples of schemas that refer to these definitions.
pub(crate) struct Examples<'a>(pub(crate) &'a BTreeMap<String, Value>);

/// A place in an example: the operation's noun or the definition that it is in, and the name of the member.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) scope: &'a str,
    pub(crate) member: &'a str,
}

impl Place<'_> {
    fn known(self) -> Option<&'static Value> {
        KNOWN.get(&format!("{}.{}", self.scope, self.member)).or_else(|| KNOWN.get(self.member))
    }
}

impl Examples<'_> {
    /// Returns an example of a value.
    pub(crate) fn of(&self, place: Place<'_>, schema: &Value) -> Value {
        self.value(place, schema, DEPTH)
    }

    /// Returns an example of a value that may be left out, if the table has one.
    pub(crate) fn optional(&self, place: Place<'_>, schema: &Value) -> Option<Value> {
        let is_known = schema.get("examples").is_some() || place.known().is_some_and(|known| self.fits(known, schema));
        is_known.then(|| self.of(place, schema))
    }

    fn value(&self, place: Place<'_>, schema: &Value, depth: u8) -> Value {
        if let Some(known) = KNOWN.get(&format!("{}.{}", place.scope, place.member)) {
            return known.clone();
        }
        if let Some((name, definition)) = self.definition(schema) {
            let inside = Place { scope: name, member: "" };
            return KNOWN.get(name).cloned().unwrap_or_else(|| self.value(inside, definition, depth));
        }
        let given = schema["examples"].get(0).or_else(|| schema.get("const"));
        let known = || place.known().filter(|known| self.fits(known, schema));
        if let Some(found) = given.or_else(known).or_else(|| schema["enum"].get(0)) {
            return found.clone();
        }
        let branch = branches(schema).find(|branch| branch["type"] != "null");
        if schema.get("properties").is_none()
            && let Some(branch) = branch
        {
            return self.value(place, branch, depth);
        }
        match types(schema).find(|kind| *kind != "null") {
            Some("object") => self.object(place, schema, branch, depth),
            Some("array") if depth > 0 => vec![self.value(place, &schema["items"], depth - 1)].into(),
            Some("array") => Vec::<Value>::new().into(),
            Some("string") => match schema["format"].as_str() {
                Some("date-time") => "2026-11-30T08:30:00Z".into(),
                Some("uri") => "https://host.example.com".into(),
                _ => "text".into(),
            },
            Some("integer" | "number") => 1.into(),
            Some("boolean") => false.into(),
            Some(_) => Value::Null,
            None => Map::new().into(),
        }
    }

    fn object(&self, place: Place<'_>, schema: &Value, branch: Option<&Value>, depth: u8) -> Value {
        let mut members = match branch.map(|branch| self.value(place, branch, depth)) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
            let place = Place { member: name, ..place };
            let example = match (required, depth) {
                (true, _) => Some(self.value(place, member, depth.saturating_sub(1))),
                (false, 0) => None,
                (false, _) => self.optional(place, member),
            };
            members.extend(example.map(|example| (name.clone(), example)));
        }
        members.into()
    }

    /// Returns the definition that a schema refers to, with its name.
    fn definition<'a>(&'a self, schema: &'a Value) -> Option<(&'a str, &'a Value)> {
        let name = schema.get("$ref")?.as_str()?.rsplit('/').next()?;
        Some((name, self.0.get(name)?))
    }

    /// Returns whether a value is of a type that a schema allows.
    fn fits(&self, value: &Value, schema: &Value) -> bool {
        if let Some((_, definition)) = self.definition(schema) {
            return self.fits(value, definition);
        }
        if branches(schema).next().is_some() && schema.get("properties").is_none() {
            return branches(schema).any(|branch| self.fits(value, branch));
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let listed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
        let constant = schema.get("const").is_none_or(|constant| constant == value);
        listed && constant && (schema.get("type").is_none() || types(schema).any(|one| one == kind))
    }
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().filter_map(|of| schema[of].as_array()).flatten()
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let one = schema["type"].as_str().into_iter();
    one.chain(schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        assert!(KNOWN.len() > 40, "{}", KNOWN.len());
    }
}
