//! Values with expressions in them: `"{{ steps.search.items | length }}"`.
//!
//! A text that is exactly one `{{ .. }}` yields the expression's JSON value, so that numbers and objects keep their type;
//! an expression inside a longer text yields text. What an expression yields is never evaluated again. The language is
//! minijinja's expressions and nothing else of it: no statements, no functions, no I/O, bounded work, our own filters. What
//! could grow beyond its limits is refused when it is compiled; see also [`types`](crate::types).

use std::sync::{Arc, LazyLock};

use minijinja::{
    Environment, Expression, UndefinedBehavior,
    value::{Enumerator, Object, ObjectRepr, Serde, Value as Dynamic},
};
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Result, pointer_part};

use crate::{filters, json_kinds::Kinds, typing};

mod yields;

pub(crate) use yields::{text_of, to_json};

/// What one evaluation may cost: minijinja charges roughly one unit an instruction.
const FUEL: u64 = 100_000;
/// How long one expression may be, in bytes.
const LONGEST: usize = 8 * 1024;
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
    /// Those of the flow; the filter `lookup` asks for them, expressions cannot.
    tables: Dynamic,
    /// `item`, `items`, `error`: what is there only inside of some steps.
    here: Vec<(&'static str, Dynamic)>,
    steps: std::sync::RwLock<Vec<(Arc<str>, Dynamic)>>,
}

impl Scope {
    /// The scope of a run's first steps.
    pub(crate) fn new(input: &Value, run: &str, tables: &Value) -> Scope {
        let run = Dynamic::from(Serde(serde_json::json!({ "id": run })));
        Scope(Arc::new(Level {
            outer: None,
            input: Dynamic::from(Serde(input)),
            run,
            tables: Dynamic::from(Serde(tables)),
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
            tables: self.0.tables.clone(),
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
            "tables" => Some(self.0.tables.clone()),
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

/// What a value compiles to.
#[derive(Debug)]
pub(crate) enum Node {
    Literal(Value),
    /// What did not compile: it is told, and never rendered.
    Unread,
    Expression(Compiled),
    Text(Vec<Piece>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// A part of a text.
#[derive(Debug)]
pub(crate) enum Piece {
    Literal(String),
    Expression(Compiled),
}

/// One expression.
pub(crate) struct Compiled {
    pub(crate) source: String,
    pub(crate) pointer: String,
    expression: Expression<'static, 'static>,
    /// What it multiplies and has to be seen before: a text times a number would be a text of any length.
    factors: Vec<Expression<'static, 'static>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
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

    /// What it compiled to.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The value if there is no expression in it.
    pub(crate) fn literal(&self) -> Option<&Value> {
        self.node.is_literal().then_some(&self.source)
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

impl Node {
    /// Whether there is no expression in it.
    pub(crate) fn is_literal(&self) -> bool {
        match self {
            Node::Literal(_) => true,
            Node::Expression(_) | Node::Text(_) | Node::Unread => false,
            Node::Array(items) => items.iter().all(Node::is_literal),
            Node::Object(members) => members.iter().all(|(_, member)| member.is_literal()),
        }
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
    let (mut pieces, mut rest, before) = (Vec::new(), text, found.len());
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            pieces.push(Piece::Literal(rest[..start].to_owned()));
        }
        let Some(length) = end_of_expression(&rest[start + 2..]) else {
            found.push(
                Diagnostic::error(pointer, "an expression begins with {{ and does not end with }}")
                    .hint("close it, or write {{ '{{' }} where two braces are meant"),
            );
            return Node::Unread;
        };
        let source = rest[start + 2..start + 2 + length].trim();
        match compile(source, pointer) {
            Ok(compiled) => pieces.push(Piece::Expression(compiled)),
            Err(faults) => found.extend(faults),
        }
        rest = &rest[start + 2 + length + 2..];
    }
    if found.len() > before {
        // What is good in it is still looked at.
        return if pieces.is_empty() { Node::Unread } else { Node::Text(pieces) };
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

fn compile(source: &str, pointer: &str) -> Result<Compiled, Vec<Diagnostic>> {
    if source.len() > LONGEST {
        let found = Diagnostic::error(pointer, format!("an expression is longer than {LONGEST} bytes"));
        return Err(vec![found.hint("divide it among steps with `set`")]);
    }
    let whole = |source: &str| {
        ENVIRONMENT.compile_expression_owned(source.to_owned()).map_err(|error| {
            let message = format!("{{{{ {source} }}}} is no expression: {}", detail(&error));
            vec![Diagnostic::error(pointer, message)]
        })
    };
    // Before anything else: compiling works out what is constant in it.
    let factors = typing::admit(source, pointer)?;
    let factors = factors.iter().map(|factor| whole(factor)).collect::<Result<_, _>>()?;
    Ok(Compiled { source: source.to_owned(), pointer: pointer.to_owned(), expression: whole(source)?, factors })
}

/// What minijinja says is wrong.
pub(crate) fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

fn render(node: &Node, root: &Dynamic) -> Result<Value> {
    Ok(match node {
        Node::Literal(value) => value.clone(),
        Node::Unread => Value::Null,
        Node::Expression(compiled) => evaluate(compiled, root)?,
        Node::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Expression(compiled) => match evaluate(compiled, root)? {
                        Value::String(piece) => text.push_str(&piece),
                        Value::Null => {
                            return Err(failed(compiled, "it is null, and a text cannot hold that")
                                .hint("use the filter default(..) where a value may be null"));
                        }
                        other => text.push_str(&other.to_string()),
                    },
                }
                if text.len() > OUTPUT_LIMIT {
                    let message = format!("a text with expressions comes to more than {OUTPUT_LIMIT} bytes");
                    return Err(Error::new(ErrorKind::Limit, message));
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

fn failed(compiled: &Compiled, why: &str) -> Error {
    let message = format!("{{{{ {} }}}} cannot be evaluated: {why}", compiled.source);
    Error::new(ErrorKind::InvalidInput, message).with("pointer", &compiled.pointer)
}

fn evaluate(compiled: &Compiled, root: &Dynamic) -> Result<Value> {
    for factor in &compiled.factors {
        if let Ok(value) = factor.eval(root)
            && !Kinds::of_dynamic(&value).excludes(Kinds::TEXT.or(Kinds::LIST))
        {
            return Err(failed(compiled, &format!("* multiplies numbers, not {}", Kinds::of_dynamic(&value)))
                .hint("the filter int makes a number of a text"));
        }
    }
    match compiled.expression.eval(root) {
        Ok(value) if value.is_undefined() => {
            Err(failed(compiled, "there is no such value")
                .hint("use the filter default(..) where a value may be missing"))
        }
        Ok(value) => to_json(&value).map_err(|why| failed(compiled, &why.to_string()).into_kind(why.kind())),
        Err(error) if error.kind() == minijinja::ErrorKind::OutOfFuel => {
            Err(failed(compiled, "it needs too much work").into_kind(ErrorKind::Limit))
        }
        Err(error) => Err(failed(compiled, &detail(&error))),
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
