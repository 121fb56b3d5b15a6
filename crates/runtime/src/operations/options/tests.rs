use std::time::Duration;

use serde_json::{Value, json};
use trunkline_core::{Effect, Registry};
use trunkline_testkit::fake::{Fake, FakeAction, FakeCall};

use super::*;
use crate::operations::Caller;

fn item() -> Value {
    json!({ "type": "object", "properties": { "id": { "type": "integer" }, "name": { "type": "string" }, "path": { "type": "string" } } })
}

fn listing(name: &str, input: Value) -> FakeAction {
    let list = FakeAction::list(name, async |call: FakeCall| {
        let text = |name: &str| call.input[name].as_str().unwrap_or_default().to_owned();
        call.system.count(&format!("listed {}{}", text("shelf"), text("find")));
        let from = call.from.as_ref().and_then(Value::as_u64).unwrap_or_default();
        let items =
            (from..from + 40).map(|id| json!({ "id": id, "name": format!("{}Box {id}", text("shelf")), "path": null }));
        Ok(Page { items: items.collect(), next: (from < 960).then(|| json!(from + 40)), maybe_incomplete: None })
    });
    let properties = json!({ "type": "object", "properties": input });
    list.with_schemas(properties, json!({ "properties": { "items": { "items": item() } } }))
}

fn shop(source: Value) -> Fake {
    let fill = FakeAction::new("box.fill", Effect::Create, async |_| Ok(Value::Null));
    let shelf = json!({ "type": "string" });
    let input = json!({ "type": "object", "properties": {
        "shelf": shelf, "box": { "type": "integer", "x-options": source },
        "all": { "type": "array", "items": { "type": "integer", "x-options": { "action": "shop.box.list", "value": "/id", "title": "/name" } } },
        "found": { "type": "integer", "x-options": {
            "action": "shop.box.find", "value": "/id", "title": "/name", "about": "/path", "search": "find"
        } }
    } });
    Fake::new("shop")
        .with(listing("box.list", json!({ "shelf": shelf })))
        .with(listing("box.find", json!({ "find": { "type": "string" } })))
        .with(fill.with_schemas(input, json!(true)))
}

fn dependent() -> Value {
    json!({ "action": "shop.box.list", "value": "/id", "title": "/name", "input": { "shelf": "#/shelf" } })
}

async fn connected(registry: Registry) -> Runtime {
    let runtime = Runtime::in_memory(registry);
    runtime.add_connection(json!({ "name": "shop", "connector": "shop-v1.0" })).await.unwrap();
    runtime
}

async fn options(runtime: &Runtime, more: Value) -> Result<OptionsPage> {
    let mut query = json!({ "action": "shop.box.fill", "connection": "shop" });
    query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    runtime.execute::<ListOptions>(&Caller::owner(), serde_json::from_value(query).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn choices_are_paged_searched_and_kept_for_a_minute() {
    let fake = shop(dependent());
    let (runtime, system) = (connected(fake.registry()).await, fake.system().clone());
    let first = options(&runtime, json!({ "pointer": "/all" })).await.unwrap();
    assert_eq!((first.options.len(), &*first.options[1].title, &first.options[1].value), (40, "Box 1", &json!(1)));
    let again = options(&runtime, json!({ "pointer": "/all/7" })).await.unwrap();
    assert_eq!((again.options, system.calls("box.list")), (first.options, 1), "kept");
    let next = options(&runtime, json!({ "pointer": "/all/0", "cursor": first.next })).await.unwrap();
    assert_eq!((next.options[0].value.clone(), system.calls("box.list")), (json!(40), 2));
    tokio::time::advance(Duration::from_secs(61)).await;
    options(&runtime, json!({ "pointer": "/all" })).await.unwrap();
    assert_eq!(system.calls("box.list"), 3, "not kept any more");
    // Without a search of the service, the titles are searched, some pages at a time.
    let found = options(&runtime, json!({ "pointer": "/all", "search": " BOX 33" })).await.unwrap();
    let titles: Vec<_> = found.options.iter().map(|one| one.title.as_str()).collect();
    assert!(titles.starts_with(&["Box 33", "Box 330"]) && titles.len() == 11 && found.next.is_some(), "{titles:?}");
    let rest = options(&runtime, json!({ "pointer": "/all", "search": "box 33", "cursor": found.next })).await.unwrap();
    assert!(rest.options.is_empty() && rest.next.is_some());
    let other = options(&runtime, json!({ "pointer": "/all", "search": "box 4", "cursor": found.next })).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::InvalidInput);
    options(&runtime, json!({ "pointer": "/found", "search": "Seven" })).await.unwrap();
    assert_eq!(system.calls("listed seven"), 1, "the service searches");
}

#[tokio::test]
async fn a_choice_that_depends_on_another_says_on_which() {
    let runtime = connected(shop(dependent()).registry()).await;
    let page = options(&runtime, json!({ "pointer": "/box", "input": { "shelf": "upper " } })).await.unwrap();
    assert_eq!((&*page.options[0].title, &*page.depends_on), ("upper Box 0", &["/shelf".to_owned()][..]));
    let error = options(&runtime, json!({ "pointer": "/box" })).await.unwrap_err();
    assert!(serde_json::to_string(&error).unwrap().contains("/input/shelf"), "{error}");
    for (pointer, expected) in
        [("/shelf", "no choices are known for the input shelf"), ("/box/0/1", "no choices"), ("", "no choices")]
    {
        let error = options(&runtime, json!({ "pointer": pointer })).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{pointer}: {error}");
    }
}

#[tokio::test]
async fn a_source_of_choices_that_cannot_work_is_found_when_connectors_are_loaded() {
    let good = dependent();
    for (member, value, expected) in [
        ("action", json!("shop.box.absent"), "has no action shop.box.absent"),
        ("action", json!("other.box.list"), "has no action other.box.list"),
        ("action", json!("shop.box.fill"), "is not an action that lists"),
        ("value", json!("/ident"), "has no /ident"),
        ("title", json!("name"), "has no name"),
        ("about", json!("/absent"), "has no /absent"),
        ("input", json!({ "shelf": "#/absent" }), "the input has no #/absent"),
        ("input", json!({ "absent": "#/shelf" }), "has no input absent"),
        ("search", json!("absent"), "has no input absent"),
        ("titel", json!("/name"), "titel"),
    ] {
        let mut broken = good.clone();
        broken[member] = value;
        let fake = shop(broken);
        let error = fake.register(Registry::empty()).checked().err().unwrap();
        assert!(error.to_string().contains(expected) && error.to_string().contains("/box"), "{error}");
        // The sabotage twin: without the check, the connector is loaded, and the form has a field without right choices.
        let runtime = connected(fake.register(Registry::empty())).await;
        let input = json!({ "pointer": "/box", "input": { "shelf": "a" } });
        let right = options(&runtime, input)
            .await
            .is_ok_and(|page| page.options.len() == 40 && page.options[0].title == "aBox 0");
        assert!(!right || member == "about" || member == "search", "{member}");
    }
}

async fn page(runtime: &Runtime, more: Value) -> Result<ActionPage> {
    let mut request = json!({ "action": "shop.box.list", "connection": "shop", "input": { "shelf": "a" } });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    runtime.execute::<ListActionPage>(&Caller::owner(), serde_json::from_value(request).unwrap()).await
}

#[tokio::test]
async fn a_page_is_continued_in_another_process_and_only_for_the_same_list() {
    let fake = shop(dependent());
    let first = page(&connected(fake.registry()).await, json!({})).await.unwrap();
    assert_eq!((first.items.len(), &first.items[0]["name"]), (40, &json!("aBox 0")));
    let runtime = connected(fake.registry()).await;
    let (mut count, mut next) = (first.items.len(), first.next.clone());
    while let Some(cursor) = next {
        let page = page(&runtime, json!({ "cursor": cursor })).await.unwrap();
        count += page.items.len();
        next = page.next;
    }
    assert_eq!(count, 1000);
    runtime.add_connection(json!({ "name": "second", "connector": "shop-v1.0" })).await.unwrap();
    let forged = cursor_of(json!(40), "of another list");
    for more in [
        json!({ "cursor": first.next, "input": { "shelf": "b" } }),
        json!({ "cursor": first.next, "connection": "second" }),
        json!({ "cursor": first.next, "action": "shop.box.find", "input": {} }),
        json!({ "cursor": forged }),
        json!({ "cursor": "?" }),
        json!({ "cursor": "" }),
    ] {
        let error = page(&runtime, more.clone()).await.unwrap_err();
        assert!(error.to_string().contains("no page of this list begins"), "{more} {error}");
    }
    // The sabotage twin: a cursor that is bound to the list is accepted.
    let (connector, spec) = runtime.registry().action("shop.box.list").unwrap();
    let connected = runtime.connect("shop").await.unwrap();
    assert_eq!(connector.spec().name, "shop");
    let binding = List { connected, spec, input: json!({ "shelf": "a" }) }.binding();
    assert!(page(&runtime, json!({ "cursor": cursor_of(json!(40), &binding) })).await.is_ok());
    // What lists nothing is not called.
    let error = page(&runtime, json!({ "action": "shop.box.fill", "input": {} })).await.unwrap_err();
    assert!(error.to_string().contains("is not an action that lists"), "{error}");
    assert_eq!(fake.system().calls("box.fill"), 0);
}
