//! Checks the operations: each has a name, a sentence, a closed input, and a role that fits its effect; each has a
//! route of the HTTP API; and no door shapes JSON of its own.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use serde_json::{Map, Value, json};
use trunkline::operations::{OperationSpec, Role, operations};
use trunkline_core::Effect;
use trunkline_server::ApiRoute;
use trunkline_tests::project;

use super::{errors::code, layout::files, prose::rust::Token};

fn specs() -> Vec<OperationSpec> {
    operations().iter().map(|one| one.spec().clone()).collect()
}

/// The verbs that change nothing. Every other verb changes something, or may.
const READING: [&str; 28] = [
    "check",
    "complete",
    "deliveries",
    "discover",
    "evaluate",
    "events",
    "export",
    "find",
    "flow",
    "get",
    "get_graph",
    "get_icon",
    "get_retention",
    "graph",
    "items",
    "list",
    "list_items",
    "log",
    "options",
    "outputs",
    "pages",
    "step",
    "steps",
    "timeline",
    "trigger",
    "uses",
    "validate",
    "watch",
];

/// Returns whether a schema allows only the members that it lists.
fn is_closed(schema: &Value) -> bool {
    let branches = ["oneOf", "anyOf"].iter().find_map(|of| schema.get(*of)?.as_array());
    match branches {
        Some(branches) => branches.iter().all(is_closed),
        None => schema["type"] == "object" && schema["additionalProperties"] == false,
    }
}

/// Returns what is wrong with an operation by itself.
fn faults_of(spec: &OperationSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{}: {what}", spec.name));
        }
    };
    let lower = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let (noun, verb) = spec.name.split_once('.').unwrap_or_default();
    check(lower(noun) && noun.ends_with('s') && lower(verb), "its name is not noun.verb");
    let is_sentence = spec.about.starts_with(char::is_uppercase) && spec.about.ends_with('.');
    check(is_sentence && spec.about.len() > 20, "what it does is not a sentence");
    check(is_closed(&spec.input), "its input takes unknown members");
    let reads = spec.effect == Effect::Read;
    check(reads == READING.contains(&verb), "its effect does not fit its verb");
    check((spec.effect == Effect::Delete) == ["remove", "prune"].contains(&verb), "what removes is a delete");
    check(reads || spec.role > Role::Viewer, "a viewer may change something");
    check(spec.role < Role::Owner, "no operation needs the owner");
    let properties = spec.input.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in properties {
        check(property.get("description").is_some(), &format!("its input {name} has no description"));
    }
    found
}

#[test]
fn every_operation_is_described_and_its_role_fits_its_effect() {
    let specs = specs();
    let names: BTreeSet<_> = specs.iter().map(|one| one.name).collect();
    assert!(names.len() == specs.len() && names.len() > 20, "{names:?}");
    assert_eq!(specs.iter().flat_map(faults_of).collect::<Vec<_>>(), [""; 0]);
    // The sabotage twins: each kind of fault is found.
    let good = specs.iter().find(|one| one.name == "connections.remove").unwrap();
    type Break = fn(&mut OperationSpec);
    let breaks: [(Break, &str); 9] = [
        (|one| one.name = "remove", "its name is not noun.verb"),
        (|one| one.about = "Removes it", "what it does is not a sentence"),
        (|one| one.input["additionalProperties"] = true.into(), "its input takes unknown members"),
        (|one| one.input = Value::Bool(true), "its input takes unknown members"),
        (|one| one.effect = Effect::Read, "its effect does not fit its verb"),
        (|one| one.effect = Effect::Idempotent, "what removes is a delete"),
        (|one| one.role = Role::Viewer, "a viewer may change something"),
        (|one| one.role = Role::Owner, "no operation needs the owner"),
        (
            |one| drop(one.input["properties"]["name"].as_object_mut().unwrap().remove("description")),
            "its input name has no description",
        ),
    ];
    for (break_one, expected) in breaks {
        let mut broken = good.clone();
        break_one(&mut broken);
        let found = faults_of(&broken);
        assert!(found.iter().any(|fault| fault.ends_with(expected)), "{expected}: {found:?}");
    }
}

/// The routes that carry out no operation, as the sources of the server name them, with the reason.
const NOT_OPERATIONS: [(&str, &str); 5] = [
    ("CALLBACK", "a browser comes from a login server, and the `state` in the URL decides what it may do"),
    ("OUTCOME", "a browser comes from the callback, and sees how its sign-in has ended"),
    (
        "/webhooks/{flow}/{token}",
        "the sender dictates the form of the call, and the token in the URL is all that it has",
    ),
    ("DOCUMENT", "it describes the API, and has no secrets"),
    ("HEALTH", "it is asked without a token, and answers from what the server knows of its store"),
];

/// Returns the routes of a router that are added by themselves, not by a row.
fn plain_routes(source: &str) -> Vec<String> {
    let all = code(source);
    let is_route = |four: &&[Token]| match four {
        [Token::Mark('.'), Token::Word { text, .. }, Token::Mark('('), _] => text == "route",
        _ => false,
    };
    let named = |four: &[Token]| match &four[3] {
        Token::Text(lines) => lines.iter().map(|(_, line)| line.as_str()).collect(),
        Token::Word { text, .. } => text.clone(),
        _ => String::new(),
    };
    all.windows(4).filter(is_route).map(named).collect()
}

/// The operations that only read, but whose requests have a body, with the reason.
const READ_BY_POST: [(&str, &str); 12] = [
    ("actions.list_items", "the input of the action is an object of any depth"),
    ("actions.options", "the input of the action is an object of any depth"),
    ("actions.pages", "the input of the action is an object of any depth"),
    ("connections.check", "each request calls the service"),
    ("connections.discover", "each request calls a login server that it names"),
    ("connections.validate", "it takes a document, which may hold secrets"),
    ("event_tickets.get", "each request makes another ticket"),
    ("expressions.complete", "it takes a flow"),
    ("expressions.evaluate", "it takes values"),
    ("flows.graph", "it takes a flow"),
    ("flows.outputs", "it takes a flow"),
    ("flows.validate", "it takes a flow"),
];

/// Returns what is wrong with the rows of the API.
fn faults_of_rows(rows: &[ApiRoute], specs: &[OperationSpec]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let name = format!("{} {}", row.method, row.path);
        if rows[..number].iter().any(|one| (one.method, one.path) == (row.method, row.path)) {
            found.push(format!("{name}: there are two such rows"));
        }
        let Some(spec) = specs.iter().find(|one| one.name == row.operation) else {
            found.push(format!("{name}: there is no operation {}", row.operation));
            continue;
        };
        let expected = match spec.effect {
            Effect::Read if !READ_BY_POST.iter().any(|(operation, _)| *operation == spec.name) => "GET",
            Effect::Delete => "DELETE",
            _ => "POST",
        };
        let is_whole = ["PUT", "PATCH"].contains(&row.method) && spec.effect == Effect::Idempotent;
        if row.method != expected && !is_whole {
            found.push(format!("{name}: its method does not fit the effect of {}", spec.name));
        }
        if !row.path.starts_with("/rest/v1/") || !(row.status == 200 || (row.status == 202 && expected == "POST")) {
            found.push(format!("{name}: its path or status is not one of the API"));
        }
    }
    let without = specs.iter().filter(|spec| !rows.iter().any(|row| row.operation == spec.name));
    found.extend(without.map(|spec| format!("{}: it has no route", spec.name)));
    found
}

#[test]
fn every_operation_has_a_route_and_every_other_route_has_a_reason() {
    let source = fs::read_to_string(project().join("crates/server/src/routes.rs")).unwrap();
    let excepted = NOT_OPERATIONS.map(|(route, _)| route);
    assert_eq!(plain_routes(&source), excepted);
    let rows = trunkline_server::api_routes();
    assert_eq!(faults_of_rows(rows, &specs()), [""; 0]);
    // The sabotage twins: a path that two rows have, an operation without a row, one that does not exist, and a GET that
    // changes something.
    let twice = [rows, &rows[..1]].concat();
    assert_eq!(faults_of_rows(&twice, &specs()), ["GET /rest/v1/actions: there are two such rows"]);
    assert_eq!(faults_of_rows(&rows[1..], &specs()), ["actions.list: it has no route"]);
    let fewer: Vec<_> = specs().into_iter().filter(|one| one.name != "actions.list").collect();
    assert_eq!(faults_of_rows(rows, &fewer), ["GET /rest/v1/actions: there is no operation actions.list"]);
    let mut changing = specs();
    changing.iter_mut().find(|one| one.name == "actions.list").unwrap().effect = Effect::Create;
    assert_eq!(
        faults_of_rows(rows, &changing),
        ["GET /rest/v1/actions: its method does not fit the effect of actions.list"]
    );
    // The sabotage twin: a route beside the rows is found.
    let more =
        "fn router() -> Router { Router::new().route(\"/rest/v1/secrets\", get(secrets)).route(HIDDEN, get(hidden)) }";
    assert_eq!(plain_routes(more), ["/rest/v1/secrets", "HIDDEN"]);
}

/// The comments around the table of routes in docs/api.md.
const ROUTES: [&str; 2] = [
    "<!-- routes: written by `UPDATE=1 cargo test -p trunkline-tests --test project operations` -->\n",
    "<!-- end of routes -->",
];

/// Returns the table of routes.
fn routes() -> String {
    let specs = specs();
    let mut text = String::from("\n| route | does | role |\n| --- | --- | --- |\n");
    for row in trunkline_server::api_routes() {
        let spec = specs.iter().find(|one| one.name == row.operation).unwrap();
        let about = if row.is_deprecated() { format!("Deprecated. {}", spec.about) } else { spec.about.to_owned() };
        text += &format!("| `{} {}` | {about} | {} |\n", row.method, row.path, spec.role.as_str());
    }
    text + "\n"
}

#[test]
fn the_documentation_lists_every_route() {
    let path = project().join("docs/api.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(ROUTES[0]).unwrap();
    let (_, after) = rest.split_once(ROUTES[1]).unwrap();
    let renewed = format!("{before}{}{}{}{after}", ROUTES[0], routes(), ROUTES[1]);
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &renewed).unwrap();
    } else {
        assert_eq!(page, renewed, "UPDATE=1 cargo test -p trunkline-tests --test project operations");
    }
}

/// Returns a part of the description as a schema by itself.
fn validator(document: &Value, schema: &Value) -> jsonschema::Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Returns what an operation does not say that a client has to know.
fn faults_of_description(document: &Value, method: &str, path: &str) -> Vec<String> {
    let operation = &document["paths"][path][method];
    let mut found = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            found.push(format!("{method} {path}: {what}"));
        }
    };
    check(operation["operationId"].is_string(), "it has no id".into());
    check(operation["summary"].as_str().is_some_and(|text| text.len() > 15), "it has no summary".into());
    check(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "it does not have one tag".into());
    check(operation["x-trunkline-role"].is_string(), "it has no role".into());
    let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
    let (in_path, has_body) = (path.contains('{'), operation.get("requestBody").is_some());
    let empty = Map::new();
    let responses = operation["responses"].as_object().unwrap_or(&empty);
    let mut wanted = vec!["400", "401", "403", "429"];
    wanted.extend(in_path.then_some(["404", "422"]).into_iter().flatten());
    wanted.extend((method != "get").then_some("409"));
    wanted.extend(has_body.then_some(["413", "415"]).into_iter().flatten());
    wanted.iter().for_each(|status| check(responses.contains_key(*status), format!("it does not document {status}")));
    let names_nothing = method == "get" && parameters.is_empty();
    let other = ["404", "409", "413", "415", "422"].iter().any(|status| responses.contains_key(*status));
    check(!(names_nothing && other), "it documents an error that it cannot have".into());
    for parameter in &parameters {
        let name = &parameter["name"];
        check(parameter["description"].is_string(), format!("the parameter {name} has no description"));
        let example = parameter.get("example");
        let fits = example
            .map_or(parameter["required"] != true, |one| validator(document, &parameter["schema"]).is_valid(one));
        check(fits, format!("the parameter {name} has no example that fits"));
    }
    let body = operation.pointer("/requestBody/content").into_iter();
    let success = responses.iter().filter(|(status, _)| status.starts_with('2')).map(|(_, one)| &one["content"]);
    let contents: Vec<_> = body.chain(success).collect();
    let is_whole = contents.len() > usize::from(has_body) && contents.iter().all(|content| content.is_object());
    check(is_whole, "it does not describe its success".into());
    for media in contents.iter().filter_map(|content| content.as_object()).flat_map(Map::values) {
        let fits = media.get("example").is_some_and(|one| validator(document, &media["schema"]).is_valid(one));
        check(fits, format!("a body has no example that fits: {}", media["example"]));
    }
    let links: Vec<_> = responses.values().filter_map(|one| one["links"].as_object()).flat_map(Map::values).collect();
    let makes = ["connections_add", "flows_save", "runs_start", "runs_rerun", "runs_resume"];
    let makes = operation["operationId"].as_str().is_some_and(|id| makes.contains(&id));
    check(!makes || links.len() > 3, "it has no links to what it has made".into());
    for link in links {
        let all = document["paths"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_object);
        let target = all.flat_map(Map::values).find(|one| one["operationId"] == link["operationId"]);
        let names: Vec<_> = target.iter().filter_map(|one| one["parameters"].as_array()).flatten().collect();
        let given = link["parameters"].as_object().into_iter().flatten();
        let fits = given.filter(|(name, _)| names.iter().any(|one| one["name"] == **name)).count() > 0;
        check(fits, format!("its link to {} leads nowhere", link["operationId"]));
    }
    found
}

/// The description of the API says of every operation what a client has to know, and every reference in it leads
/// somewhere.
#[test]
fn the_description_of_the_api_is_complete() {
    let document = trunkline_server::document();
    let (mut ids, mut found) = (BTreeSet::new(), Vec::new());
    let mut count = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            count += 1;
            assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: its id is not its own");
            found.extend(faults_of_description(&document, method, path));
        }
    }
    assert_eq!(found, [""; 0]);
    assert_eq!(count, trunkline_server::api_routes().len());
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let nouns: BTreeSet<_> = specs().iter().map(|spec| spec.name.split_once('.').unwrap().0).collect();
    assert_eq!(tags, nouns);
    let mut dangling = Vec::new();
    references(&document, &mut |reference| {
        if reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).is_none() {
            dangling.push(reference.to_owned());
        }
    });
    assert_eq!(dangling, [""; 0]);
}

/// The twins: each rule for the description finds what breaks it.
#[test]
fn a_description_that_lacks_something_is_found() {
    let flow = "/paths/~1rest~1v1~1flows~1{name}/get";
    let save = "/paths/~1rest~1v1~1flows/post";
    let twins = [
        (flow, "/summary", json!("Flow"), "it has no summary"),
        (flow, "/responses/404", json!(null), "it does not document 404"),
        (flow, "/parameters/0/example", json!(7), "has no example that fits"),
        (flow, "/parameters/0/description", json!(null), "has no description"),
        (flow, "/responses/200/content/application~1json/example", json!({}), "a body has no example that fits"),
        (save, "/requestBody/content/application~1json/example", json!(null), "a body has no example that fits"),
        (save, "/responses/415", json!(null), "it does not document 415"),
        (save, "/responses/200/links", json!({}), "it has no links"),
        (save, "/responses/200/links/flows_get/operationId", json!("flows_fly"), "leads nowhere"),
        (save, "/responses/200/links/flows_get/parameters", json!({ "flow": "$url" }), "leads nowhere"),
        ("/paths/~1rest~1v1~1retention/get", "/responses/404", json!({}), "an error that it cannot have"),
    ];
    for (operation, pointer, broken, expected) in twins {
        let mut document = trunkline_server::document();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let member = member.replace("~1", "/");
        let part = document.pointer_mut(&format!("{operation}{parent}")).unwrap().as_object_mut().unwrap();
        match broken {
            Value::Null => drop(part.shift_remove(&member)),
            broken => drop(part.insert(member, broken)),
        }
        let names: Vec<_> = operation.split('/').skip(2).map(|name| name.replace("~1", "/")).collect();
        let found = faults_of_description(&document, &names[1], &names[0]);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{pointer}: {found:?}");
    }
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => found(reference),
            value => references(value, found),
        }),
        Value::Array(all) => all.iter().for_each(|one| references(one, found)),
        _ => {}
    }
}

/// The sources of doors that write JSON of their own, with the reason.
const OWN_JSON: [(&str, &str); 7] = [
    ("cli/src/demo.rs", "`demo` is not an operation"),
    ("cli/src/sandbox.rs", "`sandbox` is not an operation"),
    ("server/src/delivery.rs", "webhooks are not operations"),
    ("server/src/health.rs", "`/health` is not an operation"),
    ("server/src/look.rs", "the inputs of runs that a trigger starts"),
    ("server/src/next_step.rs", "how the HTTP API words errors"),
    ("server/src/webhook.rs", "webhooks are not operations"),
];

/// Returns the number of calls of `json!`.
fn own_json(source: &str) -> usize {
    let is_call = |two: &&[Token]| match two {
        [Token::Word { text, .. }, Token::Mark('!')] => text == "json",
        _ => false,
    };
    code(source).windows(2).filter(is_call).count()
}

#[test]
fn no_door_shapes_json_of_its_own() {
    let folder = project().join("crates");
    let mut paths = Vec::new();
    ["cli/src", "server/src"].iter().for_each(|door| files(&folder.join(door), &mut paths));
    paths.retain(|path| !path.ends_with("test_app.rs") && !path.to_string_lossy().ends_with("tests.rs"));
    paths.sort();
    assert!(paths.len() > 30, "{paths:?}");
    let shapes = |path: &PathBuf| own_json(&fs::read_to_string(path).unwrap()) > 0;
    let found = paths.iter().filter(|path| shapes(path)).map(|path| path.strip_prefix(&folder).unwrap());
    let found: Vec<_> = found.map(|path| path.display().to_string()).collect();
    assert_eq!(found, OWN_JSON.map(|(path, _)| path));
    // The sabotage twin: a call is found, but not in a comment, in a text, or in tests.
    let source = "fn a() { ok(&json!({ \"run\": id })) } // json!(1)\nconst T: &str = \"json!(2)\";\n\
        #[cfg(test)]\nmod tests {\n    fn b() { json!(3); }\n}";
    assert_eq!(own_json(source), 1);
}
