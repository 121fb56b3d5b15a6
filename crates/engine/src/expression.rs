//! Values with expressions in them: `"{{ steps.search.items | length }}"`.
//!
//! A text that is exactly one `{{ .. }}` yields the expression's JSON value, so that numbers and objects keep their type;
//! an expression inside a longer text yields text. What an expression yields is never evaluated again. The language is
//! minijinja's expressions and nothing else of it: no statements, no I/O, bounded work, our own filters.

use std::sync::{Arc, LazyLock};

use minijinja::{
    Environment, Expression, UndefinedBehavior,
    value::{Enumerator, Object, ObjectRepr, Serde, Value as Dynamic},
};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Result, pointer_part};

use crate::filters;

/// What one evaluation may cost: minijinja charges roughly one unit an instruction.
const FUEL: u64 = 100_000;
/// What one evaluation may yield, in bytes of text or JSON.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    filters::add_to(&mut environment);
    environment
});

/// The names an expression can begin with.
pub(crate) const ROOTS: [&str; 6] = ["input", "steps", "item", "items", "error", "run"];

/// What expressions of a step can refer to. Cheap to clone; an `each` gives every item a scope of its own below its own.
#[derive(Clone, Debug)]
pub(crate) struct Scope(Arc<Level>);

#[derive(Debug)]
struct Level {
    outer: Option<Scope>,
    input: Dynamic,
    run: Dynamic,
    /// `item`, `items`, `error`: what is there only inside of some steps.
    here: Vec<(&'static str, Dynamic)>,
    steps: std::sync::RwLock<Vec<(Arc<str>, Dynamic)>>,
}

impl Scope {
    /// The scope of a run's first steps.
    pub(crate) fn new(input: &Value, run: &str) -> Scope {
        let run = Dynamic::from(Serde(serde_json::json!({ "id": run })));
        Scope(Arc::new(Level {
            outer: None,
            input: Dynamic::from(Serde(input)),
            run,
            here: Vec::new(),
            steps: Default::default(),
        }))
    }

    /// A scope below this one, in which `item`, `items` or `error` is something else.
    pub(crate) fn with(&self, name: &'static str, value: &Value) -> Scope {
        let here = self.0.here.iter().filter(|(known, _)| *known != name).cloned();
        self.below(here.chain([(name, Dynamic::from(Serde(value)))]).collect())
    }

    /// A scope below this one: what its steps yield is not seen outside until it is adopted.
    pub(crate) fn branch(&self) -> Scope {
        self.below(self.0.here.clone())
    }

    fn below(&self, here: Vec<(&'static str, Dynamic)>) -> Scope {
        Scope(Arc::new(Level {
            outer: Some(self.clone()),
            input: self.0.input.clone(),
            run: self.0.run.clone(),
            here,
            steps: Default::default(),
        }))
    }

    /// Makes what the steps of a scope below yielded known to the steps after them.
    pub(crate) fn adopt(&self, below: &Scope) {
        let steps = below.0.steps.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        self.0.steps.write().unwrap_or_else(|poisoned| poisoned.into_inner()).extend(steps);
    }

    /// Makes a step's output known to the steps after it.
    pub(crate) fn set_step(&self, id: &Arc<str>, output: &Value) {
        let output = Dynamic::from(Serde(output));
        self.0.steps.write().unwrap_or_else(|poisoned| poisoned.into_inner()).push((id.clone(), output));
    }

    fn step(&self, id: &str) -> Option<Dynamic> {
        let steps = self.0.steps.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let own = steps.iter().rev().find(|(known, _)| &**known == id).map(|(_, output)| output.clone());
        own.or_else(|| self.0.outer.as_ref()?.step(id))
    }
}

/// The root of what an expression sees.
impl Object for Scope {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Dynamic) -> Option<Dynamic> {
        match key.as_str()? {
            "input" => Some(self.0.input.clone()),
            "run" => Some(self.0.run.clone()),
            "steps" => Some(Dynamic::from_object(Steps(Scope::clone(self)))),
            name => self.0.here.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&ROOTS)
    }
}

#[derive(Debug)]
struct Steps(Scope);

impl Object for Steps {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Dynamic) -> Option<Dynamic> {
        self.0.step(key.as_str()?)
    }
}

/// A JSON value in which texts may hold expressions, compiled once.
#[derive(Debug)]
pub struct Template {
    node: Node,
    source: Value,
}

#[derive(Debug)]
enum Node {
    Literal(Value),
    Expression(Compiled),
    Text(Vec<Piece>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Debug)]
enum Piece {
    Literal(String),
    Expression(Compiled),
}

struct Compiled {
    source: String,
    pointer: String,
    expression: Expression<'static, 'static>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

/// A reference an expression makes: where it stands, and the names it goes through, such as `steps`, `may`, `allowDownload`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) pointer: String,
    pub(crate) path: Vec<String>,
}

impl Template {
    /// Compiles a value; what does not compile is a finding at its JSON pointer.
    pub(crate) fn compile(value: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Template {
        Template { node: node(value, pointer, found), source: value.clone() }
    }

    /// The value as it was written.
    pub(crate) fn source(&self) -> &Value {
        &self.source
    }

    /// The value if there is no expression in it.
    pub(crate) fn literal(&self) -> Option<&Value> {
        self.references().is_empty().then_some(&self.source).filter(|_| is_literal(&self.node))
    }

    /// Every reference the expressions make.
    pub(crate) fn references(&self) -> Vec<Reference> {
        let mut found = Vec::new();
        references(&self.node, &mut found);
        found.sort();
        found
    }

    /// The value with every expression replaced by what it yields.
    pub(crate) fn render(&self, scope: &Scope) -> Result<Value> {
        let root = Dynamic::from_object(scope.clone());
        render(&self.node, &root)
    }

    /// The same as text: a text as it is, anything else as JSON.
    pub(crate) fn render_text(&self, scope: &Scope) -> Result<String> {
        Ok(match self.render(scope)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}

fn is_literal(node: &Node) -> bool {
    match node {
        Node::Literal(_) => true,
        Node::Expression(_) | Node::Text(_) => false,
        Node::Array(items) => items.iter().all(is_literal),
        Node::Object(members) => members.iter().all(|(_, member)| is_literal(member)),
    }
}

fn node(value: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Node {
    match value {
        Value::String(text) => text_node(text, pointer, found),
        Value::Array(items) => {
            let compile = |(index, item)| node(item, &format!("{pointer}/{index}"), found);
            Node::Array(items.iter().enumerate().map(compile).collect())
        }
        Value::Object(members) => {
            let compile = |(name, member): (&String, &Value)| {
                (name.clone(), node(member, &format!("{pointer}/{}", pointer_part(name)), found))
            };
            Node::Object(members.iter().map(compile).collect())
        }
        other => Node::Literal(other.clone()),
    }
}

fn text_node(text: &str, pointer: &str, found: &mut Vec<Diagnostic>) -> Node {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            pieces.push(Piece::Literal(rest[..start].to_owned()));
        }
        let Some(length) = end_of_expression(&rest[start + 2..]) else {
            found.push(
                Diagnostic::error(pointer, "an expression begins with {{ and does not end with }}")
                    .hint("close it, or write {{ '{{' }} where two braces are meant"),
            );
            return Node::Literal(Value::Null);
        };
        let source = rest[start + 2..start + 2 + length].trim();
        match ENVIRONMENT.compile_expression_owned(source.to_owned()) {
            Ok(expression) => pieces.push(Piece::Expression(Compiled {
                source: source.to_owned(),
                pointer: pointer.to_owned(),
                expression,
            })),
            Err(error) => {
                let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
                found.push(Diagnostic::error(pointer, format!("{{{{ {source} }}}} is no expression: {detail}")));
                return Node::Literal(Value::Null);
            }
        }
        rest = &rest[start + 2 + length + 2..];
    }
    if pieces.is_empty() {
        return Node::Literal(text.into());
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    match <[Piece; 1]>::try_from(pieces) {
        Ok([Piece::Expression(only)]) => Node::Expression(only),
        Ok([Piece::Literal(only)]) => Node::Literal(only.into()),
        Err(pieces) => Node::Text(pieces),
    }
}

/// How many bytes lie before the `}}` that ends an expression; quoted texts and maps may hold braces of their own.
fn end_of_expression(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0usize, None, false);
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            (None, b'}') if text.as_bytes().get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}

fn references(node: &Node, found: &mut Vec<Reference>) {
    let mut of = |compiled: &Compiled| {
        for path in compiled.expression.undeclared_variables(true) {
            let path = path.split('.').map(str::to_owned).collect();
            found.push(Reference { pointer: compiled.pointer.clone(), path });
        }
    };
    match node {
        Node::Literal(_) => {}
        Node::Expression(compiled) => of(compiled),
        Node::Text(pieces) => pieces.iter().for_each(|piece| match piece {
            Piece::Literal(_) => {}
            Piece::Expression(compiled) => of(compiled),
        }),
        Node::Array(items) => items.iter().for_each(|item| references(item, found)),
        Node::Object(members) => members.iter().for_each(|(_, member)| references(member, found)),
    }
}

fn render(node: &Node, root: &Dynamic) -> Result<Value> {
    Ok(match node {
        Node::Literal(value) => value.clone(),
        Node::Expression(compiled) => {
            let value = evaluate(compiled, root)?;
            let json = serde_json::to_value(&value).map_err(|error| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("{{{{ {} }}}} yields what JSON cannot hold: {error}", compiled.source),
                )
            })?;
            if size(&json) > OUTPUT_LIMIT {
                return Err(too_much(compiled));
            }
            json
        }
        Node::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Expression(compiled) => {
                        text.push_str(&evaluate(compiled, root)?.to_string());
                        if text.len() > OUTPUT_LIMIT {
                            return Err(too_much(compiled));
                        }
                    }
                }
            }
            text.into()
        }
        Node::Array(items) => Value::Array(items.iter().map(|item| render(item, root)).collect::<Result<_>>()?),
        Node::Object(members) => {
            let mut object = Map::with_capacity(members.len());
            for (name, member) in members {
                object.insert(name.clone(), render(member, root)?);
            }
            object.into()
        }
    })
}

/// Rough size of a JSON value in bytes, without writing it.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + items.len() + 2,
        Value::Object(members) => members.iter().map(|(name, member)| name.len() + 4 + size(member)).sum::<usize>() + 2,
        _ => 8,
    }
}

fn too_much(compiled: &Compiled) -> Error {
    Error::new(ErrorKind::Limit, format!("{{{{ {} }}}} yields more than {OUTPUT_LIMIT} bytes", compiled.source))
        .with("pointer", &compiled.pointer)
}

fn evaluate(compiled: &Compiled, root: &Dynamic) -> Result<Dynamic> {
    let failed = |why: String| {
        Error::new(ErrorKind::InvalidInput, format!("{{{{ {} }}}} cannot be evaluated: {why}", compiled.source))
            .with("pointer", &compiled.pointer)
    };
    match compiled.expression.eval(root) {
        Ok(value) if value.is_undefined() => {
            Err(failed("there is no such value".into()).hint("use the filter default(..) where a value may be missing"))
        }
        Ok(value) => Ok(value),
        Err(error) if error.kind() == minijinja::ErrorKind::OutOfFuel => {
            Err(failed("it needs too much work".into()).into_kind(ErrorKind::Limit))
        }
        Err(error) => Err(failed(error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn try_render(template: Value, input: Value) -> Result<Value> {
        let mut found = Vec::new();
        let template = Template::compile(&template, "", &mut found);
        if let Some(error) = Diagnostic::into_error("template", &found) {
            return Err(error);
        }
        let scope = Scope::new(&input, "r1");
        scope.set_step(&"look".into(), &json!({ "items": [1, 2] }));
        template.render(&scope.with("item", &json!({ "name": "Ä {{ 7 * 7 }}" })))
    }

    #[test]
    fn one_expression_keeps_its_type_and_data_stays_data() {
        let input = json!({ "id": 9_007_199_254_740_993_i64, "on": true });
        let template = json!({ "id": "{{ input.id }}", "text": "no {{ input.id }}", "all": ["{{ steps.look.items | length }}"],
            "name": "{{ item.name }}", "not": "{{ not input.on }}", "braces": "{{ {'a': '}}'} }}" });
        let expected = json!({ "id": 9_007_199_254_740_993_i64, "text": "no 9007199254740993", "all": [2],
            "name": "Ä {{ 7 * 7 }}", "not": false, "braces": { "a": "}}" } });
        assert_eq!(try_render(template, input).unwrap(), expected);
    }

    #[test]
    fn what_is_missing_is_an_error_and_a_default_helps() {
        let error = try_render(json!("{{ input.nothing }}"), json!({})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(try_render(json!("x {{ steps.nobody.x }}"), json!({})).is_err());
        assert_eq!(try_render(json!("{{ input.nothing | default('d') }}"), json!({})).unwrap(), json!("d"));
    }

    #[test]
    fn hostile_expressions_end_within_their_limits() {
        for source in [
            "{{ 'x' * 1000000000 }}",
            "{{ [1] * 1000000000 }}",
            "{{ env }}",
            "{{ input.__class__ }}",
            "{{ range(1000000000) }}",
            "{% for x in [1] %}{% endfor %}{{ 1 }}{{ nope() }}",
            "{{ input | replace('a', 'b') }}",
            "{{ input.big | join(input.big) }}",
        ] {
            let big = json!(vec!["y".repeat(10_000); 2_000]);
            assert!(try_render(json!(source), json!({ "big": big })).is_err(), "{source}");
        }
    }

    #[test]
    fn references_are_known_before_a_run() {
        let mut found = Vec::new();
        let template = json!({ "a": ["{{ steps.may.allow.it or item.x }}"], "b": "t {{ input.y | default(1) }}" });
        let template = Template::compile(&template, "/input", &mut found);
        let all: Vec<_> = template.references().iter().map(|one| (one.pointer.clone(), one.path.join("."))).collect();
        let expected = [("/input/a/0", "item.x"), ("/input/a/0", "steps.may.allow.it"), ("/input/b", "input.y")];
        assert_eq!(all, expected.map(|(pointer, path)| (pointer.to_owned(), path.to_owned())));
    }
}
