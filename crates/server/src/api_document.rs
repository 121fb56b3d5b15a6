//! The description of the API as OpenAPI 3.1, made of the rows and of the schemas of their operations.

use std::{collections::BTreeMap, sync::LazyLock};

use aide::openapi::{
    Components, Info, MediaType, OpenApi, Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathItem,
    PathStyle, Paths, QueryStyle, ReferenceOr, RequestBody, Response as Described, Responses, SchemaObject,
    SecurityScheme, StatusCode, Tag,
};
use axum::{
    http::{HeaderMap, StatusCode as Status, header},
    response::{IntoResponse, Response},
};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use trunkline::operations::{OperationSpec, operations};
use trunkline_core::{Error, written_schema_of};

use crate::{api::ApiRoute, api_input::member, routes::api_routes};

/// The statuses of errors that every request of the API can have, with their reason.
const ERRORS: [(u16, &str); 9] = [
    (400, "The request cannot be read, or does not fit its schema."),
    (401, "The API token is missing or wrong."),
    (403, "The caller may not do this."),
    (404, "What the request names does not exist."),
    (409, "The state of what the request names does not allow this, or a sign-in is needed first."),
    (413, "The request exceeds a limit."),
    (429, "There are too many requests."),
    (500, "Trunkline has a fault, or its store cannot be written."),
    (503, "A service or the store is not available now."),
];

/// The groups of operations, by the first part of their names.
const TAGS: [(&str, &str); 7] = [
    ("actions", "What connectors can do"),
    ("connections", "Accounts at services, with their sign-ins"),
    ("connectors", "The services that this host knows"),
    ("filters", "The functions of expressions"),
    ("flows", "Saved flows and their triggers"),
    ("runs", "Runs of flows, and the outcomes of their items"),
    ("schemas", "JSON Schemas of documents"),
];

/// Returns the description of the API as an OpenAPI 3.1 document.
pub fn document() -> Value {
    let mut schemas = Schemas::default();
    let specs: BTreeMap<_, _> = operations().iter().map(|one| (one.spec().name, one.spec())).collect();
    // Inputs first: of two schemas with one name, that of the inputs keeps it.
    let inputs: BTreeMap<_, _> = specs.values().map(|spec| (spec.name, schemas.add(&spec.input))).collect();
    let outputs: BTreeMap<_, _> = specs.values().map(|spec| (spec.name, schemas.add(&spec.output))).collect();
    let error = schemas.add(&written_schema_of::<Error>());
    let mut paths = Paths::default();
    for row in api_routes() {
        let Some(spec) = specs.get(row.operation) else { continue };
        let item = paths.paths.entry(row.path.to_owned()).or_insert_with(|| ReferenceOr::Item(PathItem::default()));
        let ReferenceOr::Item(item) = item else { continue };
        let described = operation(row, spec, &inputs[row.operation], outputs[row.operation].clone());
        match row.method {
            "POST" => item.post = Some(described),
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
    let all = OpenApi {
        info: Info {
            title: "Trunkline".to_owned(),
            summary: Some("Connections, flows and runs of a Trunkline host.".to_owned()),
            version: "1".to_owned(),
            ..Info::default()
        },
        paths: Some(paths),
        components: Some(Components {
            security_schemes: [("token".to_owned(), ReferenceOr::Item(scheme))].into(),
            responses: ERRORS
                .iter()
                .map(|(status, about)| (format!("Error{status}"), error_of(about, &error)))
                .collect(),
            schemas: schemas.found.into_iter().map(|(name, (_, schema))| (name, object(schema))).collect(),
            ..Components::default()
        }),
        security: vec![[("token".to_owned(), Vec::new())].into()],
        tags: TAGS.iter().map(|(name, about)| tag(name, about)).collect(),
        ..OpenApi::default()
    };
    serde_json::to_value(all).unwrap_or_default()
}

/// Returns the description as a response, which a client needs to load only once for each version of the server.
pub(crate) async fn response(headers: HeaderMap) -> Response {
    static TEXT: LazyLock<(String, String)> = LazyLock::new(|| {
        let text = document().to_string();
        let digest = HEXLOWER.encode(&Sha256::digest(&text)[..16]);
        (text, format!("\"{digest}\""))
    });
    let (text, tag) = &*TEXT;
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let headers = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "no-cache")];
    if known {
        return (Status::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response()
}

/// Returns the description of a row. `input` and `output` are the schemas of its operation within the document.
fn operation(row: &ApiRoute, spec: &OperationSpec, input: &Value, output: Value) -> Operation {
    let (noun, verb) = spec.name.split_once('.').unwrap_or_default();
    let mut members = members(input);
    let mut parameters = Vec::new();
    for (name, to) in row.parameters() {
        let member = members.remove(to).unwrap_or_default();
        parameters.push(parameter(name, member, true));
    }
    if let Some(callback) = row.callback_member {
        members.remove(callback);
    }
    let mut body = None;
    if row.method == "POST" {
        body = request_body(row, members);
    } else {
        parameters.extend(members.into_iter().map(|(name, one)| parameter(&name, one, false)));
    }
    let mut responses = Responses::default();
    responses.responses.insert(StatusCode::Code(row.status), ReferenceOr::Item(success(spec, output)));
    for (status, _) in ERRORS {
        let reference = format!("#/components/responses/Error{status}");
        responses.responses.insert(StatusCode::Code(status), ReferenceOr::ref_(&reference));
    }
    // A second row of an operation is its deprecated path, or another place of its input.
    let also = api_routes().iter().find(|one| one.operation == row.operation).is_some_and(|first| first != row);
    let place = if also { row.path.rsplit('/').next().map(|last| format!("_{last}")) } else { None };
    Operation {
        tags: vec![noun.to_owned()],
        summary: Some(spec.about.trim_end_matches('.').to_owned()),
        operation_id: Some(format!("{noun}_{verb}{}", place.unwrap_or_default())),
        parameters,
        request_body: body.map(ReferenceOr::Item),
        responses: Some(responses),
        deprecated: row.is_deprecated(),
        extensions: [
            ("x-trunkline-operation".to_owned(), spec.name.into()),
            ("x-trunkline-role".to_owned(), spec.role.as_str().into()),
        ]
        .into(),
        ..Operation::default()
    }
}

/// A member of an input.
#[derive(Default)]
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
        let all = forms.iter().map(|form| member(form, form, name)).filter(|one| !one.is_null());
        let schema = all.reduce(either).unwrap_or_default();
        let requires = |form: &&Value| form["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        found.insert(name.clone(), Member { schema, is_required: forms.iter().all(|form| requires(&form)) });
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

fn parameter(name: &str, member: Member, in_path: bool) -> ReferenceOr<Parameter> {
    let Member { mut schema, is_required } = member;
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    let parameter_data = ParameterData {
        name: name.to_owned(),
        description: description.and_then(|text| text.as_str().map(str::to_owned)),
        required: in_path || is_required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(object(schema)),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    };
    ReferenceOr::Item(match in_path {
        true => Parameter::Path { parameter_data, style: PathStyle::Simple },
        false => {
            Parameter::Query { parameter_data, allow_reserved: false, style: QueryStyle::Form, allow_empty_value: None }
        }
    })
}

fn request_body(row: &ApiRoute, members: BTreeMap<String, Member>) -> Option<RequestBody> {
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
    let content = [("application/json".to_owned(), media(schema.into()))].into();
    Some(RequestBody { content, required: is_required, ..RequestBody::default() })
}

fn success(spec: &OperationSpec, output: Value) -> Described {
    let (kind, description) = match (spec.streams, spec.name) {
        (true, "runs.events") => ("text/event-stream", "The events, each with its number as its id."),
        (true, _) => {
            ("application/jsonl", "One element per line. After a failure, the last line has the member `error`.")
        }
        (false, _) => ("application/json", "The output."),
    };
    let content = [(kind.to_owned(), media(output))].into();
    Described { description: description.to_owned(), content, ..Described::default() }
}

fn error_of(about: &str, error: &Value) -> ReferenceOr<Described> {
    let schema = Map::from_iter([
        ("type".to_owned(), "object".into()),
        ("properties".to_owned(), Map::from_iter([("error".to_owned(), error.clone())]).into()),
        ("required".to_owned(), vec![Value::from("error")].into()),
    ]);
    let content = [("application/json".to_owned(), media(schema.into()))].into();
    ReferenceOr::Item(Described { description: about.to_owned(), content, ..Described::default() })
}

fn tag(name: &str, about: &str) -> Tag {
    Tag { name: name.to_owned(), description: Some(about.to_owned()), ..Tag::default() }
}

fn media(schema: Value) -> MediaType {
    MediaType { schema: Some(object(schema)), ..MediaType::default() }
}

fn object(schema: Value) -> SchemaObject {
    let json_schema = schema.try_into().unwrap_or_else(|_| true.into());
    SchemaObject { json_schema, external_docs: None, example: None }
}

/// The schemas of the document, by name: each as its operation has it, and as it stands in the document.
#[derive(Default)]
struct Schemas {
    found: BTreeMap<String, (Value, Value)>,
}

impl Schemas {
    /// Moves the definitions of a schema into the document, and returns the schema with references to them. A definition
    /// that differs from one of the same name gets another name.
    fn add(&mut self, schema: &Value) -> Value {
        let mut schema = schema.clone();
        let definitions = match &mut schema {
            Value::Object(members) => {
                members.remove("$schema");
                members.remove("$defs")
            }
            _ => None,
        };
        let Some(Value::Object(definitions)) = definitions else { return schema };
        let differs = |name: &str, one: &Value| self.found.get(name).is_some_and(|(found, _)| found != one);
        let mut renamed: Vec<&String> =
            definitions.iter().filter(|(name, one)| differs(name, one)).map(|(name, _)| name).collect();
        // What refers to a renamed definition differs, too.
        loop {
            let more = definitions.iter().find(|(name, one)| !renamed.contains(name) && refers(one, &renamed));
            match more {
                Some((name, _)) => renamed.push(name),
                None => break,
            }
        }
        let renamed: Vec<String> = renamed.into_iter().cloned().collect();
        for (name, one) in &definitions {
            let target = if renamed.contains(name) { format!("{name}Output") } else { name.clone() };
            let moved = moved(one.clone(), &renamed);
            self.found.entry(target).or_insert_with(|| (one.clone(), moved));
        }
        moved(schema, &renamed)
    }
}

fn refers(schema: &Value, names: &[&String]) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(key, value)| match value {
            Value::String(text) if key == "$ref" => {
                names.iter().any(|name| text.strip_prefix("#/$defs/") == Some(name))
            }
            value => refers(value, names),
        }),
        Value::Array(all) => all.iter().any(|one| refers(one, names)),
        _ => false,
    }
}

/// Returns a schema whose references lead to the schemas of the document.
fn moved(mut schema: Value, renamed: &[String]) -> Value {
    match &mut schema {
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                *value = match &*value {
                    Value::String(text) if key == "$ref" => match text.strip_prefix("#/$defs/") {
                        Some(name) if renamed.iter().any(|one| one == name) => {
                            format!("#/components/schemas/{name}Output").into()
                        }
                        Some(name) => format!("#/components/schemas/{name}").into(),
                        None => text.clone().into(),
                    },
                    _ => moved(value.take(), renamed),
                };
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| *one = moved(one.take(), renamed)),
        _ => {}
    }
    schema
}
