//! The fake connector through the interface of every connector.

use std::time::Duration;

use futures::TryStreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use trunkline_core::{Connections, Context, Effect, Error, ErrorKind, Page, Position, Registry};
use trunkline_testkit::fake::{Fake, FakeAction, FakeFile, FakeReply};

fn cx() -> Context {
    Context::new("key-1", "shop", Connections::default())
}

async fn run(fake: &Fake, action: &str, input: Value) -> Result<Value, Error> {
    fake.connected().run(action, input, &cx()).await
}

#[tokio::test]
async fn each_effect_leaves_what_it_promises_when_it_is_repeated() {
    let shop = Fake::of_things("shop");
    let effects = ["look", "put", "make", "make_blindly", "drop"]
        .map(|verb| shop.registry().action(&format!("shop.thing.{verb}")).unwrap().1.effect);
    assert_eq!(effects, [Effect::Read, Effect::Idempotent, Effect::Create, Effect::Create, Effect::Delete]);
    for (action, left) in
        [("look", 0), ("put", 1), ("put", 1), ("make", 2), ("make_blindly", 3), ("drop", 0), ("drop", 0)]
    {
        let output = run(&shop, &format!("thing.{action}"), json!({ "name": "a" })).await.unwrap();
        assert_eq!(output, json!({ "name": "a", "key": "key-1" }));
        assert_eq!(shop.system().created().len(), left, "{action}");
    }
    let counted = ["thing.put", "put a", "make a", "key-1", "connect"].map(|what| shop.system().calls(what));
    assert_eq!(counted, [2, 2, 2, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_input_hit_as_often_as_they_say() {
    let shop = Fake::of_things("shop");
    let kind = async |action: &str, name: &str, fault: &str| {
        let input = json!({ "name": name, "fault": fault });
        run(&shop, action, input).await.map_err(|error| error.kind())
    };
    assert_eq!(kind("thing.look", "a", "busy 1").await, Err(ErrorKind::Unavailable));
    assert!(kind("thing.look", "a", "busy 1").await.is_ok());
    assert_eq!(kind("thing.put", "b", "later 1").await, Err(ErrorKind::RateLimited));
    assert_eq!(kind("thing.drop", "c", "starved 1").await, Err(ErrorKind::Store));
    assert_eq!(kind("thing.look", "d", "missing").await, Err(ErrorKind::NotFound));
    shop.system().set_down(true);
    assert_eq!(kind("thing.put", "e", "down").await, Err(ErrorKind::Auth));
    shop.system().set_down(false);
    shop.system().refuse(["f"]);
    assert_eq!(kind("thing.make", "f", "door").await, Err(ErrorKind::InvalidInput));
    shop.system().refuse_nothing();
    assert!(kind("thing.make", "f", "door").await.is_ok());
    let before = Instant::now();
    assert!(kind("thing.make", "g", "sleep 5000").await.is_ok());
    assert_eq!((before.elapsed(), shop.system().created()), (Duration::from_secs(5), vec!["f".into(), "g".into()]));
}

#[tokio::test]
async fn the_look_up_knows_whether_a_lost_call_took_effect() {
    let shop = Fake::of_things("shop");
    let (registry, shop_system) = (shop.registry(), shop.system());
    let registered = registry.connector("shop").unwrap();
    assert_eq!(registered.actions().filter(|action| action.effect == Effect::Create).count(), 2);
    for (name, fault, created) in [("a", "lost", true), ("b", "early", false)] {
        let input = json!({ "name": name, "fault": fault });
        let error = run(&shop, "thing.make", input.clone()).await.unwrap_err();
        assert_eq!((error.kind(), shop_system.holds(name)), (ErrorKind::UnknownOutcome, created));
        let found = shop.connected().reconcile("thing.make", input.clone(), &cx()).await.unwrap();
        assert_eq!(found.is_some(), created, "{name}");
        shop_system.set_blind(true);
        let error = shop.connected().reconcile("thing.make", input.clone(), &cx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownOutcome);
        shop_system.set_blind(false);
        shop_system.fail_look_up(Some(ErrorKind::Unavailable));
        let error = shop.connected().reconcile("thing.make", input.clone(), &cx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        shop_system.fail_look_up(None);
        let error = shop.connected().reconcile("thing.make_blindly", input, &cx()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownOutcome);
    }
}

#[tokio::test(start_paused = true)]
async fn scripted_replies_are_played_in_order_and_only_once() {
    let shop = Fake::of_things("shop");
    shop.system().script(
        "thing.make",
        [
            FakeReply::Returns(json!("no effect")),
            FakeReply::Fails(Error::new(ErrorKind::Conflict, "scripted")),
            FakeReply::Lost,
            FakeReply::Delay(Duration::from_secs(60)),
        ],
    );
    let make = async || run(&shop, "thing.make", json!({ "name": "a" })).await;
    assert_eq!(make().await.unwrap(), "no effect");
    assert_eq!(make().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(shop.system().created().is_empty());
    assert_eq!(make().await.unwrap_err().kind(), ErrorKind::UnknownOutcome);
    assert_eq!(shop.system().created(), ["a"]);
    let before = Instant::now();
    make().await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 60);
    make().await.unwrap();
    assert_eq!((before.elapsed().as_secs(), shop.system().created().len()), (60, 3));
}

#[tokio::test]
async fn an_action_of_a_test_counts_pages_and_outcomes_itself() {
    let numbers = FakeAction::list("number.list", |call| async move {
        let from = call.from.and_then(|from| from.as_u64()).unwrap_or_default();
        let next = (from < 2).then(|| (from + 1).into());
        Ok(Page { items: vec![from.into()], next, ..Page::default() })
    });
    let sent = FakeAction::new("number.send", Effect::Create, |call| async move {
        call.system.create(&call.input["n"].to_string());
        Ok(Value::Null)
    });
    let sent =
        sent.reconciled_by(
            |call| async move { Ok(call.system.holds(&call.input["n"].to_string()).then_some(Value::Null)) },
        );
    let fake = Fake::new("numbers").with(numbers).with(sent);
    let connected = fake.connected();
    let (mut items, mut next) = (Vec::new(), None);
    loop {
        let page = connected.page("number.list", json!({}), next, &cx()).await.unwrap();
        items.extend(page.items);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!((items, fake.system().calls("number.list")), (vec![json!(0), json!(1), json!(2)], 3));
    let found = async |n: u64| connected.reconcile("number.send", json!({ "n": n }), &cx()).await.unwrap();
    assert_eq!(found(7).await, None);
    connected.run("number.send", json!({ "n": 7 }), &cx()).await.unwrap();
    assert_eq!(found(7).await, Some(Value::Null));
    assert_eq!(connected.run("number.list", json!({}), &cx()).await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn two_fakes_share_a_system_only_on_request() {
    let one = Fake::of_things("one");
    let other = Fake::of_things("other").on(one.system().clone());
    let stranger = Fake::of_things("stranger");
    run(&other, "thing.put", json!({ "name": "a" })).await.unwrap();
    assert!(one.system().holds("a") && !stranger.system().holds("a"));
    // All three in one registry.
    let registry =
        [&one, &other, &stranger].into_iter().fold(Registry::empty(), |registry, fake| fake.register(registry));
    assert_eq!(registry.checked().unwrap().connectors().count(), 3);
}

#[tokio::test]
async fn a_file_has_the_same_bytes_from_every_position() {
    let file = FakeFile { piece: 1000, ..FakeFile::new(2_500_000) };
    let content = file.content();
    assert_eq!(content.len(), 2_500_000);
    assert_ne!(content[..1000], content[1000..2000], "no two blocks are equal");
    let (reference, context) = file.offered(None);
    for from in [0, 1, 999, 1000, 1_000_003, 2_499_999, 2_500_000] {
        let position = Position { byte: from, ..Position::default() };
        let stream = context.open(&reference, position).await.unwrap();
        let pieces: Vec<_> = stream.bytes.try_collect().await.unwrap();
        assert!(pieces.concat() == content[from as usize..], "from {from}");
    }
    assert_eq!(FakeFile::new(2_500_000).sha256(), file.sha256());
    assert_ne!(FakeFile::new(2_499_999).sha256(), file.sha256());
}
