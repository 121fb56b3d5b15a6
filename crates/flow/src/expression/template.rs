//! Values with expressions in them: `"{{ steps.search.items | length }}"`.
//!
//! A text that is exactly one `{{ .. }}` yields the expression's JSON value, so that numbers and objects keep their
//! type; an expression inside a longer text yields text. The result of an expression is never evaluated again: data
//! stays data.
//!
//! The language is the expressions of [minijinja](https://docs.rs/minijinja) and nothing else of it: no statements, no
//! functions, no I/O, a bounded amount of work, and our own [operators](crate::evaluation) and
//! [filters](crate::filters). An expression that is too large is rejected when it is compiled; see [`infer`].

use minijinja::value::Value as Dynamic;
use serde_json::{Map, Value};
use trunkline_core::{Diagnostic, Error, ErrorKind, Result, SourceLocation, pointer_part};

use crate::{
    evaluation::{Fault, Tree},
    expression::scope::Scope,
    typing::infer,
    values::conversion::{OUTPUT_LIMIT, to_json},
};

/// The longest expression, in bytes.
pub(crate) const MAX_LENGTH: usize = 8 * 1024;

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
    /// Where it begins in that text, in bytes.
    pub(super) offset: usize,
    pub(super) tree: Tree,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

impl Template {
    /// Compiles a value. Expressions that do not compile are added to `found`, each with its JSON pointer.
    pub(crate) fn compile(source: Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Template {
        let before = found.len();
        let template = Template::compile_located(source, pointer, found);
        // A place is one in the file of the flow, which is added later.
        found.iter_mut().skip(before).for_each(|one| one.place = None);
        template
    }

    /// Like [`Template::compile`]. Each finding has its place in its text, too.
    pub(crate) fn compile_located(source: Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Template {
        Template { node: compile_value(&source, pointer, found), source }
    }

    /// Returns what stands for a value that cannot be read. That was reported, and it is never rendered.
    pub(crate) fn invalid() -> Template {
        Template { node: Node::Invalid, source: Value::Null }
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

    /// Returns the value with every expression replaced by its result.
    ///
    /// # Errors
    ///
    /// `invalid_input` if an expression cannot be evaluated, and `limit` if it needs too much work or its result is too
    /// large.
    pub fn render(&self, scope: &Scope) -> Result<Value> {
        let root = Dynamic::from_object(scope.clone());
        render(&self.node, &root)
    }

    /// Like [`Template::render`], as text: a text as it is, anything else as JSON.
    ///
    /// # Errors
    ///
    /// As [`render`](Template::render).
    pub fn render_text(&self, scope: &Scope) -> Result<String> {
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
                    .hint("close it with }}, or write {{ '{{' }} to get two braces as text")
                    .at(SourceLocation::of("", text, text.len() - rest.len() + start)),
            );
            return Node::Invalid;
        };
        let source = rest[start + 2..start + 2 + length].trim();
        let offset = text.len() - rest.len() + start;
        match compile_expression(source, pointer, offset) {
            Ok(compiled) => pieces.push(Piece::Expression(compiled)),
            Err(faults) => found.extend(faults.into_iter().map(|one| one.at(SourceLocation::of("", text, offset)))),
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

/// Returns the parts of a text that are not in an expression.
pub(crate) fn literal_parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (literal, after) = match rest?.split_once("{{") {
            Some((literal, expression)) => {
                (literal, end_of_expression(expression).map(|length| &expression[length + 2..]))
            }
            None => (rest?, None),
        };
        rest = after;
        Some(literal)
    })
}

/// Returns the number of bytes before the `}}` that ends an expression. Braces in quoted texts and in maps do not
/// count.
pub(crate) fn end_of_expression(text: &str) -> Option<usize> {
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

fn compile_expression(source: &str, pointer: &str, offset: usize) -> Result<Compiled, Vec<Diagnostic>> {
    if source.len() > MAX_LENGTH {
        let found = Diagnostic::over_limit(pointer, format!("an expression is longer than {MAX_LENGTH} bytes"));
        return Err(vec![found.hint("divide it among several steps with `set`")]);
    }
    let tree = infer::admit(source, pointer)?;
    Ok(Compiled { source: source.to_owned(), pointer: pointer.to_owned(), offset, tree })
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
                            return Err(evaluation_error(compiled, null_in_text()));
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

pub(super) fn null_in_text() -> Fault {
    let fault = Fault::new("it is null, which cannot be part of a text");
    fault.hint("add the filter default(..) where a value may be null")
}

pub(super) fn evaluation_error(compiled: &Compiled, fault: Fault) -> Error {
    let message = format!("{{{{ {} }}}} cannot be evaluated: {}", compiled.source, fault.reason);
    let error = Error::new(fault.kind, message).with("pointer", &compiled.pointer);
    fault.hint.into_iter().fold(error, |error, hint| error.hint(hint))
}

fn evaluate(compiled: &Compiled, root: &Dynamic) -> Result<Value> {
    let value = compiled.tree.evaluate(root).and_then(|value| Ok(to_json(&value)?));
    value.map_err(|fault| evaluation_error(compiled, fault))
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
