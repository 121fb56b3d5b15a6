//! Every filter: its examples, its errors, its limits.

use serde_json::{Value, json};
use trunkline_core::Diagnostic;

use super::{FILTERS, call::MAX_ITEMS};
use crate::{
    expression::{Scope, Template},
    values::conversion::OUTPUT_LIMIT,
};

fn yields(expression: &str, input: &Value) -> trunkline_core::Result<Value> {
    let mut found = Vec::new();
    let template = Template::compile(&json!(format!("{{{{ {expression} }}}}")), "", &mut found);
    Diagnostic::accept(expression, &found)?;
    let tables = json!({ "colours": { "rot": "red", "blau": "blue" } });
    template.render(&Scope::new(input, "r1", &tables))
}

#[test]
fn every_filter_example_yields_its_result() {
    for filter in FILTERS {
        assert!(!filter.examples.is_empty(), "{} has no example", filter.name);
        for example in filter.examples {
            let parse = |text: &str| serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let (input, expected): (Value, Value) = (parse(example.input), parse(example.yields));
            assert!(example.expression.contains(filter.name), "{}", example.expression);
            assert_eq!(yields(example.expression, &input).unwrap(), expected, "{}", example.expression);
        }
    }
}

#[test]
fn the_error_of_a_filter_says_what_it_expected() {
    for (expression, words) in [
        ("[1] | upper", "upper takes a text, not a list"),
        ("input | upper", "the filter upper takes a text, not an object"),
        ("'a' | split(input)", "the filter split takes a text as separator, not an object"),
        ("'a' | split", "split(separator)"),
        ("'a' | split(1)", "split takes a text as separator, not a whole number"),
        ("'2024-13-01' | date('%Y')", "2024-13-01"),
        ("'2024-01-01' | date('%Y', 'Mars/Phobos')", "Mars/Phobos"),
        ("'2024-01-01' | date('%!')", "%!"),
        ("3 | unit('cm', 'kg')", "cm is a length, kg is a mass"),
        ("3 | unit('cm', 'parsec')", "mm, cm"),
        ("'grün' | lookup('colours')", "grün"),
        ("'rot' | lookup('sizes')", "colours"),
        ("{'a': 1} | json_pointer('a')", "begins with /"),
        ("'x' | int", "x"),
    ] {
        let error = format!("{:?}", yields(expression, &json!({})).unwrap_err());
        assert!(error.contains(words), "{expression}: {error}");
    }
}

#[test]
fn a_filter_fails_on_a_text_or_list_beyond_its_limits() {
    let many = vec!["ab"; MAX_ITEMS + 1];
    let input = json!({ "long": "x,".repeat(OUTPUT_LIMIT), "many": many, "sharp": "ﷺ".repeat(OUTPUT_LIMIT / 4) });
    for expression in [
        "input.long | split(',')",
        "input.long | upper",
        "input.long | slug",
        "input.sharp | slug",
        "input.long | path(0)",
        "input.long | mime",
        "input.long | date('%Y')",
        "input.many | join",
        "input.many | map('length')",
        "input.many | pick('a')",
        "input | json",
        "'2024-01-01' | date(input.long)",
        "[1] | join(input.long)",
    ] {
        let error = yields(expression, &input).map(|value| value.to_string().len()).unwrap_err();
        assert!(error.message().contains("than"), "{expression}: {error:?}");
    }
    // Texts and lists within the limits work.
    let few = json!({ "many": vec!["ab"; 1000], "long": "x,".repeat(1000) });
    assert_eq!(yields("input.many | join | length", &few).unwrap(), json!(2000));
    assert_eq!(yields("input.long | split(',') | length", &few).unwrap(), json!(1001));
}
