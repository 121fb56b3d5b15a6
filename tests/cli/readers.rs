//! Documents that a user writes: every door reads them by one set of rules.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};
use trunkline_tests::{
    Cli,
    serve::{Serve, save},
};

/// Returns whether each door accepts the text as a value: a flow in JSON and in YAML, the input of a command as an
/// argument, in a file and in a pipe, the body of a request of the API, and that of a webhook.
async fn accepted(cli: &Cli, serve: &Serve, webhook: &str, text: &str) -> Vec<(&'static str, bool)> {
    let flow = |mark: &str| format!("{mark}{{ \"name\": \"read\", \"steps\": [], \"tables\": {{ \"t\": {text} }} }}");
    let mark = if text.starts_with('\u{feff}') { "\u{feff}" } else { "" };
    let flow = flow(mark).replacen(&format!("\"t\": {mark}"), "\"t\": ", 1);
    let mut found = Vec::new();
    for (door, file) in [("a flow in JSON", "read.json"), ("a flow in YAML", "read.yaml")] {
        let file = cli.write(file, &flow);
        found.push((door, cli.run(&["flow", "validate", &file]).await.code == 0));
    }
    let flow = cli.write("plain.json", r#"{ "name": "plain", "steps": [] }"#);
    found.push(("an argument", cli.run(&["run", &flow, "--input", text]).await.code == 0));
    let file = format!("@{}", cli.write("input.json", text));
    found.push(("a file", cli.run(&["run", &flow, "--input", &file]).await.code == 0));
    found.push(("a pipe", cli.pipe(&["run", &flow, "--input", "-"], text).await.code == 0));
    let document = text.strip_prefix('\u{feff}').unwrap_or(text);
    let connection = format!("{mark}{{ \"name\": \"c\", \"connector\": \"http-v1.0\", \"headers\": {document} }}");
    let added = cli.pipe(&["connection", "add", "-", "--replace", "--json"], &connection).await;
    let unread = |error: Value| error["kind"] == "limit" || error["message"].as_str().unwrap().contains("not JSON");
    found.push(("a connection", added.code == 0 || !unread(added.error())));
    for (door, path, body) in [
        ("the API", "/rest/v1/flows/hook/runs", format!("{mark}{{ \"input\": {document} }}")),
        ("a webhook", webhook, text.to_owned()),
    ] {
        let request = serve.http.post(serve.url(path)).bearer_auth(&serve.token).body(body);
        let response = request.header("content-type", "application/json").send().await.unwrap();
        found.push((door, response.status() == 202));
    }
    found
}

#[tokio::test]
async fn every_door_reads_a_document_by_the_same_rules() {
    let cli = Cli::default();
    let hook = json!({ "name": "hook", "overlap": "parallel", "trigger": { "webhook": {} }, "steps": [] });
    let webhook = save(&cli, &hook).await["webhook"].as_str().unwrap().to_owned();
    let serve = Serve::start(&cli).await;
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for (text, is_accepted) in [
        (r#"{ "a": 1 }"#.to_owned(), true),
        ("\u{feff}{ \"a\": 1 }".to_owned(), true),
        (r#"{ "a": "\u00f6", "b": [true, null, -1.5e3] }"#.to_owned(), true),
        (deep(90), true),
        (deep(200), false),
        // A lenient reader would take one of two equal members.
        (r#"{ "a": 1, "a": 1 }"#.to_owned(), false),
        (r#"{ "a": 1, "a": 2 }"#.to_owned(), false),
        (r#"{ "a": [{ "b": 1, "b": 2 }] }"#.to_owned(), false),
        (r#"{ "a": 1 "#.to_owned(), false),
        (r#"{ "a": "b }"#.to_owned(), false),
        (r#"{ "a": 1 } }"#.to_owned(), false),
    ] {
        let found = accepted(&cli, &serve, &webhook, &text).await;
        let others: Vec<_> = found.iter().filter(|(_, found)| *found != is_accepted).collect();
        assert!(others.is_empty(), "{text:?} is {is_accepted} elsewhere: {others:?}");
    }
}

#[tokio::test]
async fn yaml_has_the_values_of_json_and_no_others() {
    let cli = Cli::default();
    let validate = async |text: &str| {
        let file = cli.write("read.yaml", &format!("name: read\nsteps: []\noutput:\n  value: {text}\n"));
        cli.run(&["run", &file, "--json"]).await
    };
    for (text, value) in [
        ("true", json!(true)),
        ("True", json!(true)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("2026-11-21", json!("2026-11-21")),
        ("12:30:45", json!("12:30:45")),
        ("!!str 7", json!("7")),
        ("&a 1", json!(1)),
        ("7 # comment", json!(7)),
    ] {
        let run = validate(text).await.expect(0).json();
        assert_eq!(run["output"], json!({ "value": value }), "{text}");
    }
    // What versions of YAML read differently, and what JSON has no value for.
    let several = ["yes", "No", "on", "0x10", "0o7", "012", "1_000", ".inf", ".5", "+5"];
    let others = ["!!int 7", "!secret x", "!!binary aGk=", "*nothing", "{a: 1, a: 2}", "{<<: {a: 1}, b: 2}"];
    for text in several.into_iter().chain(others) {
        assert_ne!(validate(text).await.code, 0, "{text}");
    }
}

/// A secret in a file or a variable is read without a byte order mark and a line break, or refused.
#[tokio::test]
async fn secret_files_are_read_as_other_programs_read_them() {
    let cli = Cli::default();
    save(&cli, &json!({ "name": "hook", "trigger": { "webhook": {} }, "steps": [] })).await;
    let file = cli.home().join("secret").to_string_lossy().into_owned();
    for (bytes, is_accepted) in [
        (&b"secret"[..], true),
        (b"secret\n", true),
        (b"secret\r\n", true),
        (b"\xef\xbb\xbfsecret\r\n", true),
        (b"two\nlines\n", true),
        (b"", false),
        (b"\n", false),
        (b" \r\n", false),
        (b"\xef\xbb\xbf\n", false),
        (b"\xff\xfes\0e\0", false),
        (b"\xff", false),
    ] {
        fs::write(&file, bytes).unwrap();
        let saved = cli.run(&["flow", "secret", "hook", &file, "--json"]).await;
        assert_eq!(saved.code == 0, is_accepted, "{bytes:?}: {}", saved.stderr);
        if !is_accepted {
            let error: Value = saved.error();
            assert!(error["message"].as_str().unwrap().contains(&file), "{error}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn variables_are_read_whole_or_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let cli = Cli::default();
    cli.run(&["runs"]).await.expect(0);
    let run = async |name: &str, value: &[u8], arguments: &[&str]| {
        let child = cli.command(arguments).env(name, OsStr::from_bytes(value)).spawn().unwrap();
        let ended = child.wait_with_output().await.unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    for (name, value, arguments, words) in [
        ("TRUNKLINE_KEY", &b""[..], &["runs"][..], "TRUNKLINE_KEY is set, but it is empty"),
        ("TRUNKLINE_KEY", b"\xff", &["runs"], "TRUNKLINE_KEY is not UTF-8"),
        ("TRUNKLINE_KEY", b"short", &["runs"], "32 bytes"),
        ("TRUNKLINE_KEY_FILE", b"", &["runs"], "TRUNKLINE_KEY_FILE is set, but it is empty"),
        ("TRUNKLINE_DATA", b"", &["runs"], "TRUNKLINE_DATA is set, but it is empty"),
        ("TRUNKLINE_DATA", b" ", &["runs"], "TRUNKLINE_DATA is set, but it is empty"),
        ("TRUNKLINE_CONNECTORS", b"", &["runs"], "TRUNKLINE_CONNECTORS is set, but it is empty"),
        ("TRUNKLINE_LOG", b"", &["runs"], "TRUNKLINE_LOG is set, but it is empty"),
        ("TRUNKLINE_LOG_FORMAT", b"", &["runs"], "TRUNKLINE_LOG_FORMAT is set, but it is empty"),
        ("TRUNKLINE_PUBLIC_URL", b"", &["serve"], "TRUNKLINE_PUBLIC_URL is set, but it is empty"),
        ("TRUNKLINE_NEW_KEY", b"", &["key", "rotate"], "TRUNKLINE_NEW_KEY is set, but it is empty"),
        ("TRUNKLINE_NEW_KEY", b"\xff", &["key", "rotate"], "TRUNKLINE_NEW_KEY is not UTF-8"),
        (
            "TRUNKLINE_API_TOKEN",
            b"",
            &["serve", "--listen", "127.0.0.1:0"],
            "TRUNKLINE_API_TOKEN is set, but it is empty",
        ),
        ("TRUNKLINE_API_TOKEN", b"\xff", &["serve", "--listen", "127.0.0.1:0"], "TRUNKLINE_API_TOKEN is not UTF-8"),
        ("TRUNKLINE_API_TOKEN", b"short", &["serve", "--listen", "127.0.0.1:0"], "shorter than"),
    ] {
        let (code, stderr) = run(name, value, arguments).await;
        assert!(code == Some(1) && stderr.contains(words), "{name} {value:?}: {stderr}");
    }
    assert_eq!(run("TRUNKLINE_DATA", b"", &["--help"]).await.0, Some(0), "help needs no variable");
}

/// Without `--data` and `--key-file`, the data directory and the key are below the home directory.
#[cfg(unix)]
#[tokio::test]
async fn the_home_directory_has_to_be_known() {
    let cli = Cli::default();
    let home = cli.home().to_string_lossy().into_owned();
    let run = async |variables: &[(&str, &str)]| {
        let mut command = tokio::process::Command::new(trunkline_tests::trunkline());
        command.arg("runs").env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME").env_remove("TRUNKLINE_DATA");
        command.env_remove("TRUNKLINE_KEY").env_remove("TRUNKLINE_KEY_FILE").current_dir(&home);
        for (name, value) in variables {
            command.env(name, value);
        }
        let ended = command.output().await.unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let exists = |path: &str| cli.home().join(path).exists();
    assert_eq!(run(&[("HOME", &home), ("XDG_DATA_HOME", "relative")]).await.0, Some(0));
    assert!(exists(".local/share/trunkline") && exists(".config/trunkline/key") && !exists("relative"));
    let (data, config) = (format!("{home}/data"), format!("{home}/config"));
    assert_eq!(run(&[("HOME", ""), ("XDG_DATA_HOME", &data), ("XDG_CONFIG_HOME", &config)]).await.0, Some(0));
    assert!(exists("data/trunkline") && exists("config/trunkline/key"));
    // Without HOME, or with an empty one, the user database decides; a relative path is a mistake.
    let (code, stderr) = run(&[("HOME", "relative")]).await;
    assert!(code == Some(1) && stderr.contains("HOME"), "{stderr}");
    assert!(!exists("trunkline") && !exists("relative"));
}

/// A pipe in place of a file: opening it would wait for its writer. A pipe that is passed to the program is read.
#[cfg(unix)]
#[tokio::test]
async fn no_reader_waits_for_a_pipe_that_stands_in_place_of_a_file() {
    let cli = Cli::default();
    let flow = cli.write("plain.json", r#"{ "name": "plain", "steps": [] }"#);
    let home = Path::new(&flow).parent().unwrap();
    let text = |name: &str| home.join(name).to_string_lossy().into_owned();
    fs::create_dir_all(home.join("rows/one/operations")).unwrap();
    fs::create_dir_all(home.join("manifests/one")).unwrap();
    fs::write(home.join("rows/one/connector.toml"), "name = \"one\"\ntitle = \"One\"\nversion = \"1.0\"\n").unwrap();
    for name in ["pipe.json", "rows/one/operations/one.toml", "manifests/one/connector.toml"] {
        assert!(Command::new("mkfifo").arg(home.join(name)).status().unwrap().success());
    }
    let (pipe, input) = (text("pipe.json"), format!("@{}", text("pipe.json")));
    let (rows, manifests, hosts) = (text("rows"), text("manifests"), input.clone());
    for arguments in [
        &["flow", "validate", &pipe][..],
        &["flow", "add", &pipe],
        &["run", &flow, "--input", &input],
        &["connection", "add", &pipe],
        &["--connectors", &rows, "connectors"],
        &["--connectors", &manifests, "connectors"],
        &["--allow-hosts", &hosts, "connectors"],
    ] {
        let run = tokio::time::timeout(Duration::from_secs(30), cli.run(arguments)).await;
        let run = run.unwrap_or_else(|_| panic!("{arguments:?} waits"));
        assert!(
            run.code != 0 && run.stderr.contains("it is a pipe, a socket or a device"),
            "{arguments:?}: {}",
            run.stderr
        );
    }
    fs::remove_file(&pipe).unwrap();
    std::os::unix::fs::symlink(home.join("gone"), &pipe).unwrap();
    let run = cli.run(&["flow", "validate", &pipe]).await;
    assert!(run.code != 0 && run.stderr.contains("it is a symbolic link to"), "{}", run.stderr);
    for name in ["-", "/dev/stdin", "/dev/fd/0"] {
        cli.pipe(&["flow", "validate", name], r#"{ "name": "plain", "steps": [] }"#).await.expect(0);
    }
}
