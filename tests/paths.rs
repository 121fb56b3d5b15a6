//! An id is data, never a path: hostile strings as every path parameter of every action of every connector are refused
//! before anything is sent, or arrive as exactly one segment.
#![allow(clippy::unwrap_used)]

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use trunkline_core::{ActionSpec, Connections, Context, ErrorKind};
use trunkline_rest::Url;
use trunkline_tests::{Cli, few, hostile::HOSTILE, requests, sandbox};

/// Returns a value that the schema of an input allows.
fn sample(schema: &Value) -> Value {
    if let Some(choice) = schema["oneOf"].get(0) {
        return sample(choice);
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    match schema["type"].as_str() {
        Some("string") if schema["format"] == "uuid" => json!("5a0d0001-7c1e-4b3a-9f00-00000000fffe"),
        Some("string") => json!("x"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(false),
        Some("array") => json!([sample(&schema["items"])]),
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            required
                .map(|name| (name.as_str().unwrap(), sample(&schema["properties"][name.as_str().unwrap()])))
                .collect()
        }
        _ => json!("x"),
    }
}

/// Returns the segments of a route, such as `/assets/{assetId}/keywords`.
fn segments(route: &str) -> Vec<&str> {
    route.split_once(' ').unwrap().1.split('/').skip(1).collect()
}

/// Returns whether a path has exactly the segments of the route, with the value as one of them.
fn is_as_intended(arrived: &str, spec: &ActionSpec, input: &Value) -> bool {
    let route = segments(spec.route.as_deref().unwrap());
    let found: Vec<_> = arrived.split('/').skip(1).collect();
    // Below the base of the service, which is `/mediavalet` or `/mediaflow/1`.
    let Some(found) = found.len().checked_sub(route.len()).map(|base| &found[base..]) else { return false };
    route.iter().zip(found).all(|(meant, found)| {
        match meant.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => {
                let text = match &input[name] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                percent_decode_str(found).decode_utf8().is_ok_and(|found| found == text)
            }
            None => meant == found,
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_parameter_of_every_action_is_one_segment_or_refused() {
    assert!(HOSTILE.len() >= 50);
    let sandbox = sandbox(few(2)).await;
    let home = Cli::default();
    let runtime = home.runtime();
    let (mut parameters, mut refused, mut arrived) = (0, 0, 0);
    for settings in sandbox.settings() {
        let name = runtime.add_connection(settings).await.unwrap();
        let connected = runtime.connect(&name).await.unwrap();
        let cx = Context::new("", &name, Connections::default());
        // The first call gets a token.
        assert_eq!(connected.check().await.findings, []);
        let specs: Vec<_> = connected.connector().actions().cloned().collect();
        for spec in specs {
            let Some(route) = &spec.route else { continue };
            // Actions that send a file need one; the conformance suite and `mediavalet/unpublished.rs` cover these.
            if spec.input["required"].as_array().is_some_and(|all| all.contains(&json!("file"))) {
                continue;
            }
            let named = segments(route);
            let parameter = |segment: &&str| Some(segment.strip_prefix('{')?.strip_suffix('}')?.to_owned());
            for parameter in named.iter().filter_map(parameter) {
                parameters += 1;
                let mut sent = Vec::new();
                for hostile in HOSTILE {
                    let mut input = sample(&spec.input);
                    // Inputs that the route needs although the schema does not require them.
                    for name in named.iter().filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')) {
                        input[name] = sample(&spec.input["properties"][name]);
                    }
                    input[&parameter] = json!(hostile);
                    let what = format!("{name}.{} with {parameter} = {hostile:?}", spec.name);
                    let before = sandbox.report().requests;
                    let outcome = connected.run(&spec.name, input.clone(), &cx).await;
                    match sandbox.report().requests - before {
                        0 => {
                            let error = outcome.expect_err(&what);
                            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error:?}");
                            refused += 1;
                        }
                        1 => sent.push((what, input)),
                        many => panic!("{what} became {many} requests"),
                    }
                }
                arrived += sent.len();
                // The log is long, so it is read once for all parameters.
                let log = if sent.is_empty() { Vec::new() } else { requests(&sandbox).await };
                for ((what, input), call) in sent.iter().zip(&log[log.len().saturating_sub(sent.len())..]) {
                    let path = call["path"].as_str().unwrap();
                    assert!(is_as_intended(path, &spec, input), "{what} became {path}");
                }
            }
        }
    }
    println!("{parameters} parameters, {refused} refused, {arrived} arrived as one segment");
    assert!(parameters > 20 && refused > parameters * 40 && arrived > 10, "{parameters} {refused} {arrived}");
    sandbox.stop().await;
}

/// The sabotage twin: the same strings, put into a URL without encoding, leave their segment.
#[test]
fn unencoded_strings_leave_their_segment() {
    let elsewhere = HOSTILE.iter().filter(|hostile| {
        let plain = Url::parse(&format!("http://127.0.0.1:1/mediavalet/assets/{hostile}/keywords")).unwrap();
        let path: Vec<_> = plain.path_segments().unwrap().collect();
        path.len() != 4 || percent_decode_str(path[2]).decode_utf8_lossy() != **hostile
    });
    assert!(elsewhere.count() > 25);
    let spec = |route: &str| ActionSpec {
        name: "asset.keywords".into(),
        title: String::new(),
        group: String::new(),
        about: String::new(),
        effect: trunkline_core::Effect::Read,
        route: Some(route.into()),
        lists: false,
        scopes: Vec::new(),
        input: Value::Null,
        output: Value::Null,
    };
    let (spec, input) = (spec("GET /assets/{id}/keywords"), json!({ "id": "a b" }));
    assert!(is_as_intended("/mediavalet/assets/a%20b/keywords", &spec, &input));
    for wrong in [
        "/mediavalet/assets/keywords",
        "/mediavalet/assets/a/b/keywords",
        "/users",
        "/mediavalet/assets/a%2520b/keywords",
    ] {
        assert!(!is_as_intended(wrong, &spec, &input), "{wrong}");
    }
}
