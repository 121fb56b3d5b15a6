//! A connection may reach another account under the same name: what a trigger remembers of one account does not count for
//! another one.

use trunkline::operations::connections::AddConnections;
use trunkline_core::SignIn;

use super::*;

const ONE: &str = "https://one.example/api";
const TWO: &str = "https://two.example/api";

fn items(count: u64) -> Vec<Value> {
    (0..count).rev().map(|id| json!({ "id": id })).collect()
}

/// Returns a room whose flow has had its first look at a list of 60 items at the service `ONE`.
async fn looked(name: &str) -> Room {
    let room = room(name).await;
    assert_eq!(room.replace(name, ONE).await, [""; 0]);
    room.save(&watching(json!({})), "feed").await;
    listing(name, |list| list.items = items(60));
    room.look().await.unwrap();
    room
}

impl Room {
    /// Replaces the connection with one to another list or service, and returns the warnings.
    async fn replace(&self, list: &str, endpoint: &str) -> Vec<String> {
        let document = json!({ "name": "feed", "connector": "feed-v1.0", "feed": list, "endpointUrl": endpoint });
        let input = serde_json::from_value(json!({ "connections": document, "replace": true })).unwrap();
        let added = self.scheduler.runtime.execute::<AddConnections>(&Caller::owner(), input).await.unwrap();
        added.warnings.into_iter().map(|one| one.message).collect()
    }

    async fn sign_in(&self, version: u64, account: Option<&str>) {
        let sign_in = SignIn { account: account.map(str::to_owned), ..SignIn::default() };
        let vault = &self.scheduler.runtime.ports().vault;
        assert!(vault.replace("feed", version, &Secret::from("token"), &sign_in).await.unwrap());
    }

    /// Looks at a list of this many items, and returns how many items the runs have got since the beginning.
    async fn sees(&self, list: &str, count: u64) -> usize {
        listing(list, |list| list.items = items(count));
        self.look().await.unwrap();
        self.got().await.len()
    }
}

#[tokio::test]
async fn another_account_under_the_same_name_begins_with_a_first_look_and_says_so() {
    let (name, other) = ("accounts", "accounts of another");
    let room = looked(name).await;
    assert_eq!(room.sees(name, 62).await, 2);
    // The other service has the same ids for its items.
    let warnings = room.replace(other, TWO).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("flow watch polls connection feed, which reaches another account"), "{warnings:?}");
    assert_eq!(room.sees(other, 70).await, 2, "what is there at the first look is not new");
    let findings = room.findings().await;
    assert!(findings.len() == 1 && findings[0].what.contains("another account"), "{findings:?}");
    assert_eq!(room.sees(other, 73).await, 2 + 3);
    assert_eq!(room.findings().await.len(), 1, "it is shown after later looks, too");
    // Back again: it remembers, and nothing that came meanwhile is lost. Another form of the URL is the same one.
    assert_eq!(room.replace(name, &format!("{ONE}/")).await, [""; 0]);
    assert_eq!(room.sees(name, 66).await, 5 + 4);
    assert_eq!(room.sees(name, 66).await, 9);
}

/// The sabotage twin: where nothing shows that it is another account, items with known ids are not new, and nothing says
/// so.
#[tokio::test]
async fn without_the_account_items_of_another_list_are_lost() {
    let (name, other) = ("one account", "another list of it");
    let room = looked(name).await;
    assert_eq!(room.sees(name, 62).await, 2);
    assert_eq!(room.replace(other, ONE).await, [""; 0]);
    assert_eq!(room.sees(other, 62).await, 2);
    assert_eq!(room.findings().await, []);
}

#[tokio::test]
async fn another_user_under_the_same_settings_is_another_account() {
    let name = "users";
    let room = looked(name).await;
    // The user was not known before, and is the first one that is.
    room.sign_in(0, Some("ada")).await;
    assert_eq!(room.sees(name, 61).await, 1);
    room.sign_in(1, Some("bob")).await;
    assert_eq!(room.sees(name, 62).await, 1);
    assert_eq!(room.findings().await.len(), 1);
    assert_eq!(room.sees(name, 63).await, 2);
    // An unknown user is not another one.
    room.sign_in(2, Some("ada")).await;
    assert_eq!(room.sees(name, 63).await, 2 + 2);
}

/// A connection that is changed before the first look after an upgrade: the memory belongs to the earlier account.
#[tokio::test]
async fn a_memory_without_an_owner_belongs_to_the_account_that_is_replaced() {
    let name = "upgraded";
    let room = looked(name).await;
    let runtime = &room.scheduler.runtime;
    let (saved, flow) = runtime.saved_flow("watch").await.unwrap();
    let (_, memory) = runtime.connect_feed(&saved, &flow).await.unwrap().unwrap();
    let event = memory.taking((0..60).map(|id| id.to_string()).chain([String::new()]).collect());
    runtime.journal().forget_trigger("watch").await.unwrap();
    runtime.journal().remember_trigger(event).await.unwrap();
    assert_eq!(room.replace(name, TWO).await.len(), 1);
    assert_eq!(room.sees(name, 62).await, 0);
    assert_eq!(room.replace(name, ONE).await, [""; 0]);
    assert_eq!(room.sees(name, 62).await, 2);
}
