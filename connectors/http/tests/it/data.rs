//! Connectors that a folder describes: a form and operation rows, loaded at run time; and faults with their source
//! locations.

use std::{fs, path::Path};

use serde_json::json;
use trunkline_core::Registry;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

use super::{connect, context, header};

/// Returns the folder of the crate.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> std::path::PathBuf {
    folder().join("examples")
}

fn tasks(request: &Request) -> ResponseTemplate {
    let page = request.url.query_pairs().find(|(name, _)| name == "page").map_or(1, |(_, page)| page.parse().unwrap());
    let all = json!([[{ "id": 1 }, { "id": 2 }], [{ "id": 3 }]]);
    let tasks = all.get(page - 1usize).cloned().unwrap_or(json!([]));
    ResponseTemplate::new(200).set_body_json(json!({ "tasks": tasks }))
}

#[tokio::test]
async fn the_example_of_the_documentation_works() {
    let registry = load(&examples()).unwrap();
    let server = MockServer::start().await;
    Mock::given(path("/v1/tasks")).respond_with(tasks).mount(&server).await;
    let done = Mock::given(method("PUT")).and(path("/v1/tasks/3/done"));
    done.respond_with(ResponseTemplate::new(204)).mount(&server).await;
    let connected = connect(
        &registry,
        json!({ "name": "mine", "connector": "todo-v1.0", "allowPrivateNetwork": true, "apiKey": "canary-key",
            "endpointUrl": format!("{}/v1", server.uri()) }),
    );
    assert_eq!(connected.check().await.findings, []);
    let cx = context(&[&connected]);
    let (mut ids, mut next) = (Vec::new(), None);
    loop {
        let page = connected.page("task.list", json!({}), next, &cx).await.unwrap();
        ids.extend(page.items.iter().map(|task| task["id"].as_u64().unwrap()));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(ids, [1, 2, 3]);
    connected.run("task.complete", json!({ "id": 3 }), &cx).await.unwrap();
    // The actions of every HTTP connection are included.
    let any = connected.run("request", json!({ "path": "/tasks" }), &cx).await.unwrap();
    assert_eq!(any["body"]["tasks"][0]["id"], 1);
    let calls = server.received_requests().await.unwrap();
    // A check reports its own call only after it has reached the host.
    for seen in calls.into_iter().filter(|seen| seen.method.as_str() != "HEAD") {
        assert_eq!((header(&seen, "x-todo-key"), header(&seen, "x-api-version")), (Some("canary-key"), Some("2")));
    }
    // The form has only the settings that are left to fill in.
    let schema = &registry.connector("todo").unwrap().spec().connection;
    assert_eq!(schema["required"], json!(["name", "connector", "apiKey"]));
    assert_eq!(schema["properties"]["endpointUrl"]["default"], "https://todo.example.com/v1");
    assert!(schema.get("oneOf").is_none() && schema["properties"].get("checkPath").is_none());
}

#[test]
fn the_readme_shows_the_example_files_verbatim() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    for file in ["todo/connector.toml", "todo/operations/tasks.toml"] {
        let text = fs::read_to_string(examples().join(file)).unwrap();
        assert!(readme.contains(&format!("```toml\n{text}```")), "{file} differs in the README");
    }
}

/// Makes a folder with one connector: the example with a text replaced.
fn broken(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("todo");
    fs::create_dir_all(copy.join("operations")).unwrap();
    for name in ["connector.toml", "operations/tasks.toml"] {
        let mut text = fs::read_to_string(examples().join("todo").join(name)).unwrap();
        if name == file {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        fs::write(copy.join(name), text).unwrap();
    }
    folder
}

fn load(folder: &Path) -> Result<Registry, String> {
    http_connector::load(Registry::discover().unwrap(), folder).map_err(|error| error.to_string())
}

#[test]
fn every_fault_has_its_source_location() {
    for (file, from, to, message) in [
        ("connector.toml", "check ", "chekc ", "connector.toml:5:1: unknown field `chekc`"),
        ("connector.toml", "name          = \"todo\"", "", "missing field `name`"),
        ("connector.toml", "\"todo\"", "\"My Todo\"", "connector.toml:1:1: /name: name must be written like acme"),
        ("connector.toml", "\"task.list\"", "\"task.lits\"", "/check: there is no operation task.lits"),
        ("connector.toml", "\"apiKey\"", "\"magic\"", "/settings/authentication: authentication must be"),
        ("connector.toml", "apiKeyHeader", "apiKeyHaeder", "connector.toml:13:1: /settings/apiKeyHaeder"),
        ("connector.toml", "apiKeyHeader   = \"X-Todo-Key\"", "apiKey = \"secret\"", "belongs in a connection"),
        ("connector.toml", "[settings]", "[settings", "connector.toml:"),
        ("operations/tasks.toml", "PUT /tasks", "FETCH /tasks", "tasks.toml:13:10: /operation/1/route: FETCH"),
        ("connector.toml", "\"todo\"", "\"http\"", "the connector http is registered twice: by http-connector "),
    ] {
        let folder = broken(file, from, to);
        let error = load(folder.path()).err().unwrap_or_else(|| panic!("{to} was accepted"));
        assert!(error.contains(message), "wanted {message}\nfound {error}");
        assert!(!error.contains("\"secret\""), "{error}");
    }
    assert!(load(&examples()).is_ok());
    let empty = tempfile::tempdir().unwrap();
    assert!(load(empty.path()).is_err_and(|error| error.contains("there is no connector")));
    assert!(load(&empty.path().join("nowhere")).is_err_and(|error| error.contains("cannot be read")));
}

/// Rows and events that a service with webhooks has.
const HOOKS: &str = r#"
[[operation]]
name = "hook.create"
title = "Subscribe a URL"
route = "POST /hooks"
input.address = { type = "string", format = "uri", title = "URL", required = true }
input.events = { type = "array", items = { type = "string" }, title = "Events", required = true }
output = { type = "object", properties = { id = { type = "string" } } }

[[operation]]
name = "hook.delete"
title = "End a subscription"
route = "DELETE /hooks/{id}"
input.id = { type = "string", title = "Subscription" }
"#;
const EVENT: &str = r#"
[[event]]
name = "Task.Done"
title = "A task is done"
subscribe = "hook.create"
unsubscribe = "hook.delete"
data = { type = "object", properties = { task = { type = "integer" } }, required = ["task"] }

[[event]]
name = "task.first_done"
title = "The first task is done"
of = "Task.Done"
where = "{{ input.event.data.task == 1 }}"
"#;

/// Loads the example with these rows and events.
fn with_events(events: &str) -> Result<Registry, String> {
    let folder = broken("", "", "");
    let add = |file: &str, more: &str| {
        let path = folder.path().join("todo").join(file);
        fs::write(&path, fs::read_to_string(&path).unwrap() + more).unwrap();
    };
    add("operations/tasks.toml", HOOKS);
    add("connector.toml", events);
    load(folder.path())
}

#[test]
fn a_connector_declares_events_as_a_coded_one_does() {
    let registry = with_events(EVENT).unwrap();
    let todo = registry.connector("todo").unwrap();
    let (done, alias) = (todo.event("Task.Done").unwrap(), todo.event("task.first_done").unwrap());
    assert_eq!((&*done.subscribe, &*done.unsubscribe, done.at_vendor()), ("hook.create", "hook.delete", "Task.Done"));
    assert_eq!((alias.at_vendor(), alias.filter.as_deref()), ("Task.Done", Some("{{ input.event.data.task == 1 }}")));
    assert_eq!((&alias.schema, &alias.subscribe), (&done.schema, &done.subscribe));
    let schema = trunkline_core::Schema::from(done.schema.clone());
    let sent = |kind: &str, task: serde_json::Value| {
        let event = json!({ "id": "1", "source": "s", "type": kind, "specversion": "1.0", "data": { "task": task } });
        schema.accept("the event", &event).is_ok()
    };
    assert!(sent("Task.Done", json!(7)) && !sent("Task.Done", json!("7")) && !sent("Task.Made", json!(7)));
    let message = todo.event("Task.Don").unwrap_err().to_string();
    assert!(message.contains("Task.Don"), "{message}");
}

#[test]
fn every_fault_of_an_event_has_its_source_location() {
    for (from, to, message) in [
        ("\"hook.create\"", "\"hook.make\"", "/event/0: Task.Done: there is no operation hook.make"),
        ("unsubscribe = \"hook.delete\"", "", "/event/0: the event Task.Done has no `unsubscribe`"),
        ("\"task.first_done\"", "\"Task.Done\"", "/event/1: the event Task.Done is declared twice"),
        ("of = \"Task.Done\"", "of = \"Task.Made\"", "/event/1: task.first_done stands for Task.Made, which is not"),
        ("of = \"Task.Done\"", "", "/event/1: the event task.first_done has a `where`"),
        ("where =", "wehre =", "unknown field `wehre`"),
        ("title = \"A task is done\"", "", "missing field `title`"),
    ] {
        assert!(EVENT.contains(from), "{from}");
        let error = with_events(&EVENT.replace(from, to)).err().unwrap_or_else(|| panic!("{to} was accepted"));
        assert!(error.contains(message) && error.contains("connector.toml:"), "wanted {message}\nfound {error}");
    }
}

/// The connector of a stranger must not set the credentials, the host or the framing of a request.
#[test]
fn a_connector_sets_no_headers_of_the_client_or_of_http() {
    let manifest = fs::read_to_string(examples().join("todo/connector.toml")).unwrap();
    let line =
        manifest.lines().find(|line| line.starts_with("X-Api-Version") || line.contains("x-api-version")).unwrap();
    let with = |name: &str| load(broken("connector.toml", line, &format!("{name} = \"x\"")).path());
    for name in [
        "Authorization",
        "authorization",
        "Host",
        "Cookie",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Content-Type",
        "X-HTTP-Method-Override",
        "X-Forwarded-Host",
        "Upgrade",
    ] {
        let error = with(name).err().unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(error.contains(&format!("/headers/{name}: ")) && error.contains("connector.toml:"), "{error}");
    }
    // The twin: a header that says something about the call.
    assert!(with("X-Api-Version").is_ok());
}

/// Each limit is named with its number. The same folder within the limit loads, so nothing else is wrong with it.
#[test]
fn a_connector_beyond_a_limit_is_refused_with_the_number() {
    let home = tempfile::tempdir().unwrap();
    let operations = home.path().join("todo/operations");
    let manifest = fs::read_to_string(examples().join("todo/connector.toml")).unwrap();
    let rows = fs::read_to_string(examples().join("todo/operations/tasks.toml")).unwrap();
    let load_with = |files: &[(String, String)]| {
        let _ = fs::remove_dir_all(&operations);
        fs::create_dir_all(&operations).unwrap();
        fs::write(home.path().join("todo/connector.toml"), &manifest).unwrap();
        fs::write(operations.join("tasks.toml"), &rows).unwrap();
        files.iter().for_each(|(name, text)| fs::write(operations.join(name), text).unwrap());
        load(home.path()).map(drop)
    };
    let row = |lines: &str| format!("[[operation]]\nname = \"a.get\"\ntitle = \"A\"\nroute = \"GET /a\"\n{lines}\n");
    let doubling = |levels: usize| {
        let level = |one: usize| {
            let next = format!("{{ \"$ref\" = \"#/$defs/a{}\" }}", one + 1);
            format!("output.\"$defs\".a{one} = {{ allOf = [{next}, {next}] }}\n")
        };
        let all: String = (0..levels).map(level).collect();
        row(&format!("{all}output.\"$defs\".a{levels} = {{}}\noutput.allOf = [{{ \"$ref\" = \"#/$defs/a0\" }}]"))
    };
    let one = |text: String| vec![("a.toml".to_owned(), text)];
    let empty = |count: usize| (0..count).map(|index| (format!("x{index}.toml"), String::new())).collect::<Vec<_>>();
    for (within, beyond, words) in [
        (one("# x\n".repeat(1000)), one("# x\n".repeat(300_000)), "larger than the limit of 1048576 bytes"),
        (empty(199), empty(200), "the limit is 200"),
        (one(doubling(5)), one(doubling(60)), "more than 20000 parts"),
    ] {
        assert_eq!(load_with(&within), Ok(()));
        let error = load_with(&beyond).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
}
