//! The vault in memory, and what counts as a change of a sign-in.

use trunkline_core::{MemoryVault, ReauthCause, Secret, SignIn, SignInState, Timestamp, Vault};

#[tokio::test]
async fn an_entry_is_replaced_only_by_a_caller_that_has_seen_it() {
    let (vault, sign_in) = (MemoryVault::default(), SignIn::default());
    let replace =
        async |expected, text: &str| vault.replace("dam", expected, &Secret::from(text), &sign_in).await.unwrap();
    let content =
        async || vault.load("dam").await.unwrap().map(|entry| (entry.version, entry.content.expose().to_owned()));
    assert!(!replace(1, "early").await, "there is no entry yet");
    assert_eq!(content().await, None);
    assert!(replace(0, "first").await);
    assert!(!replace(0, "second").await, "another caller was first");
    assert!(!replace(2, "second").await);
    assert_eq!(content().await, Some((1, "first".to_owned())));
    assert!(replace(1, "second").await);
    assert_eq!(content().await, Some((2, "second".to_owned())));
}

#[test]
fn states_differ_in_what_a_user_has_to_know() {
    let reauth = |cause, reason: &str| SignInState::ReauthRequired { cause, reason: reason.to_owned() };
    let backoff =
        |until, reason: &str| SignInState::Backoff { until: Timestamp::from_millis(until), reason: reason.to_owned() };
    let states = [
        SignInState::Ok,
        SignInState::Refreshing { until: Timestamp::from_millis(1) },
        backoff(1, "busy"),
        reauth(ReauthCause::Revoked, "no"),
        reauth(ReauthCause::Expired, "no"),
    ];
    for (at, one) in states.iter().enumerate() {
        for (other_at, other) in states.iter().enumerate() {
            assert_eq!(one.differs(other), at != other_at, "{one:?}, {other:?}");
        }
    }
    assert!(!backoff(1, "busy").differs(&backoff(2, "still busy")));
    assert!(!reauth(ReauthCause::Revoked, "no").differs(&reauth(ReauthCause::Revoked, "revoked")));
}
