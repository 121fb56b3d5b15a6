//! Evaluates a value with expressions while it is written: everything that is wrong with it is found at once, each fault
//! with its place in its text.

use minijinja::value::Value as Dynamic;
use serde_json::Value;
use trunkline_core::{Diagnostic, SourceLocation, memory_of};

use crate::{
    evaluation::Fault,
    expression::{
        Compiled, Node, Piece, Scope, Template,
        template::{evaluation_error, null_in_text},
    },
    values::{conversion::to_json, json_kinds::Kinds},
};

/// The most expressions of a value that is evaluated outside of a run. Each of them may take as much work as one in a run.
const MAX_EXPRESSIONS: usize = 100;
/// The most memory that their results may take together, in bytes.
const MAX_RESULTS: u64 = 16 * 1024 * 1024;

/// Returns what kind of value this is, in words: `a text`, `a list`.
pub fn kind_words(value: &Value) -> String {
    Kinds::of(value).to_string()
}

impl Template {
    /// Compiles a value and evaluates it in this scope.
    ///
    /// # Errors
    ///
    /// A finding for each expression that does not compile, or that has no result here.
    pub fn trial(value: Value, scope: &Scope) -> Result<Value, Vec<Diagnostic>> {
        let mut found = Vec::new();
        let template = Template::compile_located(value, "", &mut found);
        match template.evaluate(scope) {
            Ok(value) if found.is_empty() => Ok(value),
            result => {
                found.extend(result.err().into_iter().flatten());
                Err(Diagnostic::bounded(found))
            }
        }
    }

    /// Like [`Template::render`], with a finding for each expression that has no result.
    ///
    /// # Errors
    ///
    /// The findings. They are limits if the value has more than 100 expressions, or if their results are too large.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, Vec<Diagnostic>> {
        let root = Dynamic::from_object(scope.clone());
        let (mut found, mut count, mut memory) = (Vec::new(), 0, 0);
        visit(self.node(), &mut |compiled, in_text| {
            count += 1;
            if count > MAX_EXPRESSIONS || memory > MAX_RESULTS {
                return;
            }
            match compiled.tree.evaluate(&root).and_then(|value| Ok(to_json(&value)?)) {
                Ok(Value::Null) if in_text => found.push(self.finding(compiled, null_in_text())),
                Ok(value) => memory += memory_of(&value),
                Err(fault) => found.push(self.finding(compiled, fault)),
            }
        });
        if count > MAX_EXPRESSIONS {
            let message = format!("the value has more than {MAX_EXPRESSIONS} expressions, the limit outside of a run");
            found.push(Diagnostic::over_limit("", message).hint("evaluate parts of it"));
        }
        if memory > MAX_RESULTS {
            let message = format!("its expressions yield more than {MAX_RESULTS} bytes, the limit outside of a run");
            found.push(Diagnostic::over_limit("", message).hint("evaluate parts of it"));
        }
        match found.is_empty() {
            true => self.render(scope).map_err(|error| vec![Diagnostic::from(&error)]),
            false => Err(Diagnostic::bounded(found)),
        }
    }

    fn finding(&self, compiled: &Compiled, fault: Fault) -> Diagnostic {
        let error = evaluation_error(compiled, fault);
        let found = Diagnostic { pointer: compiled.pointer.clone(), ..Diagnostic::from(&error) };
        // Only in a value of its own, pointers begin at the value.
        let text = self.source().pointer(&compiled.pointer).and_then(Value::as_str);
        match text {
            Some(text) => found.at(SourceLocation::of("", text, compiled.offset)),
            None => found,
        }
    }
}

/// Passes each expression to a function, with whether it stands in a longer text.
fn visit(node: &Node, visitor: &mut dyn FnMut(&Compiled, bool)) {
    match node {
        Node::Literal(_) | Node::Invalid => {}
        Node::Expression(compiled) => visitor(compiled, false),
        Node::Text(pieces) => pieces.iter().for_each(|piece| match piece {
            Piece::Expression(compiled) => visitor(compiled, true),
            Piece::Literal(_) => {}
        }),
        Node::Array(items) => items.iter().for_each(|item| visit(item, visitor)),
        Node::Object(members) => members.iter().for_each(|(_, member)| visit(member, visitor)),
    }
}
