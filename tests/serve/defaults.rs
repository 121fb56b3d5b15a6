//! Defaults of a flow's input, through every door that starts a run.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_engine::TriggerEvent;
use trunkline_tests::{Cli, until};

use super::{Serve, add};

/// Returns a flow whose input has defaults at two depths.
fn flow(name: &str, trigger: Option<Value>) -> Value {
    let text = |default: &str| json!({ "type": "string", "default": default });
    let mut flow = json!({ "name": name, "overlap": "parallel", "steps": [], "output": { "got": "{{ input }}" }, "input": {
        "type": "object", "required": ["who"],
        "properties": { "who": text("default"), "deep": { "type": "object", "properties": { "how": text("default") } } }
    } });
    if let Some(trigger) = trigger {
        flow["trigger"] = trigger;
    }
    flow
}

/// Returns where `who` and `deep.how` of a run's input come from.
fn origins(run: &Value) -> [&str; 2] {
    ["/input/who", "/input/deep/how"].map(|pointer| run.pointer(pointer).and_then(Value::as_str).unwrap_or("nowhere"))
}

#[tokio::test]
async fn every_door_fills_in_defaults_below_what_is_given_and_what_is_saved() {
    let cli = Cli::default();
    let file = cli.write("file.json", &flow("file", None).to_string());
    for (input, expected) in [
        ("{}", ["default", "default"]),
        (r#"{"who":"given"}"#, ["given", "default"]),
        (r#"{"deep":{}}"#, ["default", "default"]),
        (r#"{"deep":{"how":"given"}}"#, ["default", "given"]),
    ] {
        let run = cli.run(&["run", &file, "--input", input, "--json"]).await.expect(0).json();
        assert_eq!(origins(&run), expected, "{input}");
    }
    let run = cli.run(&["run", &file, "--json"]).await.expect(0).json();
    assert_eq!(origins(&run), ["default", "default"], "without --input");

    // A part of the input is saved with the flow.
    let saved = &["--input", r#"{"who":"saved"}"#][..];
    add(&cli, &flow("api", None), saved).await.expect(0);
    let hook = add(&cli, &flow("hook", Some(json!({ "webhook": {} }))), saved).await.expect(0).json();
    let schedule = json!({ "schedule": { "cron": "* * * * *" } });
    add(&cli, &flow("clock", Some(schedule)), saved).await.expect(0);
    let run = cli.run(&["run", "api", "--json"]).await.expect(0).json();
    assert_eq!(origins(&run), ["saved", "default"]);

    let serve = Serve::start(&cli).await;
    let run = serve.run("api", &json!({})).await;
    assert_eq!(origins(&serve.ended(&run).await), ["saved", "default"]);
    let run = serve.run("api", &json!({ "who": "given", "deep": { "how": "given" } })).await;
    assert_eq!(origins(&serve.ended(&run).await), ["given", "given"]);
    let request = serve.http.post(serve.url(hook["webhook"].as_str().unwrap())).json(&json!({}));
    let response: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(origins(&serve.ended(response["run"].as_str().unwrap()).await), ["saved", "default"]);

    // The schedule was looked at two minutes ago.
    let runtime = cli.runtime();
    let through = Some(runtime.now() - Duration::from_secs(120));
    runtime.journal().remember_trigger(TriggerEvent { flow: "clock".into(), keys: Vec::new(), through }).await.unwrap();
    let run = until("a run by its schedule", async || {
        serve
            .runs()
            .await
            .into_iter()
            .find(|run| run["flow"] == "clock")
            .map(|run| run["id"].as_str().unwrap().to_owned())
    });
    assert_eq!(origins(&serve.ended(&run.await).await), ["saved", "default"]);
}

#[tokio::test]
async fn a_misspelt_connection_binding_is_an_error_of_the_check_and_warnings_are_printed() {
    let cli = Cli::default();
    let bound = json!({ "name": "bound", "connections": { "source": "http" }, "steps": [
        { "id": "all", "parallel": { "one": [
            { "id": "made", "action": "request", "connection": "source", "input": { "method": "POST", "path": "/" } }
        ] }, "retry": { "tries": 2 } }
    ] });
    let file = cli.write("bound.json", &bound.to_string());
    let valid = cli.run(&["flow", "validate", &file]).await.expect(0);
    assert!(valid.stdout.contains("warning: ") && valid.stdout.contains("request creates"), "{valid:?}");
    for arguments in [["flow", "validate", &file], ["flow", "add", &file]] {
        let arguments = [&arguments[..], &["--connection", "sorce=somewhere", "--json"]].concat();
        let output = cli.run(&arguments).await;
        assert_ne!(output.code, 0, "{output:?}");
    }
}
