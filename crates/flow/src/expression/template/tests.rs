use super::*;
use serde_json::json;

fn try_render(template: Value, input: Value) -> Result<Value> {
    let mut found = Vec::new();
    let template = Template::compile(template, "", &mut found);
    if let Some(error) = Diagnostic::into_error("template", &found) {
        return Err(error);
    }
    let scope = Scope::new(&input, "r1", &json!({}));
    scope.set_step(&"look".into(), &json!({ "items": [1, 2] }));
    template.render(&scope.with("item", &json!({ "name": "Ä {{ 7 * 7 }}" })))
}

#[test]
fn a_single_expression_keeps_its_type_and_data_stays_data() {
    let input = json!({ "id": 9_007_199_254_740_993_i64, "on": true });
    let template = json!({ "id": "{{ input.id }}", "text": "no {{ input.id }}", "all": ["{{ steps.look.items | length }}"],
        "name": "{{ item.name }}", "not": "{{ not input.on }}", "braces": "{{ {'a': '}}'} }}" });
    let expected = json!({ "id": 9_007_199_254_740_993_i64, "text": "no 9007199254740993", "all": [2],
        "name": "Ä {{ 7 * 7 }}", "not": false, "braces": { "a": "}}" } });
    assert_eq!(try_render(template, input).unwrap(), expected);
}

#[test]
fn a_missing_value_is_an_error_unless_it_has_a_default() {
    let error = try_render(json!("{{ input.nothing }}"), json!({})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(try_render(json!("x {{ steps.absent.x }}"), json!({})).is_err());
    assert_eq!(try_render(json!("{{ input.nothing | default('d') }}"), json!({})).unwrap(), json!("d"));
}

#[test]
fn null_in_a_text_is_an_error_and_other_values_become_json() {
    let input = json!({ "none": null, "list": ["a", 1], "yes": true });
    let template = json!("{{ input.list }} {{ input.yes }} {{ 'x' }}");
    assert_eq!(try_render(template, input.clone()).unwrap(), json!("[\"a\",1] true x"));
    assert!(try_render(json!("x {{ input.none }}"), input.clone()).is_err());
    assert_eq!(try_render(json!("x{{ input.none | default('') }}"), input.clone()).unwrap(), json!("x"));
    assert_eq!(try_render(json!("{{ input.none }}"), input).unwrap(), json!(null));
}

#[test]
fn the_output_of_a_step_that_did_not_run_can_have_a_default() {
    let expression = "{{ (steps.absent | default({})).x | default('d') }}";
    assert_eq!(try_render(json!(expression), json!({})).unwrap(), json!("d"));
}

/// The second value is with all parts of the path, the third without them.
#[test]
fn a_default_applies_where_any_part_of_a_path_is_missing() {
    let input = json!({ "a": { "b": { "c": [{ "d e": 1 }, 7], "n": null } }, "i": 1, "t": "text" });
    for (expression, with, without) in [
        ("input.a.b.c | default('x')", json!([{ "d e": 1 }, 7]), json!("x")),
        ("input.a.b.c[0]['d e'] | default('x')", json!(1), json!("x")),
        ("input.a.b.c[input.i | default(0)] | default('x')", json!(7), json!("x")),
        ("input.a.b.c.1 | default('x')", json!(7), json!("x")),
        ("input['a']['b'].c[ 1 ] | default('x')", json!(7), json!("x")),
        ("(input.a.b).c[1] | default('x')", json!(7), json!("x")),
        ("input.a.b.n.o.p | default('x')", json!("x"), json!("x")),
        ("input.a.b.c[9].d | default('x')", json!("x"), json!("x")),
        ("input.t.u.v | default('x')", json!("x"), json!("x")),
        ("input.a.no.c | default(input.a.b.i | default('x'))", json!("x"), json!("x")),
        ("steps.absent.y.z | default('x')", json!("x"), json!("x")),
        ("steps.look.items[5].z | default('x') | upper", json!("X"), json!("X")),
        ("input.a.b.c is defined", json!(true), json!(false)),
        ("input.a.b.o is not defined and not input.a.b.o.p is defined", json!(true), json!(true)),
        ("(input.a.b.c | default([1])) | length", json!(2), json!(1)),
        ("{'k': input.a.b.c[1] | default('x')}.k", json!(7), json!("x")),
    ] {
        let expression = format!("{{{{ {expression} }}}}");
        assert_eq!(try_render(json!(expression), input.clone()).unwrap(), with, "{expression}");
        assert_eq!(try_render(json!(expression), json!({})).unwrap(), without, "{expression}");
    }
    // Without a default, and in what is not the value of the default, a missing part is an error.
    for expression in
        ["input.a.b.c", "input.a.b ~ 'x'", "input.i[input.a.b] | default(1)", "(input.a.b ~ 'x') | default(1)"]
    {
        assert!(try_render(json!(format!("{{{{ {expression} }}}}")), json!({})).is_err(), "{expression}");
    }
}
