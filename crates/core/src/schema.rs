//! JSON Schemas: they are derived from Rust types, and documents are checked against them.
//!
//! A [`Schema`] reports every error of a document at its JSON pointer and in plain words. Where a schema offers a
//! choice of branches, only the branch that the document has chosen is checked, so that the findings concern that
//! branch.

use std::sync::OnceLock;

use jsonschema::{
    Validator,
    error::{TypeKind, ValidationError, ValidationErrorKind as Kind},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    Diagnostic, ErrorKind, Result, closest, pointer_names, pointer_part, schema_work,
    settings_schema::{Condition, tag},
    values::url_text::is_url,
};

/// Returns the JSON Schema (draft 2020-12) of the JSON that a type is read from, with all references inlined.
pub fn schema_of<T: JsonSchema>() -> Value {
    inlined::<T>(settings())
}

/// Returns the JSON Schema of the JSON that a type is written as. It differs from [`schema_of`] where a member may be
/// left out on only one of the two ways.
pub fn written_schema_of<T: JsonSchema>() -> Value {
    inlined::<T>(settings().for_serialize())
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    })
}

fn inlined<T: JsonSchema>(settings: SchemaSettings) -> Value {
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// A schema to check documents against. It is compiled when it is first needed.
#[derive(Debug)]
pub struct Schema {
    value: Value,
    has_choice: bool,
    /// Whether the work of a check may be more than the size of the document.
    multiplies: bool,
    compiled: OnceLock<Result<Validator, String>>,
}

impl From<Value> for Schema {
    fn from(value: Value) -> Self {
        let (has_choice, multiplies) = (has_choice(&value), schema_work::multiplies(&value));
        Schema { has_choice, multiplies, value, compiled: OnceLock::new() }
    }
}

impl Schema {
    /// Returns the schema as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Returns all findings on a document. No finding quotes a value of the document.
    pub fn check(&self, document: &Value) -> Vec<Diagnostic> {
        if self.multiplies
            && let Some(excess) = schema_work::work_fault(&self.value, document)
        {
            return vec![excess];
        }
        let mut found = Vec::new();
        if self.has_choice {
            let narrowed = narrow(&self.value, document, "", &mut found);
            match compile(&narrowed) {
                Ok(validator) => collect(&validator, &narrowed, document, &mut found),
                Err(error) => found.push(broken(&error)),
            }
        } else {
            match self.compiled.get_or_init(|| compile(&self.value)) {
                Ok(validator) => collect(validator, &self.value, document, &mut found),
                Err(error) => found.push(broken(error)),
            }
        }
        found
    }

    /// Returns the finding that the schema is too large with its references replaced, or that it never ends, if so.
    pub fn size_fault(&self) -> Option<Diagnostic> {
        schema_work::size_fault(&self.value)
    }

    /// Returns the finding that no document can be checked because the schema itself is broken or too large, if it is.
    pub fn fault(&self) -> Option<Diagnostic> {
        if let Some(fault) = self.size_fault() {
            return Some(fault);
        }
        let compiled = match self.has_choice {
            true => compile(&narrow(&self.value, &Value::Null, "", &mut Vec::new())).map(drop),
            false => self.compiled.get_or_init(|| compile(&self.value)).as_ref().map(drop).map_err(String::clone),
        };
        compiled.err().map(|error| broken(&error))
    }

    /// Accepts a document without errors. `what` names the document.
    ///
    /// # Errors
    ///
    /// `invalid_input` with all findings of [`Schema::check`], or `limit` if the check would take too long.
    pub fn accept(&self, what: &str, document: &Value) -> Result<()> {
        Diagnostic::accept(what, &self.check(document)).map_err(|error| match error.kind() {
            ErrorKind::Limit => error,
            _ => error.into_kind(ErrorKind::InvalidInput),
        })
    }

    /// Returns the JSON pointers of the document's secrets: the values that the schema marks as `writeOnly`.
    pub fn secrets(&self, document: &Value) -> Vec<String> {
        let mut found = Vec::new();
        secrets(&self.value, document, "", &mut found);
        found
    }
}

fn broken(error: &str) -> Diagnostic {
    Diagnostic::error("", format!("the schema itself is broken: {error}"))
}

fn compile(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::draft202012::options().should_validate_formats(true).with_format("uri", is_url);
    options.build(schema).map_err(|error| error.to_string())
}

fn secrets(schema: &Value, document: &Value, pointer: &str, found: &mut Vec<String>) {
    if schema.get("writeOnly") == Some(&Value::Bool(true)) {
        if !found.iter().any(|known| known == pointer) {
            found.push(pointer.to_owned());
        }
        return;
    }
    // A value is secret if it is so in one of several forms, whichever the document has.
    for branch in parts(schema) {
        secrets(branch, document, pointer, found);
    }
    if let (Some(properties), Some(object)) =
        (schema.get("properties").and_then(Value::as_object), document.as_object())
    {
        for (name, value) in object {
            if let Some(property) = properties.get(name) {
                secrets(property, value, &child(pointer, name), found);
            }
        }
    }
    if let (Some(items), Some(array)) = (schema.get("items"), document.as_array()) {
        for (index, value) in array.iter().enumerate() {
            secrets(items, value, &child(pointer, &index.to_string()), found);
        }
    }
}

/// Returns the schemas that a schema combines for the same value.
fn parts(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|keyword| schema.get(keyword)?.as_array());
    lists.flatten().chain(["then", "else"].into_iter().filter_map(|keyword| schema.get(keyword)))
}

fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", pointer_part(name))
}

fn has_choice(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            object.get("oneOf").and_then(Value::as_array).is_some_and(|branches| tag(branches).is_some())
                || Condition::of(schema).is_some()
                || object.values().any(has_choice)
        }
        Value::Array(array) => array.iter().any(has_choice),
        _ => false,
    }
}

/// Returns the schema with each `oneOf` replaced by the branch that the document's tag selects, and each condition by
/// what it demands. A failed `oneOf` only reports that no branch fits; the selected branch reports what is wrong.
fn narrow(schema: &Value, document: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Value {
    let Value::Object(object) = schema else { return schema.clone() };
    let mut narrowed = object.clone();
    let before = found.len();
    if let Some(branches) = object.get("oneOf").and_then(Value::as_array)
        && let Some(tag) = tag(branches)
    {
        let value = document.get(tag);
        let constant = format!("/properties/{tag}/const");
        let picked = branches.iter().find(|branch| value.is_some() && branch.pointer(&constant) == value);
        narrowed.remove("oneOf");
        match picked {
            Some(branch) => {
                narrowed.insert("allOf".into(), json!([narrow(branch, document, pointer, found)]));
            }
            None => {
                let choices: Vec<_> = branches.iter().filter_map(|branch| branch.pointer(&constant)).collect();
                found.push(no_choice(tag, value, &choices, pointer));
            }
        }
    }
    if let Some(conditions) = object.get("allOf").and_then(Value::as_array) {
        narrow_conditions(conditions, document, pointer, &mut narrowed, found);
    }
    if found.len() > before {
        // Without a selected branch, it is not known which members belong to it, so unknown members are not reported.
        narrowed.remove("unevaluatedProperties");
    }
    if let (Some(Value::Object(properties)), Some(members)) = (narrowed.get_mut("properties"), document.as_object()) {
        for (name, property) in properties.iter_mut() {
            if let Some(member) = members.get(name) {
                *property = narrow(property, member, &child(pointer, name), found);
            }
        }
    }
    narrowed.into()
}

/// Replaces conditions on the choice of a member by what they demand, or removes them.
fn narrow_conditions(
    parts: &[Value],
    document: &Value,
    pointer: &str,
    narrowed: &mut Map<String, Value>,
    found: &mut Vec<Diagnostic>,
) {
    let mut left = Vec::new();
    for part in parts {
        let Some(Condition { tag, value, then }) = Condition::of(part) else {
            left.push(narrow(part, document, pointer, found));
            continue;
        };
        let given = document.get(tag);
        if given == Some(value) {
            left.push(narrow(then, document, pointer, found));
        }
        let property = narrowed.get("properties").and_then(|all| all.get(tag)).cloned().unwrap_or_default();
        let choices = property.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let choices: Vec<_> = choices.filter_map(|choice| choice.get("const")).collect();
        if !choices.is_empty() && !given.is_some_and(|given| choices.contains(&given)) {
            found.push(no_choice(tag, given, &choices, pointer));
            // It is reported here, and not again by the validator.
            narrowed.get_mut("properties").and_then(Value::as_object_mut).map(|all| all.remove(tag));
            if let Some(Value::Array(required)) = narrowed.get_mut("required") {
                required.retain(|name| name != tag);
            }
        }
    }
    match left.is_empty() {
        true => narrowed.remove("allOf"),
        false => narrowed.insert("allOf".into(), left.into()),
    };
}

fn no_choice(tag: &str, given: Option<&Value>, choices: &[&Value], pointer: &str) -> Diagnostic {
    let what = given.map_or("is missing", |_| "does not have an allowed value");
    Diagnostic::error(child(pointer, tag), format!("{tag} {what}")).hint(format!("choose one of {}", list(choices)))
}

fn list(values: &[&Value]) -> String {
    values.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

fn collect(validator: &Validator, schema: &Value, document: &Value, found: &mut Vec<Diagnostic>) {
    let errors: Vec<_> = validator.iter_errors(document).collect();
    let is_choice =
        |error: &ValidationError<'_>| matches!(error.kind(), Kind::AnyOf { .. } | Kind::OneOfNotValid { .. });
    for error in &errors {
        // A choice with a type beside it is reported once: with what it allows.
        let also = |other: &ValidationError<'_>| is_choice(other) && other.instance_path() == error.instance_path();
        if !matches!(error.kind(), Kind::Type { .. }) || !errors.iter().any(also) {
            describe(error, schema, document, found);
        }
    }
    found.dedup();
}

/// Adds a finding for each member of an object that its schema does not know.
fn unknown_members(unexpected: &[String], schema: &Value, pointer: &str, found: &mut Vec<Diagnostic>) {
    let known = lookup(schema, pointer).iter().flat_map(|node| names(node)).collect::<Vec<_>>();
    // If a branch has an error, the validator reports the members of that branch as unknown: those are skipped.
    for property in unexpected.iter().filter(|property| !known.contains(&property.as_str())) {
        let finding = Diagnostic::error(child(pointer, property), format!("{property} is not known here"));
        found.push(match closest(property, known.iter().copied()) {
            Some(close) => finding.hint(format!("did you mean {close}?")),
            None => finding.hint("remove it, or check its spelling"),
        });
    }
}

/// Adds a validation error as a finding in plain words. Values are never quoted, because one of them may be a secret.
fn describe(error: &ValidationError<'_>, schema: &Value, document: &Value, found: &mut Vec<Diagnostic>) {
    if let Some(branch) = meant(error) {
        branch.iter().for_each(|one| describe(one, schema, document, found));
        return;
    }
    let pointer = error.instance_path().to_string();
    let name = name_of(&pointer);
    let message = match error.kind() {
        Kind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let pointer = child(&pointer, property);
            found.push(advise(Diagnostic::error(&pointer, format!("{property} is missing")), schema));
            return;
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            return unknown_members(unexpected, schema, &pointer, found);
        }
        // The schema of an object without any members.
        Kind::FalseSchema if document.pointer(&pointer).is_some_and(Value::is_object) => {
            let members = document.pointer(&pointer).and_then(Value::as_object).into_iter().flatten();
            let unexpected: Vec<_> = members.map(|(name, _)| name.clone()).collect();
            return unknown_members(&unexpected, schema, &pointer, found);
        }
        Kind::Type { kind } => match kind {
            TypeKind::Single(one) => format!("{name} must be {}", article(&one.to_string())),
            TypeKind::Multiple(many) => {
                let kinds: Vec<_> = many.iter().map(|one| one.to_string()).collect();
                format!("{name} must be one of: {}", kinds.join(", "))
            }
        },
        Kind::Constant { expected_value } => format!("{name} must be {expected_value}"),
        Kind::Enum { options } => {
            let options: Vec<_> = options.as_array().into_iter().flatten().collect();
            format!("{name} must be one of {}", list(&options))
        }
        Kind::Format { format } if format == "uri" => {
            format!("{name} is not a URL: it has no scheme, no host, an impossible port, or characters that no URL has")
        }
        Kind::Format { format } => match FORMATS.iter().find(|(known, ..)| known == format) {
            Some((_, words, example)) => format!("{name} is not {words}, such as {example}"),
            None => format!("{name} is not a valid {format}"),
        },
        Kind::Pattern { pattern } => match example(schema, &pointer) {
            Some(example) => format!("{name} must be written like {example}"),
            None => format!("{name} does not match the regular expression {pattern}"),
        },
        Kind::PropertyNames { error } => match error.kind() {
            Kind::Pattern { pattern } => format!("a member of {name} has a name that does not match {pattern}"),
            _ => format!("a member of {name} has a name that is not allowed"),
        },
        Kind::MinLength { limit } if *limit == 1 => format!("{name} is empty"),
        Kind::MinLength { limit } => format!("{name} must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("{name} must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("{name} must have at least {}", counted(*limit, "item")),
        Kind::MaxItems { limit } => format!("{name} must have at most {}", counted(*limit, "item")),
        Kind::UniqueItems => format!("{name} has an item twice"),
        Kind::MinProperties { limit } => format!("{name} must have at least {}", counted(*limit, "member")),
        Kind::MaxProperties { limit } => format!("{name} must have at most {}", counted(*limit, "member")),
        Kind::Minimum { limit } => format!("{name} must be at least {limit}"),
        Kind::Maximum { limit } => format!("{name} must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("{name} must be greater than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("{name} must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("{name} must be a multiple of {multiple_of}"),
        Kind::OneOfNotValid { .. } if !choices(schema, &pointer).is_empty() => {
            format!("{name} must be one of {}", list(&choices(schema, &pointer)))
        }
        Kind::AnyOf { .. } if lookup(schema, &pointer).iter().any(|node| node.get("writeOnly").is_some()) => {
            format!("{name} must be a string, {{\"env\": \"NAME\"}} or {{\"file\": \"path\"}}")
        }
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => match alternatives(&lookup(schema, &pointer)) {
            Some(words) => format!("{name} must be {words}"),
            None => format!("{name}: {}", error.masked()),
        },
        _ => format!("{name}: {}", error.masked()),
    };
    found.push(advise(Diagnostic::error(pointer, message), schema));
}

/// Returns the faults in the branch of a choice that an object is meant for: the only one that allows objects.
fn meant<'a>(error: &'a ValidationError<'_>) -> Option<&'a [ValidationError<'static>]> {
    let (Kind::AnyOf { context } | Kind::OneOfNotValid { context }) = error.kind() else { return None };
    let refuses = |one: &ValidationError<'_>| {
        one.instance_path() == error.instance_path() && matches!(one.kind(), Kind::Type { .. })
    };
    let mut allowing = context.iter().filter(|branch| !branch.iter().any(refuses));
    let only = allowing.next().filter(|_| allowing.next().is_none())?;
    error.instance().is_object().then_some(only)
}

/// Formats in words, each with an example.
const FORMATS: [(&str, &str, &str); 7] = [
    ("uuid", "a UUID", "3fa85f64-5717-4562-b3fc-2c963f66afa6"),
    ("date", "a date", "2026-11-30"),
    ("time", "a time of day with its offset", "08:30:00Z"),
    ("date-time", "a date and time with an offset", "2026-11-30T08:30:00Z"),
    ("duration", "a duration of ISO 8601", "PT10M"),
    ("email", "an email address", "eva@example.com"),
    ("ipv4", "an IPv4 address", "192.0.2.1"),
];

/// Returns how a message names the value at a pointer: the name of the member, or the item of a list.
fn name_of(pointer: &str) -> String {
    let names: Vec<_> = pointer_names(pointer).collect();
    match &names[..] {
        [] => "the document".to_owned(),
        [.., list, index] if index.parse::<usize>().is_ok() => format!("item {index} of {list}"),
        [.., name] => name.clone(),
    }
}

/// Returns an example of the value at a pointer, or of a list's item, as it is written.
fn example(schema: &Value, pointer: &str) -> Option<String> {
    let of = |pointer: &str| {
        lookup(schema, pointer).iter().find_map(|node| node.get("examples")?.as_array()?.first().cloned())
    };
    let example = of(pointer).or_else(|| of(pointer.rsplit_once('/')?.0)?.as_array()?.first().cloned())?;
    Some(example.as_str().map_or_else(|| example.to_string(), str::to_owned))
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns what the branches of a choice allow, in words: their listed values, or else their types.
fn alternatives(nodes: &[&Value]) -> Option<String> {
    let (mut values, mut types) = (Vec::new(), Vec::new());
    nodes.iter().try_for_each(|node| add_alternatives(node, &mut values, &mut types))?;
    let mut seen = std::collections::BTreeSet::new();
    let all: Vec<_> = values.into_iter().chain(types).filter(|one| seen.insert(one.clone())).collect();
    match all.split_last()? {
        (only, []) => Some(only.clone()),
        (last, others) => Some(format!("{} or {last}", others.join(", "))),
    }
}

fn add_alternatives(node: &Value, values: &mut Vec<String>, types: &mut Vec<String>) -> Option<()> {
    let branches = ["anyOf", "oneOf"].map(|part| node.get(part).and_then(Value::as_array));
    for branch in branches.into_iter().flatten().flatten() {
        match (branch.get("enum").and_then(Value::as_array), branch.get("const"), branch.get("type")) {
            (Some(options), ..) => values.extend(options.iter().map(Value::to_string)),
            (_, Some(constant), _) => values.push(constant.to_string()),
            // A member that can be null can be left out.
            (.., Some(Value::String(kind))) if kind == "null" => {}
            (.., Some(Value::String(kind))) => types.push(article(kind)),
            (.., Some(Value::Array(kinds))) => types.extend(kinds.iter().filter_map(Value::as_str).map(article)),
            _ if branch.get("anyOf").is_some() || branch.get("oneOf").is_some() => {
                add_alternatives(branch, values, types)?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// Returns the values that a documented enumeration, which is a `oneOf` of constants, allows at a pointer.
fn choices<'a>(schema: &'a Value, pointer: &str) -> Vec<&'a Value> {
    lookup(schema, pointer).iter().filter_map(|node| node.get("const")).collect()
}

/// Adds the description of the property to a finding, as its hint.
fn advise(found: Diagnostic, schema: &Value) -> Diagnostic {
    let help =
        lookup(schema, &found.pointer).iter().find_map(|node| node.get("description")?.as_str().map(str::to_owned));
    match help {
        Some(help) => found.hint(help),
        None => found,
    }
}

fn article(kind: &str) -> String {
    if kind == "null" {
        return kind.to_owned();
    }
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// Returns all sub-schemas that apply to the value at a pointer.
fn lookup<'a>(schema: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let mut nodes = with_branches(schema);
    for segment in pointer_names(pointer) {
        nodes = nodes
            .into_iter()
            .filter_map(|node| node.get("properties").and_then(|all| all.get(&segment)).or_else(|| node.get("items")))
            .flat_map(with_branches)
            .collect();
    }
    nodes
}

fn with_branches(schema: &Value) -> Vec<&Value> {
    std::iter::once(schema).chain(parts(schema).flat_map(with_branches)).collect()
}

fn names(schema: &Value) -> Vec<&str> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}
