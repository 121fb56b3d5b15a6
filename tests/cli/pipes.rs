//! Output whose reader is gone, as in `trunkline call .. --all | head -1`, and output that cannot be written.

use std::{
    fs::OpenOptions,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use trunkline_tests::{Cli, LONG};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

/// A service with a list that never ends, and the number of pages that were asked for.
async fn endless() -> (MockServer, Arc<AtomicUsize>) {
    let (server, pages) = (MockServer::start().await, Arc::new(AtomicUsize::new(0)));
    let count = pages.clone();
    let page = move |_: &Request| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let link = format!("<?page={}>; rel=\"next\"", number + 1);
        ResponseTemplate::new(200).insert_header("link", &*link).set_body_json(json!({ "items": [{ "id": number }] }))
    };
    Mock::given(any()).respond_with(page).mount(&server).await;
    (server, pages)
}

/// Writes a connector with a list, and returns the path of its folder.
pub(super) fn connector(cli: &Cli, server: &MockServer) -> String {
    let folder = cli.home().join("connectors/list/operations");
    std::fs::create_dir_all(&folder).unwrap();
    let manifest = format!(
        "name = \"list\"\ntitle = \"List\"\nversion = \"1.0\"\n[settings]\nendpointUrl = \"{}\"\nauthentication = \
         \"none\"\n",
        server.uri()
    );
    cli.write("connectors/list/connector.toml", &manifest);
    let row = "[[operation]]\nname = \"thing.list\"\ntitle = \"Things\"\nroute = \"GET /things\"\n\
               page = { kind = \"link\", items = \"/items\" }\n";
    cli.write("connectors/list/operations/rows.toml", row);
    cli.home().join("connectors").to_string_lossy().into_owned()
}

/// Starts a command, reads `lines` lines of its output and closes the pipe. Returns its exit code.
async fn read_and_close(cli: &Cli, arguments: &[&str], lines: usize) -> Option<i32> {
    let mut child = cli.start(arguments);
    let mut reader = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..lines {
        reader.next_line().await.unwrap().unwrap();
    }
    drop(reader);
    let ended = tokio::time::timeout(LONG, child.wait_with_output()).await.expect("the command ends").unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "a closed pipe is not an error");
    ended.status.code()
}

#[tokio::test]
async fn a_listing_ends_at_the_first_write_that_fails() {
    let cli = Cli::default();
    let (server, pages) = endless().await;
    let folder = connector(&cli, &server);
    let document = json!({ "name": "li", "connector": "list-v1.0", "allowPrivateNetwork": true }).to_string();
    cli.pipe(&["--connectors", &folder, "connection", "add", "-"], &document).await.expect(0);
    let call = ["--connectors", &folder, "call", "list.thing.list", "--connection", "li", "--all"];
    assert_eq!(read_and_close(&cli, &call, 1).await, Some(141));
    let ended = pages.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(pages.load(Ordering::SeqCst), ended, "no further page is asked for");
}

#[tokio::test]
async fn a_listing_that_may_lack_items_warns() {
    let (cli, server) = (Cli::default(), MockServer::start().await);
    let page = json!({ "items": [{ "id": 1 }], "total": 7 });
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(page)).mount(&server).await;
    let folder = connector(&cli, &server);
    let document = json!({ "name": "li", "connector": "list-v1.0", "allowPrivateNetwork": true }).to_string();
    cli.pipe(&["--connectors", &folder, "connection", "add", "-"], &document).await.expect(0);
    let call = ["--connectors", &folder, "call", "list.thing.list", "--connection", "li", "--all"];
    let listed = cli.run(&call).await.expect(0);
    assert_eq!(listed.stdout, "{\"id\":1}\n");
    assert_eq!(listed.stderr, "warning: items may be missing: it ended after 1 of 7 items\n");
}

#[tokio::test]
async fn every_command_that_prints_ends_when_its_reader_is_gone() {
    let cli = Cli::default();
    let flow = json!({ "name": "many", "steps": [
        { "id": "all", "each": (0..3000).collect::<Vec<_>>(), "key": "{{ item }}", "steps": [{ "id": "one", "set": { "a": "{{ item }}" } }] }
    ] });
    let file = cli.write("many.json", &flow.to_string());
    cli.run(&["run", &file]).await.expect(0);
    let runs = cli.run(&["runs", "--json"]).await.expect(0).json()["items"].take();
    let run = runs[0]["id"].as_str().unwrap();
    for (arguments, lines) in [
        (&["runs", "items", run][..], 1),
        (&["runs", "items", run, "--json"], 1),
        (&["runs", "items", run, "--csv"], 1),
        (&["runs", "tail", run], 1),
        (&["runs", "tail", run, "--json"], 1),
        (&["runs", "show", run], 0),
        (&["runs", "--json"], 0),
        (&["schema", "flow"], 0),
        (&["actions"], 0),
        (&["flow", "filters"], 0),
    ] {
        assert_eq!(read_and_close(&cli, arguments, lines).await, Some(141), "{arguments:?}");
    }
}

/// A full disk is not a reader that is gone: the output is lost, and the command says so.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn output_that_cannot_be_written_is_an_error() {
    let cli = Cli::default();
    for arguments in [&["runs", "--json"][..], &["schema", "flow"], &["flow", "filters"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = cli.command(arguments).stdout(Stdio::from(full)).spawn().unwrap();
        let ended = child.wait_with_output().await.unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains("the output cannot be written"), "{arguments:?}: {text}");
    }
}
