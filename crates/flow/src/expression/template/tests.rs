use super::*;
use serde_json::json;

fn try_render(template: Value, input: Value) -> Result<Value> {
    let mut found = Vec::new();
    let template = Template::compile(&template, "", &mut found);
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
