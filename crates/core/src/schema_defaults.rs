//! Fills in the defaults of a JSON Schema.
//!
//! A `default` stands for a value that is missing. `null` is a value. A missing object is created if something inside it
//! has a default, and only if it then has all members that it requires: an optional object that the writer left out does
//! not become an invalid one.

use std::cell::Cell;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

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
        Filler::new(root).value(root, given, true, &mut Trail::default()).unwrap_or(Value::Null)
    }

    /// Returns an error for each default that does not fit its own schema or that leads to too many others, and a
    /// warning for each place whose defaults are not applied, with the JSON pointer of the place.
    pub fn default_faults(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        Filler::new(self.value()).faults(self.value(), "", &mut found);
        found
    }

    /// Returns the schema without the members in `required` that have a default: it fits documents as they are written,
    /// before [`Schema::with_defaults`].
    pub fn before_defaults(&self) -> Value {
        let mut schema = self.value().clone();
        Filler::new(self.value()).relax(&mut schema);
        schema
    }
}

/// The keywords whose value is a schema, a list of schemas, or an object of schemas.
const ONE: [&str; 4] = ["items", "additionalProperties", "then", "else"];
const MANY: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
/// The keywords whose schemas only test a value, or describe one that is not known from the schema alone.
const NOT_APPLIED: [&str; 7] =
    ["not", "if", "contains", "propertyNames", "unevaluatedProperties", "unevaluatedItems", "contentSchema"];
/// The keywords whose value is data, not a schema.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];

/// The number of schemas that are visited for one value that is not missing, and for the missing values below it. A few
/// definitions that refer to each other twice would otherwise stand for millions of values.
const MOST: u32 = 10_000;
/// What a look at an alternative costs in visits.
const ALTERNATIVE: u32 = 50;

/// The way to a schema from the last value that is not missing.
struct Trail<'a> {
    /// The references on this way, each with the number of defaults that it is inside of: a schema may contain itself.
    references: Vec<(&'a str, u32)>,
    /// The number of defaults, objects and lists, that the schema is inside of.
    defaults: u32,
    /// The number of visits that are left.
    left: u32,
}

impl Default for Trail<'_> {
    fn default() -> Self {
        Trail { references: Vec::new(), defaults: 0, left: MOST }
    }
}

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
    /// Whether a value needed more visits than are allowed, so that it may lack defaults.
    is_exhausted: Cell<bool>,
}

impl<'a> Filler<'a> {
    fn new(root: &'a Value) -> Filler<'a> {
        Filler { root, is_exhausted: Cell::new(false) }
    }

    /// Takes visits from a trail. Returns whether they were left.
    fn visit(&self, trail: &mut Trail<'a>, count: u32) -> bool {
        let left = trail.left.checked_sub(count);
        trail.left = left.unwrap_or_default();
        self.is_exhausted.set(self.is_exhausted.get() || left.is_none());
        left.is_some()
    }

    /// Returns a value with its defaults; `None` if it is missing and has no default. `is_own` is whether a value that is
    /// given stands in the document: what a default brings belongs to the trail that led to it.
    fn value(&self, schema: &'a Value, given: Option<Value>, is_own: bool, trail: &mut Trail<'a>) -> Option<Value> {
        if !self.visit(trail, 1) {
            return given;
        }
        let is_own = is_own && given.is_some();
        let default = if given.is_none() { schema.get("default") } else { None };
        let is_inside = u32::from(default.is_some());
        trail.defaults += is_inside;
        let value = given.or_else(|| default.cloned());
        let mut value = match value {
            Some(Value::Object(members)) if is_own => {
                Some(self.members(schema, members, true, &mut Trail::default()).into())
            }
            Some(Value::Object(members)) => Some(self.members(schema, members, false, trail).into()),
            Some(Value::Array(items)) => Some(self.items(schema, items, is_own, trail).into()),
            Some(other) => Some(other),
            None => self.created(schema, trail),
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
            && let Some(referenced) = self.referenced(reference)
        {
            match trail.references.iter().find(|(known, _)| *known == reference) {
                // A default brings a value whose schema has the same default, and so on.
                Some((_, defaults)) if trail.defaults > *defaults => self.is_exhausted.set(true),
                Some(_) => {}
                None => {
                    trail.references.push((reference, trail.defaults));
                    value = self.value(referenced, value, is_own, trail);
                    trail.references.pop();
                }
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            value = self.value(part, value, is_own, trail);
        }
        for (name, part) in schema.get("dependentSchemas").and_then(Value::as_object).into_iter().flatten() {
            if value.as_ref().is_some_and(|value| value.get(name).is_some()) {
                value = self.value(part, value, is_own, trail);
            }
        }
        let filled = value.map(|value| self.chosen(schema, value, is_own, trail));
        trail.defaults -= is_inside;
        filled
    }

    /// Creates a missing object, if defaults give it all members that it requires.
    fn created(&self, schema: &'a Value, trail: &mut Trail<'a>) -> Option<Value> {
        let members = self.members(schema, Map::new(), false, trail);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let complete = required.filter_map(Value::as_str).all(|name| members.contains_key(name));
        (complete && !members.is_empty()).then_some(members.into())
    }

    /// Fills the members of an object. Each member of the document has a trail of its own.
    fn members(
        &self,
        schema: &'a Value,
        mut members: Map<String, Value>,
        is_own: bool,
        trail: &mut Trail<'a>,
    ) -> Map<String, Value> {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let filled = match members.get_mut(name).map(Value::take) {
                Some(given) => self.inside(property, given, is_own, trail),
                None => self.value(property, None, false, trail),
            };
            if let Some(filled) = filled {
                members.insert(name.clone(), filled);
            }
        }
        let more = schema.get("additionalProperties").filter(|more| may_fill(more));
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        if more.is_none() && patterns.is_none() {
            return members;
        }
        for (name, member) in &mut members {
            let matching = patterns.into_iter().flatten().filter(|(pattern, _)| self.has_form(name, pattern));
            let mut parts: Vec<_> = matching.map(|(_, part)| part).collect();
            let is_known = properties.is_some_and(|properties| properties.contains_key(name));
            parts.extend(more.filter(|_| parts.is_empty() && !is_known));
            for part in parts {
                *member = self.inside(part, member.take(), is_own, trail).unwrap_or_default();
            }
        }
        members
    }

    fn items(&self, schema: &'a Value, items: Vec<Value>, is_own: bool, trail: &mut Trail<'a>) -> Vec<Value> {
        let first = schema.get("prefixItems").and_then(Value::as_array);
        let of = |index: usize| first.and_then(|first| first.get(index)).or_else(|| schema.get("items"));
        let fill = |(index, item): (usize, Value)| match of(index) {
            Some(schema) => self.inside(schema, item, is_own, trail).unwrap_or_default(),
            None => item,
        };
        items.into_iter().enumerate().map(fill).collect()
    }

    /// Fills a member or an item that is there.
    fn inside(&self, schema: &'a Value, given: Value, is_own: bool, trail: &mut Trail<'a>) -> Option<Value> {
        match is_own {
            true => self.value(schema, Some(given), true, &mut Trail::default()),
            false => self.value(schema, Some(given), false, trail),
        }
    }

    /// Returns the value with the defaults of the alternatives that it has chosen: of each choice the first one that
    /// fits.
    fn chosen(&self, schema: &'a Value, mut value: Value, is_own: bool, trail: &mut Trail<'a>) -> Value {
        for choice in ["oneOf", "anyOf"] {
            let branches =
                schema.get(choice).and_then(Value::as_array).filter(|branches| branches.iter().any(may_fill));
            let filled = branches.into_iter().flatten().find_map(|branch| {
                let filled = self.value(branch, Some(value.clone()), is_own, trail)?;
                (self.visit(trail, ALTERNATIVE) && self.fits(branch, &filled)).then_some(filled)
            });
            value = filled.unwrap_or(value);
        }
        let has_branch = ["then", "else"].iter().any(|branch| schema.get(branch).is_some_and(may_fill));
        if let Some(condition) = schema.get("if").filter(|_| has_branch && self.visit(trail, ALTERNATIVE)) {
            let branch = if self.fits(condition, &value) { "then" } else { "else" };
            if let Some(branch) = schema.get(branch) {
                value = self.value(branch, Some(value), is_own, trail).unwrap_or_default();
            }
        }
        value
    }

    /// Returns whether a value fits a part of the schema.
    fn fits(&self, part: &Value, value: &Value) -> bool {
        self.check(part, value).is_empty()
    }

    /// Returns whether a name has the form of a pattern. A member of `patternProperties` is one of these.
    fn has_form(&self, name: &str, pattern: &str) -> bool {
        self.fits(&json!({ "pattern": pattern }), &name.into())
    }

    fn check(&self, part: &Value, value: &Value) -> Vec<Diagnostic> {
        if !has_reference(part) {
            return Schema::from(part.clone()).check(value);
        }
        // The part is checked inside the whole schema, so that its references lead where they lead there.
        let mut root = self.root.clone();
        let id = root.get("$id").and_then(Value::as_str).unwrap_or("urn:root").to_owned();
        root["$id"] = id.clone().into();
        root["$defs"]["~part"] = part.clone();
        Schema::from(json!({ "$ref": format!("{id}#/$defs/~0part"), "$defs": { "root": root } })).check(value)
    }

    fn faults(&self, schema: &'a Value, pointer: &str, found: &mut Vec<Diagnostic>) {
        let was_exhausted = self.is_exhausted.get();
        for given in [None, Some(json!({}))].into_iter().filter(|_| !was_exhausted) {
            self.value(schema, given, true, &mut Trail::default());
        }
        if self.is_exhausted.get() && !was_exhausted {
            let message = "the defaults here never end, or need too many steps: their schemas refer to each other";
            found.push(Diagnostic::error(pointer, message).hint("write fewer references inside each other"));
        }
        self.not_applied(schema, pointer, found);
        if let Some(default) = schema.get("default") {
            let filled = self.value(schema, Some(default.clone()), false, &mut Trail::default()).unwrap_or_default();
            if let Some(fault) = self.check(schema, &filled).into_iter().next() {
                let message = format!("the default does not fit its schema: {}", fault.message);
                let fault = Diagnostic::error(format!("{pointer}/default"), message);
                found.push(fault.hint("an input that is left out gets this value; write one that the schema allows"));
            }
        }
        for (at, part) in parts(schema) {
            self.faults(part, &format!("{pointer}/{at}"), found);
        }
    }

    /// Adds a warning for each place of a schema whose defaults are not applied.
    fn not_applied(&self, schema: &'a Value, pointer: &str, found: &mut Vec<Diagnostic>) {
        let warning = |name: &str, hint: &'static str| {
            Diagnostic::warning(format!("{pointer}/{name}"), format!("defaults in {name} are not applied")).hint(hint)
        };
        let has_default = |name: &&&str| schema.get(**name).is_some_and(has_default);
        let in_properties = "write the default in `properties`, `items`, `allOf`, `then` or `else`";
        found.extend(NOT_APPLIED.iter().filter(has_default).map(|name| warning(name, in_properties)));
        let reference = schema.get("$ref").and_then(Value::as_str);
        let in_schema = "refer to a part of this schema, as `#/$defs/NAME` or `#ANCHOR`";
        found.extend(reference.filter(|name| self.referenced(name).is_none()).map(|_| warning("$ref", in_schema)));
        found.extend(schema.get("$dynamicRef").map(|_| warning("$dynamicRef", in_schema)));
    }

    /// Returns the part of the schema that a reference inside it names: with a JSON pointer, or with an anchor.
    fn referenced(&self, reference: &str) -> Option<&'a Value> {
        let fragment = reference.strip_prefix('#')?;
        let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
        match fragment.is_empty() || fragment.starts_with('/') {
            true => self.root.pointer(&fragment),
            false => anchored(self.root, &fragment),
        }
    }

    /// Removes members with a default from `required`, here and below.
    fn relax(&self, schema: &mut Value) {
        if schema.get("required").is_some_and(Value::is_array) {
            let whole = schema.clone();
            let filled = Filler::new(self.root).value(&whole, Some(json!({})), true, &mut Trail::default());
            let has_default =
                |name: &Value| filled.as_ref().is_some_and(|all| all.get(name.as_str().unwrap_or_default()).is_some());
            schema["required"].as_array_mut().into_iter().for_each(|all| all.retain(|name| !has_default(name)));
        }
        match schema {
            Value::Object(members) => members.values_mut().for_each(|member| self.relax(member)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.relax(item)),
            _ => {}
        }
    }
}

/// Returns the schema with this anchor.
fn anchored<'a>(schema: &'a Value, anchor: &str) -> Option<&'a Value> {
    match schema {
        Value::Object(members) if members.get("$anchor").is_some_and(|found| found == anchor) => Some(schema),
        Value::Object(members) => {
            let parts = members.iter().filter(|(name, _)| !DATA.contains(&name.as_str()));
            parts.map(|(_, part)| part).find_map(|part| anchored(part, anchor))
        }
        Value::Array(parts) => parts.iter().find_map(|part| anchored(part, anchor)),
        _ => None,
    }
}

/// Returns the schemas directly inside a schema, with their JSON pointers.
fn parts(schema: &Value) -> impl Iterator<Item = (String, &Value)> {
    let one = ONE.iter().filter_map(|name| Some(((*name).to_owned(), schema.get(name)?)));
    let many = MANY.iter().flat_map(|name| {
        let parts = schema.get(name).and_then(Value::as_array).into_iter().flatten();
        parts.enumerate().map(move |(index, part)| (format!("{name}/{index}"), part))
    });
    let named = NAMED.iter().flat_map(|name| {
        let parts = schema.get(name).and_then(Value::as_object).into_iter().flatten();
        parts.map(move |(member, part)| (format!("{name}/{}", pointer_part(member)), part))
    });
    one.chain(many).chain(named)
}

/// Returns whether a default is written in a schema.
fn has_default(schema: &Value) -> bool {
    schema.get("default").is_some() || parts(schema).any(|(_, part)| has_default(part))
}

/// Returns whether a schema refers to another part of the whole.
fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.contains_key("$ref") || members.contains_key("$dynamicRef") || members.values().any(has_reference)
        }
        Value::Array(items) => items.iter().any(has_reference),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
