//! What a row means: where each input goes, what comes back, and what the engine gets to see of it.

use http::{HeaderName, Method};
use serde_json::{Map, Value, json};
use toml::Spanned;
use trunkline_core::{
    ActionSpec, AnyAction, AnyClient, Context, Effect, Error, ErrorKind, Page, Result, SourceLocation, async_trait,
};

use crate::{
    Client,
    paging::Paging,
    path::{Path, Segment, is_name},
    response::{Call, Reads},
    row::{In, InputRow, OperationRow},
    table::Source,
};

/// Where an input goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    Path,
    Query,
    Body,
    Header,
}

/// An input of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// What it is called in the request.
    pub(crate) wire: String,
    pub(crate) spot: Spot,
    pub(crate) required: bool,
    /// Sent if the caller gives nothing.
    pub(crate) default: Option<Value>,
}

/// One row of a [`Table`](crate::Table), checked: one call of a vendor's API. It is an action as it stands.
#[derive(Debug)]
pub struct Operation {
    spec: ActionSpec,
    place: SourceLocation,
    pub(crate) method: Method,
    pub(crate) path: Path,
    pub(crate) inputs: Vec<Input>,
    /// Name of the one input that is the whole body.
    pub(crate) body: Option<String>,
    pub(crate) content: String,
    /// JSON pointer to the result within the body.
    pub(crate) result: String,
    pub(crate) page: Option<Paging>,
    reads: Reads,
}

/// Headers that belong to the client and to HTTP itself.
const OWN_HEADERS: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

impl Operation {
    /// `resource.verb`.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What the engine and hosts get to see of it.
    pub fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    /// `METHOD /path/{parameter}`, as the row says it.
    pub fn route(&self) -> &str {
        self.spec.route.as_deref().unwrap_or_default()
    }

    /// What calling it again would do.
    pub fn effect(&self) -> Effect {
        self.spec.effect
    }

    /// What the layers of the client need to know of it.
    pub(crate) fn call(&self) -> Call<'_> {
        Call { name: self.name(), route: self.route(), effect: self.effect(), reads: self.reads }
    }

    /// Where the row stands.
    pub fn place(&self) -> &SourceLocation {
        &self.place
    }

    /// Whether it lists, page by page.
    pub fn lists(&self) -> bool {
        self.page.is_some()
    }

    /// Makes an operation of a row, or notes all that is wrong with it.
    pub(crate) fn compile(row: OperationRow, pointer: &str, source: &mut Source<'_>) -> Option<Operation> {
        let before = source.found.len();
        let name_at = row.name.span().start;
        if !row.name.get_ref().split('.').all(is_word) || !row.name.get_ref().contains('.') {
            let message = format!("`{}` is not of the form resource.verb in lower case", row.name.get_ref());
            source.fault(format!("{pointer}/name"), name_at, message);
        }
        // Without a route nothing can be said about the inputs.
        let (method, path) = route(&row.route, pointer, source)?;
        let mut compiled = inputs(&row, &method, &path, pointer, source);
        for (field, value) in [("result", &row.result)] {
            if let Some(value) = value
                && let Err(message) = check_pointer(value.get_ref())
            {
                source.fault(format!("{pointer}/{field}"), value.span().start, message);
            }
        }
        if let Some(content) = &row.content
            && (!content.get_ref().contains('/') || content.get_ref().parse::<http::HeaderValue>().is_err())
        {
            let message = format!("`{}` is no content type", content.get_ref());
            source.fault(format!("{pointer}/content"), content.span().start, message);
        }
        if row.output.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            source.fault(format!("{pointer}/output"), name_at, "`output` is not a JSON Schema");
        }
        let shown = compiled.len();
        let page = row.page.as_ref().and_then(|page| {
            let found = Paging::compile(page.get_ref(), &mut compiled, default_spot(&method)).and_then(|compiled| {
                match row.result.is_some() {
                    true => Err("a row with a page has `items` in it and no `result`".into()),
                    false => Ok(compiled),
                }
            });
            let note = |message: String| source.fault(format!("{pointer}/page"), page.span().start, message);
            found.map_err(note).ok()
        });
        if source.found.len() > before {
            return None;
        }
        let effect = row.effect.unwrap_or(match method {
            Method::GET | Method::HEAD => Effect::Read,
            Method::POST => Effect::Create,
            Method::DELETE => Effect::Delete,
            _ => Effect::Idempotent,
        });
        let shape = row.output.unwrap_or(Value::Bool(true));
        let spec = ActionSpec {
            name: row.name.into_inner(),
            title: row.title,
            group: row.group,
            about: row.about,
            effect,
            route: Some(row.route.into_inner()),
            lists: page.is_some(),
            scopes: row.scopes,
            input: input_schema(&row.input.0, &compiled[..shown]),
            output: if page.is_some() { page_schema(&shape) } else { shape.clone() },
        };
        Some(Operation {
            spec,
            place: source.place(name_at),
            method,
            path,
            inputs: compiled,
            body: row.body.map(Spanned::into_inner),
            content: row.content.map_or_else(|| "application/json".into(), Spanned::into_inner),
            result: row.result.map(Spanned::into_inner).unwrap_or_default(),
            page,
            // What is a text comes as one.
            reads: if shape.get("type").is_some_and(|kind| kind == "string") { Reads::Text } else { Reads::Json },
        })
    }
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn default_spot(method: &Method) -> Spot {
    if matches!(*method, Method::GET | Method::HEAD | Method::DELETE) { Spot::Query } else { Spot::Body }
}

fn route(route: &Spanned<String>, pointer: &str, source: &mut Source<'_>) -> Option<(Method, Path)> {
    // Behind the opening quote.
    let at = route.span().start + 1;
    let pointer = format!("{pointer}/route");
    let Some((method, path)) = route.get_ref().split_once(' ') else {
        source.fault(pointer, at, "a route is `METHOD /path`");
        return None;
    };
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let Some(method) = Method::from_bytes(method.as_bytes()).ok().filter(|one| known.contains(&one.as_str())) else {
        source.fault(pointer, at, format!("{method} is none of {}", known.join(", ")));
        return None;
    };
    match Path::parse(path) {
        Ok(path) => Some((method, path)),
        Err((offset, message)) => {
            source.fault(pointer, at + method.as_str().len() + 1 + offset, message);
            None
        }
    }
}

fn inputs(row: &OperationRow, method: &Method, path: &Path, pointer: &str, source: &mut Source<'_>) -> Vec<Input> {
    let mut compiled = Vec::<Input>::new();
    let body = row.body.as_ref().map(|body| body.get_ref().as_str());
    let can_have_body = !matches!(*method, Method::GET | Method::HEAD);
    for (key, input) in &row.input.0 {
        let (name, at) = (key.get_ref(), key.span().start);
        let pointer = format!("{pointer}/input/{name}");
        let in_path = path.0.contains(&Segment::Parameter(name.clone()));
        let is_body = body == Some(name.as_str());
        let spot = match input.place {
            None if in_path => Spot::Path,
            None if is_body => Spot::Body,
            None => default_spot(method),
            Some(In::Query) => Spot::Query,
            Some(In::Body) => Spot::Body,
            Some(In::Header) => Spot::Header,
        };
        let wire = input.wire.as_ref().map_or(name, Spanned::get_ref);
        let wire_at = input.wire.as_ref().map_or(at, |wire| wire.span().start);
        if !is_name(name) {
            source.fault(&pointer, at, format!("`{name}` cannot be the name of an input"));
        } else if in_path && (input.place.is_some() || input.wire.is_some() || is_body) {
            source.fault(&pointer, at, format!("the route names {name}: it has neither `in` nor `as` and is no body"));
        } else if is_body && spot != Spot::Body {
            source.fault(&pointer, at, format!("{name} is the body and cannot go elsewhere"));
        } else if spot == Spot::Body && !can_have_body {
            source.fault(&pointer, at, format!("{method} has no body for {name}"));
        } else if spot == Spot::Body && !is_body && body.is_some() {
            source.fault(&pointer, at, format!("{name} cannot go into the body beside the input that is the body"));
        } else if spot == Spot::Header && !header_is_free(wire) {
            source.fault(&pointer, wire_at, format!("`{wire}` is not a header a row may set"));
        } else if compiled.iter().any(|other| other.spot == spot && other.wire == *wire) {
            source.fault(&pointer, at, format!("`{wire}` is sent twice"));
        }
        compiled.push(Input {
            name: name.clone(),
            wire: wire.clone(),
            spot,
            required: input.required || in_path,
            default: input.default.clone(),
        });
    }
    for name in path.parameters() {
        if !compiled.iter().any(|input| input.name == name) {
            let message = format!("the route names {name}, but there is no input {name}");
            source.fault(format!("{pointer}/route"), row.route.span().start, message);
        }
    }
    if let Some(body) = &row.body
        && !compiled.iter().any(|input| input.name == *body.get_ref())
    {
        let message = format!("there is no input {}", body.get_ref());
        source.fault(format!("{pointer}/body"), body.span().start, message);
    }
    compiled
}

pub(crate) fn header_is_free(name: &str) -> bool {
    name.parse::<HeaderName>().is_ok_and(|name| !OWN_HEADERS.contains(&name.as_str()))
}

/// Whether a text is a JSON pointer (RFC 6901).
pub(crate) fn check_pointer(pointer: &str) -> Result<(), String> {
    let escapes_fit = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if (pointer.is_empty() || pointer.starts_with('/')) && escapes_fit {
        return Ok(());
    }
    Err(format!("`{pointer}` is no JSON pointer: it is empty or begins with /"))
}

fn input_schema(rows: &[(Spanned<String>, InputRow)], inputs: &[Input]) -> Value {
    let properties: Map<_, _> = rows
        .iter()
        .map(|(key, row)| (key.get_ref().clone(), serde_json::to_value(row).unwrap_or(Value::Bool(true))))
        .collect();
    let required: Vec<_> = inputs.iter().filter(|one| one.required).map(|one| one.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
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

#[async_trait]
impl AnyAction for &'static Operation {
    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value> {
        own(self, client)?.run(self, input, cx).await
    }

    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        own(self, client)?.page_of(self, input, from, cx).await
    }
}

fn own<'a>(operation: &Operation, client: &'a AnyClient) -> Result<&'a Client> {
    client.downcast_ref().ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("{} was called with another connector's client", operation.name()))
    })
}
