//! The operations of connections, as a door that is made of the whole list uses them: with JSON.
#![cfg(feature = "mediavalet")]
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use trunkline::{
    Runtime,
    core::{Connection, Error, ErrorKind, Schema},
    operations::{Caller, OperationOutput, Role, operations},
};

fn runtime() -> Runtime {
    Runtime::in_memory(trunkline::registry(None).unwrap())
}

fn document(name: &str) -> Value {
    json!({
        "name": name, "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "authorization_code",
        "subscriptionKey": "canary-key", "clientId": "id", "clientSecret": "canary-secret"
    })
}

/// Carries out an operation. Its output has to fit its schema.
async fn execute_as(runtime: &Runtime, caller: &Caller, name: &str, input: Value) -> Result<Value, Error> {
    let operation = operations().iter().find(|one| one.spec().name == name).unwrap();
    let input_faults = Schema::from(operation.spec().input.clone()).check(&input);
    let output = operation.execute(runtime, caller, input).await?;
    assert_eq!(input_faults, [], "{name} took an input that does not fit its schema");
    let OperationOutput::Value(output, _) = output else { panic!("{name} streams") };
    assert_eq!(Schema::from(operation.spec().output.clone()).check(&output), [], "{name}: {output}");
    Ok(output)
}

async fn execute(runtime: &Runtime, name: &str, input: Value) -> Value {
    execute_as(runtime, &Caller::owner(), name, input).await.unwrap()
}

async fn error(runtime: &Runtime, name: &str, input: Value) -> Error {
    execute_as(runtime, &Caller::owner(), name, input).await.unwrap_err()
}

#[tokio::test]
async fn connections_are_added_shown_exported_and_removed() {
    let runtime = runtime();
    let added = execute(&runtime, "connections.add", json!({ "connections": document("dam") })).await;
    assert_eq!(added, json!({ "added": "dam" }));
    let again = error(&runtime, "connections.add", json!({ "connections": [document("new"), document("dam")] })).await;
    assert_eq!((again.kind(), again.message()), (ErrorKind::Conflict, "there is already a connection dam"));
    let twice = json!({ "connections": [document("new"), document("new")], "replace": true });
    assert_eq!(error(&runtime, "connections.add", twice).await.kind(), ErrorKind::Conflict);
    let both = json!({ "connections": [document("new"), document("dam")], "replace": true });
    assert_eq!(execute(&runtime, "connections.add", both).await, json!({ "added": ["new", "dam"] }));

    let listed = execute(&runtime, "connections.list", json!({})).await;
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["dam", "new"]);
    let shown = execute(&runtime, "connections.get", json!({ "name": "dam" })).await;
    assert_eq!((&shown["clientId"], &shown["clientSecret"]), (&json!("id"), &json!("***")));
    let exported = execute(&runtime, "connections.export", json!({})).await;
    assert_eq!(exported[0]["document"]["clientSecret"], json!({ "env": "DAM_CLIENT_SECRET" }));
    assert_eq!((exported.as_array().unwrap().len(), exported[1]["provide"].as_array().unwrap().len()), (2, 2));
    let events = execute(&runtime, "connections.events", json!({ "name": "dam" })).await;
    assert_eq!(events, json!({ "items": [], "next": null }));
    assert!(![listed, shown, exported].iter().any(|output| output.to_string().contains("canary")));

    let removed = execute(&runtime, "connections.remove", json!({ "name": "dam" })).await;
    assert_eq!(removed, json!({ "removed": "dam" }));
    assert_eq!(error(&runtime, "connections.get", json!({ "name": "dam" })).await.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_check_reports_wrong_settings_as_findings() {
    let runtime = runtime();
    let mut wrong = document("dam");
    wrong["endpointUrl"] = "http://api.example.com".into();
    let refused = error(&runtime, "connections.add", json!({ "connections": wrong.clone() })).await;
    assert!(refused.to_string().contains("/endpointUrl"), "{refused}");
    // An earlier version has saved it.
    let saved = Connection::from_value(wrong).unwrap();
    let settings = runtime.registry().connector(saved.connector_name()).unwrap().settings();
    runtime.connections().put_connection(&saved, settings).await.unwrap();
    let report = execute(&runtime, "connections.check", json!({ "name": "dam" })).await;
    assert_eq!((&report["connection"], &report["ok"]), (&json!("dam"), &json!(false)));
    assert_eq!(report["findings"][0]["pointer"], "/endpointUrl", "{report}");
    assert_eq!(error(&runtime, "connections.check", json!({ "name": "other" })).await.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn only_a_callback_with_its_state_ends_a_sign_in() {
    let runtime = runtime();
    execute(&runtime, "connections.add", json!({ "connections": document("dam") })).await;
    let back = "http://127.0.0.1:8700/rest/v1/oauth2/callback";
    let started = execute(&runtime, "connections.authorize", json!({ "name": "dam", "redirect_uri": back })).await;
    assert_eq!(started["redirect_uri"], back);
    let open = started["open"].as_str().unwrap();
    let state = open.split(['?', '&']).find_map(|part| part.strip_prefix("state=")).unwrap();
    for stray in ["", back, &format!("{back}?code=x"), &format!("?code=x&state={state}x"), &format!("?code=x#{state}")]
    {
        assert!(runtime.finish_sign_in(stray).await.unwrap().is_none(), "{stray}");
    }
    // A runtime with its own engine shares the sign-ins; another runtime does not know them.
    let denied = format!("?error=access_denied&state={state}");
    assert!(self::runtime().finish_sign_in(&denied).await.unwrap().is_none());
    let error = runtime.with_own_engine().finish_sign_in(&denied).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
    // The first callback has ended it.
    let again = runtime.finish_sign_in(&format!("{back}?code=x&state={state}")).await.unwrap_err();
    assert_eq!(again.message(), error.message());
    // The URL of the callback counts, too.
    let started = execute(&runtime, "connections.authorize", json!({ "name": "dam", "redirect_uri": back })).await;
    let open = started["open"].as_str().unwrap();
    let state = open.split(['?', '&']).find_map(|part| part.strip_prefix("state=")).unwrap();
    let elsewhere = format!("https://elsewhere.example.com/callback?code=x&state={state}");
    assert_eq!(runtime.finish_sign_in(&elsewhere).await.unwrap_err().kind(), ErrorKind::Auth);
}

#[tokio::test]
async fn a_role_that_is_too_low_is_refused() {
    let runtime = runtime();
    execute(&runtime, "connections.add", json!({ "connections": document("dam") })).await;
    let as_role = async |role, name: &str, input: Value| {
        execute_as(&runtime, &Caller::new("caller", role), name, input).await.map(drop).map_err(|error| error.kind())
    };
    let name = || json!({ "name": "dam" });
    assert_eq!(as_role(Role::Viewer, "connections.get", name()).await, Ok(()));
    assert_eq!(as_role(Role::Viewer, "connections.check", name()).await, Err(ErrorKind::Permission));
    for name_of in ["connections.add", "connections.authorize", "connections.export", "connections.remove"] {
        assert_eq!(as_role(Role::Editor, name_of, name()).await, Err(ErrorKind::Permission), "{name_of}");
    }
    assert_eq!(as_role(Role::Admin, "connections.remove", name()).await, Ok(()));
    let unknown = json!({ "name": "dam", "forced": true });
    assert_eq!(as_role(Role::Admin, "connections.remove", unknown).await, Err(ErrorKind::InvalidInput));
}

#[tokio::test]
async fn a_document_is_checked_without_saving_it() {
    let runtime = runtime();
    let good = execute(&runtime, "connections.validate", json!({ "document": document("dam") })).await;
    assert_eq!(good, json!({ "ok": true, "findings": [] }));
    let mut wrong = document("dam");
    wrong["endpointUrl"] = "http://api.example.com".into();
    wrong["clientSecret"] = "canary-2".into();
    let found = execute(&runtime, "connections.validate", json!({ "document": wrong })).await;
    assert_eq!((&found["ok"], &found["findings"][0]["pointer"]), (&json!(false), &json!("/endpointUrl")), "{found}");
    assert!(!found.to_string().contains("canary"));
    assert_eq!(execute(&runtime, "connections.list", json!({})).await["items"], json!([]), "nothing was saved");
    let missing = error(&runtime, "connections.uses", json!({ "name": "dam" })).await;
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    execute(&runtime, "connections.add", json!({ "connections": document("dam") })).await;
    let uses = execute(&runtime, "connections.uses", json!({ "name": "dam" })).await;
    assert_eq!(uses, json!({ "flows": [], "runs": [] }));
}

/// Without the check, the action would be called: there is no service at this address, so the error would be one of the
/// network.
#[tokio::test]
async fn what_lists_nothing_is_not_called_to_see_whether_it_lists() {
    let runtime = runtime();
    execute(&runtime, "connections.add", json!({ "connections": document("dam") })).await;
    let list = operations().iter().find(|one| one.spec().name == "actions.list_items").unwrap();
    let mut tried = 0;
    for action in runtime.registry().connector("mediavalet").unwrap().actions() {
        let name = format!("mediavalet.{}", action.name);
        let call = json!({ "action": name, "connection": "dam", "input": {} });
        if action.effect != trunkline::core::Effect::Read {
            let error = list.execute(&runtime, &Caller::owner(), call).await.map(|_| ()).unwrap_err();
            assert!(error.message().contains("is not an action that lists items"), "{name}: {error}");
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}
