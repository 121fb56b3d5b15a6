//! The check of documents against schemas, and the secrets that a schema marks.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_core::{Diagnostic, Schema, Secret, Setting, connection_schema, schema_of};

/// The tagged choice of a connection form.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "flows", rename_all = "snake_case")]
#[allow(dead_code)]
enum Flows {
    Password {
        /// # Username
        /// The user whose rights the connection has.
        username: String,
        password: Secret,
    },
    ClientCredentials {},
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Settings {
    endpoint_url: String,
    #[serde(flatten)]
    flows: Flows,
}

fn pointers(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().map(|one| one.pointer.as_str()).collect()
}

#[test]
fn all_errors_of_the_selected_branch_are_reported() {
    let schema = Schema::from(schema_of::<Settings>());
    let found = schema.check(&json!({ "endpointUrl": 7, "flows": "password", "password": {} }));
    let mut pointers = pointers(&found);
    pointers.sort_unstable();
    assert_eq!(pointers, ["/endpointUrl", "/password", "/username"], "{found:#?}");
    let username = found.iter().find(|one| one.pointer == "/username").unwrap();
    assert_eq!(username.advice().as_deref(), Some("The user whose rights the connection has."));
}

#[test]
fn an_unknown_choice_names_the_choices() {
    let schema = Schema::from(schema_of::<Settings>());
    let found = schema.check(&json!({ "endpointUrl": "x", "flows": "magic" }));
    assert_eq!(pointers(&found), ["/flows"]);
    assert!(found[0].advice().unwrap().contains("\"client_credentials\""));
}

#[test]
fn finds_secrets_and_never_quotes_them() {
    let schema = Schema::from(schema_of::<Settings>());
    let document = json!({ "endpointUrl": "x", "flows": "password", "username": "u", "password": ["canary"] });
    assert_eq!(schema.secrets(&document), ["/password"]);
    let found = schema.check(&document);
    assert_eq!(pointers(&found), ["/password"]);
    assert!(!format!("{found:?}").contains("canary"));
}

#[test]
fn a_value_that_does_not_fit_is_described_in_words_with_an_example() {
    let schema = Schema::from(json!({ "type": "object", "properties": {
        "id": { "type": "string", "format": "uuid" },
        "at": { "type": "string", "format": "date-time" },
        "timeout": { "type": "string", "pattern": "^[0-9]", "examples": ["10m"] },
        "code": { "type": "string", "pattern": "^[A-Z]+$" },
        "ids": { "type": "array", "items": { "type": "string", "pattern": "^[0-9]+$" }, "examples": [["17", "18"]] },
        "tags": { "type": "array", "minItems": 2, "uniqueItems": true },
        "mode": { "anyOf": [{ "type": "string", "enum": ["fail", "continue"] }, { "type": "array" }] },
        "name": { "type": "string", "minLength": 2, "maxLength": 4 },
        "size": { "type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5 },
        "more": { "type": "object", "minProperties": 1 },
        "lists": { "type": "object", "propertyNames": { "pattern": "^[a-z]+$" } },
        "each": { "anyOf": [{ "type": ["string", "array"] }, { "type": "object", "required": ["action"],
            "properties": { "action": { "type": "string", "format": "uuid" } } }] },
    } }));
    for (document, message) in [
        (json!({ "id": "12" }), "id is not a UUID, such as 3fa85f64-5717-4562-b3fc-2c963f66afa6"),
        (json!({ "at": "now" }), "at is not a date and time with an offset, such as 2026-11-30T08:30:00Z"),
        (json!({ "timeout": "soon" }), "timeout must be written like 10m"),
        (json!({ "code": "a" }), "code does not match the regular expression ^[A-Z]+$"),
        (json!({ "ids": ["1", "x"] }), "item 1 of ids must be written like 17"),
        (json!({ "tags": ["a"] }), "tags must have at least 2 items"),
        (json!({ "tags": ["a", "a"] }), "tags has an item twice"),
        (json!({ "mode": "ignore" }), "mode must be \"fail\", \"continue\" or an array"),
        (json!({ "name": "a" }), "name must have at least 2 characters"),
        (json!({ "name": "abcde" }), "name must have at most 4 characters"),
        (json!({ "size": 0 }), "size must be greater than 0"),
        (json!({ "size": 0.7 }), "size must be a multiple of 0.5"),
        (json!({ "more": {} }), "more must have at least 1 member"),
        (json!({ "lists": { "A": 1 } }), "a member of lists has a name that does not match ^[a-z]+$"),
        (json!({ "each": {} }), "action is missing"),
        (json!({ "each": { "action": "x" } }), "action is not a UUID, such as 3fa85f64-5717-4562-b3fc-2c963f66afa6"),
        (json!({ "each": 7 }), "each must be a string, an array or an object"),
        (json!([]), "the document must be an object"),
    ] {
        let found = schema.check(&document);
        let messages: Vec<_> = found.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages, [message], "{document}");
    }
}

/// Returns the schema of a connection with these settings, in which the choice is a setting.
fn connection() -> Value {
    connection_schema("shop-v1.0", "Shop", "https://docs.example.com", schema_of::<Settings>())
}

fn document(more: &Value) -> Value {
    let mut document = json!({ "name": "mine", "connector": "shop-v1.0", "endpointUrl": "x" });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

#[test]
fn settings_are_in_the_order_of_the_form_with_the_choice_that_adds_them() {
    let schema = connection();
    let all = Setting::all(&schema);
    let shown: Vec<_> = all.iter().map(|one| (one.name, one.required, one.when.len())).collect();
    let (always, chosen) = (0, 1);
    assert_eq!(
        shown,
        [
            ("name", true, always),
            ("connector", true, always),
            ("endpointUrl", true, always),
            ("flows", true, always),
            ("username", true, chosen),
            ("password", true, chosen),
        ]
    );
    assert_eq!(all[4].when, [("flows", &json!("password"))]);
    assert_eq!((&all[4].schema["title"], &all[4].schema["x-group"]), (&json!("Username"), &json!("basic")));
    assert_eq!((&all[2].schema["x-doc"], all[0].schema.get("x-doc")), (&json!("https://docs.example.com"), None));
    assert_eq!((&all[1].schema["readOnly"], &all[3].schema["type"]), (&json!(true), &json!("string")));
}

#[test]
fn a_setting_is_required_with_its_choice_and_refused_without_it() {
    let schema = Schema::from(connection());
    let found = |more: Value| {
        let mut found: Vec<_> = schema.check(&document(&more)).into_iter().map(|one| one.to_string()).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(found(json!({ "flows": "client_credentials" })), [""; 0]);
    assert_eq!(found(json!({ "flows": "password", "username": "u", "password": "p" })), [""; 0]);
    assert_eq!(found(json!({ "flows": "password", "username": "u", "password": { "env": "P" } })), [""; 0]);
    for (more, expected) in [
        (json!({ "flows": "password", "username": "u" }), &["/password: password is missing"][..]),
        (json!({ "flows": "client_credentials", "username": "u" }), &["/username: username is not known here"]),
        (json!({ "flows": "magic", "username": "u" }), &["/flows: flows does not have an allowed value"]),
        (json!({ "username": "u" }), &["/flows: flows is missing"]),
        (
            json!({ "flows": "password", "username": "u", "password": 7 }),
            &["/password: password must be a string, {\"env\": \"NAME\"} or {\"file\": \"path\"}"],
        ),
    ] {
        let found = found(more.clone());
        assert!(found.len() == expected.len(), "{more}: {found:?}");
        assert!(found.iter().zip(expected).all(|(one, expected)| one.contains(expected)), "{more}: {found:?}");
    }
}

/// A secret that a choice adds is known as one. The twin: where the settings of a choice are not searched, it is not.
#[test]
fn a_secret_that_a_choice_adds_is_found() {
    let document = document(&json!({ "flows": "password", "username": "u", "password": "canary" }));
    assert_eq!(Schema::from(connection()).secrets(&document), ["/password"]);
    let hidden = connection().to_string().replace("\"then\"", "\"otherwise\"");
    let twin = Schema::from(serde_json::from_str::<Value>(&hidden).unwrap());
    assert_eq!(twin.secrets(&document), [""; 0]);
}
