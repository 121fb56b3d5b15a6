use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Severity};

use super::{
    infer::{admit, infer},
    names::{Names, StepOutput},
    schema_algebra,
};
use crate::{
    expression::{Scope, Template},
    filters::FILTERS,
    values::json_kinds::Kinds,
};

static TABLES: LazyLock<Value> = LazyLock::new(|| json!({ "sizes": { "s": 1, "l": 2 } }));

fn names() -> Names<'static> {
    let output = json!({ "type": "object", "properties": {
        "id": { "type": "string", "format": "uuid" }, "size": { "type": "integer" }, "ratio": { "type": "number" },
        "state": { "enum": ["new", "done"] }, "title": { "type": ["string", "null"] }, "ok": { "type": "boolean" },
        "items": { "type": "array", "items": { "type": "object", "additionalProperties": true,
            "properties": { "fileName": { "type": "string" }, "file": { "type": "object", "properties": { "md5": { "type": "string" } } } } } }
    } });
    let step = |certain| StepOutput { shape: Arc::new(output.clone()), certain };
    let input = json!({ "type": "object", "properties": {
        "text": { "type": "string" }, "any": {}, "list": { "type": "array" } } });
    Names {
        steps: [("a".to_owned(), step(true)), ("maybe".to_owned(), step(false))].into_iter().collect(),
        ..Names::new(Cow::Owned(input), &TABLES)
    }
}

fn found(source: &str) -> Vec<Diagnostic> {
    admit(source, "/x").err().unwrap_or_else(|| infer(source, "/x", &names()).found)
}

#[test]
fn the_kinds_of_a_result_are_inferred() {
    for (source, kind) in [
        ("steps.a.size + 1", Kinds::INTEGER),
        ("steps.a.size / 2", Kinds::NUMBER),
        ("steps.a.ratio * 2", Kinds::NUMBER),
        ("input.text + 'x'", Kinds::TEXT),
        ("steps.a.size ~ 'x'", Kinds::TEXT),
        ("input.list + [1]", Kinds::LIST),
        ("steps.a.items[0].fileName", Kinds::TEXT),
        ("steps.a['size']", Kinds::INTEGER),
        ("steps.a.items[1:3]", Kinds::LIST),
        ("input.text[:3]", Kinds::TEXT),
        ("(steps.a.items | first).file.md5", Kinds::TEXT),
        ("steps.a.items | map('fileName') | first", Kinds::TEXT),
        ("steps.a.title | default('')", Kinds::TEXT),
        ("[steps.a] | map('items.0.fileName') | first", Kinds::TEXT),
        ("steps.a.title", Kinds::TEXT.or(Kinds::NULL)),
        ("1 if steps.a.ok else 'x'", Kinds::INTEGER.or(Kinds::TEXT)),
        ("steps.a.ok and not steps.a.ok or input.any", Kinds::BOOLEAN),
        ("not input.any", Kinds::BOOLEAN),
        ("input.any in [1]", Kinds::BOOLEAN),
        ("input.any is defined", Kinds::BOOLEAN),
        ("(steps.a | pick('size')).size", Kinds::INTEGER),
        ("(steps.a | omit('id')).ratio", Kinds::NUMBER),
        ("input.text | lookup('sizes')", Kinds::INTEGER),
        ("input.text | lookup('sizes', 'none')", Kinds::INTEGER.or(Kinds::TEXT)),
        ("input.text | path", Kinds::LIST),
        ("input.text | path(0)", Kinds::TEXT),
        ("{'a': [1, 'x']}.a", Kinds::LIST),
        ("-steps.a.size", Kinds::INTEGER),
        ("run.id", Kinds::TEXT),
        ("(steps.maybe | default({})).size | default('')", Kinds::INTEGER.or(Kinds::TEXT)),
        ("input.any", Kinds::ANY),
        ("input.any + 1", Kinds::NUMBER),
    ] {
        let names = names();
        let inferred = infer(source, "/x", &names);
        assert_eq!(schema_algebra::kinds(&inferred.shape), kind, "{source}: {}", inferred.shape);
        assert_eq!(inferred.found, [], "{source}");
    }
}

#[test]
fn an_expression_that_cannot_work_is_reported_with_advice() {
    for (source, words) in [
        ("steps.a.sise", "did you mean size?"),
        ("steps.b.size", "no step b runs before"),
        ("steps.aa.size", "did you mean a?"),
        ("steps.a.items.fileName", "map('..')"),
        ("steps.a.size.x", "reads the member x of a whole number"),
        ("steps.a.items[0].filename", "did you mean fileName?"),
        ("steps.a.items | map('filname')", "did you mean fileName?"),
        ("steps.a.items | map('file.md6')", "did you mean md5?"),
        ("item.x", "only inside the steps of an `each`"),
        ("run.ID", "did you mean id?"),
        ("unknown.x", "begins with the unknown name unknown"),
        ("input.tekst", "did you mean text?"),
        ("steps.a.state == 'gone'", "the possible values are \"new\", \"done\""),
        ("steps.a.state in ['new', 'gone']", "\"gone\", which is never the value"),
        ("steps.a.size == '7'", "they are never equal"),
        ("steps.a.size > '7'", "the filter int"),
        ("steps.a.title ~ none", "joins null"),
        ("not input.text", "compare it with the value"),
        ("steps.a.ok and steps.a.size", "uses a whole number with `and`"),
        ("steps.a.state or true", "with `or`"),
        ("1 if steps.a.items else 2", "uses a list with `if`"),
        ("{'a': 1, 'a': 2}", "the member a twice"),
        ("12345678901234567890123 + 1", "declare it as text"),
        ("0.12345678901234567", "declare it as text"),
        ("18446744073709551615 + 1", "more than 64 bits"),
        ("1 / 0", "divides 1 by zero"),
        ("'5' > 4", "the filter int"),
        ("1 in input.text", "with the filter string"),
        ("steps.a.size in {'a': 1}", "with the filter string"),
        ("input.text | date('YYYY-MM-DD')", "no directive"),
        ("2 == '2'", "the filter int"),
        ("true < false", "only numbers and texts have an order"),
        ("none | string", "string takes"),
        ("[input.any] | map('a..b')", "name in the path is empty"),
        ("steps.a.items > steps.a.items", "only numbers and texts have an order"),
        ("steps.a.ok + 1", "adds true or false"),
        ("steps.a.size + 'x'", "use ~ to join texts"),
        ("input.text - 1", "where a number is needed"),
        ("1 in steps.a.size", "where a list, a text or an object is needed"),
        ("steps.a.size | upper", "upper takes a text"),
        ("input.text | uper", "did you mean upper?"),
        ("input.text | split", "split(separator)"),
        ("input.text | split(1)", "as separator"),
        ("steps.a.size | unit('cm', 'kg')", "kg is a mass"),
        ("input.text | date('%Y', 'Europe/Stokholm')", "no time zone"),
        ("input.text | lookup('size')", "its tables are: sizes"),
        ("input.text | default(other='x')", "by position"),
        ("input.text is number", "is number"),
        ("input.text.upper()", "no functions"),
        ("(1, 2)", "square brackets"),
        ("'x' * 3", "where a number is needed"),
        ("(input.text | default('')) * 3", "where a number is needed"),
        ("steps.a.items ~ 'x'", "puts a list into a text"),
    ] {
        let found = found(source);
        let all: Vec<_> =
            found.iter().map(|one| format!("{} -- {}", one.message, one.advice().unwrap_or_default())).collect();
        assert_eq!(found.len(), 1, "{source}: {all:#?}");
        assert!(all[0].contains(words), "{source}: {all:#?}");
    }
}

#[test]
fn a_value_that_may_be_missing_is_reported_unless_it_has_a_default() {
    assert_eq!(found("steps.maybe.size")[0].severity, Severity::Warning);
    // The default is for the whole path.
    assert_eq!(found("steps.maybe.size | default(1)"), []);
    assert_eq!(found("steps.maybe.items[0].file.md5 | default('')"), []);
    assert_eq!(found("steps.maybe.size is defined"), []);
    // It is not for the index, and not for another operand.
    assert_eq!(found("input.list[steps.maybe.size] | default(1)").len(), 1);
    assert_eq!(found("steps.maybe.size + steps.a.size | default(1)").len(), 1);
    assert_eq!(found("(steps.maybe.size + 1) | default(1)").len(), 1);
    assert_eq!(found("steps.maybe is defined"), []);
    assert_eq!(found("(steps.maybe | default({})).size | default(1)"), []);
}

#[test]
fn the_results_of_filter_examples_have_the_inferred_kinds() {
    let tables = json!({ "colours": { "rot": "red", "blau": "blue" } });
    for example in FILTERS.iter().flat_map(|filter| filter.examples) {
        let input: Value = serde_json::from_str(example.input).unwrap();
        let names = Names::new(Cow::Owned(json!({ "const": input })), &tables);
        let inferred = infer(example.expression, "/x", &names);
        let template = Template::compile(json!(format!("{{{{ {} }}}}", example.expression)), "/x", &mut Vec::new());
        let yields = template.render(&Scope::new(&input, "r", &tables)).unwrap();
        assert!(
            Kinds::of(&yields).within(schema_algebra::kinds(&inferred.shape)),
            "{}: {}",
            example.expression,
            inferred.shape
        );
    }
}
