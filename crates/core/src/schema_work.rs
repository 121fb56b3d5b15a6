//! The work that a schema asks for, counted before it is done.
//!
//! A short schema can ask for any amount of work: definitions that refer to each other twice, choices that repeat
//! themselves in each branch, a reference that leads back to its own place. Validators and the fill-in of defaults do all
//! of it. So the work is counted first: one unit for each part of the schema that looks at a value of the document.

use serde_json::Value;

use crate::Diagnostic;

/// The most units of work that one check of a document may take.
pub(crate) const MAX_WORK: usize = 4_000_000;
/// The largest number of parts of a schema, with its references replaced.
pub(crate) const MAX_PARTS: usize = 20_000;

/// Keywords whose schemas look at the same value.
const SAME: [&str; 6] = ["allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas"];
/// Keywords without which the work is at most the size of the document.
const MULTIPLY: [&str; 5] = ["$ref", "$dynamicRef", "patternProperties", "contains", "enum"];

/// Returns the finding that a schema is too large with its references replaced, or that it never ends.
pub(crate) fn size_fault(schema: &Value) -> Option<Diagnostic> {
    Work::new(schema, MAX_PARTS).part(schema, None).err().map(|excess| match excess {
        Excess::Work => {
            let message = format!("the schema has more than {MAX_PARTS} parts, with its references replaced");
            Diagnostic::over_limit("", message).hint("describe less of the value, or leave out repeated choices")
        }
        Excess::Endless(reference) => endless(&reference),
    })
}

/// Returns the finding that a document would take too long to check.
pub(crate) fn work_fault(schema: &Value, document: &Value) -> Option<Diagnostic> {
    Work::new(schema, MAX_WORK).part(schema, Some(document)).err().map(|excess| match excess {
        Excess::Work => {
            let message = format!("the check of this value against its schema takes more than {MAX_WORK} steps");
            Diagnostic::over_limit("", message).hint("pass a smaller value, or one that is less deeply nested")
        }
        Excess::Endless(reference) => endless(&reference),
    })
}

fn endless(reference: &str) -> Diagnostic {
    Diagnostic::error("", format!("{reference} leads back to its own place"))
        .hint("refer to a schema of a member or of an item")
}

/// Returns whether the work of a schema may be more than the size of a document.
pub(crate) fn multiplies(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            let named = |name: &&str| members.contains_key(*name);
            SAME.iter().any(named) || MULTIPLY.iter().any(named) || members.values().any(multiplies)
        }
        Value::Array(items) => items.iter().any(multiplies),
        _ => false,
    }
}

enum Excess {
    Work,
    Endless(String),
}

struct Work<'a> {
    root: &'a Value,
    left: usize,
    /// The references that led to the present part of the schema, and how many of them look at the same value.
    references: Vec<&'a str>,
    same: usize,
}

impl<'a> Work<'a> {
    fn new(root: &'a Value, left: usize) -> Self {
        Work { root, left, references: Vec::new(), same: 0 }
    }

    fn spend(&mut self, units: usize) -> Result<(), Excess> {
        self.left = self.left.checked_sub(units).ok_or(Excess::Work)?;
        Ok(())
    }

    /// Counts a part of the schema that looks at this value. Without a value, all parts count, and references that lead
    /// in a circle count once.
    fn part(&mut self, schema: &'a Value, value: Option<&Value>) -> Result<(), Excess> {
        self.spend(1)?;
        let Some(keywords) = schema.as_object() else { return Ok(()) };
        for (name, inner) in keywords {
            match (name.as_str(), inner) {
                ("$ref" | "$dynamicRef", Value::String(reference)) => self.reference(reference, value)?,
                ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                    parts.iter().try_for_each(|part| self.part(part, value))?;
                }
                ("not" | "if" | "then" | "else", part) => self.part(part, value)?,
                ("dependentSchemas", Value::Object(parts)) => {
                    parts.values().try_for_each(|part| self.part(part, value))?;
                }
                ("enum", Value::Array(values)) => self.spend(values.len())?,
                _ => self.inside(name, inner, value)?,
            }
        }
        Ok(())
    }

    /// Counts the parts of a keyword that look at members or items.
    fn inside(&mut self, keyword: &str, inner: &'a Value, value: Option<&Value>) -> Result<(), Excess> {
        let before = std::mem::replace(&mut self.same, self.references.len());
        match (keyword, inner) {
            ("properties", Value::Object(parts)) => {
                for (name, part) in parts {
                    match value {
                        None => self.part(part, None)?,
                        Some(value) => value.get(name).map_or(Ok(()), |member| self.part(part, Some(member)))?,
                    }
                }
            }
            ("patternProperties", Value::Object(parts)) => {
                parts.values().try_for_each(|part| self.each_inside(part, value))?;
            }
            ("prefixItems", Value::Array(parts)) => {
                for (index, part) in parts.iter().enumerate() {
                    match value {
                        None => self.part(part, None)?,
                        Some(value) => value.get(index).map_or(Ok(()), |item| self.part(part, Some(item)))?,
                    }
                }
            }
            ("$defs" | "definitions", Value::Object(parts)) if value.is_none() => {
                parts.values().try_for_each(|part| self.part(part, None))?;
            }
            (
                "additionalProperties"
                | "unevaluatedProperties"
                | "propertyNames"
                | "items"
                | "contains"
                | "unevaluatedItems",
                part,
            ) => self.each_inside(part, value)?,
            _ => {}
        }
        self.same = before;
        Ok(())
    }

    fn each_inside(&mut self, part: &'a Value, value: Option<&Value>) -> Result<(), Excess> {
        match value {
            None => self.part(part, None),
            Some(Value::Array(items)) => items.iter().try_for_each(|item| self.part(part, Some(item))),
            Some(Value::Object(members)) => members.values().try_for_each(|member| self.part(part, Some(member))),
            Some(_) => Ok(()),
        }
    }

    fn reference(&mut self, reference: &'a str, value: Option<&Value>) -> Result<(), Excess> {
        if self.references[self.same..].contains(&reference) {
            return Err(Excess::Endless(reference.to_owned()));
        }
        let referenced = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(referenced) = referenced.filter(|_| value.is_some() || !self.references.contains(&reference)) else {
            return Ok(());
        };
        self.references.push(reference);
        self.part(referenced, value)?;
        self.references.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Schema;

    /// A definition for each level, which refers to the next one twice.
    fn doubling(levels: usize, keyword: &str) -> Value {
        let twice = |level: usize| {
            let next = || json!({ "$ref": format!("#/$defs/a{}", level + 1) });
            match keyword {
                "properties" => json!({ "properties": { "x": next(), "y": next() } }),
                _ => json!({ keyword: [next(), next()] }),
            }
        };
        let definitions = (0..levels).map(|level| (format!("a{level}"), twice(level)));
        let last = (format!("a{levels}"), json!({ "default": 1 }));
        json!({ "$ref": "#/$defs/a0", "$defs": Value::Object(definitions.chain([last]).collect()) })
    }

    #[test]
    fn a_schema_that_is_larger_than_it_looks_is_refused_with_the_number() {
        for keyword in ["allOf", "anyOf", "oneOf", "properties"] {
            let fault = Schema::from(doubling(40, keyword)).fault().unwrap();
            assert!(fault.limit && fault.message.contains("more than 20000 parts"), "{keyword}: {fault}");
            assert_eq!(Schema::from(doubling(3, keyword)).fault(), None, "{keyword}");
        }
        let wide = json!({ "properties": { "a": { "enum": (0..30_000).collect::<Vec<_>>() } } });
        assert!(Schema::from(wide).fault().is_some_and(|fault| fault.limit));
        // Without the count, the defaults of the schema would be filled in one by one.
        let small = Schema::from(doubling(10, "properties"));
        let filled = small.with_defaults(json!({})).to_string();
        assert_eq!(filled.matches(":1").count(), 1 << 10, "each level doubles the work");
    }

    #[test]
    fn a_reference_to_its_own_place_is_refused() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "anyOf": [{ "$ref": "#" }, true] }),
            json!({ "$defs": { "a": { "allOf": [{ "$ref": "#/$defs/b" }] }, "b": { "$ref": "#/$defs/a" } } }),
        ] {
            let fault = Schema::from(schema.clone()).fault().unwrap();
            assert!(fault.message.contains("leads back to its own place"), "{schema}: {fault}");
        }
        let tree = json!({ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } });
        assert_eq!(Schema::from(tree.clone()).fault(), None);
        assert_eq!(Schema::from(tree).check(&json!({ "left": { "right": {} } })), []);
    }

    #[test]
    fn a_check_that_would_not_end_is_refused_with_the_number() {
        let branch = |kind: &str| json!({ "properties": { "kind": { "const": kind }, "next": { "$ref": "#" } } });
        let schema = Schema::from(json!({ "anyOf": [branch("a"), branch("b")] }));
        assert_eq!(schema.fault(), None);
        let chain = |length: usize| (0..length).fold(json!({}), |next, _| json!({ "next": next }));
        assert_eq!(schema.check(&chain(8)), []);
        let found = schema.check(&chain(100));
        assert!(found.len() == 1 && found[0].limit && found[0].message.contains("4000000 steps"), "{found:?}");
        assert_eq!(schema.accept("the input", &chain(100)).unwrap_err().kind(), crate::ErrorKind::Limit);
        // The work doubles with each level: without the count, a hundred levels would take longer than the universe.
        let mut work = Work::new(schema.value(), usize::MAX);
        let mut units = |length: usize| {
            let before = work.left;
            assert!(work.part(schema.value(), Some(&chain(length))).is_ok());
            before - work.left
        };
        assert!(units(12) > units(10) * 3);
    }

    #[test]
    fn long_lists_and_usual_schemas_are_not_refused() {
        let item = json!({ "anyOf": [{ "type": "integer" }, { "enum": ["a", "b", "c"] }] });
        let schema = Schema::from(json!({ "type": "array", "items": item }));
        let list = Value::from((0..200_000).collect::<Vec<_>>());
        assert_eq!(schema.check(&list), []);
    }
}
