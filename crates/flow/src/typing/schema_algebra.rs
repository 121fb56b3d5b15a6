//! JSON Schemas as shapes of values: what is certain about a value before a run, and whether it can fit what is
//! expected.
//!
//! The answers are conservative. A mismatch is reported only if no value of the shape can fit; where a schema says
//! nothing, every value is possible.

use std::{borrow::Cow, collections::HashSet};

use serde_json::{Map, Value, json};
use trunkline_core::{Schema, closest};

use crate::values::json_kinds::Kinds;

/// A keyword of our own, for alternatives that all occur: the two results of an inline `if`, a value and its default.
/// Each of them must fit. In an `anyOf` it is enough if one of them fits, because the others may never occur.
const EITHER: &str = "either";

/// Formats that exclude each other.
const FORMATS: [&str; 5] = ["uuid", "date", "date-time", "uri", "email"];

/// The keywords with alternatives.
pub(crate) const CHOICES: [&str; 3] = ["anyOf", "oneOf", EITHER];

/// The largest number of alternatives of a shape. Of more, only the kinds are known.
const MAX_ALTERNATIVES: usize = 256;

/// The keywords that say nothing about a value.
const ANNOTATIONS: [&str; 6] = ["title", "description", "default", "examples", "deprecated", "$comment"];

/// A shape. What is known about a name is borrowed: a copy for each use would cost as much as the schema is large.
pub(crate) type Shape<'a> = Cow<'a, Value>;

/// What a schema says about a member of an object.
pub(crate) enum Member<'a> {
    /// It has this shape.
    Is(Shape<'a>),
    /// The schema says nothing about it.
    Unknown,
    /// It is not among the declared members. An open object may still have it.
    Missing { open: bool, declared: Vec<String> },
}

/// Returns the declared name that an undeclared one is probably a misspelling of. In an open object, which may have
/// other members, the names must differ by at most one letter.
pub(crate) fn intended_name<'a>(name: &str, open: bool, declared: &'a [String]) -> Option<&'a str> {
    let mut declared = declared.iter().map(String::as_str);
    if !open {
        return closest(name, declared);
    }
    let (name, max_distance) = (name.to_lowercase(), usize::from(name.len() > 2));
    declared.find(|known| strsim::damerau_levenshtein(&name, &known.to_lowercase()) <= max_distance)
}

/// Returns the items of a keyword whose value is a list.
pub(crate) fn parts<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn choices(schema: &Value) -> Vec<&Value> {
    CHOICES.iter().flat_map(|name| parts(schema, name)).collect()
}

/// Returns the number of values in a value, and stops to count when it is larger than `most`.
pub(crate) fn count(value: &Value, most: usize) -> usize {
    let inside = |sum: usize, inner: &Value| if sum > most { sum } else { sum + count(inner, most - sum) };
    match value {
        Value::Array(items) => items.iter().fold(1, inside),
        Value::Object(members) => members.values().fold(1, inside),
        _ => 1,
    }
}

/// Returns the shape of a value that has one of these shapes, each of which occurs.
pub(crate) fn either(shapes: impl IntoIterator<Item = Value>) -> Value {
    let (mut all, mut known, mut all_kinds) = (Vec::new(), HashSet::new(), Kinds::NOTHING);
    for shape in shapes {
        all_kinds = all_kinds.or(kinds(&shape));
        if all.len() <= MAX_ALTERNATIVES && known.insert(shape.clone()) {
            all.push(shape);
        }
    }
    if all.len() > MAX_ALTERNATIVES {
        return of_kinds(all_kinds);
    }
    match <[Value; 1]>::try_from(all) {
        Ok([only]) => only,
        Err(all) if all.is_empty() => Value::Bool(true),
        Err(all) => json!({ EITHER: all }),
    }
}

/// Returns the shape of a value of these kinds.
pub(crate) fn of_kinds(kinds: Kinds) -> Value {
    if kinds == Kinds::ANY {
        return Value::Bool(true);
    }
    let names = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let named: Vec<_> = names.iter().filter(|name| Kinds::named(name).within(kinds)).collect();
    json!({ "type": named })
}

/// Returns the shape of a list whose items have this shape.
pub(crate) fn list_of(item: Value) -> Value {
    json!({ "type": "array", "items": item })
}

/// Returns a shape with a sentence for people.
pub(crate) fn described(mut shape: Value, about: &str) -> Value {
    if let Some(shape) = shape.as_object_mut() {
        shape.insert("description".to_owned(), about.into());
    }
    shape
}

/// Returns the shape of an object with exactly these members.
pub(crate) fn object_of(members: Map<String, Value>) -> Value {
    let required: Vec<_> = members.keys().cloned().collect();
    json!({ "type": "object", "properties": members, "required": required, "additionalProperties": false })
}

/// Returns the kinds of values that a schema allows.
pub(crate) fn kinds(schema: &Value) -> Kinds {
    let union = |all: &[&Value]| all.iter().fold(Kinds::NOTHING, |sum, one| sum.or(kinds(one)));
    let mut allowed = match schema.get("type") {
        Some(Value::String(name)) => Kinds::named(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).fold(Kinds::NOTHING, |sum, name| sum.or(Kinds::named(name)))
        }
        _ => Kinds::ANY,
    };
    if let Some(constant) = schema.get("const") {
        allowed = allowed & Kinds::of(constant);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        allowed = allowed & values.iter().fold(Kinds::NOTHING, |sum, value| sum.or(Kinds::of(value)));
    }
    for name in CHOICES {
        let branches: Vec<_> = parts(schema, name).collect();
        if !branches.is_empty() {
            allowed = allowed & union(&branches);
        }
    }
    allowed = parts(schema, "allOf").fold(allowed, |sum, one| sum & kinds(one));
    if allowed == Kinds::NOTHING { Kinds::ANY } else { allowed }
}

/// Returns all values that a schema allows, if it lists them.
pub(crate) fn values(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(constant) = schema.get("const") {
        return Some(vec![constant]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().collect());
    }
    let branches = choices(schema);
    match branches.is_empty() {
        true => parts(schema, "allOf").find_map(values),
        false => branches.into_iter().map(values).collect::<Option<Vec<_>>>().map(|all| all.concat()),
    }
}

/// Returns what a schema says about a member.
pub(crate) fn member<'a>(schema: &'a Value, name: &str) -> Member<'a> {
    let Some(object) = schema.as_object() else { return Member::Unknown };
    if object.contains_key("$ref") || object.contains_key("patternProperties") {
        return Member::Unknown;
    }
    if let Some(Value::Object(constant)) = object.get("const") {
        return match constant.get(name) {
            Some(value) => Member::Is(Cow::Owned(json!({ "const": value }))),
            None => Member::Missing { open: false, declared: constant.keys().cloned().collect() },
        };
    }
    let properties = object.get("properties").and_then(Value::as_object);
    if let Some(property) = properties.and_then(|all| all.get(name)) {
        return Member::Is(Cow::Borrowed(property));
    }
    let (mut found, mut silent) = (Vec::new(), false);
    let mut declared: Vec<String> = properties.into_iter().flat_map(Map::keys).cloned().collect();
    let more = object.get("additionalProperties");
    let mut open = more.is_some_and(|more| *more != Value::Bool(false));
    let branches = choices(schema).into_iter().filter(|one| !kinds(one).excludes(Kinds::OBJECT));
    for branch in branches.chain(parts(schema, "allOf")) {
        match member(branch, name) {
            Member::Is(shape) => found.push(shape),
            Member::Unknown => silent = true,
            Member::Missing { open: also, declared: more } => {
                open |= also;
                declared.extend(more);
            }
        }
    }
    match (found.is_empty(), silent) {
        (false, false) if found.len() == 1 => Member::Is(found.remove(0)),
        (false, false) => Member::Is(Cow::Owned(json!({ "anyOf": found }))),
        (_, true) => Member::Unknown,
        (true, false) => match more {
            Some(shape @ Value::Object(_)) if declared.is_empty() => Member::Is(Cow::Borrowed(shape)),
            _ if declared.is_empty() && more != Some(&Value::Bool(false)) => Member::Unknown,
            _ => Member::Missing { open, declared },
        },
    }
}

/// Returns the shape of the items of a list.
pub(crate) fn item(schema: &Value) -> Shape<'_> {
    if schema.get("prefixItems").is_some() {
        return Cow::Owned(Value::Bool(true));
    }
    if let Some(items) = schema.get("items") {
        return Cow::Borrowed(items);
    }
    if let Some(Value::Array(items)) = schema.get("const") {
        return Cow::Owned(either(items.iter().map(|item| json!({ "const": item }))));
    }
    let lists = choices(schema).into_iter().chain(parts(schema, "allOf"));
    let lists: Vec<_> = lists.filter(|one| !kinds(one).excludes(Kinds::LIST)).map(item).collect();
    match <[Shape<'_>; 1]>::try_from(lists) {
        Ok([only]) => only,
        Err(lists) if lists.is_empty() => Cow::Owned(Value::Bool(true)),
        Err(lists) => Cow::Owned(json!({ "anyOf": lists })),
    }
}

/// Returns the shape without null.
pub(crate) fn without_null(schema: Value) -> Value {
    let known = kinds(&schema);
    if known == Kinds::ANY || known.excludes(Kinds::NULL) {
        return schema;
    }
    for name in ["anyOf", "oneOf"] {
        let left: Vec<_> = parts(&schema, name).filter(|one| kinds(one) != Kinds::NULL).collect();
        if let [only] = left[..] {
            return only.clone();
        }
    }
    let mut schema = schema;
    if let Some(names) = schema.get_mut("type").and_then(Value::as_array_mut) {
        names.retain(|name| name != "null");
    }
    schema
}

/// Returns why no value of the shape `given` can fit the schema `wanted`, or `None` if some value may.
pub(crate) fn mismatch(given: &Value, wanted: &Value) -> Option<String> {
    find_mismatch(given, wanted).map(|mismatch| mismatch.reason)
}

struct Mismatch {
    reason: String,
    /// Null is among the kinds that are expected. Of the reasons why no branch of a choice fits, the one about its null
    /// branch says least.
    expects_null: bool,
}

impl Mismatch {
    fn new(reason: String) -> Mismatch {
        Mismatch { reason, expects_null: false }
    }

    /// Says where the mismatch is.
    fn at(self, place: &str) -> Mismatch {
        Mismatch { reason: format!("{place}, {}", self.reason), ..self }
    }
}

fn find_mismatch(given: &Value, wanted: &Value) -> Option<Mismatch> {
    if !wanted.is_object() || !given.is_object() {
        return None;
    }
    if given.get(EITHER).is_some() {
        return parts(given, EITHER).find_map(|one| find_mismatch(one, wanted));
    }
    let (has, wants) = (kinds(given), kinds(wanted));
    if has.excludes(wants) {
        let reason = format!("it yields {has}, but {wants} is expected");
        return Some(Mismatch { reason, expects_null: !wants.excludes(Kinds::NULL) });
    }
    let more = |name: &String| name != "type" && !ANNOTATIONS.contains(&name.as_str());
    if has.within(wants) && wanted.as_object().is_some_and(|wanted| !wanted.keys().any(more)) {
        return None;
    }
    if let Some(values) = values(given).filter(|values| !values.is_empty()) {
        let schema = Schema::from(wanted.clone());
        let faults: Option<Vec<_>> = values.iter().map(|value| schema.check(value).into_iter().next()).collect();
        return faults.map(|faults| {
            let fault = faults[0].message.replacen("the document", "it", 1);
            Mismatch::new(format!("it yields {}, but {fault}", list(&values)))
        });
    }
    let branches: Vec<_> = ["anyOf", "oneOf"].iter().flat_map(|name| parts(wanted, name)).collect();
    if !branches.is_empty() {
        let mismatches: Option<Vec<_>> = branches.iter().map(|one| find_mismatch(given, one)).collect();
        return mismatches?.into_iter().find(|mismatch| !mismatch.expects_null);
    }
    let format = |schema: &Value| schema.get("format").and_then(Value::as_str).map(str::to_owned);
    if let (Some(has), Some(wants)) = (format(given), format(wanted))
        && has != wants
        && [&has, &wants].iter().all(|format| FORMATS.contains(&format.as_str()))
    {
        return Some(Mismatch::new(format!("it yields a {has}, but a {wants} is expected")));
    }
    if has == Kinds::LIST {
        return find_mismatch(&item(given), &item(wanted)).map(|mismatch| mismatch.at("in an item of the list"));
    }
    if has == Kinds::OBJECT {
        for name in parts(wanted, "required").filter_map(Value::as_str) {
            if let Member::Missing { open: false, .. } = member(given, name) {
                return Some(Mismatch::new(format!("it yields an object without {name}, which is required")));
            }
        }
        let properties = wanted.get("properties").and_then(Value::as_object);
        return properties.into_iter().flatten().find_map(|(name, wanted)| match member(given, name) {
            Member::Is(given) => find_mismatch(&given, wanted).map(|mismatch| mismatch.at(&format!("in its {name}"))),
            _ => None,
        });
    }
    None
}

/// Returns values as text for a message: the first eight.
pub(crate) fn list(values: &[&Value]) -> String {
    let mut text: Vec<_> = values.iter().take(8).map(|value| value.to_string()).collect();
    if values.len() > 8 {
        text.push("..".to_owned());
    }
    text.join(", ")
}

#[cfg(test)]
mod tests;
