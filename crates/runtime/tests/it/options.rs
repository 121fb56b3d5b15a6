//! The choices of inputs of both vendors' actions: from the simulators where they have such lists, else from a transport
//! that answers as the vendor's page says.

use serde_json::{Value, json};
use trunkline::{
    Ports, Runtime,
    core::Registry,
    operations::{
        Caller,
        options::{ListOptions, OptionsPage},
    },
    rest::{HttpResponse, NetworkPolicy},
};
use trunkline_sandbox::{Options, Sandbox};

use super::{FakeTransport, ports};

async fn options(runtime: &Runtime, connection: &str, action: &str, pointer: &str) -> OptionsPage {
    let query = json!({ "action": action, "connection": connection, "pointer": pointer });
    runtime.execute::<ListOptions>(&Caller::owner(), serde_json::from_value(query).unwrap()).await.unwrap()
}

#[tokio::test]
async fn categories_attributes_and_folders_are_choices_of_the_simulators() {
    let sandbox = Sandbox::start(Options { files: 3, ..Options::default() }).await.unwrap();
    let mut ports = Ports::in_memory();
    ports.http = ports.http.with_network(NetworkPolicy::default().with_private_network(true));
    let runtime = Runtime::new(trunkline::registry(None).unwrap(), ports);
    let names = runtime.add_connections(sandbox.settings()).await.unwrap();
    let [mediaflow, mediavalet] = &names[..] else { panic!("{names:?}") };
    for (connection, action, pointer) in [
        (mediavalet, "mediavalet.asset.upload", "/categories/0"),
        (mediavalet, "mediavalet.asset.set_categories", "/categories"),
        (mediavalet, "mediavalet.category.get", "/categoryGuid"),
        (mediavalet, "mediavalet.folder.create", "/parentId"),
        (mediavalet, "mediavalet.attribute.update", "/attributeId"),
        (mediaflow, "mediaflow.folder.files", "/id"),
    ] {
        let page = options(&runtime, connection, action, pointer).await;
        assert!(!page.options.is_empty() && page.options.iter().all(|one| !one.title.is_empty()), "{action} {pointer}");
    }
}

#[tokio::test]
async fn keyword_groups_users_and_libraries_are_choices() {
    let respond = |value: Value| HttpResponse::of(200, value.to_string());
    let transport = FakeTransport::new(move |request| {
        let payload = match request.path.rsplit('/').next().unwrap() {
            "token" => return respond(json!({ "access_token": "t", "token_type": "bearer", "expires_in": 3600 })),
            "keywordGroups" => json!([{ "id": "k1", "name": "Colours", "groupTreePath": "All\\Colours" }]),
            "users" => json!([{ "id": "u1", "userName": "ada", "emailAddress": "ada@example.com" }]),
            "libraries" => json!([{ "id": "l1", "name": "Main" }]),
            other => panic!("{other}"),
        };
        respond(json!({ "payload": payload, "recordCount": { "totalRecordsFound": 1 } }))
    });
    let runtime = Runtime::new(trunkline::registry(None).unwrap(), ports(transport.clone()));
    let connection = json!({
        "name": "dam", "connector": "mediavalet-v1.0", "authentication": "oauth2", "flows": "client_credentials",
        "clientId": "id", "clientSecret": "secret", "subscriptionKey": "key"
    });
    runtime.add_connection(connection).await.unwrap();
    for (action, pointer, value, title, about) in [
        ("mediavalet.keyword_group.delete", "/keywordGroupId", "k1", "Colours", Some("All\\Colours")),
        ("mediavalet.user.get", "/userId", "u1", "ada", Some("ada@example.com")),
        ("mediavalet.user_group.create", "/repositories/0", "l1", "Main", None),
    ] {
        let page = options(&runtime, "dam", action, pointer).await;
        let [one] = &page.options[..] else { panic!("{action}: {page:?}") };
        assert_eq!((&one.value, &*one.title, one.about.as_deref()), (&Value::from(value), title, about), "{action}");
    }
}

/// Each input with choices, as it is loaded.
#[test]
fn the_inputs_with_choices_are_these_kinds() {
    let registry: Registry = trunkline::registry(None).unwrap();
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for action in registry.connectors().flat_map(|connector| connector.actions()) {
        for (_, source) in trunkline::core::OptionsSource::all(&action.input) {
            *kinds.entry(source.unwrap().action).or_default() += 1;
        }
    }
    let known: Vec<_> = kinds.keys().map(String::as_str).collect();
    let expected = [
        "mediaflow.folder.list",
        "mediavalet.attribute.list",
        "mediavalet.category.list",
        "mediavalet.keyword_group.list",
        "mediavalet.library.list",
        "mediavalet.user.list",
    ];
    assert_eq!(known, expected, "{kinds:?}");
    assert!(kinds.values().sum::<usize>() > 30, "{kinds:?}");
}
