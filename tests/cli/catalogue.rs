//! `--help`, `connectors`, `actions`, `schema`: the catalogue, which needs no connection.

use serde_json::{Value, json};
use trunkline_core::Setting;
use trunkline_tests::Cli;

#[tokio::test]
async fn help_names_every_command_and_every_exit_code() {
    let cli = Cli::default();
    let help = cli.run(&["--help"]).await.expect(0).stdout;
    for word in ["demo", "sandbox", "connectors", "actions", "schema", "connection", "call", "flow", "run", "runs"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{word} "))), "{word} in {help}");
    }
    let codes = help.split("Exit codes:").nth(1).unwrap();
    for code in 0..=5 {
        assert!(codes.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code} in {codes}");
    }
    for command in ["connection", "flow", "runs", "call", "run"] {
        cli.run(&[command, "--help"]).await.expect(0);
    }
    cli.run(&["--version"]).await.expect(0);
}

#[tokio::test]
async fn an_invalid_command_line_exits_with_2() {
    let cli = Cli::default();
    for arguments in [
        &["frobnicate"][..],
        &["connectors", "--colour"],
        &["run"],
        &["run", "flow.json", "--connection", "source"],
        &["schema", "weather"],
        &["demo", "--files", "many"],
    ] {
        let answer = cli.run(arguments).await.expect(2);
        assert!(answer.stderr.contains("Usage") || answer.stderr.contains("--help"), "{}", answer.stderr);
        assert_eq!(answer.stdout, "");
    }
}

#[tokio::test]
async fn connectors_are_listed_and_shown() {
    let cli = Cli::default();
    let list = cli.run(&["connectors", "--json"]).await.expect(0).json();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["http", "mediaflow", "mediavalet"]);
    assert!(list.as_array().unwrap().iter().all(|one| one["actions"].as_u64().unwrap() > 2), "{list}");
    let table = cli.run(&["connectors"]).await.expect(0).stdout;
    assert!(table.contains("mediavalet-v1.0") && table.contains("MediaValet"), "{table}");

    let spec = cli.run(&["connectors", "mediavalet", "--json"]).await.expect(0).json();
    assert_eq!((&spec["title"], &spec["version"]), (&json!("MediaValet"), &json!("1.0")));
    assert!(spec["connection"]["properties"]["subscriptionKey"].is_object(), "{spec}");
    // The order of the vendor's form.
    let form = cli.run(&["connectors", "mediavalet"]).await.expect(0).stdout;
    for field in ["Connection Name", "Subscription Key", "Client ID", "Token URL", "https://api.mediavalet.com"] {
        assert!(form.contains(field), "{field} in {form}");
    }
    let error = cli.run(&["connectors", "mediavallet", "--json"]).await.expect(1).error();
    assert_eq!(error["hint"], "did you mean mediavalet?");
}

#[tokio::test]
async fn actions_have_a_title_an_effect_and_their_route() {
    let cli = Cli::default();
    let list = cli.run(&["actions", "--json"]).await.expect(0).json();
    let list = list.as_array().unwrap();
    assert!(list.len() > 30, "{}", list.len());
    for action in list {
        for key in ["connector", "name", "title", "group", "effect"] {
            assert!(action[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {action}");
        }
        assert!(["read", "idempotent", "create", "delete"].contains(&action["effect"].as_str().unwrap()), "{action}");
    }
    let find = |name: &str| list.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(find("asset.get")["route"], "GET /assets/{assetId}");
    assert_eq!((&find("asset.get")["effect"], &find("asset.delete")["effect"]), (&json!("read"), &json!("delete")));
    assert_eq!(find("asset.upload").get("route"), None, "it makes more than one call");
    assert_eq!(find("asset.upload")["effect"], "create");

    let one = cli.run(&["actions", "mediaflow", "--json"]).await.expect(0).json();
    assert!(one.as_array().unwrap().iter().all(|action| action["connector"] == "mediaflow"));
    let table = cli.run(&["actions", "mediaflow"]).await.expect(0).stdout;
    assert!(table.contains("mediaflow.folder.files") && table.contains("GET /folder/{id}/files"), "{table}");
    assert!(!table.contains("mediavalet."));
    cli.run(&["actions", "nothing"]).await.expect(1);
}

#[tokio::test]
async fn schemas_of_every_kind_are_printed() {
    let cli = Cli::default();
    let schema = async |arguments: &[&str]| -> Value {
        let plain = cli.run(&[&["schema"], arguments].concat()).await.expect(0).json();
        assert_eq!(plain, cli.run(&[&["schema", "--json"], arguments].concat()).await.expect(0).json());
        plain
    };
    assert_eq!(schema(&["flow"]).await["title"], "Flow");
    assert!(schema(&["operation"]).await["properties"]["operation"].is_object());
    let connection = schema(&["connection", "mediaflow"]).await;
    let settings = Setting::all(&connection);
    assert_eq!(settings.iter().find(|one| one.name == "clientSecret").unwrap().schema["writeOnly"], true);
    let names: Vec<_> = settings.iter().map(|one| one.name).collect();
    assert_eq!(names[..5], ["name", "connector", "endpointUrl", "authentication", "flows"], "the order of the form");
    let action = schema(&["action", "mediavalet.asset.upload"]).await;
    assert!(action["input"]["properties"]["categories"].is_object() && action["output"].is_object());

    for arguments in [
        &["schema", "connection"][..],
        &["schema", "connection", "nothing"],
        &["schema", "action"],
        &["schema", "action", "mediavalet"],
        &["schema", "action", "mediavalet.asset.fly"],
    ] {
        let error = cli.run(&[arguments, &["--json"]].concat()).await.expect(1).error();
        assert!(error["hint"].is_string(), "{error}");
    }
    let error = cli.run(&["schema", "action", "mediavalet.asset.gt", "--json"]).await.expect(1).error();
    assert_eq!(error["hint"], "did you mean asset.get?");
}

#[tokio::test]
async fn commands_that_need_no_store_create_none() {
    let cli = Cli::default();
    cli.run(&["connectors"]).await.expect(0);
    cli.run(&["actions"]).await.expect(0);
    cli.run(&["schema", "flow"]).await.expect(0);
    assert!(!cli.data().exists() && !cli.key_file().exists());
}

#[tokio::test]
async fn actions_can_be_searched_and_one_is_explained() {
    let cli = Cli::default();
    let found = cli.run(&["actions", "--search", "Keyword asset ADD", "--json"]).await.expect(0).json();
    let names: Vec<_> = found.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"asset.add_keywords") && names.len() < 20, "{names:?}");
    let none = cli.run(&["actions", "--search", "no such words anywhere"]).await.expect(0).stdout;
    assert!(none.contains("No action"), "{none}");

    let text = cli.run(&["action", "mediavalet.asset.upload"]).await.expect(0).stdout;
    for part in ["Effect: create", "Vendor: https://docs.mediavalet.com", "categories", "sha256", "trunkline call"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let spec = cli.run(&["action", "mediavalet.asset.upload", "--json"]).await.expect(0).json();
    assert_eq!(spec["effect"], "create");
    let error = cli.run(&["action", "mediavalet.asset.uplaod", "--json"]).await.expect(1).error();
    assert_eq!(error["hint"], "did you mean asset.upload?");
}
