use serde_json::json;

use super::{Member, either, kinds, member, mismatch, values};
use crate::values::json_kinds::Kinds;

#[test]
fn a_mismatch_is_reported_only_if_no_value_can_fit() {
    let text = json!({ "type": "string" });
    let file = json!({ "type": "object", "required": ["name"], "properties": { "name": text } });
    for (given, wanted, fits) in [
        (json!(true), text.clone(), true),
        (json!({}), text.clone(), true),
        (text.clone(), json!({ "type": "integer" }), false),
        (json!({ "type": "number" }), json!({ "type": "integer" }), true),
        (json!({ "type": "integer" }), json!({ "type": "number" }), true),
        (json!({ "type": ["string", "null"] }), text.clone(), true),
        (json!({ "type": "null" }), text.clone(), false),
        (json!({ "anyOf": [text, { "type": "integer" }] }), text.clone(), true),
        (either([text.clone(), json!({ "type": "integer" })]), text.clone(), false),
        (text.clone(), json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }), false),
        (text.clone(), json!({ "anyOf": [{ "type": "integer" }, text] }), true),
        (text.clone(), json!({ "enum": ["a"] }), true),
        (json!({ "enum": ["a", "b"] }), json!({ "enum": ["b", "c"] }), true),
        (json!({ "enum": ["a", "b"] }), json!({ "enum": ["c"] }), false),
        (json!({ "const": "x" }), json!({ "type": "string", "pattern": "^/" }), false),
        (json!({ "type": "string", "format": "date" }), json!({ "type": "string", "format": "uuid" }), false),
        (text.clone(), json!({ "type": "string", "format": "uuid" }), true),
        (json!({ "type": "array", "items": text }), json!({ "type": "array", "items": { "type": "integer" } }), false),
        (json!({ "type": "array" }), json!({ "type": "array", "items": { "type": "integer" } }), true),
        (file.clone(), json!({ "anyOf": [file, { "type": "null" }] }), true),
        (json!({ "type": "object", "properties": { "id": true } }), file.clone(), false),
        (json!({ "type": "object", "properties": { "id": true }, "additionalProperties": true }), file.clone(), true),
        (json!({ "type": "object", "properties": { "name": { "type": "integer" } } }), file.clone(), false),
    ] {
        assert_eq!(mismatch(&given, &wanted).is_none(), fits, "{given} for {wanted}: {:?}", mismatch(&given, &wanted));
    }
}

#[test]
fn a_member_that_the_schema_does_not_mention_is_unknown() {
    for schema in
        [json!(true), json!({}), json!({ "type": "object" }), json!({ "$ref": "#/x", "properties": { "a": {} } })]
    {
        assert!(matches!(member(&schema, "b"), Member::Unknown), "{schema}");
    }
    let closed = json!({ "allOf": [{ "properties": { "a": { "type": "integer" } } }], "properties": { "c": true } });
    assert!(matches!(member(&closed, "a"), Member::Is(shape) if kinds(&shape) == Kinds::INTEGER));
    assert!(matches!(member(&closed, "b"), Member::Missing { open: false, declared } if declared == ["c", "a"]));
    assert_eq!(kinds(&json!({ "type": "string", "enum": [1] })), Kinds::ANY, "a schema that no value fits is ignored");
    assert_eq!(values(&json!({ "oneOf": [{ "const": 1 }, { "const": 2 }] })), Some(vec![&json!(1), &json!(2)]));
    assert_eq!(values(&json!({ "oneOf": [{ "const": 1 }, { "type": "string" }] })), None);
}
