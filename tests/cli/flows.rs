//! `flow`: flows that are saved by name, and runs of them.

use serde_json::json;
use trunkline_tests::{BOUND, Cli, few, flow_input, sandbox, shipped_flow};

/// A flow that calls nothing.
fn greeting(about: &str) -> String {
    json!({
        "name": "greeting", "about": about,
        "input": { "type": "object", "properties": { "who": { "type": "string" }, "how": { "type": "string" } }, "required": ["who"] },
        "steps": [{ "id": "said", "skip": "{{ input.how | default('hello') }} {{ input.who }}" }]
    })
    .to_string()
}

#[tokio::test]
async fn a_saved_flow_is_run_by_its_name_with_its_connections() {
    let cli = Cli::default();
    let sandbox = sandbox(few(3)).await;
    cli.connect(&sandbox).await;
    let file = shipped_flow().to_string_lossy().into_owned();
    let added = cli.run(&[&["flow", "add", &file, "--json"][..], &BOUND].concat()).await.expect(0).json();
    let (name, version) = (added["added"]["name"].as_str().unwrap(), &added["added"]["version"]);
    assert_eq!(added["added"]["connections"], json!({ "source": "mediaflow", "target": "mediavalet" }));

    let ran = cli.run(&["run", name, "--input", &flow_input(&sandbox).to_string()]).await.expect(0);
    assert!(
        ran.stderr.contains(&format!("the saved flow {name}, version {}", version.as_str().unwrap())),
        "{}",
        ran.stderr
    );
    let runs = cli.run(&["runs", "--json"]).await.expect(0).json()["items"].take();
    assert_eq!((&runs[0]["flow"], &runs[0]["version"]), (&json!(name), version));

    let listed = cli.run(&["connection", "list", "--json"]).await.expect(0).json();
    assert_eq!(listed[0]["flows"], json!([{ "flow": name, "active": true }]));
    assert!(cli.run(&["connection", "list"]).await.expect(0).stdout.contains(name));
    let error = cli.run(&["connection", "remove", "mediaflow", "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "conflict");
    assert!(error["message"].as_str().unwrap().contains(name), "{error}");

    cli.run(&["flow", "deactivate", name]).await.expect(0);
    cli.run(&["connection", "remove", "mediaflow"]).await.expect(0);
    let error = cli.run(&["flow", "activate", name, "--json"]).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().contains("source is bound to mediaflow"), "{error}");
    sandbox.stop().await;
}

#[tokio::test]
async fn the_saved_input_of_a_flow_is_merged_into_its_runs() {
    let cli = Cli::default();
    let file = cli.write("greeting.json", &greeting("one"));
    cli.run(&["flow", "add", &file, "--input", r#"{"how":"good morning","who":"all"}"#]).await.expect(0);
    let run = cli.run(&["run", "greeting", "--input", r#"{"who":"Ada"}"#, "--json"]).await.expect(0).json();
    assert_eq!(run["input"], json!({ "how": "good morning", "who": "Ada" }));

    // Replacing the flow keeps settings that are not given again.
    let file = cli.write("greeting.json", &greeting("two"));
    let error = cli.run(&["flow", "add", &file, "--json"]).await.expect(1).error();
    assert_eq!(error["kind"], "conflict");
    cli.run(&["flow", "deactivate", "greeting"]).await.expect(0);
    let added = cli.run(&["flow", "add", &file, "--replace", "--json"]).await.expect(0).json();
    assert_eq!((&added["added"]["active"], &added["added"]["input"]["who"]), (&json!(false), &json!("all")));
    assert_eq!(cli.run(&["flow", "show", "greeting"]).await.expect(0).json()["document"]["about"], "two");
    assert!(cli.run(&["flow", "list"]).await.expect(0).stdout.contains("inactive"));
    cli.run(&["run", "greeting"]).await.expect(0);
    cli.run(&["flow", "activate", "greeting"]).await.expect(0);
    cli.run(&["flow", "remove", "greeting"]).await.expect(0);
    assert_eq!(cli.run(&["run", "greeting", "--json"]).await.expect(1).error()["kind"], "not_found");
}

#[tokio::test]
async fn a_saved_flow_calls_saved_flows() {
    let cli = Cli::default();
    let caller = json!({
        "name": "caller", "output": { "said": "{{ steps.greet.said }}" },
        "steps": [{ "id": "greet", "call": "greeting", "input": { "who": "Ada" } }]
    });
    let caller = cli.write("caller.json", &caller.to_string());
    let error = cli.run(&["flow", "add", &caller, "--json"]).await.expect(1).error();
    let text = error.to_string();
    assert!(text.contains("greeting") && text.contains("trunkline flow add"), "{text}");

    let greeting = json!({
        "name": "greeting", "input": { "type": "object", "properties": { "who": { "type": "string" } } },
        "steps": [], "output": { "said": "hello {{ input.who }}" }
    });
    cli.run(&["flow", "add", &cli.write("greeting.json", &greeting.to_string())]).await.expect(0);
    cli.run(&["flow", "add", &caller]).await.expect(0);
    let run = cli.run(&["run", "caller", "--json"]).await.expect(0).json();
    assert_eq!(run["output"], json!({ "said": "hello Ada" }));

    cli.run(&["flow", "remove", "greeting"]).await.expect(0);
    let error = cli.run(&["run", "caller", "--json"]).await.expect(1).error().to_string();
    assert!(error.contains("greeting") && error.contains("trunkline flow add"), "{error}");
}

#[tokio::test]
async fn a_name_is_a_saved_flow_and_a_path_is_a_file() {
    let cli = Cli::default();
    let kept = cli.write("kept.json", &greeting("kept"));
    cli.run(&["flow", "add", &kept]).await.expect(0);
    // A file with the name of the saved flow.
    cli.write("greeting", &greeting("file"));
    let version = async |what: &str| {
        let mut command = cli.command(&["run", what, "--input", r#"{"who":"Ada"}"#]);
        let answer = trunkline_tests::finish(command.current_dir(cli.home()).spawn().unwrap()).await.expect(0);
        (answer.stderr, cli.run(&["runs", "--json"]).await.expect(0).json()["items"][0]["version"].clone())
    };
    let (message, by_name) = version("greeting").await;
    assert!(message.contains("the saved flow greeting"), "{message}");
    let (message, by_path) = version("./greeting").await;
    assert!(message.contains("the flow greeting in the file ./greeting"), "{message}");
    assert_ne!(by_name, by_path);
}

#[tokio::test]
async fn a_flow_is_shown_as_a_tree_and_one_of_its_steps_is_tested() {
    let cli = Cli::default();
    let sandbox = sandbox(few(1)).await;
    cli.connect(&sandbox).await;
    let flow = json!({
        "name": "drawn", "connections": { "dam": "mediavalet" },
        "steps": [
            { "id": "all", "each": "{{ input.names }}", "steps": [
                { "id": "is", "if": "{{ item == '' }}", "skip": "empty" },
                { "id": "named", "set": { "as": "{{ item | upper }}" } }
            ] },
            { "id": "make", "action": "category.create", "connection": "dam", "input": { "treeName": "{{ steps.seen.name }}" } },
            { "id": "seen", "action": "category.list", "connection": "dam" }
        ]
    });
    let file = cli.write("drawn.json", &flow.to_string());
    let tree = cli.run(&["flow", "graph", &file]).await.expect(0).stdout;
    let expected = "drawn\n  all: each\n    is: if, then skip\n    named: set\n  make: action mediavalet.category.create on dam\n  \
                    seen: action mediavalet.category.list on dam\n";
    assert_eq!(tree, expected);
    let graph = cli.run(&["flow", "graph", &file, "--json"]).await.expect(0).json();
    assert_eq!(
        (&graph["nodes"][1]["step"], &graph["groups"][1]["pointer"]),
        (&json!("all/*/is"), &json!("/steps/0/steps"))
    );

    let tested = cli.run(&["step", "test", &file, "named", "--context", r#"{"item":"a"}"#]).await.expect(0).stdout;
    assert!(tested.contains("Output: {\n  \"as\": \"A\"\n}"), "{tested}");
    let tested = cli.run(&["step", "test", &file, "seen", "--json"]).await.expect(0).json();
    assert!(tested["output"]["items"].as_array().unwrap().len() > 1, "{tested}");
    // The step before it has not run in the flow, so its output cannot be pinned either.
    let error = cli.run(&["step", "test", &file, "make", "--json"]).await.expect(1).error();
    assert!(error["message"].as_str().unwrap().contains("no step seen runs before this one"), "{error}");
    sandbox.stop().await;
}
