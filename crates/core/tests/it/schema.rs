//! The check of documents against schemas, and the secrets that a schema marks.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use trunkline_core::{Diagnostic, Schema, Secret, schema_of};

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
