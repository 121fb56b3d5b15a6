use serde_json::{Value, json};

use crate::{Schema, Severity};

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

#[test]
fn a_default_stands_for_a_missing_value_at_any_depth() {
    let n = || json!({ "type": "integer", "default": 7 });
    let deep = object(json!({ "a": object(json!({ "b": object(json!({ "n": n() })), "m": true })) }));
    let optional = object(json!({ "a": { "properties": { "n": n(), "id": true }, "required": ["id"] } }));
    let whole = object(json!({ "a": { "properties": { "n": n() }, "default": { "m": 1 } } }));
    let list = object(json!({ "a": { "items": object(json!({ "n": n() })) } }));
    let tuple = object(json!({ "a": { "prefixItems": [true, object(json!({ "n": n() }))] } }));
    let map = json!({ "additionalProperties": object(json!({ "n": n() })), "properties": { "a": true } });
    let kind = |kind: &str, name: &str| object(json!({ "kind": { "const": kind }, name: n() }));
    let choice = json!({ "oneOf": [kind("box", "width"), kind("ball", "radius")] });
    let named = json!({ "$defs": { "n": n(), "node": object(json!({ "n": { "$ref": "#/$defs/n" }, "next": { "$ref": "#/$defs/node" } })) },
        "allOf": [{ "$ref": "#/$defs/node" }] });
    let condition = json!({ "if": { "required": ["x"] }, "then": object(json!({ "n": n() })),
        "else": object(json!({ "m": n() })) });
    for (schema, given, expected) in [
        (object(json!({ "n": n() })), json!({}), json!({ "n": 7 })),
        (object(json!({ "n": n() })), Value::Null, json!({ "n": 7 })),
        (object(json!({ "n": n() })), json!({ "n": 1, "m": 2 }), json!({ "n": 1, "m": 2 })),
        (object(json!({ "n": n() })), json!({ "n": null }), json!({ "n": null })),
        (object(json!({ "n": { "default": false } })), json!({}), json!({ "n": false })),
        (object(json!({ "n": true })), json!({}), json!({})),
        (object(json!({ "n": { "default": null } })), json!({}), json!({ "n": null })),
        (json!({ "default": { "x": 1 }, "properties": { "n": n() } }), Value::Null, json!({ "x": 1, "n": 7 })),
        (deep.clone(), json!({}), json!({ "a": { "b": { "n": 7 } } })),
        (deep.clone(), json!({ "a": {} }), json!({ "a": { "b": { "n": 7 } } })),
        (deep.clone(), json!({ "a": { "b": { "n": 1 }, "m": 2 } }), json!({ "a": { "b": { "n": 1 }, "m": 2 } })),
        (deep, json!({ "a": null }), json!({ "a": null })),
        // An object that would lack a required member is not created.
        (optional.clone(), json!({}), json!({})),
        (optional, json!({ "a": { "id": 1 } }), json!({ "a": { "id": 1, "n": 7 } })),
        (whole.clone(), json!({}), json!({ "a": { "m": 1, "n": 7 } })),
        (whole, json!({ "a": {} }), json!({ "a": { "n": 7 } })),
        (list.clone(), json!({ "a": [{}, { "n": 1 }, 3] }), json!({ "a": [{ "n": 7 }, { "n": 1 }, 3] })),
        (list, json!({}), json!({})),
        (tuple, json!({ "a": [{}, {}, {}] }), json!({ "a": [{}, { "n": 7 }, {}] })),
        (map, json!({ "a": {}, "b": {} }), json!({ "a": {}, "b": { "n": 7 } })),
        (choice.clone(), json!({ "kind": "ball" }), json!({ "kind": "ball", "radius": 7 })),
        (choice, json!({ "kind": "cone" }), json!({ "kind": "cone" })),
        (named, json!({ "next": { "n": 1, "next": 5 } }), json!({ "n": 7, "next": { "n": 1, "next": 5 } })),
        (condition.clone(), json!({ "x": 1 }), json!({ "x": 1, "n": 7 })),
        (condition, json!({}), json!({ "m": 7 })),
    ] {
        let filled = Schema::from(schema.clone()).with_defaults(given.clone());
        assert_eq!(filled, expected, "{schema} {given}");
        assert_eq!(Schema::from(schema.clone()).with_defaults(filled.clone()), filled, "a second time: {schema}");
    }
}

#[test]
fn a_schema_that_contains_itself_ends() {
    let schema = Schema::from(object(
        json!({ "n": { "default": 1 }, "next": { "$ref": "#" }, "same": { "$ref": "#/properties/same" } }),
    ));
    assert_eq!(schema.with_defaults(json!({}))["n"], 1);
    assert_eq!(schema.with_defaults(json!({ "same": 2, "next": { "next": {} } }))["next"]["next"]["n"], 1);
}

#[test]
fn a_member_with_a_default_is_required_only_afterwards() {
    let schema = Schema::from(json!({ "required": ["n", "m", "a"], "properties": {
        "n": { "default": 1 }, "m": true, "a": { "required": ["x"], "properties": { "x": { "default": 1 } } } } }));
    assert_eq!(Schema::from(schema.before_defaults()).check(&json!({ "m": 1 })), []);
    assert!(schema.check(&schema.with_defaults(json!({ "m": 1 }))).is_empty());
    assert_eq!(Schema::from(schema.before_defaults()).check(&json!({ "n": 1 }))[0].pointer, "/m");
}

#[test]
fn a_default_that_does_not_fit_is_found() {
    for (schema, places) in [
        (object(json!({ "n": { "type": "integer", "default": "x" } })), vec!["/properties/n/default"]),
        (object(json!({ "n": { "type": "integer", "default": 1 } })), vec![]),
        (json!({ "items": { "enum": [1, 2], "default": 3 } }), vec!["/items/default"]),
        (json!({ "anyOf": [true, { "minimum": 3, "default": 2 }] }), vec!["/anyOf/1/default"]),
        (json!({ "$defs": { "a/b": { "type": "null", "default": 0 } } }), vec!["/$defs/a~1b/default"]),
        (json!({ "default": {}, "required": ["n"], "properties": { "n": { "default": 1 } } }), vec![]),
        (json!({ "default": {}, "required": ["m"], "properties": { "n": { "default": 1 } } }), vec!["/default"]),
        (
            json!({ "$defs": { "n": { "type": "null" } }, "items": { "$ref": "#/$defs/n", "default": 1 } }),
            vec!["/items/default"],
        ),
    ] {
        let found: Vec<_> = Schema::from(schema.clone()).default_faults().into_iter().map(|one| one.pointer).collect();
        assert_eq!(found, places, "{schema}");
    }
}

/// A schema whose definitions refer to each other twice: each level doubles the number of values.
fn doubling(levels: usize) -> Value {
    let level = |n: usize| {
        let next = match n {
            0 => json!({ "default": 1 }),
            n => json!({ "$ref": format!("#/$defs/n{}", n - 1) }),
        };
        (format!("n{n}"), object(json!({ "a": next, "b": next })))
    };
    let definitions: serde_json::Map<_, _> = (0..levels).map(level).collect();
    json!({ "$defs": definitions, "properties": { "all": { "$ref": format!("#/$defs/n{}", levels - 1) } } })
}

#[test]
fn defaults_behind_references_patterns_and_dependencies_are_applied() {
    let n = || json!({ "type": "integer", "default": 7 });
    let with_n = || object(json!({ "n": n() }));
    let sibling = json!({ "$defs": { "n": n() }, "properties": { "n": { "$ref": "#/$defs/n", "default": 1 } } });
    let nested =
        json!({ "$defs": { "o": with_n() }, "properties": { "o": { "$ref": "#/$defs/o", "default": { "m": 1 } } } });
    let old = json!({ "definitions": { "n": n() }, "properties": { "n": { "$ref": "#/definitions/n" } } });
    let property = object(json!({ "n": n(), "m": { "$ref": "#/properties/n" } }));
    let escaped = json!({ "$defs": { "a b/c": n() }, "properties": { "n": { "$ref": "#/$defs/a%20b~1c" } } });
    let anchor = json!({ "$defs": { "x": { "$anchor": "n", "default": 7 } }, "properties": { "n": { "$ref": "#n" } } });
    let data = json!({ "$defs": { "x": { "const": { "$anchor": "n", "default": 1 } }, "y": { "$anchor": "n", "default": 7 } },
        "properties": { "n": { "$ref": "#n" } } });
    let pattern = json!({ "patternProperties": { "^a": with_n(), "z$": object(json!({ "m": n() })) },
        "properties": { "ab": true }, "additionalProperties": object(json!({ "k": n() })) });
    let dependent =
        json!({ "dependentSchemas": { "x": object(json!({ "n": n() })) }, "properties": { "x": { "default": 0 } } });
    let optional = json!({ "dependentSchemas": { "x": object(json!({ "n": n() })) } });
    let branch =
        |id: &str, name: &str| json!({ "required": [id], "properties": { name: { "$ref": "#/definitions/n" } } });
    let chosen = json!({ "definitions": { "n": n() }, "oneOf": [branch("x", "n"), branch("y", "m")] });
    let by_anchor = json!({ "$defs": { "k": { "$anchor": "kind", "required": ["kind"] }, "n": n() },
        "anyOf": [{ "$ref": "#kind", "properties": { "n": { "$ref": "#/$defs/n" } } }, with_n()] });
    let with_id = json!({ "$id": "https://schemas.example/x.json", "definitions": { "n": n() },
        "if": { "properties": { "x": { "$ref": "#/definitions/n" } }, "required": ["x"] }, "then": with_n() });
    for (schema, given, expected) in [
        (sibling.clone(), json!({}), json!({ "n": 1 })),
        (sibling, json!({ "n": 2 }), json!({ "n": 2 })),
        (nested, json!({}), json!({ "o": { "m": 1, "n": 7 } })),
        (old, json!({}), json!({ "n": 7 })),
        (property, json!({}), json!({ "n": 7, "m": 7 })),
        (escaped, json!({}), json!({ "n": 7 })),
        (anchor, json!({}), json!({ "n": 7 })),
        (data, json!({}), json!({ "n": 7 })),
        (
            pattern.clone(),
            json!({ "ax": {}, "az": {}, "bz": {} }),
            json!({ "ax": { "n": 7 }, "az": { "n": 7, "m": 7 }, "bz": { "m": 7 } }),
        ),
        (pattern, json!({ "ab": {}, "c": {} }), json!({ "ab": { "n": 7 }, "c": { "k": 7 } })),
        (dependent, json!({}), json!({ "x": 0, "n": 7 })),
        (optional.clone(), json!({}), json!({})),
        (optional, json!({ "x": null }), json!({ "x": null, "n": 7 })),
        (chosen.clone(), json!({ "y": 1 }), json!({ "y": 1, "m": 7 })),
        (chosen, json!({ "z": 1 }), json!({ "z": 1 })),
        (by_anchor.clone(), json!({ "kind": 1 }), json!({ "kind": 1, "n": 7 })),
        (by_anchor, json!({ "x": 1 }), json!({ "x": 1, "n": 7 })),
        (with_id.clone(), json!({ "x": 1 }), json!({ "x": 1, "n": 7 })),
        (with_id, json!({ "x": "1" }), json!({ "x": "1" })),
    ] {
        let schema = Schema::from(schema);
        assert_eq!(schema.fault(), None, "{}", schema.value());
        assert_eq!(schema.default_faults(), [], "{}", schema.value());
        assert_eq!(schema.with_defaults(given.clone()), expected, "{} {given}", schema.value());
    }
}

#[test]
fn a_default_that_is_not_applied_is_a_warning_with_its_place() {
    let n = || object(json!({ "n": { "default": 7 } }));
    for (schema, place) in [
        (json!({ "not": n() }), "/not"),
        (json!({ "if": n(), "then": true }), "/if"),
        (json!({ "items": { "contains": n() } }), "/items/contains"),
        (json!({ "properties": { "a": { "unevaluatedProperties": n() } } }), "/properties/a/unevaluatedProperties"),
        (json!({ "unevaluatedItems": { "default": 1 } }), "/unevaluatedItems"),
        (json!({ "$defs": { "n": n() }, "allOf": [{ "$ref": "https://schemas.example/n.json" }] }), "/allOf/0/$ref"),
        (json!({ "$defs": { "n": { "$dynamicAnchor": "n" } }, "$dynamicRef": "#n" }), "/$dynamicRef"),
    ] {
        let found = Schema::from(schema.clone()).default_faults();
        assert_eq!(found.len(), 1, "{schema}: {found:?}");
        assert_eq!((&*found[0].pointer, found[0].severity), (place, Severity::Warning), "{schema}");
    }
    for schema in
        [json!({ "not": { "required": ["default"] } }), json!({ "if": { "properties": { "default": true } } })]
    {
        assert_eq!(Schema::from(schema.clone()).default_faults(), [], "{schema}");
    }
}

#[test]
fn defaults_that_multiply_are_refused_and_cost_little() {
    let begun = std::time::Instant::now();
    let mutual: serde_json::Map<_, _> = (0..12)
        .map(|n| {
            let others: Vec<_> =
                (0..12).filter(|m| *m != n).map(|m| json!({ "$ref": format!("#/$defs/n{m}") })).collect();
            (format!("n{n}"), json!({ "allOf": others }))
        })
        .collect();
    for schema in [doubling(40), json!({ "$defs": mutual, "$ref": "#/$defs/n0" })] {
        let schema = Schema::from(schema);
        let found = schema.default_faults();
        assert_eq!(found[0].severity, Severity::Error, "{found:?}");
        assert!(found[0].message.contains("too many steps"), "{found:?}");
        schema.with_defaults(json!({}));
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    let allowed = Schema::from(doubling(8));
    assert_eq!(allowed.default_faults(), []);
    assert_eq!(allowed.with_defaults(json!({})).to_string().matches("\"a\":1").count(), 128);
}

/// A default that brings a value whose schema has the same default: it has no end, and must not use up the stack.
#[test]
fn defaults_without_an_end_are_refused() {
    let of = |t: serde_json::Value| json!({ "type": "object", "properties": { "t": t }, "default": {} });
    let endless = [
        of(json!({ "$ref": "#" })),
        of(json!({ "allOf": [{ "$ref": "#" }] })),
        of(json!({ "anyOf": [{ "$ref": "#" }, { "type": "null" }], "default": {} })),
        of(json!({ "if": { "type": "object" }, "then": { "$ref": "#" }, "default": {} })),
        of(json!({ "default": [{}], "items": { "$ref": "#" } })),
        of(json!({ "default": [{}], "prefixItems": [{ "$ref": "#" }] })),
        of(json!({ "default": { "x": {} }, "patternProperties": { "x": { "$ref": "#" } } })),
        of(json!({ "default": { "x": {} }, "additionalProperties": { "$ref": "#" } })),
        json!({ "$ref": "#/$defs/n", "$defs": { "n": of(json!({ "$ref": "#/$defs/n" })) } }),
        json!({ "$ref": "#n", "$defs": { "n": { "$anchor": "n", "properties": { "t": { "default": {}, "$ref": "#n" } } } } }),
    ];
    for schema in endless {
        let schema = Schema::from(schema);
        let found = schema.default_faults();
        assert!(found.iter().any(|one| one.message.contains("never end")), "{:?}: {found:?}", schema.value());
        schema.with_defaults(json!({}));
        schema.with_defaults(json!({ "t": { "t": {} } }));
    }
    // A schema that contains itself without such a default has an end.
    let list = json!({ "properties": { "x": { "default": 1 }, "next": { "$ref": "#" }, "more": { "type": "array", "default": [] } } });
    assert_eq!(Schema::from(list).default_faults(), []);
}

/// The sabotage twin: each level more doubles what a filler without a limit would make.
#[test]
fn without_the_limit_the_values_would_double_with_each_level() {
    let size = |levels| Schema::from(doubling(levels)).with_defaults(json!({})).to_string().len();
    assert!(size(9) > 2 * size(8) - 100 && size(10) > 2 * size(9) - 100, "{} {} {}", size(8), size(9), size(10));
}

#[test]
fn a_member_that_any_part_fills_is_required_only_afterwards() {
    for schema in [
        json!({ "required": ["n"], "allOf": [object(json!({ "n": { "default": 1 } }))] }),
        json!({ "required": ["n"], "$ref": "#/definitions/o", "definitions": { "o": object(json!({ "n": { "default": 1 } })) } }),
    ] {
        let schema = Schema::from(schema);
        assert_eq!(Schema::from(schema.before_defaults()).check(&json!({})), [], "{}", schema.value());
        assert!(schema.check(&schema.with_defaults(json!({}))).is_empty());
    }
}
