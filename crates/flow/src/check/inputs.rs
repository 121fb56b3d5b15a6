//! Checks the values that a flow writes: inputs against their schemas, and the expressions in them.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value, json};
use trunkline_core::{Diagnostic, Schema, pointer_part};

use crate::{
    check::{
        checker::{Checker, under},
        open_schema::open,
    },
    expression::{Compiled, Node, Piece, Template},
    typing::{
        infer::{self, TO_TEXT_HINT},
        names::Names,
        schema_algebra::{self, Member, Shape, kinds, list_of, of_kinds},
    },
    values::json_kinds::Kinds,
};

/// The largest number of compiled schemas that are kept.
const MAX_SCHEMAS: usize = 64;
/// The longest text whose value is known to later steps, in bytes.
const MAX_CONSTANT: usize = 1000;

impl Checker<'_> {
    /// Checks an input against its schema, as far as that is possible without the values of its expressions.
    pub(super) fn input(&mut self, input: &Template, wanted: &Value, pointer: &str, names: &Names<'_>) {
        let faults = self.compiled(open(wanted, input.node())).check(input.source());
        self.report(faults.into_iter().map(under(pointer)));
        self.misspelt(input.source(), wanted, pointer);
        self.template(input, wanted, names);
    }

    /// Returns the compiled form of a schema.
    fn compiled(&mut self, schema: Value) -> Arc<Schema> {
        if self.schemas.len() >= MAX_SCHEMAS {
            self.schemas.clear();
        }
        match self.schemas.get(&schema) {
            Some(compiled) => compiled.clone(),
            None => self.schemas.entry(schema.clone()).or_insert(Arc::new(schema.into())).clone(),
        }
    }

    /// Warns of members of open objects that are probably misspelt: a declared name differs by one letter.
    fn misspelt(&mut self, given: &Value, wanted: &Value, pointer: &str) {
        let closed = ["additionalProperties", "unevaluatedProperties"];
        let closed = closed.iter().any(|name| wanted.get(name) == Some(&Value::Bool(false)));
        for (name, value) in given.as_object().into_iter().flatten() {
            let pointer = format!("{pointer}/{}", pointer_part(name));
            match schema_algebra::member(wanted, name) {
                Member::Is(shape) => self.misspelt(value, &shape, &pointer),
                Member::Missing { declared, .. } if !closed => {
                    if let Some(intended) = schema_algebra::intended_name(name, true, &declared) {
                        let found = Diagnostic::warning(pointer, format!("{name} is not declared here"));
                        self.report([found.hint(format!("did you mean {intended}?"))]);
                    }
                }
                _ => {}
            }
        }
        for (index, value) in given.as_array().into_iter().flatten().enumerate() {
            self.misspelt(value, &schema_algebra::item(wanted), &format!("{pointer}/{index}"));
        }
    }

    /// Reports expressions in a template whose result does not fit `wanted`.
    pub(super) fn template(&mut self, template: &Template, wanted: &Value, names: &Names<'_>) {
        self.node(template.node(), wanted, names, false);
    }

    /// Checks the template of an output, and returns the shape of its result.
    pub(super) fn output(&mut self, template: &Template, names: &Names<'_>) -> Value {
        let shape = self.node(template.node(), &Value::Bool(true), names, true);
        self.own(shape)
    }

    /// Checks a part of a template, and returns the shape of its result. That of a list or an object is made only if it
    /// is wanted.
    pub(super) fn node<'n>(
        &mut self,
        node: &'n Node,
        wanted: &Value,
        names: &'n Names<'n>,
        wants_shape: bool,
    ) -> Shape<'n> {
        Cow::Owned(match node {
            Node::Literal(Value::String(text)) if text.len() > MAX_CONSTANT => of_kinds(Kinds::TEXT),
            Node::Literal(value) => json!({ "const": value }),
            Node::Invalid => Value::Bool(true),
            // The flow is refused, whatever else is wrong in it.
            Node::Expression(_) | Node::Text(_) if self.errors() > Diagnostic::MOST => Value::Bool(true),
            Node::Expression(expression) => {
                let before = self.errors();
                let shape = self.infer(expression, names);
                if self.errors() == before {
                    self.fit(expression, &shape, wanted);
                }
                return shape;
            }
            Node::Text(pieces) => {
                let expressions = pieces.iter().filter_map(|piece| match piece {
                    Piece::Expression(expression) => Some(expression),
                    Piece::Literal(_) => None,
                });
                for (index, expression) in expressions.enumerate() {
                    let shape = self.infer(expression, names);
                    self.check_joined(expression, &shape);
                    if index == 0 {
                        self.fit(expression, &of_kinds(Kinds::TEXT), wanted);
                    }
                }
                self.constant = None;
                of_kinds(Kinds::TEXT)
            }
            Node::Array(items) => {
                let wanted = schema_algebra::item(wanted);
                let mut shapes = Vec::new();
                for item in items {
                    let shape = self.node(item, &wanted, names, wants_shape);
                    if wants_shape {
                        shapes.push(self.own(shape));
                    }
                }
                list_of(schema_algebra::either(shapes))
            }
            Node::Object(members) => {
                let mut shapes = Map::new();
                for (name, member) in members {
                    let wanted = match schema_algebra::member(wanted, name) {
                        Member::Is(shape) => shape,
                        _ => Cow::Owned(Value::Bool(true)),
                    };
                    let shape = self.node(member, &wanted, names, wants_shape);
                    if wants_shape {
                        shapes.insert(name.clone(), self.own(shape));
                    }
                }
                schema_algebra::object_of(shapes)
            }
        })
    }

    /// Returns the shape of an expression's result, and reports what is wrong in it.
    fn infer<'n>(&mut self, expression: &'n Compiled, names: &'n Names<'n>) -> Shape<'n> {
        self.reach(&expression.pointer, names);
        let inferred = infer::infer(&expression.source, &expression.pointer, names);
        self.report(inferred.found);
        self.roots.extend(inferred.roots);
        self.constant = inferred.constant;
        inferred.shape
    }

    /// Warns of a list or object that becomes part of a text.
    fn check_joined(&mut self, expression: &Compiled, shape: &Value) {
        let known = kinds(shape);
        if known.within(Kinds::LIST.or(Kinds::OBJECT)) {
            let message = format!("{{{{ {} }}}} puts {known} into a text", expression.source);
            let found = Diagnostic::warning(&expression.pointer, message);
            self.report([found.hint(TO_TEXT_HINT)]);
        }
    }

    /// Reports an expression whose result does not fit `wanted`.
    fn fit(&mut self, expression: &Compiled, shape: &Value, wanted: &Value) {
        if let Some(reason) = schema_algebra::mismatch(shape, wanted) {
            let name = expression.pointer.rsplit('/').next().unwrap_or_default();
            let message = format!("{{{{ {} }}}} does not fit {name}: {reason}", expression.source);
            let found = Diagnostic::error(&expression.pointer, message);
            let hint = wanted.get("description").and_then(Value::as_str);
            self.report([hint.into_iter().fold(found, |found, hint| found.hint(hint))]);
        }
    }
}
