//! Compiled rows: checked rows of an operation table, each of which is an action.
//!
//! Compiling a row decides where each input goes in the request, where the result is in the response, and how the
//! action is described to the engine. All errors of a row are reported together.

use http::Method;
use serde_json::{Map, Value, json};
use toml::Spanned;
use trunkline_core::{
    ActionSpec, Diagnostic, Effect, Schema, SourceLocation, TextPlaces, check_pointer, form_schema, pointer_part,
};

use super::{
    call::{Call, ExpectedBody},
    input::{Input, InputLocation},
    path::{Path, is_name},
    request::is_form,
    row::{In, InputRow, OperationRow},
    shapes::Shapes,
    table_file::TableFile,
};
use crate::{paging::Paging, transport::header_is_free};

/// One call of a vendor's API: a checked row of a [`Table`](crate::Table). It is an action without further code.
#[derive(Debug)]
pub struct CompiledRow {
    spec: ActionSpec,
    pub(crate) location: SourceLocation,
    pub(crate) method: Method,
    pub(crate) path: Path,
    pub(crate) inputs: Vec<Input>,
    /// Name of the one input that is the whole body.
    pub(crate) body: Option<String>,
    pub(crate) content: String,
    /// JSON pointer to the result within the body.
    pub(crate) result: String,
    pub(crate) paging: Option<Paging>,
    expects: ExpectedBody,
    /// The places in a response that are declared as text.
    texts: TextPlaces,
}

impl CompiledRow {
    /// Returns the name, `resource.verb`.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Returns the description of the action for the engine and for hosts.
    pub fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    /// Returns the route as the row has it: `METHOD /path/{parameter}`.
    pub fn route(&self) -> &str {
        self.spec.route.as_deref().unwrap_or_default()
    }

    /// Returns the effect, which decides whether a call may be repeated.
    pub fn effect(&self) -> Effect {
        self.spec.effect
    }

    /// Returns the facts that the layers of the client need.
    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            name: self.name(),
            route: self.route(),
            effect: self.effect(),
            expects: self.expects,
            ends: &[],
            inputs: &self.inputs,
            texts: &self.texts,
        }
    }

    /// Returns the location of the row in its file.
    pub fn location(&self) -> &SourceLocation {
        &self.location
    }

    /// Returns whether the operation returns a list page by page.
    pub fn lists(&self) -> bool {
        self.paging.is_some()
    }

    /// Returns what is wrong with the schemas of its input and its output: no input could be checked against them.
    pub(crate) fn schema_faults(&self) -> Vec<Diagnostic> {
        let schemas = [("input", &self.spec.input), ("output", &self.spec.output)];
        let fault = |(what, schema): (&str, &Value)| {
            let fault = Schema::from(schema.clone()).fault()?;
            let message = format!("the {what} of {}: {}", self.name(), fault.message);
            Some(Diagnostic::error("", message).at(self.location.clone()))
        };
        schemas.into_iter().filter_map(fault).collect()
    }

    /// Returns the value to send for an input if the caller gives none.
    pub(crate) fn default(&self, input: &str) -> Option<Value> {
        self.inputs.iter().find(|one| one.name == input)?.default.clone()
    }

    /// Makes an operation of a row. Returns `None` if the row has errors, which are then among the findings of `file`.
    pub(crate) fn compile(
        row: OperationRow,
        shapes: &Shapes,
        pointer: &str,
        file: &mut TableFile<'_>,
    ) -> Option<CompiledRow> {
        let findings_before = file.findings.len();
        check_name(&row, pointer, file);
        // Without a route, nothing can be said about the inputs.
        let (method, path) = route(&row.route, pointer, file)?;
        let mut inputs = RoutedRow { row: &row, method: &method, path: &path }.inputs(pointer, file);
        check_bodies(&row, pointer, file);
        let declared = inputs.len();
        let shape = shapes.resolve(row.output.clone().unwrap_or(Value::Bool(true)));
        let paging = paging(&row, &shape, default_location(&method), &mut inputs, pointer, file);
        if file.findings.len() > findings_before {
            return None;
        }
        let location = file.location(row.name.span().start);
        let texts = text_places(&row, &shape);
        // An operation whose result is a text takes a text as the body of the response.
        let is_text = shape.get("type").is_some_and(|kind| kind == "string");
        // Without the inputs that the client itself sends for paging.
        let input = input_schema(&row, &inputs[..declared], shapes);
        let spec = ActionSpec {
            name: row.name.into_inner(),
            title: row.title,
            group: row.group,
            about: row.about,
            effect: row.effect.unwrap_or_else(|| default_effect(&method)),
            route: Some(row.route.into_inner()),
            lists: paging.is_some(),
            scopes: row.scopes,
            input,
            output: if paging.is_some() { page_schema(&shape) } else { shape },
        };
        Some(CompiledRow {
            spec,
            location,
            method,
            path,
            inputs,
            body: row.body.map(Spanned::into_inner),
            content: row.content.map_or_else(|| "application/json".into(), Spanned::into_inner),
            result: row.result.map(Spanned::into_inner).unwrap_or_default(),
            paging,
            expects: if is_text { ExpectedBody::Text } else { ExpectedBody::Json },
            texts,
        })
    }
}

/// Returns the places in a response at which its row declares texts, and that of the cursor of the next page, which is
/// sent as it was written. `shape` is that of the result, or of an item of a list with pages.
fn text_places(row: &OperationRow, shape: &Value) -> TextPlaces {
    let mut places = TextPlaces::default();
    match row.page.as_ref().map(Spanned::get_ref) {
        Some(page) => {
            add_text_places(shape, &format!("{}/*", page.items), &mut places);
            places.texts.extend(page.next.clone());
            places.numbers.extend(page.next.clone());
        }
        None => add_text_places(shape, row.result.as_ref().map_or("", |result| result.get_ref()), &mut places),
    }
    places
}

fn add_text_places(schema: &Value, place: &str, places: &mut TextPlaces) {
    let is_text = |name: &Value| name == "string" || name == "null";
    let declared = match schema.get("type") {
        Some(Value::Array(names)) => names.contains(&"string".into()) && names.iter().all(is_text),
        one => one.is_some_and(|one| one == "string"),
    };
    if declared {
        places.texts.push(place.to_owned());
    } else if takes_numbers(schema) {
        places.numbers.push(place.to_owned());
    }
    let choices = ["anyOf", "oneOf", "allOf"].iter().filter_map(|name| schema.get(name)?.as_array());
    choices.flatten().for_each(|branch| add_text_places(branch, place, places));
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        add_text_places(property, &format!("{place}/{}", pointer_part(name)), places);
    }
    for inner in ["items", "additionalProperties"].iter().filter_map(|name| schema.get(name)) {
        add_text_places(inner, &format!("{place}/*"), places);
    }
}

/// Returns whether a schema admits a number itself, and not by one of its choices.
fn takes_numbers(schema: &Value) -> bool {
    let is_number = |name: &Value| name == "number" || name == "integer";
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().any(is_number),
        Some(name) => is_number(name),
        None => !["anyOf", "oneOf", "allOf", "enum", "const"].iter().any(|name| schema.get(name).is_some()),
    }
}

fn default_effect(method: &Method) -> Effect {
    match *method {
        Method::GET | Method::HEAD => Effect::Read,
        Method::POST => Effect::Create,
        Method::DELETE => Effect::Delete,
        _ => Effect::Idempotent,
    }
}

fn check_name(row: &OperationRow, pointer: &str, file: &mut TableFile<'_>) {
    let name = row.name.get_ref();
    if !name.split('.').all(is_word) || !name.contains('.') {
        let message = format!("`{name}` is not of the form resource.verb in lower case");
        file.error(format!("{pointer}/name"), row.name.span().start, message);
    }
}

/// Checks what a row says about the bodies of its request and its response: `result`, `content` and `output`.
fn check_bodies(row: &OperationRow, pointer: &str, file: &mut TableFile<'_>) {
    if let Some(result) = &row.result
        && let Err(message) = check_pointer(result.get_ref())
    {
        file.error(format!("{pointer}/result"), result.span().start, message);
    }
    if let Some(content) = &row.content
        && (!content.get_ref().contains('/') || content.get_ref().parse::<http::HeaderValue>().is_err())
    {
        let message = format!("`{}` is not a content type", content.get_ref());
        file.error(format!("{pointer}/content"), content.span().start, message);
    }
    if row.output.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean() && !schema.is_string()) {
        file.error(
            format!("{pointer}/output"),
            row.name.span().start,
            "`output` is neither a JSON Schema nor the name of a shape",
        );
    }
}

/// Compiles the paging rule of a row, if it has one. `item` is the schema of an item. Inputs that the rule needs and the
/// row does not declare are added, at this location of the request.
fn paging(
    row: &OperationRow,
    item: &Value,
    location: InputLocation,
    inputs: &mut Vec<Input>,
    pointer: &str,
    file: &mut TableFile<'_>,
) -> Option<Paging> {
    let page = row.page.as_ref()?;
    // A name that the row declares as an input, by its own or its wire name, is that input; else the client sends it.
    let resolve = |name: &str| {
        if let Some(input) = inputs.iter().find(|input| input.name == name || input.wire_name == name) {
            return input.name.clone();
        }
        let (name, wire_name) = (name.to_owned(), name.to_owned());
        let (slashes, lists) = Default::default();
        inputs.push(Input { name: name.clone(), wire_name, location, required: false, default: None, slashes, lists });
        name
    };
    let compiled = Paging::compile(page.get_ref(), item, resolve).and_then(|paging| match row.result.is_some() {
        true => Err("a row with a page has `items` in it and no `result`".into()),
        false => Ok(paging),
    });
    compiled.map_err(|message| file.error(format!("{pointer}/page"), page.span().start, message)).ok()
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn default_location(method: &Method) -> InputLocation {
    match *method {
        Method::GET | Method::HEAD | Method::DELETE => InputLocation::Query,
        _ => InputLocation::Body,
    }
}

fn route(route: &Spanned<String>, pointer: &str, file: &mut TableFile<'_>) -> Option<(Method, Path)> {
    // After the opening quote.
    let at = route.span().start + 1;
    let pointer = format!("{pointer}/route");
    let Some((method, path)) = route.get_ref().split_once(' ') else {
        file.error(pointer, at, "a route is `METHOD /path`");
        return None;
    };
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let parsed = Method::from_bytes(method.as_bytes()).ok();
    let Some(method) = parsed.filter(|method| known.contains(&method.as_str())) else {
        file.error(pointer, at, format!("{method} is not one of {}", known.join(", ")));
        return None;
    };
    match Path::parse(path) {
        Ok(path) => Some((method, path)),
        Err((offset, message)) => {
            file.error(pointer, at + method.as_str().len() + 1 + offset, message);
            None
        }
    }
}

/// An error in an input, and the part of its row that it points to.
enum InputProblem {
    Input(String),
    WireName(String),
}

/// A row whose route was parsed.
struct RoutedRow<'a> {
    row: &'a OperationRow,
    method: &'a Method,
    path: &'a Path,
}

impl RoutedRow<'_> {
    fn in_path(&self, name: &str) -> bool {
        self.path.parameters().any(|parameter| parameter == name)
    }

    fn is_form(&self) -> bool {
        self.row.content.as_ref().is_some_and(|content| is_form(content.get_ref()))
    }

    fn is_body(&self, name: &str) -> bool {
        self.row.body.as_ref().is_some_and(|body| body.get_ref() == name)
    }

    /// Compiles the inputs, and checks that the route and `body` name no others.
    fn inputs(&self, pointer: &str, file: &mut TableFile<'_>) -> Vec<Input> {
        let mut compiled = Vec::<Input>::new();
        for (key, written) in &self.row.input.0 {
            let input = self.input(key.get_ref(), written);
            let at = key.span().start;
            let wire_name_at = written.wire_name.as_ref().map_or(at, |wire_name| wire_name.span().start);
            let pointer = format!("{pointer}/input/{}", input.name);
            match self.problem(written, &input, &compiled) {
                None => {}
                Some(InputProblem::Input(message)) => file.error(pointer, at, message),
                Some(InputProblem::WireName(message)) => file.error(pointer, wire_name_at, message),
            }
            compiled.push(input);
        }
        let is_missing = |name: &str| !compiled.iter().any(|input| input.name == name);
        for name in self.path.parameters().filter(|name| is_missing(name)) {
            let message = format!("the route names {name}, but there is no input {name}");
            file.error(format!("{pointer}/route"), self.row.route.span().start, message);
        }
        if let Some(body) = self.row.body.as_ref().filter(|body| is_missing(body.get_ref())) {
            let message = format!("there is no input {}", body.get_ref());
            file.error(format!("{pointer}/body"), body.span().start, message);
        }
        compiled
    }

    fn input(&self, name: &String, written: &InputRow) -> Input {
        let location = match written.location {
            None if self.in_path(name) => InputLocation::Path,
            None if self.is_body(name) => InputLocation::Body,
            None => default_location(self.method),
            Some(In::Query) => InputLocation::Query,
            Some(In::Body) => InputLocation::Body,
            Some(In::Header) => InputLocation::Header,
        };
        Input {
            name: name.clone(),
            wire_name: written.wire_name.as_ref().map_or(name, Spanned::get_ref).clone(),
            location,
            required: written.required || self.in_path(name),
            default: written.default.clone(),
            slashes: written.slashes.unwrap_or_default(),
            lists: written.lists.unwrap_or_default(),
        }
    }

    /// Returns the first error of an input; `others` are those before it.
    fn problem(&self, written: &InputRow, input: &Input, others: &[Input]) -> Option<InputProblem> {
        let Input { name, wire_name, location, .. } = input;
        let (method, is_body, in_body) = (self.method, self.is_body(name), *location == InputLocation::Body);
        let is_relocated = written.location.is_some() || written.wire_name.is_some() || is_body;
        let message = if !is_name(name) {
            format!("`{name}` cannot be the name of an input")
        } else if self.in_path(name) && is_relocated {
            format!("the route names {name}: it has neither `in` nor `as` and is not the body")
        } else if written.slashes.is_some() && !self.in_path(name) {
            format!("`slashes` is for inputs in the path, and the route does not name {name}")
        } else if written.lists.is_some() && *location != InputLocation::Query && !(in_body && self.is_form()) {
            format!("`lists` is for inputs in the query or in a form, and {name} is not one")
        } else if is_body && !in_body {
            format!("{name} is the body and cannot go elsewhere")
        } else if in_body && matches!(*method, Method::GET | Method::HEAD) {
            format!("{method} has no body for {name}")
        } else if in_body && !is_body && self.row.body.is_some() {
            format!("{name} cannot go into the body beside the input that is the body")
        } else if *location == InputLocation::Header && !header_is_free(wire_name) {
            return Some(InputProblem::WireName(format!("`{wire_name}` is not a header that a row may set")));
        } else if others.iter().any(|other| other.location == *location && other.wire_name == *wire_name) {
            format!("`{wire_name}` is sent twice")
        } else {
            return None;
        };
        Some(InputProblem::Input(message))
    }
}

fn input_schema(row: &OperationRow, inputs: &[Input], shapes: &Shapes) -> Value {
    let properties: Map<_, _> =
        row.input.0.iter().map(|(key, input)| (key.get_ref().clone(), shapes.input(input))).collect();
    let required: Vec<_> = inputs.iter().filter(|input| input.required).map(|input| input.name.as_str()).collect();
    form_schema(json!({ "type": "object", "title": row.title, "properties": properties, "required": required,
            "additionalProperties": false }))
}

fn page_schema(item: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "items": { "type": "array", "title": "Items of this page", "items": item },
            "next": { "title": "Where the next page begins", "description": "Null after the last one; opaque." }
        },
        "required": ["items", "next"],
        "additionalProperties": false
    })
}
