//! Fills in the defaults of a JSON Schema.
//!
//! A `default` stands for a value that is missing. `null` is a value. A missing object is created if something inside it
//! has a default, and only if it then has all members that it requires: an optional object that the writer left out does
//! not become an invalid one.

use serde_json::{Map, Value};

use crate::{Diagnostic, Schema, pointer_part, schema_work::work_fault};

impl Schema {
    /// Returns the document with the defaults of the schema where values are missing, at any depth. A document that is
    /// `null` is missing. The result is not checked.
    pub fn with_defaults(&self, document: Value) -> Value {
        let root = self.value();
        // A document that takes too long to check takes too long here, too: its check reports that.
        if !may_fill(root) || work_fault(root, &document).is_some_and(|fault| fault.limit) {
            return document;
        }
        let given = Some(document).filter(|document| !document.is_null());
        Filler { root }.value(root, given, &mut Vec::new()).unwrap_or(Value::Null)
    }

    /// Returns an error for each default that does not fit its own schema, with the JSON pointer of the default.
    pub fn default_faults(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        Filler { root: self.value() }.faults(self.value(), "", &mut found);
        found
    }

    /// Returns the schema without the members in `required` that have a default: it fits documents as they are written,
    /// before [`Schema::with_defaults`].
    pub fn before_defaults(&self) -> Value {
        let mut schema = self.value().clone();
        Filler { root: self.value() }.relax(&mut schema);
        schema
    }
}

/// The keywords whose value is a schema, a list of schemas, or an object of schemas.
const ONE: [&str; 2] = ["items", "additionalProperties"];
const MANY: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 2] = ["properties", "$defs"];

/// Returns whether a schema can have defaults, in itself or behind a reference. Most have none, and choosing an
/// alternative takes time.
fn may_fill(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.contains_key("default") || members.contains_key("$ref") || members.values().any(may_fill)
        }
        Value::Array(items) => items.iter().any(may_fill),
        _ => false,
    }
}

struct Filler<'a> {
    root: &'a Value,
}

impl<'a> Filler<'a> {
    /// Returns a value with its defaults; `None` if it is missing and has no default. `references` are the references
    /// that led here since the last value that is not missing: a schema may contain itself.
    fn value(&self, schema: &'a Value, given: Option<Value>, references: &mut Vec<&'a str>) -> Option<Value> {
        let mut value = match given.or_else(|| schema.get("default").cloned()) {
            Some(Value::Object(members)) => Some(self.members(schema, members, &mut Vec::new()).into()),
            Some(Value::Array(items)) => Some(self.items(schema, items).into()),
            Some(other) => Some(other),
            None => self.created(schema, references),
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
            && !references.contains(&reference)
            && let Some(referenced) = self.referenced(reference)
        {
            references.push(reference);
            value = self.value(referenced, value, references);
            references.pop();
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            value = self.value(part, value, references);
        }
        value.map(|value| self.chosen(schema, value, references))
    }

    /// Creates a missing object, if defaults give it all members that it requires.
    fn created(&self, schema: &'a Value, references: &mut Vec<&'a str>) -> Option<Value> {
        let members = self.members(schema, Map::new(), references);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let complete = required.filter_map(Value::as_str).all(|name| members.contains_key(name));
        (complete && !members.is_empty()).then_some(members.into())
    }

    fn members(
        &self,
        schema: &'a Value,
        mut members: Map<String, Value>,
        references: &mut Vec<&'a str>,
    ) -> Map<String, Value> {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let given = members.get_mut(name).map(Value::take);
            let filled = match given {
                Some(given) => self.value(property, Some(given), &mut Vec::new()),
                None => self.value(property, None, references),
            };
            if let Some(filled) = filled {
                members.insert(name.clone(), filled);
            }
        }
        if let Some(more) = schema.get("additionalProperties").filter(|more| more.is_object()) {
            let known = |name: &String| properties.is_some_and(|properties| properties.contains_key(name));
            for (_, member) in members.iter_mut().filter(|(name, _)| !known(name)) {
                *member = self.value(more, Some(member.take()), &mut Vec::new()).unwrap_or_default();
            }
        }
        members
    }

    fn items(&self, schema: &'a Value, items: Vec<Value>) -> Vec<Value> {
        let first = schema.get("prefixItems").and_then(Value::as_array);
        let of = |index: usize| first.and_then(|first| first.get(index)).or_else(|| schema.get("items"));
        let fill = |(index, item): (usize, Value)| match of(index) {
            Some(schema) => self.value(schema, Some(item), &mut Vec::new()).unwrap_or_default(),
            None => item,
        };
        items.into_iter().enumerate().map(fill).collect()
    }

    /// Returns the value with the defaults of the alternatives that it has chosen: of each choice the first one that
    /// fits.
    fn chosen(&self, schema: &'a Value, mut value: Value, references: &mut Vec<&'a str>) -> Value {
        for choice in ["oneOf", "anyOf"] {
            let branches =
                schema.get(choice).and_then(Value::as_array).filter(|branches| branches.iter().any(may_fill));
            let filled = branches.into_iter().flatten().find_map(|branch| {
                let filled = self.value(branch, Some(value.clone()), references)?;
                self.fits(branch, &filled).then_some(filled)
            });
            value = filled.unwrap_or(value);
        }
        if let Some(condition) = schema.get("if") {
            let branch = if self.fits(condition, &value) { "then" } else { "else" };
            if let Some(branch) = schema.get(branch) {
                value = self.value(branch, Some(value), references).unwrap_or_default();
            }
        }
        value
    }

    /// Returns whether a value fits a part of the schema.
    fn fits(&self, part: &Value, value: &Value) -> bool {
        self.check(part, value).is_empty()
    }

    fn check(&self, part: &Value, value: &Value) -> Vec<Diagnostic> {
        let mut part = part.clone();
        if let (Some(part), Some(definitions)) = (part.as_object_mut(), self.root.get("$defs")) {
            part.entry("$defs").or_insert_with(|| definitions.clone());
        }
        Schema::from(part).check(value)
    }

    fn faults(&self, schema: &'a Value, pointer: &str, found: &mut Vec<Diagnostic>) {
        if let Some(default) = schema.get("default") {
            let filled = self.value(schema, Some(default.clone()), &mut Vec::new()).unwrap_or_default();
            if let Some(fault) = self.check(schema, &filled).into_iter().next() {
                let message = format!("the default does not fit its schema: {}", fault.message);
                let fault = Diagnostic::error(format!("{pointer}/default"), message);
                found.push(fault.hint("an input that is left out gets this value; write one that the schema allows"));
            }
        }
        for name in ONE {
            if let Some(schema) = schema.get(name) {
                self.faults(schema, &format!("{pointer}/{name}"), found);
            }
        }
        for name in MANY {
            for (index, schema) in schema.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
                self.faults(schema, &format!("{pointer}/{name}/{index}"), found);
            }
        }
        for name in NAMED {
            for (member, schema) in schema.get(name).and_then(Value::as_object).into_iter().flatten() {
                self.faults(schema, &format!("{pointer}/{name}/{}", pointer_part(member)), found);
            }
        }
    }

    /// Returns the part of the schema that a reference inside it names.
    fn referenced(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// Removes members with a default from `required`, here and below.
    fn relax(&self, schema: &mut Value) {
        let has_default = |name: &str, schema: &Value| {
            let property = schema.get("properties").and_then(|all| all.get(name));
            property.is_some_and(|property| Filler { root: self.root }.value(property, None, &mut Vec::new()).is_some())
        };
        let whole = schema.clone();
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !has_default(name.as_str().unwrap_or_default(), &whole));
        }
        match schema {
            Value::Object(members) => members.values_mut().for_each(|member| self.relax(member)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.relax(item)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::Schema;

    fn object(properties: Value) -> Value {
        json!({ "type": "object", "properties": properties })
    }

    #[test]
    fn a_default_stands_for_a_missing_value_at_any_depth() {
        let n = || json!({ "type": "integer", "default": 7 });
        let deep = object(json!({ "a": object(json!({ "b": object(json!({ "n": n() })), "m": true })) }));
        let optional = object(json!({ "a": { "properties": { "n": n(), "id": true }, "required": ["id"] } }));
        let whole = object(json!({ "a": { "properties": { "n": n() }, "default": { "m": 1 } } }));
        let list = object(json!({ "a": { "items": object(json!({ "n": n() })) } }));
        let tuple = object(json!({ "a": { "prefixItems": [true, object(json!({ "n": n() }))] } }));
        let map = json!({ "additionalProperties": object(json!({ "n": n() })), "properties": { "a": true } });
        let kind = |kind: &str, name: &str| object(json!({ "kind": { "const": kind }, name: n() }));
        let choice = json!({ "oneOf": [kind("box", "width"), kind("ball", "radius")] });
        let named = json!({ "$defs": { "n": n(), "node": object(json!({ "n": { "$ref": "#/$defs/n" }, "next": { "$ref": "#/$defs/node" } })) },
            "allOf": [{ "$ref": "#/$defs/node" }] });
        let condition = json!({ "if": { "required": ["x"] }, "then": object(json!({ "n": n() })),
            "else": object(json!({ "m": n() })) });
        for (schema, given, expected) in [
            (object(json!({ "n": n() })), json!({}), json!({ "n": 7 })),
            (object(json!({ "n": n() })), Value::Null, json!({ "n": 7 })),
            (object(json!({ "n": n() })), json!({ "n": 1, "m": 2 }), json!({ "n": 1, "m": 2 })),
            (object(json!({ "n": n() })), json!({ "n": null }), json!({ "n": null })),
            (object(json!({ "n": { "default": false } })), json!({}), json!({ "n": false })),
            (object(json!({ "n": true })), json!({}), json!({})),
            (object(json!({ "n": { "default": null } })), json!({}), json!({ "n": null })),
            (json!({ "default": { "x": 1 }, "properties": { "n": n() } }), Value::Null, json!({ "x": 1, "n": 7 })),
            (deep.clone(), json!({}), json!({ "a": { "b": { "n": 7 } } })),
            (deep.clone(), json!({ "a": {} }), json!({ "a": { "b": { "n": 7 } } })),
            (deep.clone(), json!({ "a": { "b": { "n": 1 }, "m": 2 } }), json!({ "a": { "b": { "n": 1 }, "m": 2 } })),
            (deep, json!({ "a": null }), json!({ "a": null })),
            // An object that would lack a required member is not created.
            (optional.clone(), json!({}), json!({})),
            (optional, json!({ "a": { "id": 1 } }), json!({ "a": { "id": 1, "n": 7 } })),
            (whole.clone(), json!({}), json!({ "a": { "m": 1, "n": 7 } })),
            (whole, json!({ "a": {} }), json!({ "a": { "n": 7 } })),
            (list.clone(), json!({ "a": [{}, { "n": 1 }, 3] }), json!({ "a": [{ "n": 7 }, { "n": 1 }, 3] })),
            (list, json!({}), json!({})),
            (tuple, json!({ "a": [{}, {}, {}] }), json!({ "a": [{}, { "n": 7 }, {}] })),
            (map, json!({ "a": {}, "b": {} }), json!({ "a": {}, "b": { "n": 7 } })),
            (choice.clone(), json!({ "kind": "ball" }), json!({ "kind": "ball", "radius": 7 })),
            (choice, json!({ "kind": "cone" }), json!({ "kind": "cone" })),
            (named, json!({ "next": { "n": 1, "next": 5 } }), json!({ "n": 7, "next": { "n": 1, "next": 5 } })),
            (condition.clone(), json!({ "x": 1 }), json!({ "x": 1, "n": 7 })),
            (condition, json!({}), json!({ "m": 7 })),
        ] {
            let filled = Schema::from(schema.clone()).with_defaults(given.clone());
            assert_eq!(filled, expected, "{schema} {given}");
            assert_eq!(Schema::from(schema.clone()).with_defaults(filled.clone()), filled, "a second time: {schema}");
        }
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = Schema::from(object(
            json!({ "n": { "default": 1 }, "next": { "$ref": "#" }, "same": { "$ref": "#/properties/same" } }),
        ));
        assert_eq!(schema.with_defaults(json!({}))["n"], 1);
        assert_eq!(schema.with_defaults(json!({ "same": 2, "next": { "next": {} } }))["next"]["next"]["n"], 1);
    }

    #[test]
    fn a_member_with_a_default_is_required_only_afterwards() {
        let schema = Schema::from(json!({ "required": ["n", "m", "a"], "properties": {
            "n": { "default": 1 }, "m": true, "a": { "required": ["x"], "properties": { "x": { "default": 1 } } } } }));
        assert_eq!(Schema::from(schema.before_defaults()).check(&json!({ "m": 1 })), []);
        assert!(schema.check(&schema.with_defaults(json!({ "m": 1 }))).is_empty());
        assert_eq!(Schema::from(schema.before_defaults()).check(&json!({ "n": 1 }))[0].pointer, "/m");
    }

    #[test]
    fn a_default_that_does_not_fit_is_found() {
        for (schema, places) in [
            (object(json!({ "n": { "type": "integer", "default": "x" } })), vec!["/properties/n/default"]),
            (object(json!({ "n": { "type": "integer", "default": 1 } })), vec![]),
            (json!({ "items": { "enum": [1, 2], "default": 3 } }), vec!["/items/default"]),
            (json!({ "anyOf": [true, { "minimum": 3, "default": 2 }] }), vec!["/anyOf/1/default"]),
            (json!({ "$defs": { "a/b": { "type": "null", "default": 0 } } }), vec!["/$defs/a~1b/default"]),
            (json!({ "default": {}, "required": ["n"], "properties": { "n": { "default": 1 } } }), vec![]),
            (json!({ "default": {}, "required": ["m"], "properties": { "n": { "default": 1 } } }), vec!["/default"]),
            (
                json!({ "$defs": { "n": { "type": "null" } }, "items": { "$ref": "#/$defs/n", "default": 1 } }),
                vec!["/items/default"],
            ),
        ] {
            let found: Vec<_> =
                Schema::from(schema.clone()).default_faults().into_iter().map(|one| one.pointer).collect();
            assert_eq!(found, places, "{schema}");
        }
    }
}
