//! Hostile text of others in every output of the command line: keys and reasons of items, messages of a service, and the
//! titles of a connector in a folder.

use serde_json::{Value, json};
use trunkline_core::ForeignText;
use trunkline_tests::{Cli, CommandOutput};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const HOSTILE: [&str; 6] = [
    "\u{1b}[2J\u{1b}]0;title\u{7}a\nFORGED b",
    "a\u{9b}31m\r\nFORGED\u{85}FORGED",
    "\u{202e}gpj.exe\u{202c}\u{2066}x\u{2069}\u{200f}\u{61c}",
    "zero\u{200b}width\u{feff}\u{2060}",
    "line\u{2028}FORGED\u{2029}FORGED",
    " \u{3000}=HYPERLINK(\"http://x\")",
];

/// A name of a file, a flow, a connection or a signal that would begin lines, also lines that look like ours.
const NAME: &str = "a\n  next: FORGED\nFORGED \u{1b}[2J\u{202e}";

/// Returns what is wrong with an output of text: characters that control a terminal, and lines that are not ours.
fn faults(text: &str) -> Vec<String> {
    let shown = ForeignText(text).lines();
    let is_forged = |line: &&str| line.trim_start().trim_start_matches("next: ").starts_with("FORGED");
    let lines = text.lines().filter(is_forged).map(str::to_owned);
    let controls = (shown != text).then(|| format!("{text:?}"));
    lines.chain(controls).collect()
}

fn assert_safe(what: &str, output: &CommandOutput) {
    for text in [&output.stdout, &output.stderr] {
        assert_eq!(faults(text), Vec::<String>::new(), "{what}");
    }
}

/// Writes a connector with hostile titles, and returns its folder.
fn connector(cli: &Cli) -> String {
    let title = HOSTILE.map(|text| serde_json::to_string(text).unwrap().trim_matches('"').to_owned()).join(" ");
    let title = title.chars().map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04X}", u32::from(c)) });
    let title = title.collect::<String>().replace("\\u007f", "");
    std::fs::create_dir_all(cli.home().join("connectors/theirs/operations")).unwrap();
    let manifest = format!(
        "name = \"theirs\"\nversion = \"1.0\"\ntitle = \"{title}\"\n[settings]\nendpointUrl = \
         \"https://api.example.com\"\nauthentication = \"none\"\n"
    );
    cli.write("connectors/theirs/connector.toml", &manifest);
    let row = format!(
        "[[operation]]\nname = \"thing.get\"\ntitle = \"{title}\"\nabout = \"{title}\"\nroute = \"GET /things\"\n\
         input.q = {{ type = \"string\", title = \"{title}\" }}\n"
    );
    cli.write("connectors/theirs/operations/rows.toml", &row);
    cli.home().join("connectors").to_string_lossy().into_owned()
}

/// Runs a flow whose items are skipped and fail with hostile keys and reasons, and that calls a service with a hostile
/// error. Returns the command line and the run.
async fn ran() -> (Cli, MockServer, Value) {
    let (cli, server) = (Cli::default(), MockServer::start().await);
    let body = json!({ "error": { "message": HOSTILE.join(" ") }, "title": HOSTILE[0] });
    Mock::given(any()).respond_with(ResponseTemplate::new(422).set_body_json(body)).mount(&server).await;
    cli.add(
        &json!({ "name": "api", "connector": "http-v1.0", "allowPrivateNetwork": true, "endpointUrl": server.uri(),
        "authentication": "none" }),
    )
    .await;
    let items =
        |id: &str, step: Value| json!({ "id": id, "each": "{{ input.names }}", "key": "{{ item }}", "steps": [step] });
    let flow = json!({
        "name": "foreign", "connections": { "api": "http" }, "log": "all",
        "steps": [
            items("skipped", json!({ "id": "no", "skip": "{{ item }}" })),
            items("failed", json!({ "id": "bad", "fail": "{{ item }}" })),
            items("called", json!({ "id": "call", "action": "request", "connection": "api",
                "input": { "path": "/", "query": { "q": "{{ item }}" } } })),
        ],
        "output": { "names": "{{ input.names }}" }
    });
    let file = cli.write("foreign.json", &flow.to_string());
    let input = json!({ "names": HOSTILE }).to_string();
    let run = cli.run(&["run", &file, "--input", &input, "--log", "trace"]).await.expect(4);
    assert_safe("run", &run);
    let runs = cli.run(&["runs", "--json"]).await.expect(0).json()["items"].take();
    (cli, server, runs[0]["id"].clone())
}

#[tokio::test]
async fn hostile_text_controls_no_output_of_a_run() {
    let (cli, _server, run) = ran().await;
    let run = run.as_str().unwrap();
    for command in [
        &["runs"][..],
        &["runs", "show", run],
        &["runs", "items", run],
        &["runs", "tail", run],
        &["runs", "timeline", run],
        &["runs", "log", run],
        &["runs", "rerun", run, "--failed"],
        &["connection", "list"],
        &["call", "http.request", "--connection", "api", "--input", r#"{"path":"/"}"#],
    ] {
        let output = cli.run(command).await;
        assert_safe(&command.join(" "), &output);
        let logged = cli.run(&[command, &["--log", "trace"]].concat()).await;
        assert_safe(&format!("{} --log trace", command.join(" ")), &logged);
        let json = cli.run(&[command, &["--json", "--log", "debug", "--log-format", "json"]].concat()).await;
        assert_safe(&format!("{} --json", command.join(" ")), &json);
    }
    let csv = cli.run(&["runs", "items", run, "--csv"]).await.expect(0).stdout;
    assert!(csv.contains("\"' \u{3000}=HYPERLINK"), "{csv}");
    assert_eq!(ForeignText(&csv.replace('\r', "")).lines(), csv.replace('\r', ""), "only line breaks are left");
}

/// The twin: the values in JSON are exact, so each output did have hostile text to render.
#[tokio::test]
async fn in_json_the_text_of_others_is_exact() {
    let (cli, _server, run) = ran().await;
    let run = run.as_str().unwrap();
    let shown = cli.run(&["runs", "show", run, "--json"]).await.expect(0).json();
    assert_eq!(shown["output"]["names"], json!(HOSTILE));
    let items = cli.run(&["runs", "items", run, "--json"]).await.expect(0).stdout;
    let keys: Vec<Value> =
        items.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone()).collect();
    for text in HOSTILE {
        assert_eq!(keys.iter().filter(|key| *key == text).count(), 3, "{text:?}");
        let is_formula_only = text.ends_with(')');
        assert_eq!(faults(text).is_empty(), is_formula_only, "{text:?}");
    }
}

#[tokio::test]
async fn hostile_titles_of_a_connector_control_no_list() {
    let cli = Cli::default();
    let folder = connector(&cli);
    for command in [&["connectors"][..], &["connectors", "theirs"], &["actions"], &["action", "theirs.thing.get"]] {
        let output = cli.run(&[&["--connectors", &folder], command].concat()).await.expect(0);
        assert!(output.stdout.contains("zero"), "the title is shown: {}", output.stdout);
        assert_safe(&command.join(" "), &output);
    }
}

/// Files and flows of a stranger that cannot be read are reported with their text.
#[tokio::test]
async fn errors_about_hostile_documents_control_no_terminal() {
    let cli = Cli::default();
    for text in HOSTILE {
        let flow = json!({ "name": "ok", "connections": { text: text }, "steps": [
            { "id": text, "action": text, "connection": text, "input": { text: "{{ nothing }}" } }
        ] });
        let connection = json!({ "name": text, "connector": text, text: text });
        let flow = cli.write("flow.json", &flow.to_string());
        let connection = cli.write("connection.json", &connection.to_string());
        for command in [
            &["flow", "validate", &*flow][..],
            &["flow", "add", &flow],
            &["run", &flow],
            &["run", text],
            &["connection", "add", &connection],
            &["connection", "show", text],
            &["runs", "show", text],
            &["action", text],
            &["call", text, "--connection", text],
        ] {
            assert_safe(&command.join(" "), &cli.run(command).await);
        }
    }
}

/// Each command that shows a name in a text of ours, by the place that shows it.
#[tokio::test]
async fn names_of_files_flows_connections_and_signals_begin_no_line() {
    let cli = Cli::default();
    let folder = cli.home().join(NAME);
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, document: &Value| {
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, document.to_string()).unwrap();
        path.to_string_lossy().into_owned()
    };
    let fails = json!({ "name": "fails", "steps": [{ "id": "bad", "fail": NAME }] });
    let waits = json!({ "name": "waits", "input": {}, "log": "all", "steps": [
        { "id": "pause", "wait": { "signal": "go", "timeout": "50ms" } }] });
    let open = json!({ "name": "open", "connections": { "a": "http" }, "steps": [] });
    let warned = json!({ "name": "warned", "trigger": { "webhook": {} }, "steps": [] });
    let many = json!({ "name": "many", "steps": [{ "id": NAME, "x": 1 }, { "id": "a", NAME: NAME }] });
    let [fails, waits, open, warned, many] =
        [("fails", fails), ("waits", waits), ("open", open), ("warned", warned), ("many", many)]
            .map(|(name, document)| write(name, &document));
    let connection = write(
        "connection",
        &json!({ "name": NAME, "connector": "http-v1.0", "authentication": "none",
        "endpointUrl": "https://api.example.com" }),
    );
    let token = json!({ "name": "token", "connector": "http-v1.0", "authentication": "bearer", "token": { "env": NAME },
        "endpointUrl": "https://api.example.com" });
    let token = write("token", &token);
    let gone = folder.join("gone").to_string_lossy().into_owned();
    let mut shown = 0;
    for (place, command) in [
        ("the error of a `fail` step", &["run", &*fails][..]),
        ("the last line of a check that found nothing", &["flow", "validate", &waits]),
        ("the last line of a check with warnings", &["flow", "validate", &warned]),
        ("the last line of a check with errors", &["flow", "validate", &many]),
        ("the error of a flow with several errors", &["flow", "add", &many]),
        ("the error of a flow without its connections", &["flow", "add", &open]),
        ("the note that says which file is run", &["run", &waits]),
        ("the error of a file that does not exist", &["run", &gone]),
        ("the error of a flow that is not saved", &["run", NAME]),
        ("the error of a document with a reference", &["connection", "add", &token]),
        ("the note on an added connection", &["connection", "add", &connection]),
        ("the list of connections", &["connection", "list"]),
        ("the check of a connection", &["connection", "check", NAME]),
        ("the note on a removed connection", &["connection", "remove", NAME]),
        ("the error of a call", &["call", "http.request", "--connection", NAME]),
        ("the error of a binding", &["run", &open, "--connection", &format!("a={NAME}")]),
        ("the error of an unknown binding", &["run", &fails, "--connection", &format!("{NAME}=a")]),
        ("the error of an input", &["run", &fails, "--input", NAME]),
        ("the error of a folder of connectors", &["connectors", "--connectors", &gone]),
        ("the error of a run", &["runs", "show", NAME]),
    ] {
        let output = cli.run(command).await;
        assert_safe(place, &output);
        // What is shown of the name, in one line: the twin of the exact name in JSON below.
        shown += usize::from([&output.stdout, &output.stderr].iter().any(|text| text.contains("a   next: FORGED")));
        assert_safe(&format!("{place}, logged"), &cli.run(&[command, &["--log", "debug"]].concat()).await);
    }
    assert!(shown >= 12, "void: {shown} outputs have the name");
    let runs = cli.run(&["runs", "--json"]).await.expect(0).json();
    let run = runs["items"].as_array().unwrap().iter().find(|run| run["flow"] == "fails").unwrap()["id"].clone();
    let run = run.as_str().unwrap();
    for command in [&["runs", "show", run][..], &["runs", "tail", run], &["runs", "signal", run, NAME]] {
        assert_safe(&command.join(" "), &cli.run(command).await);
    }
    let error = cli.run(&["runs", "show", run, "--json"]).await.expect(0).json()["error"]["message"].clone();
    assert_eq!((error.as_str().unwrap(), faults(NAME).len()), (NAME, 3), "the twin: in JSON, the text is exact");
}
