use std::{borrow::Cow, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_core::Severity;

use super::complete;
use crate::typing::{
    completion::{Completion, CompletionKind},
    infer::infer,
    names::{Names, StepOutput},
};

fn names() -> Names<'static> {
    let input = json!({ "type": "object", "additionalProperties": false, "properties": {
        "title": { "type": "string", "description": "What it is called.", "examples": ["Spring"] },
        "not": { "type": "boolean" }, "xmp:rating": { "type": "integer" }, "a \"b\" \\ c": true, "1st": { "type": "null" },
        "sizes": { "type": "array", "items": { "type": "object", "properties": { "width": { "type": "integer" } } } },
        "either": { "anyOf": [{ "type": "null" }, { "type": "object", "properties": { "deep": { "const": 7 } } }] }
    } });
    let mut names = Names::new(Cow::Owned(input), &Value::Null);
    let shape =
        json!({ "type": "object", "properties": { "id": { "type": "string" }, "label": { "const": { "x": 1 } } } });
    names.steps.insert("find".to_owned(), StepOutput { shape: Arc::new(shape), certain: true });
    names.item = Some(Cow::Owned(json!({ "type": "object", "properties": { "name": { "type": "string" } } })));
    names
}

/// Returns the labels offered at the place of `^` in a text.
fn labels(text: &str) -> Vec<String> {
    at_cursor(text).into_iter().map(|one| one.label).collect()
}

fn at_cursor(text: &str) -> Vec<Completion> {
    let (before, after) = text.split_once('^').unwrap();
    complete(&format!("{before}{after}"), before.chars().count(), Some(&names()))
}

#[test]
fn the_word_at_the_cursor_is_completed_by_what_stands_before_it() {
    for (text, expected) in [
        ("{{ ^ }}", vec!["input", "steps", "item", "run"]),
        ("é {{ s^", vec!["steps"]),
        ("{{ steps.^ }}", vec!["find"]),
        ("{{ steps.find.^ }} and {{ item.x }}", vec!["id", "label"]),
        ("{{ steps.find.label.^", vec!["x"]),
        ("{{ input.t^x }}", vec!["title"]),
        ("{{ input.sizes[0].^ }}", vec!["width"]),
        ("{{ (input.sizes[0].^", vec!["width"]),
        ("{{ {'a': [input.either.^", vec!["deep"]),
        ("{{ input.sizes[item.^", vec!["name"]),
        ("{{ 1 if item.^", vec!["name"]),
        ("{{ x | default(item.n^", vec!["name"]),
        ("{{ x is n^", vec!["none"]),
        ("{{ 'steps.^' }}", vec![]),
        ("{{ input.title.^ }}", vec![]),
        ("{{ 12^", vec![]),
        ("{{ input }} ^", vec![]),
        ("input.^", vec![]),
        ("^", vec![]),
    ] {
        assert_eq!(labels(text), expected, "{text}");
    }
    // Only filters that take the value are offered.
    let of_list = complete("{{ input.sizes | j", 18, Some(&names()));
    let of_number = complete("{{ input.sizes[0].width | j", 27, Some(&names()));
    let has = |all: &[Completion], name: &str| all.iter().any(|one| one.label == name);
    assert!(has(&of_list, "join") && has(&of_list, "json"), "{of_list:?}");
    assert!(!has(&of_number, "join") && has(&of_number, "json"), "{of_number:?}");
}

#[test]
fn a_completion_says_what_it_is_and_what_it_replaces() {
    let found = at_cursor("é {{ input.ti^tle }}");
    let expected = json!([{ "label": "title", "insert": "title", "from": 11, "to": 16, "kind": "member", "type": "a text",
        "about": "What it is called.", "sample": "Spring" }]);
    assert_eq!(serde_json::to_value(&found).unwrap(), expected);
    // A name that a dot cannot have stands in brackets, in the place of the dot.
    let found = at_cursor("{{ input.x^ }}");
    assert_eq!((&*found[0].insert, found[0].from, found[0].to), ("[\"xmp:rating\"]", 8, 10));
    // Without names, the language is known.
    assert!(complete("{{ i", 4, None).iter().any(|one| one.label == "items"));
    assert!(complete("{{ input.", 9, None).is_empty());
}

/// Returns what is wrong with a text after a completion was accepted at the end of it.
fn faults_after(text: &str, completion: &Completion) -> Vec<String> {
    let before: String = text.chars().take(completion.from).collect();
    let source = format!("{}{}", before.trim_start_matches("{{"), completion.insert);
    let known = names();
    let found = infer(source.trim(), "", &known).found;
    found.into_iter().filter(|one| one.severity == Severity::Error).map(|one| one.message).collect()
}

#[test]
fn an_accepted_member_is_right() {
    let mut seen = 0;
    for path in ["input", "input.sizes[0]", "input.either", "steps.find", "steps.find.label", "item", "run"] {
        let text = format!("{{{{ {path}.");
        for one in complete(&text, text.chars().count(), Some(&names())) {
            assert_eq!(one.kind, CompletionKind::Member);
            assert_eq!(faults_after(&text, &one), [""; 0], "{text} {one:?}");
            // The sabotage twin: a member that was not offered is not.
            if path == "input" {
                assert!(!faults_after(&text, &Completion { insert: "absent".to_owned(), ..one }).is_empty());
            }
            seen += 1;
        }
    }
    assert!(seen > 12, "{seen}");
}

proptest! {
    #[test]
    fn no_text_and_no_place_is_a_fault(
        parts in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", " ", "input", "steps", "find", "item", ".", ".", "|", "[", "]", "(", ")", "{", "}", "'", "\"", "\\",
            ",", ":", "~", "+", "-", "not", "if", "else", "is", "in", "and", "default", "map", "0", "7.5", "é", "🎈", "\n", "%}",
            "{%", "{#", "cursor__is__here", "title", "=", "==",
        ]), 0..24),
        offset in 0usize..80,
    ) {
        let text = parts.concat();
        for names in [None, Some(&names())] {
            for one in complete(&text, offset, names) {
                prop_assert!(one.from <= one.to && one.to <= text.chars().count(), "{text:?} {one:?}");
            }
        }
    }
}
