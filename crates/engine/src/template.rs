//! Values with expressions in them: `"{{ steps.search.items | length }}"`.
//!
//! A text that is exactly one `{{ .. }}` yields the expression's JSON value, so that numbers and objects keep their
//! type; an expression inside a longer text yields text. The result of an expression is never evaluated again: data
//! stays data.
//!
//! The language is the expressions of [minijinja](https://docs.rs/minijinja) and nothing else of it: no statements, no
//! functions, no I/O, a bounded amount of work, and our own [filters](crate::FILTERS). An expression whose result could
//! grow without limit is rejected when it is compiled; see [`typing`].

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

/// The most work of one evaluation: minijinja charges about one unit for each instruction.
const FUEL: u64 = 100_000;
/// The longest expression, in bytes.
const MAX_LENGTH: usize = 8 * 1024;
/// The largest result of one evaluation, in bytes of text or JSON.
pub(crate) const OUTPUT_LIMIT: usize = 1024 * 1024;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    filters::add_to(&mut environment);
    environment
});

/// The names that an expression can begin with.
pub(crate) const ROOTS: [&str; 6] = ["input", "steps", "item", "items", "error", "run"];

/// The values that the expressions of a step can refer to. Scopes are nested: each item of an `each` has an inner
/// scope. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Scope(Arc<Level>);

#[derive(Debug)]
struct Level {
    outer: Option<Scope>,
    input: Dynamic,
    run: Dynamic,
    /// The tables of the flow. Only the filter `lookup` can read them, expressions cannot.
    tables: Dynamic,
    /// `item`, `items` and `error`, which exist only inside of some steps.
    locals: Vec<(&'static str, Dynamic)>,
    /// The outputs of the steps that ran in this scope.
    steps: std::sync::RwLock<Vec<(Arc<str>, Dynamic)>>,
}

impl Scope {
    /// Creates the scope of a run's first steps. `run` is the run's id.
    pub(crate) fn new(input: &Value, run: &str, tables: &Value) -> Scope {
        let run = Dynamic::from(Serde(serde_json::json!({ "id": run })));
        Scope(Arc::new(Level {
            outer: None,
            input: Dynamic::from(Serde(input)),
            run,
            tables: Dynamic::from(Serde(tables)),
            locals: Vec::new(),
            steps: Default::default(),
        }))
    }

    /// Returns an inner scope in which the local `name` (`item`, `items` or `error`) has this value.
    pub(crate) fn with(&self, name: &'static str, value: &Value) -> Scope {
        let locals = self.0.locals.iter().filter(|(known, _)| *known != name).cloned();
        self.inner(locals.chain([(name, Dynamic::from(Serde(value)))]).collect())
    }

    /// Returns an inner scope. The outputs of its steps are not visible outside until they are [adopted](Self::adopt).
    pub(crate) fn branch(&self) -> Scope {
        self.inner(self.0.locals.clone())
    }

    fn inner(&self, locals: Vec<(&'static str, Dynamic)>) -> Scope {
        Scope(Arc::new(Level {
            outer: Some(self.clone()),
            input: self.0.input.clone(),
            run: self.0.run.clone(),
            tables: self.0.tables.clone(),
            locals,
            steps: Default::default(),
        }))
    }

    /// Makes the outputs of the steps of an inner scope visible in this one.
    pub(crate) fn adopt(&self, inner: &Scope) {
        let steps = inner.0.steps.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        self.0.steps.write().unwrap_or_else(|poisoned| poisoned.into_inner()).extend(steps);
    }

    /// Makes a step's output visible to the steps after it.
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

/// The scope as the map of names that expressions are evaluated on.
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
            name => self.0.locals.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&ROOTS)
    }
}

/// The value of the name `steps`.
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

/// The compiled form of a value.
#[derive(Debug)]
pub(crate) enum Node {
    /// A value without expressions.
    Literal(Value),
    /// A text that did not compile. It was reported, and is never rendered.
    Invalid,
    /// A text that is exactly one expression.
    Expression(Compiled),
    /// A text with expressions inside.
    Text(Vec<Piece>),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// A part of a text with expressions.
#[derive(Debug)]
pub(crate) enum Piece {
    Literal(String),
    Expression(Compiled),
}

/// One compiled expression.
pub(crate) struct Compiled {
    /// The expression without its braces.
    pub(crate) source: String,
    /// JSON pointer of the text that it stands in.
    pub(crate) pointer: String,
    expression: Expression<'static, 'static>,
    /// Operands of `*` whose type is known only at run time. Each is checked before the evaluation, because a text
    /// times a number would be a text of any length.
    factors: Vec<Expression<'static, 'static>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

impl Template {
    /// Compiles a value. Expressions that do not compile are added to `found`, each with its JSON pointer.
    pub(crate) fn compile(value: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Template {
        Template { node: compile_value(value, pointer, found), source: value.clone() }
    }

    /// The value as it was written.
    pub(crate) fn source(&self) -> &Value {
        &self.source
    }

    /// The compiled form.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The value, if it has no expressions.
    pub(crate) fn literal(&self) -> Option<&Value> {
        self.node.is_literal().then_some(&self.source)
    }

    /// Returns the value with every expression replaced by its result. Fails with `invalid_input` if an expression
    /// cannot be evaluated, and with `limit` if it needs too much work or its result is too large.
    pub(crate) fn render(&self, scope: &Scope) -> Result<Value> {
        let root = Dynamic::from_object(scope.clone());
        render(&self.node, &root)
    }

    /// Like [`Template::render`], as text: a text as it is, anything else as JSON.
    pub(crate) fn render_text(&self, scope: &Scope) -> Result<String> {
        Ok(match self.render(scope)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }
}

impl Node {
    /// Returns whether it has no expressions.
    pub(crate) fn is_literal(&self) -> bool {
        match self {
            Node::Literal(_) => true,
            Node::Expression(_) | Node::Text(_) | Node::Invalid => false,
            Node::Array(items) => items.iter().all(Node::is_literal),
            Node::Object(members) => members.iter().all(|(_, member)| member.is_literal()),
        }
    }
}

fn compile_value(value: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Node {
    match value {
        Value::String(text) => compile_text(text, pointer, found),
        Value::Array(items) => {
            let compile = |(index, item)| compile_value(item, &format!("{pointer}/{index}"), found);
            Node::Array(items.iter().enumerate().map(compile).collect())
        }
        Value::Object(members) => {
            let compile = |(name, member): (&String, &Value)| {
                (name.clone(), compile_value(member, &format!("{pointer}/{}", pointer_part(name)), found))
            };
            Node::Object(members.iter().map(compile).collect())
        }
        other => Node::Literal(other.clone()),
    }
}

fn compile_text(text: &str, pointer: &str, found: &mut Vec<Diagnostic>) -> Node {
    let (mut pieces, mut rest, before) = (Vec::new(), text, found.len());
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            pieces.push(Piece::Literal(rest[..start].to_owned()));
        }
        let Some(length) = end_of_expression(&rest[start + 2..]) else {
            found.push(
                Diagnostic::error(pointer, "an expression begins with {{ and does not end with }}")
                    .hint("close it with }}, or write {{ '{{' }} to get two braces as text"),
            );
            return Node::Invalid;
        };
        let source = rest[start + 2..start + 2 + length].trim();
        match compile_expression(source, pointer) {
            Ok(compiled) => pieces.push(Piece::Expression(compiled)),
            Err(faults) => found.extend(faults),
        }
        rest = &rest[start + 2 + length + 2..];
    }
    if found.len() > before {
        // The expressions that did compile are still checked.
        return if pieces.is_empty() { Node::Invalid } else { Node::Text(pieces) };
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

/// Returns the number of bytes before the `}}` that ends an expression. Braces in quoted texts and in maps do not
/// count.
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

fn compile_expression(source: &str, pointer: &str) -> Result<Compiled, Vec<Diagnostic>> {
    if source.len() > MAX_LENGTH {
        let found = Diagnostic::error(pointer, format!("an expression is longer than {MAX_LENGTH} bytes"));
        return Err(vec![found.hint("divide it among several steps with `set`")]);
    }
    let compile = |source: &str| {
        ENVIRONMENT.compile_expression_owned(source.to_owned()).map_err(|error| {
            let message = format!("{{{{ {source} }}}} is not a valid expression: {}", detail(&error));
            vec![Diagnostic::error(pointer, message)]
        })
    };
    // This must come first: minijinja evaluates the constant parts of an expression when it compiles it.
    let factors = typing::admit(source, pointer)?;
    let factors = factors.iter().map(|factor| compile(factor)).collect::<Result<_, _>>()?;
    Ok(Compiled { source: source.to_owned(), pointer: pointer.to_owned(), expression: compile(source)?, factors })
}

/// Returns the message of an error of minijinja, without the location.
pub(crate) fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

fn render(node: &Node, root: &Dynamic) -> Result<Value> {
    Ok(match node {
        Node::Literal(value) => value.clone(),
        Node::Invalid => Value::Null,
        Node::Expression(compiled) => evaluate(compiled, root)?,
        Node::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Literal(literal) => text.push_str(literal),
                    Piece::Expression(compiled) => match evaluate(compiled, root)? {
                        Value::String(piece) => text.push_str(&piece),
                        Value::Null => {
                            return Err(evaluation_error(compiled, "it is null, which cannot be part of a text")
                                .hint("add the filter default(..) where a value may be null"));
                        }
                        other => text.push_str(&other.to_string()),
                    },
                }
                if text.len() > OUTPUT_LIMIT {
                    let message = format!("a text with expressions is longer than the limit of {OUTPUT_LIMIT} bytes");
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

fn evaluation_error(compiled: &Compiled, reason: &str) -> Error {
    let message = format!("{{{{ {} }}}} cannot be evaluated: {reason}", compiled.source);
    Error::new(ErrorKind::InvalidInput, message).with("pointer", &compiled.pointer)
}

fn evaluate(compiled: &Compiled, root: &Dynamic) -> Result<Value> {
    for factor in &compiled.factors {
        if let Ok(value) = factor.eval(root)
            && !Kinds::of_dynamic(&value).excludes(Kinds::TEXT.or(Kinds::LIST))
        {
            let reason = format!("* multiplies numbers, not {}", Kinds::of_dynamic(&value));
            return Err(evaluation_error(compiled, &reason).hint("convert a text to a number with the filter int"));
        }
    }
    match compiled.expression.eval(root) {
        Ok(value) if value.is_undefined() => Err(evaluation_error(compiled, "there is no such value")
            .hint("add the filter default(..) where a value may be missing")),
        Ok(value) => {
            to_json(&value).map_err(|error| evaluation_error(compiled, &error.to_string()).into_kind(error.kind()))
        }
        Err(error) if error.kind() == minijinja::ErrorKind::OutOfFuel => {
            Err(evaluation_error(compiled, "it needs more work than the limit").into_kind(ErrorKind::Limit))
        }
        Err(error) => Err(evaluation_error(compiled, &detail(&error))),
    }
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
