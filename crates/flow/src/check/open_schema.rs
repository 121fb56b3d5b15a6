//! Checks a document with expressions against a schema, as far as that is possible without their values.

use serde_json::{Map, Value, json};

use crate::{expression::Node, typing::schema_algebra::parts};

/// Returns the schema with everything allowed where the document has an expression. The rest of the document can be
/// checked against it.
pub(crate) fn open(schema: &Value, node: &Node) -> Value {
    let Some(object) = schema.as_object().filter(|_| !node.is_literal()) else { return schema.clone() };
    let mut opened = object.clone();
    let (literals, members): (Vec<_>, Vec<_>) = match node {
        Node::Expression(_) | Node::Text(_) | Node::Invalid => return Value::Bool(true),
        Node::Literal(_) => return schema.clone(),
        Node::Array(items) => {
            let first = parts(schema, "prefixItems").collect::<Vec<_>>();
            let rest = object.get("items").unwrap_or(&Value::Bool(true));
            let each = items.iter().enumerate().map(|(index, item)| open(first.get(index).unwrap_or(&rest), item));
            opened.insert("prefixItems".into(), each.collect());
            (Vec::new(), Vec::new())
        }
        Node::Object(members) => {
            let literal = |(name, node): &(String, Node)| match node {
                Node::Literal(value) => Some((name.clone(), value.clone())),
                _ => None,
            };
            (members.iter().filter_map(literal).collect(), members.iter().collect())
        }
    };
    let more = object.get("additionalProperties").filter(|more| more.is_object());
    for (name, node) in members {
        let property = object.get("properties").and_then(|all| all.get(name)).or(more);
        if let Some(property) = property {
            let property = open(property, node);
            if let Value::Object(properties) = opened.entry("properties").or_insert_with(|| json!({})) {
                properties.insert(name.clone(), property);
            }
        }
    }
    for name in ["const", "enum"] {
        opened.shift_remove(name);
    }
    let possible = |branch: &&Value| {
        literals.iter().all(|(name, value)| {
            branch.pointer(&format!("/properties/{name}/const")).is_none_or(|constant| constant == value)
        })
    };
    for name in ["allOf", "anyOf", "oneOf"] {
        if opened.shift_remove(name).is_none() {
            continue;
        }
        let all: Vec<_> = parts(schema, name).collect();
        let left: Vec<_> = all.iter().copied().filter(possible).collect();
        // If no branch is possible, all are kept: the choice itself is wrong, and is reported as such.
        let (name, left) = match (name, left.is_empty()) {
            ("allOf", _) | (_, true) => (name, all),
            _ => ("anyOf", left),
        };
        let branches: Vec<_> = left.into_iter().map(|branch| open(branch, node)).collect();
        // The error of an `allOf` says what is wrong inside its branch; that of an `anyOf` does not.
        let name = if name == "anyOf" && branches.len() == 1 { "allOf" } else { name };
        merge(&mut opened, name, branches);
    }
    opened.into()
}

/// Appends branches to the keyword `name` of a schema.
fn merge(schema: &mut Map<String, Value>, name: &str, branches: Vec<Value>) {
    match schema.get_mut(name).and_then(Value::as_array_mut) {
        Some(known) => known.extend(branches),
        None => {
            schema.insert(name.to_owned(), branches.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use trunkline_core::{Diagnostic, Schema};

    use super::open;
    use crate::expression::Template;

    fn pointers(schema: Value, document: Value) -> Vec<String> {
        let template = Template::compile(document.clone(), "", &mut Vec::new());
        let faults = Schema::from(open(&schema, template.node())).check(&document);
        faults.into_iter().map(|one: Diagnostic| one.pointer).collect()
    }

    #[test]
    fn an_expression_fits_anywhere_and_the_schema_holds_beside_it() {
        let schema = json!({ "type": "object", "required": ["n"], "additionalProperties": false, "properties": {
            "n": { "type": "integer" }, "list": { "type": "array", "minItems": 2, "items": { "type": "integer" } },
            "more": { "type": "object", "additionalProperties": { "type": "integer" } } } });
        for (document, expected) in [
            (json!({ "n": "{{ input.n }}" }), vec![]),
            (json!({ "n": "text" }), vec!["/n"]),
            (json!({ "list": "{{ input.n }}" }), vec!["/n"]),
            (json!({ "n": 1, "list": ["{{ input.n }}", 2] }), vec![]),
            (json!({ "n": 1, "list": ["{{ input.n }}", "x"] }), vec!["/list/1"]),
            (json!({ "n": 1, "list": ["{{ input.n }}"] }), vec!["/list"]),
            (json!({ "n": 1, "more": { "a": "{{ input.n }}", "b": "x" } }), vec!["/more/b"]),
            (json!({ "n": 1, "m": "{{ input.n }}" }), vec!["/m"]),
        ] {
            assert_eq!(pointers(schema.clone(), document.clone()), expected, "{document}");
        }
    }

    #[test]
    fn literals_select_the_branch_of_a_choice_beside_an_expression() {
        let branch = |kind: &str, name: &str| {
            json!({ "type": "object", "required": ["kind", name], "additionalProperties": false,
                "properties": { "kind": { "const": kind }, name: { "type": "integer" }, "note": { "type": "string" } } })
        };
        let schema = json!({ "oneOf": [branch("box", "width"), branch("ball", "radius")] });
        for (document, expected) in [
            (json!({ "kind": "ball", "radius": "{{ input.r }}" }), vec![]),
            (json!({ "kind": "ball", "note": "{{ input.r }}" }), vec!["/radius"]),
            (json!({ "kind": "ball", "radius": 1, "width": "{{ input.r }}" }), vec!["/width"]),
            (json!({ "kind": "ball", "radius": "1", "note": "{{ input.r }}" }), vec!["/radius"]),
            (json!({ "kind": "cone", "radius": "{{ input.r }}" }), vec!["/kind"]),
            (json!({ "kind": "{{ input.k }}", "radius": 1 }), vec![]),
        ] {
            assert_eq!(pointers(schema.clone(), document.clone()), expected, "{document}");
        }
    }
}
