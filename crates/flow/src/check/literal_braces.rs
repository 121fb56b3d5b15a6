//! Reports braces that are written for an expression or a statement, in places where they would stay text.

use serde_json::Value;
use trunkline_core::{Diagnostic, pointer_part};

use crate::expression::literal_parts;

/// The members of a flow document that hold expressions.
const WITH_EXPRESSIONS: [&str; 4] = ["trigger", "steps", "output", "on_failure"];

/// Returns an error for each statement in a text, and for each expression in the name of a member; a warning for each
/// expression in a default.
pub(super) fn find(document: &Value) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for name in WITH_EXPRESSIONS {
        if let Some(value) = document.get(name) {
            look(value, &format!("/{name}"), &mut found);
        }
    }
    found.extend(document.get("input").into_iter().flat_map(|schema| in_defaults(schema, "/input")));
    found
}

/// Returns a warning for each expression in a default of the input schema.
fn in_defaults(schema: &Value, pointer: &str) -> Vec<Diagnostic> {
    let within = |(name, value): (&String, &Value)| {
        let pointer = format!("{pointer}/{}", pointer_part(name));
        match value {
            Value::String(text) if name == "default" && text.contains("{{") => {
                let message = "this default has an expression, and a default is not evaluated";
                vec![Diagnostic::warning(pointer, message).hint("use the filter default(..) where the input is used")]
            }
            value => in_defaults(value, &pointer),
        }
    };
    schema.as_object().into_iter().flatten().flat_map(within).collect()
}

fn look(value: &Value, pointer: &str, found: &mut Vec<Diagnostic>) {
    match value {
        Value::String(text) if literal_parts(text).any(has_statement) => found.push(
            Diagnostic::error(pointer, "this text has a statement in {% %} or a comment in {# #}, which are not executed")
                .hint(
                    "use the steps `if` and `each`, or an expression: {{ 'yes' if input.ok else 'no' }}; for the characters \
                     themselves, write {{ '{%' }}",
                ),
        ),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| look(item, &format!("{pointer}/{index}"), found));
        }
        Value::Object(members) => {
            for (name, member) in members {
                let pointer = format!("{pointer}/{}", pointer_part(name));
                if name.contains("{{") || has_statement(name) {
                    found.push(
                        Diagnostic::error(&pointer, format!("{name} is the name of a member, which is not evaluated"))
                            .hint("write the whole object as one expression: {{ {input.name: input.value} }}"),
                    );
                }
                look(member, &pointer, found);
            }
        }
        _ => {}
    }
}

/// Returns whether a text has a statement or a comment. A single `{%` is text, as in a URL: `{%22id%22:1}`.
fn has_statement(text: &str) -> bool {
    let closed = |open: &str, close: &str| text.split_once(open).is_some_and(|(_, rest)| rest.contains(close));
    let begins = |(at, _): (usize, &str)| text[at + 2..].starts_with(|next: char| next.is_whitespace() || next == '-');
    closed("{%", "%}") || closed("{#", "#}") || text.match_indices("{%").any(begins)
}
