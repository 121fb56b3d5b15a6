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
use serde_json::{Value, json};

use crate::{
    Diagnostic, ErrorKind, Result, closest, pointer_names, pointer_part, schema_work, values::url_text::is_url,
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
    for part in ["oneOf", "anyOf", "allOf"] {
        for branch in schema.get(part).and_then(Value::as_array).into_iter().flatten() {
            secrets(branch, document, pointer, found);
        }
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

fn child(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", pointer_part(name))
}

/// Returns the property that distinguishes the branches of a `oneOf`: the first one that is a `const` in all of them.
fn tag(branches: &[Value]) -> Option<&str> {
    let first = branches.first()?.get("properties")?.as_object()?;
    first
        .keys()
        .find(|name| branches.iter().all(|branch| branch.pointer(&format!("/properties/{name}/const")).is_some()))
        .map(String::as_str)
}

fn has_choice(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            object.get("oneOf").and_then(Value::as_array).is_some_and(|branches| tag(branches).is_some())
                || object.values().any(has_choice)
        }
        Value::Array(array) => array.iter().any(has_choice),
        _ => false,
    }
}

/// Returns the schema with each `oneOf` replaced by the branch that the document's tag selects. A failed `oneOf` only
/// reports that no branch fits; the selected branch reports what is wrong.
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
                let what = value.map_or("is missing", |_| "does not have an allowed value");
                found.push(
                    Diagnostic::error(child(pointer, tag), format!("{tag} {what}"))
                        .hint(format!("choose one of {}", list(&choices))),
                );
            }
        }
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

fn list(values: &[&Value]) -> String {
    values.iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

fn collect(validator: &Validator, schema: &Value, document: &Value, found: &mut Vec<Diagnostic>) {
    for error in validator.iter_errors(document) {
        describe(&error, schema, found);
    }
    found.dedup();
}

/// Adds a validation error as a finding in plain words. Values are never quoted, because one of them may be a secret.
fn describe(error: &ValidationError<'_>, schema: &Value, found: &mut Vec<Diagnostic>) {
    let pointer = error.instance_path().to_string();
    let name = pointer.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("the document").to_owned();
    let message = match error.kind() {
        Kind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let pointer = child(&pointer, property);
            found.push(advise(Diagnostic::error(&pointer, format!("{property} is missing")), schema));
            return;
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let known = lookup(schema, &pointer).iter().flat_map(|node| names(node)).collect::<Vec<_>>();
            // If a branch has an error, the validator reports the members of that branch as unknown: those are skipped.
            for property in unexpected.iter().filter(|property| !known.contains(&property.as_str())) {
                let finding = Diagnostic::error(child(&pointer, property), format!("{property} is not known here"));
                found.push(match closest(property, known.iter().copied()) {
                    Some(close) => finding.hint(format!("did you mean {close}?")),
                    None => finding.hint("remove it, or check its spelling"),
                });
            }
            return;
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
        Kind::Format { format } => format!("{name} is not a valid {format}"),
        Kind::Pattern { pattern } => format!("{name} does not have the form {pattern}"),
        Kind::MinLength { limit } if *limit == 1 => format!("{name} is empty"),
        Kind::Minimum { limit } => format!("{name} must be at least {limit}"),
        Kind::Maximum { limit } => format!("{name} must be at most {limit}"),
        Kind::OneOfNotValid { .. } if !choices(schema, &pointer).is_empty() => {
            format!("{name} must be one of {}", list(&choices(schema, &pointer)))
        }
        Kind::AnyOf { .. } if lookup(schema, &pointer).iter().any(|node| node.get("writeOnly").is_some()) => {
            format!("{name} must be a string, {{\"env\": \"NAME\"}} or {{\"file\": \"path\"}}")
        }
        _ => format!("{name}: {}", error.masked()),
    };
    found.push(advise(Diagnostic::error(pointer, message), schema));
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
    let branches = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|part| schema.get(part)?.as_array()).flatten();
    std::iter::once(schema).chain(branches.flat_map(with_branches)).collect()
}

fn names(schema: &Value) -> Vec<&str> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}
