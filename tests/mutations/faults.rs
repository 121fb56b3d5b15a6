//! The faults: each kind is put into every place of a flow where it is possible.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use trunkline_core::Registry;
use trunkline_flow::filters;

/// The members that define the kind of a step.
const KINDS: [&str; 6] = ["each", "if", "action", "set", "skip", "fail"];

/// A flow with one fault.
pub struct Fault {
    pub kind: &'static str,
    /// A description of the change.
    pub what: String,
    pub document: Value,
    /// JSON pointers: the finding has to be at or inside one of these.
    pub places: Vec<String>,
}

/// Returns every fault that can be put into a flow.
pub fn faults(document: &Value, registry: &Registry) -> Vec<Fault> {
    let mut faults = Vec::new();
    members(document, &mut faults);
    calls(document, registry, &mut faults);
    expressions(document, &mut faults);
    literals(document, &mut faults);
    order(document, &mut faults);
    faults
}

/// Collects every value of a document with its JSON pointer.
fn all(value: &Value, pointer: String, found: &mut Vec<(String, Value)>) {
    found.push((pointer.clone(), value.clone()));
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| all(item, format!("{pointer}/{index}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| all(member, format!("{pointer}/{name}"), found));
        }
        _ => {}
    }
}

fn split(pointer: &str) -> (&str, &str) {
    pointer.rsplit_once('/').unwrap()
}

/// Returns the document with the value at the pointer replaced or removed.
fn with(document: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut document = document.clone();
    let (holder, name) = split(pointer);
    match (document.pointer_mut(holder).unwrap(), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(name.to_owned(), value)),
        (Value::Object(members), None) => drop(members.shift_remove(name)),
        (Value::Array(items), Some(value)) => items[name.parse::<usize>().unwrap()] = value,
        (Value::Array(items), None) => drop(items.remove(name.parse().unwrap())),
        _ => unreachable!("{pointer}"),
    }
    document
}

fn renamed(document: &Value, pointer: &str, to: &str) -> Value {
    let (holder, name) = split(pointer);
    let members = document.pointer(holder).unwrap().as_object().unwrap().clone();
    let rename = |(key, value): (String, Value)| (if key == name { to.to_owned() } else { key }, value);
    let members: Map<_, _> = members.into_iter().map(rename).collect();
    match holder {
        "" => members.into(),
        _ => with(document, holder, Some(members.into())),
    }
}

/// Misspells a word: two letters in the middle are swapped, or one is missing.
fn misspelt(word: &str) -> String {
    let mut letters: Vec<_> = word.chars().collect();
    let middle = letters.len() / 2;
    match letters.len() > 3 && letters[middle] != letters[middle - 1] {
        true => letters.swap(middle, middle - 1),
        false => letters.push('z'),
    }
    letters.into_iter().collect()
}

/// Returns the steps of a document, outer ones first.
fn steps(document: &Value) -> Vec<(String, Value)> {
    let mut values = Vec::new();
    all(document, String::new(), &mut values);
    let list = |pointer: &str| {
        ["/steps", "/then", "/else", "/on_error", "/on_failure"].iter().any(|end| pointer.ends_with(end))
            || pointer.rsplit_once('/').is_some_and(|(holder, _)| holder.ends_with("/parallel"))
    };
    let step = |(pointer, value): &(String, Value)| {
        !pointer.is_empty() && list(split(pointer).0) && value.get("id").is_some() && !pointer.contains("/set/")
    };
    values.into_iter().filter(step).collect()
}

/// Returns the words of a text with their byte offsets. A word consists of letters, digits and underscores.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut found: Vec<(usize, &str)> = Vec::new();
    let mut start = None;
    for (at, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        match (letter.is_alphanumeric() || letter == '_', start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                found.push((from, &text[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// Puts faults into names: members of steps, of the flow, of inputs.
fn members(document: &Value, faults: &mut Vec<Fault>) {
    let mut put =
        |kind, what: String, document, places: Vec<String>| faults.push(Fault { kind, what, document, places });
    let top = document.as_object().unwrap().keys().map(|name| format!("/{name}"));
    let of_steps = steps(document).into_iter().flat_map(|(pointer, step)| {
        step.as_object().unwrap().keys().map(|name| format!("{pointer}/{name}")).collect::<Vec<_>>()
    });
    for pointer in top.chain(of_steps) {
        let (holder, name) = split(&pointer);
        let wrong = misspelt(name);
        let places = vec![format!("{holder}/{wrong}"), pointer.clone(), holder.to_owned()];
        put("member misspelt", format!("{pointer} is {wrong}"), renamed(document, &pointer, &wrong), places);
        let value = document.pointer(&pointer).unwrap();
        for wrong in [json!(7), json!("text"), json!([7]), json!({ "a": 7 }), json!(true)] {
            let same = std::mem::discriminant(value) == std::mem::discriminant(&wrong);
            // These members accept several types.
            let allowed = match name {
                "each" => wrong.is_array(),
                "input" | "set" => wrong.is_object(),
                "if" => wrong.is_boolean(),
                _ => false,
            };
            if !same && !allowed {
                let what = format!("{pointer} is {wrong}");
                put("member of another type", what, with(document, &pointer, Some(wrong)), vec![pointer.clone()]);
            }
        }
        let needed = ["id", "connection", "action", "steps", "name", "each", "set", "key"].contains(&name);
        if needed && !(name == "key" && document.pointer(&format!("{holder}/each")).unwrap().is_string()) {
            let places = vec![pointer.clone(), holder.to_owned()];
            put("member removed", format!("{pointer} is gone"), with(document, &pointer, None), places);
        }
    }
    for (pointer, step) in steps(document) {
        let extra = format!("{pointer}/extra");
        put("unknown member", extra.clone(), with(document, &extra, Some(json!(1))), vec![extra]);
        if let Some(concurrency) = step.get("concurrency") {
            let pointer = format!("{pointer}/concurrency");
            let document = with(document, &pointer, Some(json!(1000)));
            put("number out of range", format!("{concurrency} is 1000"), document, vec![pointer]);
        }
        for kind in KINDS.iter().filter(|kind| step.get(**kind).is_none()) {
            let value = if *kind == "set" { json!({}) } else { json!("x") };
            let beside = step.get("if").is_some() && step.get("then").is_none();
            if beside || !["skip", "fail"].contains(kind) {
                let at = format!("{pointer}/{kind}");
                put("two kinds", at.clone(), with(document, &at, Some(value)), vec![pointer.clone()]);
            }
        }
    }
}

/// Puts faults into calls: actions, connection bindings, inputs.
fn calls(document: &Value, registry: &Registry, faults: &mut Vec<Fault>) {
    let mut put =
        |kind, what: String, document, places: Vec<String>| faults.push(Fault { kind, what, document, places });
    let mut values = Vec::new();
    all(document, String::new(), &mut values);
    let slots = document.get("connections").and_then(Value::as_object).cloned().unwrap_or_default();
    for (slot, connector) in &slots {
        let pointer = format!("/connections/{slot}");
        let wrong = misspelt(connector.as_str().unwrap());
        let document = with(document, &pointer, Some(json!(wrong)));
        put("connector misspelt", format!("{slot} is {wrong}"), document, vec![pointer]);
    }
    if !slots.is_empty() {
        let spare = with(document, "/connections/spare", Some(json!("http")));
        put("unused connection", "spare".into(), spare, vec!["/connections/spare".into()]);
    }
    for (pointer, call) in values.iter().filter(|(_, value)| value.get("connection").is_some()) {
        let (action, slot) = (call["action"].as_str().unwrap(), call["connection"].as_str().unwrap());
        let at = |name: &str| format!("{pointer}/{name}");
        let mut wrong = |name: &'static str, value: &str| {
            let places = vec![at(name), at("action")];
            put(name, format!("{} is {value}", at(name)), with(document, &at(name), Some(json!(value))), places);
        };
        wrong("action", &misspelt(action));
        wrong("connection", &misspelt(slot));
        let connector = registry.connector(slots[slot].as_str().unwrap()).unwrap();
        for (other, name) in &slots {
            let knows = registry.connector(name.as_str().unwrap()).unwrap().action_spec(action).is_ok();
            if !knows && other != slot {
                wrong("connection", other);
            }
        }
        let spec = connector.action_spec(action).unwrap();
        let needed: Vec<_> = spec.input["required"].as_array().into_iter().flatten().collect();
        for (name, value) in call["input"].as_object().into_iter().flatten() {
            let pointer = format!("{pointer}/input/{name}");
            let wrong = misspelt(name);
            let places = vec![pointer.clone(), format!("{}/{wrong}", split(&pointer).0)];
            put("input misspelt", format!("{pointer} is {wrong}"), renamed(document, &pointer, &wrong), places);
            if needed.contains(&&json!(name)) {
                let gone = with(document, &pointer, None);
                put("input missing", format!("{pointer} is gone"), gone, vec![pointer.clone()]);
            }
            let schema = &spec.input["properties"][name];
            let types = match &schema["type"] {
                Value::String(one) => vec![one.clone()],
                several => serde_json::from_value(several.clone()).unwrap_or_default(),
            };
            if types.is_empty() {
                continue;
            }
            let takes = |kind: &str| types.iter().any(|one| one == kind || (one == "number" && kind == "integer"));
            for (kind, literal, expression) in [
                ("integer", json!(7), "{{ 3 + 4 }}"),
                ("string", json!("text"), "{{ 'te' ~ 'xt' }}"),
                ("string", json!("text"), "{{ input | json }}"),
                ("array", json!([[7]]), "{{ [[3 + 4]] }}"),
                ("object", json!({ "a": { "b": 7 } }), "{{ {'a': {'b': 7}} }}"),
                ("boolean", json!(true), "{{ 1 == 2 or 2 == 2 }}"),
                ("boolean", json!(true), "{{ not input }}"),
                ("array", json!([[7]]), "{{ 'a,b' | split(',') }}"),
                ("integer", json!(7), "{{ 'abc' | length }}"),
                ("string", json!("text"), "{{ run.id }}"),
                ("object", json!({ "a": 7 }), "{{ run }}"),
            ] {
                if !takes(kind) {
                    for wrong in [literal, json!(expression)] {
                        let what = format!("{pointer} is {wrong}");
                        let document = with(document, &pointer, Some(wrong));
                        put("value of another type", what, document, vec![pointer.clone()]);
                    }
                }
            }
            if schema.get("enum").is_some() || schema.get("pattern").is_some() {
                for wrong in
                    [json!("~nonsense~"), json!("{{ '~nonsense~' }}"), json!("{{ '~non' if input else '~sense' }}")]
                {
                    let what = format!("{pointer} is {wrong}");
                    put("literal not allowed", what, with(document, &pointer, Some(wrong)), vec![pointer.clone()]);
                }
            }
            let known = schema["properties"].as_object();
            for (inner, _) in value.as_object().into_iter().flatten().filter(|_| known.is_some()) {
                let (pointer, wrong) = (format!("{pointer}/{inner}"), misspelt(inner));
                let places = vec![pointer.clone(), format!("{}/{wrong}", split(&pointer).0)];
                let document = renamed(document, &pointer, &wrong);
                put("member of an input misspelt", format!("{pointer} is {wrong}"), document, places);
            }
            if let Value::Array(items) = value
                && let Some(kind) = schema["items"]["type"].as_str()
            {
                for (index, _) in items.iter().enumerate() {
                    let pointer = format!("{pointer}/{index}");
                    let wrong = if kind == "string" { json!("{{ 3 + 4 }}") } else { json!("{{ 'x' ~ 'y' }}") };
                    let document = with(document, &pointer, Some(wrong));
                    put("item of another type", pointer.clone(), document, vec![pointer]);
                }
            }
        }
    }
}

/// Puts faults into each name, filter and operator of each expression.
fn expressions(document: &Value, faults: &mut Vec<Fault>) {
    let mut put =
        |kind, what: String, document, places: Vec<String>| faults.push(Fault { kind, what, document, places });
    let mut values = Vec::new();
    all(document, String::new(), &mut values);
    let ids: BTreeSet<_> = steps(document).iter().map(|(_, step)| step["id"].as_str().unwrap().to_owned()).collect();
    for (pointer, value) in &values {
        let Some(text) = value.as_str().filter(|text| text.contains("{{")) else { continue };
        let mut change = |kind, wrong: String| {
            let what = format!("{pointer}: {wrong}");
            put(kind, what, with(document, pointer, Some(json!(wrong))), vec![pointer.clone()]);
        };
        let replaced = |at: usize, word: &str, by: &str| format!("{}{by}{}", &text[..at], &text[at + word.len()..]);
        for (at, word) in words(text) {
            let inside = text[..at].matches("{{").count() > text[..at].matches("}}").count();
            let quoted = text[..at].matches('\'').count() % 2 == 1;
            let before = text[..at].chars().last().unwrap_or(' ');
            if !inside || quoted {
                continue;
            }
            if before == '.' && !ids.contains(word) {
                change("field misspelt", replaced(at, word, &misspelt(word)));
            } else if before == '.' {
                change("step misspelt", replaced(at, word, &misspelt(word)));
            } else if ["input", "steps", "item", "run"].contains(&word) {
                change("root misspelt", replaced(at, word, &misspelt(word)));
                if word != "input" && word != "run" {
                    change("another root", replaced(at, word, "run"));
                }
            } else if text[..at].trim_end().ends_with('|') && filters().iter().any(|filter| filter.name == word) {
                change("filter misspelt", replaced(at, word, &misspelt(word)));
                let filter = filters().iter().find(|filter| filter.name == word).unwrap();
                let end = at + word.len();
                if text[end..].starts_with('(') && filter.arguments.iter().any(|argument| !argument.optional) {
                    let close = end + text[end..].find(')').unwrap();
                    change("filter without its argument", format!("{}(){}", &text[..end], &text[close + 1..]));
                }
                if filter.arguments.is_empty() {
                    change("filter with too many arguments", replaced(at, word, &format!("{word}(1, 2, 3, 4)")));
                }
            }
        }
        change("braces left open", text.replacen("}}", "}", 1));
        change("expression cut off", text.replacen("}}", "== }}", 1));
        change("function called", text.replacen("{{", "{{ range(3) or", 1));
        change("step that does not exist", text.replacen("{{", "{{ steps.nowhere.x or", 1));
        change("statement", text.replacen("{{", "{{ for x in", 1));
    }
}

/// Puts faults into the texts and numbers of expressions.
fn literals(document: &Value, faults: &mut Vec<Fault>) {
    let mut put =
        |kind, what: String, document, places: Vec<String>| faults.push(Fault { kind, what, document, places });
    let mut values = Vec::new();
    all(document, String::new(), &mut values);
    let all_steps = steps(document);
    for (pointer, value) in &values {
        let Some(text) = value.as_str().filter(|text| text.starts_with("{{")) else { continue };
        let mut change = |kind, wrong: String| {
            let what = format!("{pointer}: {wrong}");
            put(kind, what, with(document, pointer, Some(json!(wrong))), vec![pointer.clone()]);
        };
        for (filter, kind) in [
            ("lookup", "table misspelt"),
            ("map", "path misspelt"),
            ("pick", "member to pick misspelt"),
            ("unit", "unit misspelt"),
            ("date", "invalid date format"),
            ("json_pointer", "invalid JSON pointer"),
        ] {
            let begin = format!("{filter}('");
            let Some(at) = text.find(&begin).map(|at| at + begin.len()) else { continue };
            let end = at + text[at..].find('\'').unwrap();
            let wrong = match filter {
                "date" => "%!".to_owned(),
                "json_pointer" => "sku".to_owned(),
                _ => misspelt(&text[at..end]),
            };
            change(kind, format!("{}{wrong}{}", &text[..at], &text[end..]));
        }
        if let Some(at) = text.find("'Europe/Stockholm'") {
            change("unknown time zone", format!("{}'Europe/Stokholm'{}", &text[..at], &text[at + 18..]));
        }
        for (at, word) in words(text) {
            let after = text[..at].trim_end();
            if word.parse::<u64>().is_ok() && [">", "<", "=", "+", "*", "/"].iter().any(|sign| after.ends_with(sign)) {
                change("text in place of a number", format!("{}'{word}'{}", &text[..at], &text[at + word.len()..]));
                change("list in place of a number", format!("{}[{word}]{}", &text[..at], &text[at + word.len()..]));
            }
        }
        for (input, allowed) in [("input.mode", "'live'"), ("item.state", "'dropped'"), ("item.state", "'ready'")] {
            if text.contains(input) && text.contains(allowed) {
                change("impossible value", text.replace(allowed, "'lively'"));
                change("number in place of a text", text.replace(allowed, "7"));
            }
        }
        // A step that runs later, in another branch, or only for items.
        let users: Vec<_> = all_steps.iter().filter(|(at, _)| pointer.starts_with(&format!("{at}/"))).collect();
        let later = all_steps.iter().filter(|(at, step)| {
            at.as_str() > pointer.as_str() && !users.iter().any(|(user, _)| user == at) && step.get("action").is_some()
        });
        if let Some((_, step)) = later.max_by_key(|(at, _)| at.as_str()) {
            for (_, known) in &all_steps {
                let known = format!("steps.{}.", known["id"].as_str().unwrap());
                if text.contains(&known) {
                    let wrong = format!("steps.{}.", step["id"].as_str().unwrap());
                    change("step that runs later", text.replace(&known, &wrong));
                }
            }
        }
    }
}

/// Puts faults into the order and nesting of steps.
fn order(document: &Value, faults: &mut Vec<Fault>) {
    let mut put =
        |kind, what: String, document, places: Vec<String>| faults.push(Fault { kind, what, document, places });
    let all = steps(document);
    let uses = |value: &Value, id: &str| value.to_string().contains(&format!("steps.{id}"));
    for (pointer, step) in &all {
        let id = step["id"].as_str().unwrap();
        let users: Vec<_> = all
            .iter()
            .filter(|(at, other)| at != pointer && !pointer.starts_with(at.as_str()) && uses(other, id))
            .collect();
        let (list, index) = split(pointer);
        let index: usize = index.parse().unwrap();
        if let Some((first, _)) = users.iter().find(|(at, _)| split(at).0 == list) {
            // The step is gone, so the index of each later step is one less.
            let moved: Vec<_> = users
                .iter()
                .map(|(at, _)| {
                    let rest = at.strip_prefix(&format!("{list}/")).unwrap_or_default();
                    let (place, below) =
                        rest.split_once('/').map_or((rest, String::new()), |(a, b)| (a, format!("/{b}")));
                    place.parse::<usize>().map_or_else(|_| at.clone(), |place| format!("{list}/{}{below}", place - 1))
                })
                .collect();
            put("removed step that others use", id.into(), with(document, pointer, None), moved);
            let first: usize = split(first).1.parse().unwrap();
            let mut swapped = document.clone();
            let steps = swapped.pointer_mut(list).unwrap().as_array_mut().unwrap();
            let step = steps.remove(index);
            steps.insert(first, step);
            put("step after the step that uses it", id.into(), swapped, vec![format!("{list}/{}", first - 1)]);
        }
        for (other, _) in all.iter().filter(|(at, _)| at != pointer).take(2) {
            let places = vec![format!("{pointer}/id"), format!("{other}/id")];
            put("the same id twice", id.into(), with(document, &format!("{other}/id"), Some(json!(id))), places);
        }
        let mut last = document.clone();
        let top = last["steps"].as_array_mut().unwrap();
        let place = format!("/steps/{}", top.len());
        top.push(json!({ "id": "late", "set": { "x": format!("{{{{ steps.{id} }}}}") } }));
        if pointer.matches("/steps").count() > 1 || ["if", "skip", "fail"].iter().any(|kind| step.get(kind).is_some()) {
            put("step of another branch used", id.into(), last, vec![place]);
        }
        for ending in ["skip", "fail"] {
            let mut cut = document.clone();
            let steps = cut.pointer_mut(list).unwrap().as_array_mut().unwrap();
            steps.insert(index, json!({ "id": "end", ending: "enough" }));
            put("steps that never run", id.into(), cut, vec![format!("{list}/{}", index + 1)]);
        }
        let at = |name: &str| format!("{pointer}/{name}");
        if step.get("if").is_some() {
            for wrong in [
                "{{ 'yes' }}",
                "{{ run.id }}",
                "{{ 3 + 4 }}",
                "{{ [] }}",
                "yes",
                "{{ 1 == 1 }}",
                "{{ run.id == 7 }}",
                "{{ run.id < 7 }}",
                "{{ run.id + 7 > 8 }}",
                "{{ 7 in run.id | length }}",
            ] {
                let document = with(document, &at("if"), Some(json!(wrong)));
                put("condition of another type", format!("{id}: {wrong}"), document, vec![at("if")]);
            }
        }
        if step.get("each").is_some() {
            for wrong in ["same", "{{ run.id }}", "{{ [item] }}", "{{ 'x' }}", "{{ {} }}"] {
                let document = with(document, &at("key"), Some(json!(wrong)));
                put("key that is equal for all items", format!("{id}: {wrong}"), document, vec![at("key")]);
            }
            for wrong in [json!("{{ run.id }}"), json!("{{ 7 }}"), json!("a, b"), json!("{{ {'a': 1} }}"), json!({})] {
                let document = with(document, &at("each"), Some(wrong.clone()));
                put("each over a value that is not a list", format!("{id}: {wrong}"), document, vec![at("each")]);
            }
        }
    }
    let declared = document.pointer("/input/properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in declared {
        let pointer = format!("/input/properties/{name}");
        let wrong = misspelt(name);
        let places = all.iter().map(|(at, _)| at.clone()).chain(["/input".to_owned()]).collect();
        if document["steps"].to_string().contains(&format!("input.{name}")) {
            put("input declared by another name", name.clone(), renamed(document, &pointer, &wrong), places);
        }
        if property.get("type").is_some() {
            let pointer = format!("{pointer}/type");
            put("unknown type", name.clone(), with(document, &pointer, Some(json!("txt"))), vec!["/input".into()]);
        }
    }
    for (table, _) in document.get("tables").and_then(Value::as_object).into_iter().flatten() {
        let pointer = format!("/tables/{table}");
        let places = all.iter().map(|(at, _)| at.clone()).collect();
        put("table by another name", table.clone(), renamed(document, &pointer, &misspelt(table)), places);
        put("invalid table", table.clone(), with(document, &pointer, Some(json!("x"))), vec![pointer]);
    }
}
