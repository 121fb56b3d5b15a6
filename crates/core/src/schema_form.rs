//! Completes schemas so that form libraries draw them as they are.
//!
//! A form library needs more than a validator: a type beside each choice, a title for each field and for each of its
//! choices, one place for a secret. The completed schema accepts exactly the documents that it accepted before.

use serde_json::{Map, Value, json};

/// The types of JSON. Form libraries draw the first one of a list, and any value can be written as a text.
const ANY: [&str; 6] = ["string", "number", "boolean", "object", "array", "null"];
/// The keywords of which one says more about a value than that there is one.
const SAY: [&str; 11] =
    ["type", "enum", "const", "oneOf", "anyOf", "allOf", "not", "if", "$ref", "properties", "items"];
/// Words that are not written as other words are.
const WORDS: [(&str, &str); 18] = [
    ("api", "API"),
    ("csv", "CSV"),
    ("gif", "GIF"),
    ("html", "HTML"),
    ("id", "ID"),
    ("ids", "IDs"),
    ("ip", "IP"),
    ("jpg", "JPG"),
    ("json", "JSON"),
    ("oauth2", "OAuth 2"),
    ("pdf", "PDF"),
    ("png", "PNG"),
    ("sso", "SSO"),
    ("uri", "URI"),
    ("url", "URL"),
    ("urls", "URLs"),
    ("webp", "WebP"),
    ("xml", "XML"),
];

/// Returns a schema that form libraries draw: each member and each choice has a title, each choice a type. Titles that
/// are missing are made of names. It accepts the same documents.
pub fn form_schema(schema: Value) -> Value {
    value(schema)
}

/// Completes the schema of a value.
fn value(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        Value::Bool(true) => Map::new(),
        never => return never,
    };
    if !SAY.iter().any(|keyword| schema.contains_key(*keyword)) {
        schema.insert("type".to_owned(), json!(ANY));
    }
    branch(schema.into())
}

/// Completes one of several schemas of a value, whose type may stand beside them.
fn branch(schema: Value) -> Value {
    let mut schema = match part(schema) {
        Value::Object(schema) => schema,
        whole => return whole,
    };
    if schema.get("type").is_some_and(|kind| *kind == "array") {
        schema.entry("items").or_insert_with(|| value(Value::Bool(true)));
    }
    list_choices(&mut schema);
    unite_null(&mut schema);
    for keyword in ["oneOf", "anyOf"] {
        let Some(Value::Array(branches)) = schema.get_mut(keyword) else { continue };
        branches.iter_mut().for_each(name_branch);
        let kinds = kinds(branches);
        if let Some(kinds) = kinds {
            schema.entry("type").or_insert(kinds);
        }
    }
    schema.into()
}

/// Completes what is inside a schema. It may itself describe only a part of a value.
fn part(schema: Value) -> Value {
    let Value::Object(mut schema) = schema else { return schema };
    for (keyword, inner) in &mut schema {
        match (keyword.as_str(), inner) {
            ("properties", Value::Object(members)) => {
                members.iter_mut().for_each(|(name, one)| *one = member(name, one.take()));
            }
            ("items", one) => *one = value(one.take()),
            ("additionalProperties", one @ Value::Object(_)) => *one = value(one.take()),
            ("oneOf" | "anyOf", Value::Array(branches)) => {
                branches.iter_mut().for_each(|one| *one = branch(one.take()));
            }
            ("allOf", Value::Array(parts)) => parts.iter_mut().for_each(|one| *one = part(one.take())),
            ("then" | "else", one) => *one = part(one.take()),
            _ => {}
        }
    }
    schema.into()
}

/// Completes the schema of a member. A constant is shown, but cannot be changed.
fn member(name: &str, schema: Value) -> Value {
    let mut schema = value(schema);
    if let Value::Object(keywords) = &mut schema {
        keywords.entry("title").or_insert_with(|| words(name).into());
        if let Some(constant) = keywords.get("const") {
            let kind = kind(constant);
            keywords.entry("type").or_insert_with(|| kind.into());
            keywords.insert("readOnly".to_owned(), true.into());
        }
    }
    schema
}

/// Writes a list of values as choices, which have room for titles.
fn list_choices(schema: &mut Map<String, Value>) {
    if schema.contains_key("oneOf") {
        return;
    }
    let Some(Value::Array(values)) = schema.shift_remove("enum") else { return };
    let choice = |value: Value| json!({ "type": kind(&value), "const": value });
    schema.insert("oneOf".to_owned(), values.into_iter().map(choice).collect());
}

/// Writes null beside the choices of a value that may also be null, and not around them.
fn unite_null(schema: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = schema.get("anyOf") else { return };
    let [Value::Object(inner), null] = &branches[..] else { return };
    let Some(keyword) = ["oneOf", "anyOf"].into_iter().find(|one| inner.contains_key(*one)) else { return };
    let all_constants = |branches: &[Value]| branches.iter().all(|one| one.get("const").is_some());
    let Some(Value::Array(choices)) = inner.get(keyword).cloned() else { return };
    let is_free = keyword == "anyOf" || all_constants(&choices);
    let only_notes = inner
        .keys()
        .all(|one| [keyword, "type", "title", "description", "writeOnly", "format"].contains(&one.as_str()));
    if *null != json!({ "type": "null" }) || !is_free || !only_notes {
        return;
    }
    let null = match all_constants(&choices) {
        true => json!({ "type": "null", "const": null }),
        false => null.clone(),
    };
    let inner = inner.clone();
    schema.shift_remove("anyOf");
    for (name, one) in inner.into_iter().filter(|(name, _)| name != "type") {
        schema.entry(name).or_insert(one);
    }
    schema.insert(keyword.to_owned(), choices.into_iter().chain([null]).collect());
}

/// Gives a branch of a choice a title.
fn name_branch(branch: &mut Value) {
    let Value::Object(keywords) = branch else { return };
    let title = match (keywords.get("const"), keywords.get("type").and_then(Value::as_str)) {
        (Some(Value::String(text)), _) => words(text),
        (Some(Value::Null), _) | (None, Some("null")) => "None".to_owned(),
        (Some(constant), _) => constant.to_string(),
        (None, Some("string")) => "Text".to_owned(),
        (None, Some("integer" | "number")) => "Number".to_owned(),
        (None, Some("boolean")) => "Yes or no".to_owned(),
        (None, Some("array")) => "List".to_owned(),
        (None, Some("object")) => "Object".to_owned(),
        _ => "Other".to_owned(),
    };
    keywords.entry("title").or_insert_with(|| title.into());
}

/// Returns the types of all branches, texts first, if each has one.
fn kinds(branches: &[Value]) -> Option<Value> {
    let mut found = Vec::<Value>::new();
    for branch in branches {
        let own = match (branch.get("type"), branch.get("const")) {
            (Some(Value::Array(kinds)), _) => kinds.clone(),
            (Some(one), _) => vec![one.clone()],
            (None, constant) => vec![kind(constant?).into()],
        };
        found.extend(own.into_iter().filter(|one| !found.contains(one)).collect::<Vec<_>>());
    }
    found.sort_by_key(|one| one != "string");
    match &found[..] {
        [] => None,
        [only] => Some(only.clone()),
        _ => Some(found.into()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Returns a name in words: `assetIds` is `Asset IDs`. A text that is not a name stays as it is.
pub(crate) fn words(name: &str) -> String {
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.contains(|c: char| c.is_lowercase()) {
        return name.to_owned();
    }
    let mut words = vec![String::new()];
    let letters: Vec<char> = name.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        let is_small = |at: Option<usize>| at.and_then(|at| letters.get(at)).is_some_and(|one| !one.is_uppercase());
        let begins =
            letter.is_uppercase() && index > 0 && (is_small(index.checked_sub(1)) || is_small(Some(index + 1)));
        if *letter == '_' || begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| *letter != '_') {
            word.push(letter.to_ascii_lowercase());
        }
    }
    let known = |word: &String| WORDS.iter().find(|(plain, _)| plain == word).map(|(_, known)| (*known).to_owned());
    let words = words.iter().filter(|word| !word.is_empty()).enumerate().map(|(index, word)| {
        known(word).unwrap_or_else(|| if index == 0 { word[..1].to_uppercase() + &word[1..] } else { word.clone() })
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schema;

    #[test]
    fn names_become_words() {
        for (name, words) in [
            ("assetId", "Asset ID"),
            ("assetIds", "Asset IDs"),
            ("PasswordInformation", "Password information"),
            ("logoBlobUrl", "Logo blob URL"),
            ("TTLSeconds", "Ttl seconds"),
            ("refresh_token", "Refresh token"),
            ("PUT", "PUT"),
            ("sv-SE", "sv-SE"),
            ("jpg", "JPG"),
            ("x", "X"),
            ("", ""),
        ] {
            assert_eq!(super::words(name), words, "{name}");
        }
    }

    #[test]
    fn choices_have_a_type_and_titles() {
        let drawn = |schema: Value| form_schema(json!({ "properties": { "a": schema } }))["properties"]["a"].clone();
        let sizes = drawn(json!({ "type": "string", "enum": ["small", "PUT"] }));
        assert_eq!(sizes["oneOf"][0], json!({ "type": "string", "const": "small", "title": "Small" }));
        assert_eq!((&sizes["type"], sizes.get("enum")), (&json!("string"), None));
        let optional = drawn(json!({ "anyOf": [{ "enum": ["a"] }, { "type": "null" }] }));
        assert_eq!(optional["oneOf"][1], json!({ "type": "null", "const": null, "title": "None" }));
        assert_eq!((&optional["type"], optional.get("anyOf")), (&json!(["string", "null"]), None));
        let either = drawn(json!({ "anyOf": [{ "type": "object", "title": "A file" }, { "type": "string" }] }));
        assert_eq!(either["type"], json!(["string", "object"]));
        assert_eq!((&either["anyOf"][0]["title"], &either["anyOf"][1]["title"]), (&json!("A file"), &json!("Text")));
        assert_eq!(
            drawn(json!({ "const": 1 })),
            json!({ "const": 1, "title": "A", "type": "integer", "readOnly": true })
        );
        assert_eq!(drawn(json!(true))["type"][0], "string");
        assert_eq!(drawn(json!({ "type": "array" }))["items"]["type"][0], "string");
    }

    /// The completed schema says the same of documents that fit and of those that do not.
    #[test]
    fn the_same_documents_are_accepted() {
        let schema = json!({ "type": "object", "additionalProperties": false, "required": ["kind"], "properties": {
            "kind": { "enum": ["a", "b", null] }, "any": {}, "more": true, "list": { "type": "array" },
            "secret": { "anyOf": [{ "anyOf": [{ "type": "string" }, { "type": "object", "required": ["env"] }] },
                { "type": "null" }] },
            "mode": { "anyOf": [{ "oneOf": [{ "const": "x" }, { "const": "y" }] }, { "type": "null" }] },
            "object": { "anyOf": [{ "type": "object", "properties": { "n": { "const": 1 } } }, { "type": "null" }] }
        } });
        let (before, after) = (Schema::from(schema.clone()), Schema::from(form_schema(schema)));
        assert_eq!(after.fault(), None);
        let values = [
            json!(null),
            json!("a"),
            json!("x"),
            json!(1),
            json!([1, "b"]),
            json!({}),
            json!({ "env": "E" }),
            json!({ "n": 1 }),
            json!({ "n": 2 }),
            json!(true),
        ];
        let (mut fit, mut not) = (0, 0);
        for member in ["kind", "any", "more", "list", "secret", "mode", "object", "other"] {
            for value in &values {
                let mut document = json!({ "kind": "a" });
                document[member] = value.clone();
                let accepted = before.check(&document).is_empty();
                assert_eq!(after.check(&document).is_empty(), accepted, "{document}");
                *(if accepted { &mut fit } else { &mut not }) += 1;
            }
        }
        assert!(fit > 20 && not > 20, "{fit} {not}");
    }
}
