//! Tables fit the terminal, whatever the names in them, and JSON is not wrapped.

use serde_json::json;
use trunkline_tests::Cli;

/// A name as long as names may be.
fn long(start: &str) -> String {
    format!("{start:-<64}")
}

#[tokio::test]
async fn every_table_fits_80_columns_and_100_without_a_terminal() {
    let cli = Cli::default();
    for (command, words) in [
        (&["connection", "list"][..], "trunkline connection add"),
        (&["flow", "list"], "trunkline flow add"),
        (&["runs"], "trunkline run "),
        (&["connection", "events"], "signed in"),
    ] {
        let none = cli.run(command).await.expect(0).stdout;
        assert!(none.lines().count() == 1 && none.contains(words), "{none}");
    }
    let (api, dam, flow) = (long("api"), long("dam"), long("flow"));
    cli.add(&json!({
        "name": api, "connector": "http-v1.0", "endpointUrl": "http://127.0.0.1:1", "allowPrivateNetwork": true,
        "authentication": "none"
    }))
    .await;
    let saved = cli.write(
        "dam.json",
        &json!({
            "name": dam, "connector": "mediavalet-v1.0", "subscriptionKey": "k", "authentication": "oauth2",
            "flows": "authorization_code", "clientId": "id", "clientSecret": "secret"
        })
        .to_string(),
    );
    let added = cli.run(&["connection", "add", &saved]).await.expect(0).stdout;
    assert!(added.contains(&format!("`trunkline connection authorize {dam}`")), "{added}");
    let document = json!({ "name": flow, "connections": { "shop": "http" }, "steps": [
        { "id": "each_of_them_in_turn", "each": [1, 2], "key": "{{ item }}", "steps": [
            { "id": "wait_a_little", "wait": { "for": "1s" } }
        ] },
        { "id": "call", "action": "request", "connection": "shop", "input": { "path": "/" } }
    ] });
    let file = cli.write("flow.json", &document.to_string());
    let bound = format!("shop={api}");
    cli.run(&["flow", "add", &file, "--connection", &bound]).await.expect(0);
    let run = cli.run(&["run", &flow, "--json"]).await.expect(5).json()["id"].as_str().unwrap().to_owned();
    for command in [
        &["connectors"][..],
        &["connectors", "mediavalet"],
        &["connectors", "http"],
        &["actions"],
        &["action", "mediavalet.asset.upload"],
        &["connection", "list"],
        &["connection", "check", &api],
        &["flow", "list"],
        &["runs"],
        &["runs", "timeline", &run],
    ] {
        for (columns, width) in [(Some("80"), 80), (None, 100)] {
            let mut process = cli.command(command);
            process.env_remove("COLUMNS").envs(columns.map(|columns| ("COLUMNS", columns)));
            let output = process.output().await.unwrap();
            let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
            // Sentences and examples are for the terminal to wrap. Rows begin with a blank.
            let is_row = |line: &&str| {
                let is_other = ["next: ", "trunkline "].iter().any(|start| line.trim_start().starts_with(start));
                line.starts_with(' ') && !is_other
            };
            let rows = text.lines().filter(is_row);
            let widths: Vec<_> = rows.map(|line| line.chars().count()).collect();
            assert!(widths.len() > 1, "{command:?}: {text}");
            assert!(widths.iter().all(|one| *one <= width), "{command:?} at {width}: {text}");
        }
    }
    let text = cli.run(&["connection", "list"]).await.expect(0).stdout;
    let row = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
    assert!(row("api").contains("none needed") && row("dam").contains("not yet"), "{text}");
    let runs = cli.run(&["runs"]).await.expect(0).stdout;
    assert!(runs.contains(&run), "an id is in one piece: {runs}");
    let json = cli.run(&["runs", "--json"]).await.expect(0).stdout;
    assert!(json.contains(&flow), "{json}");
}
