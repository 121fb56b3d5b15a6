//! The vault of connections: which of several replacements succeeds, and what a host sees of it.

use trunkline_core::{ErrorKind, ReauthCause, Secret, SignIn, SignInState};

use super::samples::{TestedStore, add, kind};

pub(super) async fn of_two_replacements_of_a_version_one_succeeds(store: TestedStore) {
    add(&store, "dam").await;
    let vault = &store.vault;
    assert!(vault.load("dam").await.unwrap().is_none());
    let replace =
        async |expected: u64, text: &str| vault.replace("dam", expected, &Secret::from(text), &SignIn::default()).await;
    assert!(replace(0, "one").await.unwrap());
    assert!(!replace(0, "late").await.unwrap(), "another one was first");
    assert!(replace(1, "two \u{0} Ä").await.unwrap());
    for wrong in [0, 1, 3, u64::MAX] {
        assert!(!replace(wrong, "wrong").await.unwrap(), "version {wrong}");
    }
    let entry = vault.load("dam").await.unwrap().unwrap();
    assert_eq!((entry.version, entry.content.expose()), (2, "two \u{0} Ä"));
    let one = Secret::from("three");
    let sign_in = SignIn::default();
    let both = tokio::join!(vault.replace("dam", 2, &one, &sign_in), vault.replace("dam", 2, &one, &sign_in));
    assert_eq!([both.0.unwrap(), both.1.unwrap()].iter().filter(|won| **won).count(), 1);
}

/// A refresh that was in flight when the connection was removed must not bring its tokens back.
pub(super) async fn tokens_do_not_come_back(store: TestedStore) {
    add(&store, "dam").await;
    assert!(store.vault.replace("dam", 0, &Secret::from("one"), &SignIn::default()).await.unwrap());
    store.connections.remove_connection("dam", false, None).await.unwrap();
    for expected in [0, 1] {
        let late = store.vault.replace("dam", expected, &Secret::from("late"), &SignIn::default()).await;
        assert_eq!(kind(late), ErrorKind::NotFound);
    }
    add(&store, "dam").await;
    assert!(store.vault.load("dam").await.unwrap().is_none(), "a new connection of this name has no tokens");
}

pub(super) async fn changes_of_a_sign_in_are_events(store: TestedStore) {
    for name in ["dam", "other"] {
        add(&store, name).await;
    }
    let pending = SignIn {
        state: SignInState::ReauthRequired { cause: ReauthCause::Revoked, reason: "revoked".into() },
        ..SignIn::default()
    };
    for (version, sign_in) in (0..).zip([SignIn::default(), SignIn::default(), pending.clone()]) {
        assert!(store.vault.replace("dam", version, &Secret::from("x"), &sign_in).await.unwrap());
    }
    assert!(store.vault.replace("other", 0, &Secret::from("x"), &SignIn::default()).await.unwrap());
    let events = async |name: Option<&str>, after: u64| store.connections.sign_in_events(name, after, 9).await.unwrap();
    let of_dam = events(Some("dam"), 0).await;
    assert_eq!(of_dam.len(), 2, "an unchanged state is not an event");
    assert_eq!((&of_dam[0].state, &of_dam[1].state), (&SignInState::Ok, &pending.state));
    assert!(of_dam[0].id > 0 && of_dam[0].id < of_dam[1].id);
    assert_eq!(events(Some("dam"), of_dam[0].id).await, of_dam[1..]);
    let all = events(None, 0).await;
    assert!(all.len() == 3 && all.is_sorted_by_key(|event| event.id));
    assert_eq!(all[2].connection, "other");
    assert_eq!(store.connections.sign_in_events(None, 0, 2).await.unwrap(), all[..2]);
    let listed = store.connections.connections().await.unwrap();
    for (after, most, page) in [(None, 1, &listed[..1]), (Some("dam"), 9, &listed[1..]), (Some("a"), 9, &listed[..])] {
        assert_eq!(store.connections.connection_page(after, most).await.unwrap(), page);
    }
    assert_eq!((&listed[0].sign_in, &listed[1].sign_in), (&Some(pending), &Some(SignIn::default())));
}
