//! The description of the API as OpenAPI 3.1, made of the rows and of the schemas of their operations.

use std::collections::BTreeMap;

use aide::openapi::{
    ApiKeyLocation, Components, HeaderStyle, Info, License, Link, LinkOperation, MediaType, OpenApi, Operation,
    Parameter, ParameterData, ParameterSchemaOrContent, PathItem, PathStyle, Paths, QueryStyle, ReferenceOr,
    RequestBody, Response as Outcome, Responses, SchemaObject, SecurityScheme, Server, StatusCode, Tag,
};
use axum::http::HeaderName;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};
use trunkline::{
    ITEM_COLUMNS,
    operations::{AnyOperation, OperationSpec, operations},
};

use crate::{
    api_example::{Examples, Place},
    api_input::{header_of, member},
    api_route::ApiRoute,
    response::Problem,
};

/// The statuses of errors, with their reason.
const ERRORS: [(u16, &str); 14] = [
    (400, "The request cannot be read, or does not fit its schema."),
    (401, "The API token is missing or wrong."),
    (403, "The caller may not do this."),
    (404, "What the request names does not exist."),
    (406, "The request accepts no response of the type that there is."),
    (409, "The state of what the request names does not allow this, or a sign-in is needed first."),
    (412, "What the request changes is not as the caller expects it. Nothing was changed."),
    (413, "The request exceeds a limit."),
    (415, "The body is not JSON, or is compressed."),
    (422, "A document in the request, such as a flow, is faulty, or a setting is wrong."),
    (428, "The request would replace what the caller has not seen: it needs `If-Match`."),
    (429, "There are too many requests."),
    (500, "Trunkline has a fault, or its store cannot be written."),
    (503, "A service or the store is not available now."),
];

/// Where the response or the request of an operation names what it has made: the operation, the expression, and the
/// beginning of the paths below it with their parameter.
const LINKS: [(&str, &str, &str, &str); 5] = [
    ("connections.add", "$request.body#/connections/name", "/rest/v1/connections/{name}", "name"),
    ("flows.save", "$response.body#/added/name", "/rest/v1/flows/{name}", "name"),
    ("runs.rerun", "$response.body#/run", "/rest/v1/runs/{run}", "run"),
    ("runs.resume", "$response.body#/run", "/rest/v1/runs/{run}", "run"),
    ("runs.start", "$response.body#/run", "/rest/v1/runs/{run}", "run"),
];

/// The groups of operations, by the first part of their names.
const TAGS: [(&str, &str); 11] = [
    ("actions", "What connectors can do"),
    ("connections", "Accounts at services, with their sign-ins"),
    ("connectors", "The services that this host knows"),
    ("event_tickets", "Tickets for streams of events"),
    ("expressions", "Expressions while they are written"),
    ("filters", "The functions of expressions"),
    ("flows", "Saved flows and their triggers"),
    ("remembered_items", "What flows remember of items across runs"),
    ("runs", "Runs of flows, and the outcomes of their items"),
    ("schemas", "JSON Schemas of documents"),
    ("steps", "Tests of single steps"),
];

/// Returns the description of the API as an OpenAPI 3.1 document.
pub(crate) fn document(rows: &[ApiRoute]) -> Value {
    let mut schemas = Schemas::default();
    let operations: BTreeMap<_, _> = operations().iter().map(|one| (one.spec().name, schemas.of(&**one))).collect();
    let error = schemas.outputs.subschema_for::<Problem>().to_value();
    let definitions = schemas.definitions();
    let examples = Examples(&definitions);
    let mut paths = Paths::default();
    for row in rows {
        let Some(Described { spec, input, output }) = operations.get(row.operation) else { continue };
        let item = paths.paths.entry(row.path.to_owned()).or_insert_with(|| ReferenceOr::Item(PathItem::default()));
        let ReferenceOr::Item(item) = item else { continue };
        let described =
            operation(row, rows, &examples, &Described { spec, input: input.clone(), output: output.clone() });
        match row.method {
            "POST" => item.post = Some(described),
            "PUT" => item.put = Some(described),
            "PATCH" => item.patch = Some(described),
            "DELETE" => item.delete = Some(described),
            _ => item.get = Some(described),
        }
    }
    let scheme = SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: None,
        description: Some("The API token. The server prints at its start where it is stored.".to_owned()),
        extensions: Default::default(),
    };
    let ticket = SecurityScheme::ApiKey {
        location: ApiKeyLocation::Query,
        name: "ticket".to_owned(),
        description: Some("A ticket for one stream of events, in place of the token.".to_owned()),
        extensions: Default::default(),
    };
    let all = OpenApi {
        info: Info {
            title: "Trunkline".to_owned(),
            summary: Some("Connections, flows and runs of a Trunkline host.".to_owned()),
            version: "1".to_owned(),
            license: Some(License { identifier: Some(env!("CARGO_PKG_LICENSE").to_owned()), ..License::default() }),
            ..Info::default()
        },
        servers: vec![Server { url: "/".to_owned(), ..Server::default() }],
        paths: Some(paths),
        components: Some(Components {
            security_schemes: [
                ("ticket".to_owned(), ReferenceOr::Item(ticket)),
                ("token".to_owned(), ReferenceOr::Item(scheme)),
            ]
            .into(),
            responses: ERRORS
                .iter()
                .map(|(status, about)| (format!("Error{status}"), error_of(about, &error)))
                .collect(),
            schemas: definitions.iter().map(|(name, schema)| (name.clone(), object(schema.clone()))).collect(),
            ..Components::default()
        }),
        security: vec![[("token".to_owned(), Vec::new())].into()],
        tags: TAGS.iter().map(|(name, about)| tag(name, about)).collect(),
        ..OpenApi::default()
    };
    serde_json::to_value(all).unwrap_or_default()
}

/// Returns the description of a row. The schemas of its operation are those within the document.
fn operation(row: &ApiRoute, rows: &[ApiRoute], examples: &Examples<'_>, described: &Described) -> Operation {
    let spec = described.spec;
    let noun = spec.name.split_once('.').unwrap_or_default().0;
    let mut members = members(&described.input);
    let mut parameters = Vec::new();
    for (name, to) in row.parameters() {
        // The document that a GET returns has its name, and a PUT takes the same document.
        let in_body = members.get(to).filter(|_| row.method == "PUT" && row.body_member.is_none()).cloned();
        let mut member = members.remove(to).unwrap_or_default();
        members.extend(in_body.map(|one| (to.to_owned(), Member { is_required: false, ..one })));
        if let Some(element) = member.schema.as_object_mut().and_then(|list| list.shift_remove("items")) {
            member.schema["type"] = element["type"].clone();
        }
        let place = |member| Place { scope: noun, member };
        let example = examples.optional(place(to), &member.schema);
        let example = example.unwrap_or_else(|| examples.of(place(name), &member.schema));
        parameters.push(parameter(name, member, true, Some(example)));
    }
    if let Some(callback) = row.callback_member {
        members.remove(callback);
    }
    let is_conditional = members.contains_key("if_match");
    let (in_headers, mut members): (BTreeMap<_, _>, _) =
        members.into_iter().partition(|(name, _)| header_of(name).is_some());
    let mut body = None;
    if let Some(member) = row.body_member {
        let is_body = |name: &String| name == member;
        let (of_body, others) = members.into_iter().partition(|(name, _)| is_body(name));
        (body, members) = (request_body(row, noun, of_body, examples), others);
    } else if row.has_body() {
        body = request_body(row, noun, std::mem::take(&mut members), examples);
    }
    parameters.extend(members.into_iter().chain(in_headers).map(|(name, one)| {
        let place = Place { scope: noun, member: &name };
        let example = match one.is_required {
            true => Some(examples.of(place, &one.schema)),
            false => examples.optional(place, &one.schema),
        };
        parameter(&name, one, false, example)
    }));
    let mut responses = Responses::default();
    let success = Outcome { links: links(row, rows).collect(), ..success(row, described, examples) };
    if row.method == "PUT" {
        let created = Outcome { description: "The output. The document is new.".to_owned(), ..success.clone() };
        responses.responses.insert(StatusCode::Code(201), ReferenceOr::Item(created));
    }
    responses.responses.insert(StatusCode::Code(row.status), ReferenceOr::Item(success));
    for status in error_statuses(row, is_conditional, !parameters.is_empty(), body.is_some()) {
        let reference = format!("#/components/responses/Error{status}");
        responses.responses.insert(StatusCode::Code(status), ReferenceOr::ref_(&reference));
    }
    Operation {
        tags: vec![noun.to_owned()],
        summary: Some(spec.about.trim_end_matches('.').to_owned()),
        operation_id: Some(operation_id(row, rows)),
        parameters,
        request_body: body.map(ReferenceOr::Item),
        responses: Some(responses),
        deprecated: row.is_deprecated(),
        security: if media_type(row, spec) == "text/event-stream" {
            ["token", "ticket"].map(|one| [(one.to_owned(), Vec::new())].into()).into()
        } else {
            Vec::new()
        },
        extensions: [
            ("x-trunkline-operation".to_owned(), spec.name.into()),
            ("x-trunkline-role".to_owned(), spec.role.as_str().into()),
        ]
        .into(),
        ..Operation::default()
    }
}

fn operation_id(row: &ApiRoute, rows: &[ApiRoute]) -> String {
    // A second row of an operation is its deprecated path, or another place of its input.
    let also = rows.iter().find(|one| one.operation == row.operation).is_some_and(|first| first != row);
    let place = if also { row.path.rsplit('/').next().map(|last| format!("_{last}")) } else { None };
    row.operation.replace('.', "_") + &place.unwrap_or_default()
}

/// Returns the statuses of the errors that a row can have. Those that name nothing find everything, those that change
/// nothing conflict with nothing, and those without a body have none that is too large or faulty.
fn error_statuses(
    row: &ApiRoute,
    is_conditional: bool,
    has_parameters: bool,
    has_body: bool,
) -> impl Iterator<Item = u16> {
    let is_change = row.method != "GET";
    let can = move |status: u16| match status {
        404 => has_parameters || has_body,
        409 => is_change,
        412 | 428 => is_conditional,
        413 => has_parameters || has_body,
        415 => has_body,
        422 => is_change || has_parameters,
        _ => true,
    };
    ERRORS.into_iter().map(|(status, _)| status).filter(move |status| can(*status))
}

/// Returns the links from a response to the requests that its outcome makes possible.
fn links(row: &ApiRoute, rows: &[ApiRoute]) -> impl Iterator<Item = (String, ReferenceOr<Link>)> {
    let made = LINKS.iter().filter(|(operation, ..)| *operation == row.operation);
    made.flat_map(move |(_, expression, prefix, parameter)| {
        let is_below = move |one: &&ApiRoute| one.path.strip_prefix(prefix).is_some_and(|rest| !rest.contains('{'));
        let targets = rows.iter().filter(is_below).filter(|one| !one.is_deprecated());
        targets.map(move |target| {
            let id = operation_id(target, rows);
            let parameters = [((*parameter).to_owned(), Value::from(*expression))].into_iter().collect();
            let link = Link {
                description: None,
                operation: LinkOperation::OperationId(id.clone()),
                request_body: None,
                parameters,
                server: None,
                extensions: Default::default(),
            };
            (id, ReferenceOr::Item(link))
        })
    })
}

/// A member of an input.
#[derive(Clone, Default)]
struct Member {
    schema: Value,
    is_required: bool,
}

/// Returns the members of an input. Of an input with several forms, those of all forms.
fn members(input: &Value) -> BTreeMap<String, Member> {
    let branches = ["oneOf", "anyOf"].iter().find_map(|of| input[*of].as_array());
    let forms: Vec<&Value> = branches.map_or_else(|| vec![input], |branches| branches.iter().collect());
    let mut found = BTreeMap::new();
    for name in forms.iter().filter_map(|form| form["properties"].as_object()).flat_map(Map::keys) {
        let all = forms.iter().filter_map(|form| member(form, form, name).cloned());
        let schema = all.reduce(either).unwrap_or_default();
        let requires = |form: &&Value| form["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        found.insert(name.clone(), Member { schema, is_required: forms.iter().all(requires) });
    }
    found
}

/// Returns the schema of a member that differs between the forms of an input: the constant that names the form.
fn either(one: Value, other: Value) -> Value {
    let mut all: Vec<Value> = one["enum"].as_array().cloned().unwrap_or_else(|| vec![one["const"].clone()]);
    all.push(other["const"].clone());
    if all.iter().any(Value::is_null) {
        return one;
    }
    let about = "The form of the request. Which other members there are depends on it.";
    let members = [("type", "string".into()), ("description", about.into()), ("enum", Value::from(all))];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn parameter(name: &str, member: Member, in_path: bool, example: Option<Value>) -> ReferenceOr<Parameter> {
    let Member { mut schema, is_required } = member;
    let description = schema.as_object_mut().and_then(|schema| schema.shift_remove("description"));
    if schema["format"] == "uint64" {
        schema["maximum"] = u64::MAX.into();
    }
    let header = header_of(name);
    if header.is_some() {
        // A header that is absent stands for null.
        schema["type"] = "string".into();
    }
    let parameter_data = ParameterData {
        name: header.as_ref().map_or(name, HeaderName::as_str).to_owned(),
        description: description.and_then(|text| text.as_str().map(str::to_owned)),
        required: in_path || is_required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(object(schema)),
        example,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    };
    ReferenceOr::Item(match in_path {
        true => Parameter::Path { parameter_data, style: PathStyle::Simple },
        false if header.is_some() => Parameter::Header { parameter_data, style: HeaderStyle::Simple },
        false => {
            Parameter::Query { parameter_data, allow_reserved: false, style: QueryStyle::Form, allow_empty_value: None }
        }
    })
}

fn request_body(
    row: &ApiRoute,
    noun: &str,
    members: BTreeMap<String, Member>,
    examples: &Examples<'_>,
) -> Option<RequestBody> {
    let required: Vec<Value> =
        members.iter().filter(|(_, one)| one.is_required).map(|(name, _)| name.as_str().into()).collect();
    let is_required = !required.is_empty();
    let properties: Map<String, Value> = members.into_iter().map(|(name, one)| (name, one.schema)).collect();
    let schema = match row.body_member {
        Some(_) => Map::from_iter([("type".to_owned(), "object".into())]),
        None if properties.is_empty() => return None,
        None => Map::from_iter([
            ("type".to_owned(), "object".into()),
            ("properties".to_owned(), properties.into()),
            ("required".to_owned(), required.into()),
            ("additionalProperties".to_owned(), false.into()),
        ]),
    };
    let schema = Value::from(schema);
    let example = examples.of(Place { scope: noun, member: "" }, &schema);
    let content = [("application/json".to_owned(), media(schema, Some(example)))].into();
    Some(RequestBody { content, required: is_required, ..RequestBody::default() })
}

/// Returns the media type of the response of an operation that succeeds.
pub(crate) fn media_type(row: &ApiRoute, spec: &OperationSpec) -> &'static str {
    match (row.text, spec.streams, spec.name) {
        (Some(kind), ..) => kind,
        (None, true, "runs.events" | "runs.watch") => "text/event-stream",
        (None, true, _) => "application/jsonl",
        (None, false, _) => "application/json",
    }
}

fn success(row: &ApiRoute, described: &Described, examples: &Examples<'_>) -> Outcome {
    let Described { spec, output, .. } = described;
    let kind = media_type(row, spec);
    let description = match kind {
        "text/event-stream" => "The events, each with its id.",
        "application/jsonl" => "One element per line. After a failure, the last line has the member `error`.",
        _ => "The output.",
    };
    let schema = if kind == "text/event-stream" { event(output.clone()) } else { output.clone() };
    let (scope, member) = spec.name.split_once('.').unwrap_or_default();
    let example = examples.of(Place { scope, member }, &schema);
    let content = [(kind.to_owned(), media(schema, Some(example)))].into();
    let mut outcome = Outcome { description: description.to_owned(), content, ..Outcome::default() };
    if spec.name == "runs.items" {
        let text = Map::from_iter([("type".to_owned(), "string".into())]);
        outcome.content.insert("text/csv".to_owned(), media(text.into(), Some(ITEM_COLUMNS.join(",").into())));
    }
    outcome
}

/// Returns the schema of a server-sent event whose data is JSON of this schema.
fn event(data: Value) -> Value {
    let text = |more: Vec<(&str, Value)>| {
        let members = [("type", Value::from("string"))].into_iter().chain(more);
        members.map(|(name, value)| (name.to_owned(), value)).collect::<Value>()
    };
    let data = text(vec![("contentMediaType", "application/json".into()), ("contentSchema", data)]);
    Map::from_iter([
        ("type".to_owned(), "object".into()),
        (
            "properties".to_owned(),
            Map::from_iter([("id".to_owned(), text(Vec::new())), ("data".to_owned(), data)]).into(),
        ),
        ("required".to_owned(), vec![Value::from("id"), Value::from("data")].into()),
    ])
    .into()
}

fn error_of(about: &str, error: &Value) -> ReferenceOr<Outcome> {
    let content = [("application/problem+json".to_owned(), media(error.clone(), None))].into();
    ReferenceOr::Item(Outcome { description: about.to_owned(), content, ..Outcome::default() })
}

fn tag(name: &str, about: &str) -> Tag {
    Tag { name: name.to_owned(), description: Some(about.to_owned()), ..Tag::default() }
}

fn media(schema: Value, example: Option<Value>) -> MediaType {
    MediaType { schema: Some(object(schema)), example, ..MediaType::default() }
}

fn object(schema: Value) -> SchemaObject {
    // `true` means the same as an empty schema, which more programs read.
    let schema = if schema == Value::Bool(true) { Map::new().into() } else { schema };
    let json_schema = schema.try_into().unwrap_or_default();
    SchemaObject { json_schema, external_docs: None, example: None }
}

/// An operation, with schemas that refer to the definitions of the document.
struct Described {
    spec: &'static OperationSpec,
    input: Value,
    output: Value,
}

/// The definitions that the schemas of inputs and of outputs refer to.
struct Schemas {
    inputs: SchemaGenerator,
    outputs: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Schemas { inputs: settings().into_generator(), outputs: settings().for_serialize().into_generator() }
    }
}

impl Schemas {
    fn of(&mut self, operation: &'static dyn AnyOperation) -> Described {
        let (input, output) = operation.schemas(&mut self.inputs, &mut self.outputs);
        Described { spec: operation.spec(), input: input.to_value(), output: output.to_value() }
    }

    /// Returns all definitions by name.
    fn definitions(&mut self) -> BTreeMap<String, Value> {
        let inputs = self.inputs.take_definitions(true);
        inputs.into_iter().chain(self.outputs.take_definitions(true)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_outputs_share_definitions_that_are_the_same() {
        let mut schemas = Schemas::default();
        operations().iter().for_each(|one| drop(schemas.of(&**one)));
        let (inputs, outputs) = (schemas.inputs.definitions(), schemas.outputs.definitions());
        assert!(inputs.len() > 3 && outputs.len() > 30, "{} {}", inputs.len(), outputs.len());
        for (name, input) in inputs {
            assert!(
                outputs.get(name).is_none_or(|output| output == input),
                "{name}: give one of the two a name of its own"
            );
        }
    }
}
