//! The checks of a flow: what would be passed on as text, defaults, bindings, and creates that are retried.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Severity};
use trunkline_flow::Flow;
use trunkline_testkit::fake::Fake;

fn flow(more: Value) -> Flow {
    let mut document = json!({ "name": "checked", "connections": { "shop": "shop" }, "steps": [] });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Flow::from_value(document).unwrap()
}

/// Returns the findings about a flow, without the one about a connection that no step uses.
fn found(flow: &Flow) -> Vec<Diagnostic> {
    let found = flow.check(&Fake::of_things("shop").registry());
    found.into_iter().filter(|one| one.pointer != "/connections/shop").collect()
}

/// Returns the pointers of the errors about a flow.
fn errors(more: Value) -> Vec<String> {
    let found = found(&flow(more));
    assert!(found.iter().all(|one| one.advice().is_some()), "{found:?}");
    let errors = found.into_iter().filter(|one| one.severity == Severity::Error);
    errors.map(|one| one.pointer).collect()
}

fn set(value: Value) -> Value {
    json!({ "steps": [{ "id": "a", "set": { "v": value } }] })
}

#[test]
fn statements_and_comments_in_texts_are_errors() {
    for text in [
        "{% if input.ok %}yes{% endif %}",
        "{%- for x in input.all -%}{{ input.ok }}{%- endfor -%}",
        "{%if input.ok%}yes",
        "{% set x = 1",
        "before {{ input.ok }} {% raw %}",
        "{# a comment #}",
        "{% if {{ input.ok }} %}",
    ] {
        assert_eq!(errors(set(json!(text))), ["/steps/0/set/v"], "{text}");
    }
    let text = "{% x %}";
    for (more, place) in [
        (json!({ "output": { "a": [text] } }), "/output/a/0"),
        (json!({ "on_failure": [{ "id": "a", "fail": text }] }), "/on_failure/0/fail"),
        (
            json!({ "steps": [{ "id": "a", "each": [1], "key": "{{ item }}", "steps": [{ "id": "b", "skip": text }] }] }),
            "/steps/0/steps/0/skip",
        ),
        (
            json!({ "steps": [{ "id": "a", "if": true, "then": [{ "id": "b", "set": { "x": { "y": text } } }] }] }),
            "/steps/0/then/0/set/x/y",
        ),
        (
            json!({ "steps": [{ "id": "a", "action": "thing.look", "connection": "shop", "input": { "name": text } }] }),
            "/steps/0/input/name",
        ),
        (json!({ "steps": [{ "id": "a", "wait": { "signal": text } }] }), "/steps/0/wait/signal"),
    ] {
        assert_eq!(errors(more.clone()), [place], "{more}");
    }
}

#[test]
fn braces_that_are_text_are_not_reported() {
    for text in [
        "{{ '{%' }} and {{ '%}' }}",
        "https://example.com/?q={%22id%22:1}",
        "100 %} of {it}",
        "{#1 and {#2}",
        "{ input.x }",
        "{{ {'a': '{% x %}'}.a }}",
    ] {
        assert_eq!(errors(set(json!(text))), [""; 0], "{text}");
    }
    // They are data in other members of a flow.
    assert_eq!(errors(json!({ "about": "{% x %}", "tables": { "t": { "{{ a }}": "{% x %}" } } })), [""; 0]);
}

#[test]
fn an_expression_in_the_name_of_a_member_is_an_error() {
    for (value, place) in [
        (json!({ "{{ input.name }}": 1 }), "/steps/0/set/v/{{ input.name }}"),
        (json!({ "a/{{ input.name }}": 1 }), "/steps/0/set/v/a~1{{ input.name }}"),
        (json!([{ "x": { "{{ run.id }}": "{{ run.id }}" } }]), "/steps/0/set/v/0/x/{{ run.id }}"),
        (json!({ "{% x %}": 1 }), "/steps/0/set/v/{% x %}"),
        (json!({ "{{": 1 }), "/steps/0/set/v/{{"),
    ] {
        assert_eq!(errors(set(value.clone())), [place], "{value}");
    }
    assert_eq!(errors(json!({ "output": { "{{ run.id }}": 1 } })), ["/output/{{ run.id }}"]);
    // The cure of the hint is accepted.
    assert_eq!(errors(set(json!("{{ {run.id: 1, 'n': input.n} }}"))), [""; 0]);
    assert_eq!(errors(set(json!({ "{id}": 1, "}}": 2 }))), [""; 0]);
}

#[test]
fn a_connection_that_the_flow_does_not_declare_is_an_error_with_the_right_name() {
    let read = |more: Value| {
        let mut document = json!({ "name": "x", "connections": { "source": "shop", "target": "shop" }, "steps": [] });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = Flow::from_value(document).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        (found[0].pointer.clone(), found[0].advice().unwrap())
    };
    let look = |connection: &str| json!({ "id": "a", "action": "thing.look", "connection": connection });
    let did_you_mean = "did you mean source?";
    for (more, place, advice) in [
        (json!({ "steps": [look("sorce")] }), "/steps/0/connection", did_you_mean),
        (json!({ "steps": [look("Source")] }), "/steps/0/connection", did_you_mean),
        (json!({ "steps": [look("warehouse")] }), "/steps/0/connection", "source, target"),
        (
            json!({ "steps": [{ "id": "e", "each": { "action": "thing.list", "connection": "soure" }, "key": "{{ item.name }}", "steps": [] }] }),
            "/steps/0/each/connection",
            did_you_mean,
        ),
        (json!({ "on_failure": [look("ource")] }), "/on_failure/0/connection", did_you_mean),
        (
            json!({ "steps": [{ "id": "c", "call": "other", "connections": { "x": "sources" } }] }),
            "/steps/0/connections/x",
            did_you_mean,
        ),
        (
            json!({ "trigger": { "poll": { "action": "thing.list", "connection": "source1", "every": "5m", "key": "{{ item.name }}" } } }),
            "/trigger/poll/connection",
            did_you_mean,
        ),
    ] {
        let (at, got) = read(more.clone());
        assert!(at == place && got.contains(advice), "{more}: {at} {got}");
    }
    // Bindings of a run, and those of a called flow.
    let unknown = flow(json!({})).unknown_bindings(&["shop".to_owned(), "shpo".to_owned()]);
    assert_eq!((unknown.len(), unknown[0].advice().unwrap()), (1, "did you mean shop?".to_owned()));
    let calls = flow(json!({ "steps": [{ "id": "c", "call": "other", "connections": { "shpo": "shop" } }] }));
    let other = Flow::from_value(json!({ "name": "other", "connections": { "shop": "shop" }, "steps": [] })).unwrap();
    let found = calls.link(&|_| Some(other.clone())).unwrap_err();
    assert_eq!(
        (&*found[0].pointer, found[0].advice().unwrap()),
        ("/steps/0/connections", "did you mean shop?".to_owned())
    );
}

#[test]
fn a_once_that_does_not_read_the_item_is_an_error() {
    for (once, places) in [
        (json!("true"), vec!["/steps/0/once"]),
        (json!("item.version"), vec!["/steps/0/once"]),
        (json!("{{ input.version }}"), vec!["/steps/0/once"]),
        (json!("{{ 'item' }}"), vec!["/steps/0/once"]),
        (json!(true), vec![]),
        (json!(false), vec![]),
        (json!("{{ item.version }} {{ input.version }}"), vec![]),
    ] {
        let each = json!({ "id": "a", "each": "{{ input.all }}", "key": "{{ item.id }}", "once": once, "steps": [] });
        assert_eq!(errors(json!({ "steps": [each] })), places, "{once}");
    }
}

fn make(action: &str) -> Value {
    json!({ "id": "make", "action": action, "connection": "shop", "input": { "name": "chair" } })
}

#[test]
fn a_create_without_a_look_up_in_a_step_with_retry_is_a_warning() {
    let blind = || make("thing.make_blindly");
    let retry = json!({ "tries": 3 });
    let each =
        |inner: Value| json!({ "id": "all", "each": [1], "key": "{{ item }}", "steps": [inner], "retry": retry });
    let parallel = |inner: Value| json!({ "id": "all", "parallel": { "x": [inner] }, "retry": retry });
    let choice = |inner: Value| json!({ "id": "if", "if": "{{ input.ok }}", "else": [inner] });
    let handled = |inner: Value| json!({ "id": "look", "action": "thing.look", "connection": "shop", "input": { "name": "x" }, "on_error": [inner] });
    let mut not_retried = each(blind());
    not_retried.as_object_mut().unwrap().remove("retry");
    not_retried["id"] = "once".into();
    let mut own = blind();
    own["retry"] = retry.clone();
    for (step, places) in [
        (each(blind()), vec!["/steps/0/steps/0/action"]),
        (parallel(blind()), vec!["/steps/0/parallel/x/0/action"]),
        (each(choice(blind())), vec!["/steps/0/steps/0/else/0/action"]),
        (parallel(handled(blind())), vec!["/steps/0/parallel/x/0/on_error/0/action"]),
        (parallel(not_retried.clone()), vec!["/steps/0/parallel/x/0/steps/0/action"]),
        // It can be looked up, or it creates nothing, or only the call itself is retried.
        (each(make("thing.make")), vec![]),
        (each(make("thing.put")), vec![]),
        (each(make("thing.drop")), vec![]),
        (not_retried, vec![]),
        (own, vec![]),
    ] {
        let found = found(&flow(json!({ "steps": [step] })));
        assert!(found.iter().all(|one| one.severity == Severity::Warning && one.advice().is_some()), "{found:?}");
        assert_eq!(found.iter().map(|one| &*one.pointer).collect::<Vec<_>>(), places, "{step}");
    }
    // A step that is retried calls a flow that creates.
    let called =
        Flow::from_value(json!({ "name": "sub", "connections": { "shop": "shop" }, "steps": [blind()] })).unwrap();
    let calls = flow(json!({ "steps": [{ "id": "c", "call": "sub", "retry": retry }] }));
    let found = found(&calls.link(&|_| Some(called.clone())).unwrap());
    assert_eq!(
        found.iter().map(|one| (&*one.pointer, one.severity)).collect::<Vec<_>>(),
        [("/steps/0/call", Severity::Warning)]
    );
}

#[test]
fn a_default_makes_a_required_input_optional_for_callers_and_has_to_fit() {
    let called = |input: Value| Flow::from_value(json!({ "name": "sub", "steps": [], "input": input })).unwrap();
    let calls = |input: Value, given: Value| {
        let calls = flow(json!({ "steps": [{ "id": "c", "call": "sub", "input": given }] }));
        let found = found(&calls.link(&|_| Some(called(input.clone()))).unwrap());
        found.into_iter().filter(|one| one.severity == Severity::Error).map(|one| one.pointer).collect::<Vec<_>>()
    };
    let n = |more: Value| json!({ "type": "object", "required": ["n"], "properties": { "n": more } });
    let inner = n(json!({ "type": "integer", "default": 1 }));
    for (input, given, places) in [
        (n(json!({ "type": "integer", "default": 1 })), json!({}), vec![]),
        (n(inner.clone()), json!({}), vec![]),
        (n(inner.clone()), json!({ "n": {} }), vec![]),
        (n(inner), json!({ "n": { "n": "x" } }), vec!["/steps/0/input/n/n"]),
        (n(json!({ "type": "integer" })), json!({}), vec!["/steps/0/input/n"]),
        (n(json!({ "type": "integer", "default": 1 })), json!({ "n": "x" }), vec!["/steps/0/input/n"]),
    ] {
        assert_eq!(calls(input.clone(), given.clone()), places, "{input} {given}");
    }
    let input = json!({ "type": "object", "properties": { "n": { "type": "integer", "default": "x" } } });
    assert_eq!(errors(json!({ "input": input })), ["/input/properties/n/default"]);
    let input = json!({ "type": "object", "properties": { "n": { "default": "{{ run.id }}" }, "default": true } });
    let found = found(&flow(json!({ "input": input })));
    assert_eq!(
        found.iter().map(|one| (&*one.pointer, one.severity)).collect::<Vec<_>>(),
        [("/input/properties/n/default", Severity::Warning)]
    );
}

/// A fault in a part of the document that is read first, with a use of that part. The use is not another fault, and the
/// step after it, whose expression is wrong, is checked all the same.
#[test]
fn faults_of_all_kinds_are_reported_at_once_and_their_consequences_are_not() {
    let shop = json!({ "id": "look", "action": "thing.look", "connection": "shop", "input": { "name": "x" } });
    let closed = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let set = |value: &str| json!({ "id": "use", "set": { "v": value } });
    for (more, steps, expected) in [
        (json!({ "name": 5 }), json!([shop]), &["/name"][..]),
        (json!({ "connections": { "shop": 5 } }), json!([shop]), &["/connections/shop"]),
        (json!({ "connections": 5 }), json!([shop]), &["/connections"]),
        (
            json!({ "trigger": { "schedule": {} }, "input": closed }),
            json!([set("{{ input.at }}")]),
            &["/trigger/schedule/cron"],
        ),
        (
            json!({ "trigger": { "schedule": { "cron": "no" } }, "input": closed }),
            json!([set("{{ input.at }}")]),
            &["/trigger/schedule/cron"],
        ),
        (
            json!({ "trigger": { "schedule": { "cron": "@daily" } }, "input": { "type": "nothing" } }),
            json!([set("{{ input.x }}")]),
            &["/input"],
        ),
        (json!({ "tables": 5 }), json!([set("{{ run.id | lookup('x') }}")]), &["/tables"]),
        (json!({ "defaults": { "retry": {} } }), json!([shop]), &["/defaults/retry/tries"]),
        (
            json!({}),
            json!([{ "id": "look", "action": "thing.look" }, set("{{ steps.look.x }}")]),
            &["/steps/0/connection"],
        ),
        (json!({}), json!([{ "id": "look", "connection": "shop" , "action": 5 }]), &["/steps/0/action"]),
        (json!({}), json!([{ "id": "1a", "set": {} }, set("{{ steps['1a'].x }}")]), &["/steps/0/id"]),
        (
            json!({}),
            json!([{ "set": { "v": "{{ nothing }}" } }, { "set": {} }]),
            &["/steps/0/id", "/steps/0/set/v", "/steps/1/id"],
        ),
        (
            json!({}),
            json!([{ "if": "{{ input.x }}", "then": [{ "id": "inner", "set": { "v": "{{ nothing }}" } }] }, set("{{ steps.inner.v | default('') }}")]),
            &["/steps/0/id", "/steps/0/then/0/set/v"],
        ),
        (
            json!({}),
            json!([{ "id": "all", "each": { "action": "thing.look" }, "key": "{{ item.id }}", "steps": [set("{{ nothing }}")] }]),
            &["/steps/0/each/connection", "/steps/0/steps/0/set/v"],
        ),
        (
            json!({}),
            json!([{ "id": "look", "action": "thing.look", "connection": "shop", "input": { "name": 7 }, "retry": {} }]),
            &["/steps/0/input/name", "/steps/0/retry/tries"],
        ),
        (json!({}), json!([{ "id": "other", "call": 5 }, set("{{ steps.other.x }}")]), &["/steps/0/call"]),
        (json!({}), json!([{ "id": "wait", "wait": {} }, set("{{ steps.wait.x }}")]), &["/steps/0/wait"]),
    ] {
        let mut document = json!({ "name": "checked", "connections": { "shop": "shop" }, "steps": steps });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let last = json!({ "id": "last", "set": { "v": "{{ 1 + true }}" } });
        document["steps"].as_array_mut().unwrap().push(last);
        let end = format!("/steps/{}/set/v", document["steps"].as_array().unwrap().len() - 1);
        let found = Flow::findings("x.json", &document.to_string(), &Fake::of_things("shop").registry());
        let mut places: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
        places.sort_unstable();
        let mut expected: Vec<_> = expected.iter().copied().chain([end.as_str()]).collect();
        expected.sort_unstable();
        assert_eq!(places, expected, "{document}: {found:#?}");
        assert!(Flow::from_value(document).is_err(), "a flow with faults is never run");
    }
}

fn nightly(input: Value) -> Value {
    json!({ "trigger": { "schedule": { "cron": "30 2 * * *" } }, "input": input })
}

#[test]
fn a_trigger_whose_input_the_flow_does_not_take_is_an_error_with_its_place() {
    let hook = |input: Value| json!({ "trigger": { "webhook": {} }, "input": input });
    let poll = |input: Value| {
        let poll = json!({ "action": "thing.list", "connection": "shop", "every": "5m", "key": "{{ item.name }}", "input": { "pages": 1 } });
        json!({ "trigger": { "poll": poll }, "input": input })
    };
    let closed = |names: &[&str]| {
        let members: serde_json::Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!(true))).collect();
        json!({ "type": "object", "properties": members, "additionalProperties": false })
    };
    let of = |name: &str, schema: Value| json!({ "type": "object", "properties": { name: schema } });
    for (more, expected) in [
        (nightly(closed(&["folder"])), vec!["/input/additionalProperties"]),
        (nightly(closed(&["folder", "at"])), vec![]),
        (nightly(of("at", json!({ "type": "integer" }))), vec!["/input/properties/at"]),
        (nightly(of("at", json!({ "type": "string", "format": "date-time" }))), vec![]),
        (poll(of("items", json!({ "type": "object" }))), vec!["/input/properties/items"]),
        (poll(of("items", json!({ "type": "array" }))), vec![]),
        (hook(of("headers", json!({ "type": "string" }))), vec!["/input/properties/headers"]),
        (hook(of("body", json!({ "type": "object" }))), vec![]),
        (hook(closed(&["body", "headers"])), vec!["/input/additionalProperties"]),
        // Flows of earlier versions may not know the others.
        (hook(closed(&["body", "headers", "delivery"])), vec![]),
    ] {
        assert_eq!(errors(more.clone()), expected, "{more}");
    }
}

#[test]
fn a_saved_input_with_which_no_run_of_the_trigger_can_start_is_found() {
    let schema = |more: Value| {
        let mut folder = json!({ "type": "integer" });
        folder.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let properties = json!({ "folder": folder, "at": { "type": "string" } });
        json!({ "type": "object", "properties": properties, "required": ["folder", "at"], "additionalProperties": false })
    };
    let required = || flow(nightly(schema(json!({}))));
    for (flow, saved, expected) in [
        (required(), json!({}), Some("/input/properties/folder")),
        (required(), json!({ "folder": "4711" }), Some("/input/properties/folder")),
        (required(), json!({ "folder": 4711, "foldr": 1 }), Some("/input")),
        (required(), json!({ "folder": 4711 }), None),
        // The schedule gives each run its own.
        (required(), json!({ "folder": 4711, "at": 7 }), None),
        (flow(nightly(schema(json!({ "default": 1 })))), json!({}), None),
        // Without a trigger, each caller gives the input.
        (flow(json!({ "input": schema(json!({})) })), json!({}), None),
    ] {
        let found = flow.check_saved_input(saved.as_object().unwrap());
        let places: Vec<_> = found.iter().map(|one| one.pointer.as_str()).collect();
        assert_eq!(places.first().copied(), expected, "{saved}: {found:?}");
        assert!(found.iter().all(|one| one.advice().is_some()), "{found:?}");
    }
}

#[test]
fn an_event_that_no_connector_declares_is_an_error_in_words() {
    let trigger = json!({ "event": "Asset.StatusUpdated", "connection": "shop" });
    let found = found(&flow(json!({ "trigger": trigger })));
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*one.pointer, &*one.message), ("/trigger/event", "shop has no event Asset.StatusUpdated"));
    assert!(one.advice().unwrap().contains("poll"), "{one:?}");
    for (trigger, place) in [
        (json!({ "event": "a", "connection": "shop", "where": "{{ input.event" }), "/trigger/where"),
        (json!({ "event": "a", "connection": "shopp" }), "/trigger/connection"),
        (json!({ "event": "a" }), "/trigger"),
        (json!({ "connection": "shop" }), "/trigger"),
        (json!({ "event": "a", "connection": "shop", "webhook": {} }), "/trigger"),
        (json!({ "schedule": { "cron": "@daily" }, "webhook": {} }), "/trigger"),
    ] {
        let document = json!({ "name": "a", "connections": { "shop": "shop" }, "steps": [], "trigger": trigger });
        let found = Flow::from_value(document).unwrap_err();
        assert!(found.iter().any(|one| one.pointer.starts_with(place)), "{trigger}: {found:?}");
    }
}
