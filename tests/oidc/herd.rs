//! Many simultaneous calls with expired tokens: one call requests new tokens, and all succeed.

use std::sync::Arc;

use trunkline::Runtime;
use trunkline_core::{Connected, Connection, MemoryVault, Registry, Secret, SignIn, Vault};
use trunkline_tests::Cli;

use super::{Login, call, expire, input, reconnect, signed_in, vault};

/// Calls per round.
const CALLS: usize = 100;

/// Runs rounds of many simultaneous calls, each with expired tokens; `clients` makes the clients of a round. Returns
/// violations of the guarantee: one token request per round, every call succeeds with the one new token, and the
/// sign-in is kept.
async fn rounds(login: &Login, rounds: usize, mut clients: impl AsyncFnMut(usize) -> Vec<Connected>) -> Vec<String> {
    let mut faults = Vec::new();
    for round in 1..=rounds {
        let all: Vec<_> = clients(CALLS).await;
        assert_eq!(all.len(), CALLS);
        let before = login.log().await;
        let calls: Vec<_> = all.into_iter().map(|one| tokio::spawn(async move { call(&one).await })).collect();
        let mut failed = Vec::new();
        for one in calls {
            failed.extend(one.await.unwrap().err());
        }
        let log = login.log().await;
        let grown = |name: &str| log[name].as_u64().unwrap() - before[name].as_u64().unwrap();
        let requests = log["token"].as_array().unwrap().len() - before["token"].as_array().unwrap().len();
        if requests != 1 {
            faults.push(format!("round {round}: {requests} token requests"));
        }
        if let Some(first) = failed.first() {
            faults.push(format!("round {round}: {} calls failed, the first: {first:?}", failed.len()));
        } else if (grown("calls"), grown("tokensUsed"), grown("refused")) != (CALLS as u64, 1, 0) {
            faults.push(format!("round {round}: {log} after {before}"));
        }
    }
    let last = clients(1).await.remove(0);
    if let Err(error) = call(&last).await {
        faults.push(format!("the sign-in is lost: {error:?}"));
    }
    faults
}

/// As in flows, some calls share a client, and others have their own client for the same connection.
async fn mixed(runtime: &Runtime, count: usize) -> Vec<Connected> {
    expire(&*vault(runtime), "login").await;
    let shared = reconnect(runtime).await;
    let mut all = Vec::new();
    for number in 0..count {
        all.push(if number % 10 == 0 { reconnect(runtime).await } else { shared.clone() });
    }
    all
}

async fn herd(rotation: &str, count: usize) {
    let Some(login) = Login::start(&["--rotation", rotation]).await else { return };
    let home = Cli::default();
    let runtime = home.runtime();
    drop(signed_in(&runtime, login.document()).await);
    let faults = rounds(&login, count, async |calls| mixed(&runtime, calls).await).await;
    assert_eq!(faults, [""; 0]);
    let requests = login.token_requests().await;
    assert_eq!(requests.len(), count + 2, "the sign-in, each round, and the one after them");
    assert!(requests[1..].iter().all(|one| *one == ("refresh_token".to_owned(), 200)), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_makes_one_token_request_with_single_use_tokens() {
    herd("strict", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_herd_makes_one_token_request_with_reusable_tokens() {
    herd("none", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: 200 rounds"]
async fn a_herd_makes_one_token_request_in_many_rounds() {
    herd("strict", 200).await;
}

/// The sabotage twin: the same rounds with independent clients. Each has a copy of the tokens with its own name and
/// vault, so neither the lock in the process nor the lease in the vault coordinates them.
async fn independent_clients(rotation: &str) -> Option<Vec<String>> {
    let login = Login::start(&["--rotation", rotation]).await?;
    let home = Cli::default();
    let runtime = home.runtime();
    drop(signed_in(&runtime, login.document()).await);
    let registry = Registry::discover().unwrap();
    let content = vault(&runtime).load("login").await.unwrap().unwrap().content;
    let mut vaults = Vec::new();
    for number in 0..CALLS {
        let (vault, name) = (Arc::<MemoryVault>::default(), format!("login-{number}"));
        assert!(vault.replace(&name, 0, &Secret::from(content.expose()), &SignIn::default()).await.unwrap());
        vaults.push((vault, name));
    }
    let clients = async |count: usize| {
        let mut all = Vec::new();
        for (vault, name) in &vaults[..count] {
            expire(&**vault, name).await;
            let mut document = login.document();
            document["name"] = name.as_str().into();
            let connection = Connection::from_value(document).unwrap();
            all.push(registry.connect(&connection, vault.clone(), &|_| unreachable!("no references")).unwrap());
        }
        all
    };
    Some(rounds(&login, 1, clients).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn independent_clients_lose_the_sign_in() {
    let Some(faults) = independent_clients("strict").await else { return };
    assert_eq!(faults.len(), 3, "{faults:#?}");
    // One client gets new tokens. Each of the others is refused, and confirms that with a second request.
    assert_eq!(faults[0], format!("round 1: {} token requests", 1 + 2 * (CALLS - 1)));
    assert!(faults[1].contains("calls failed"), "{faults:#?}");
    assert!(faults[2].starts_with("the sign-in is lost") && faults[2].contains("invalid_grant"), "{faults:#?}");
    // With reusable tokens, there are only a hundred requests instead of one.
    let faults = independent_clients("none").await.unwrap();
    assert_eq!(faults[0], "round 1: 100 token requests");
    assert!(!faults.iter().any(|fault| fault.contains("lost")), "{faults:#?}");
}

/// Processes with one store, all with expired tokens.
async fn processes(rotation: &str, count: usize, rounds: usize) {
    let Some(login) = Login::start(&["--rotation", rotation]).await else { return };
    let cli = Cli::default();
    let runtime = cli.runtime();
    drop(signed_in(&runtime, login.document()).await);
    let input = input().to_string();
    let arguments = ["call", "http.request", "--connection", "login", "--input", &input, "--json"];
    for round in 1..=rounds {
        expire(&*vault(&runtime), "login").await;
        for answer in futures::future::join_all((0..count).map(|_| cli.run(&arguments))).await {
            assert_eq!(answer.expect(0).json()["body"]["sub"], "ada");
        }
        let requests = login.token_requests().await;
        assert_eq!(requests.len(), 1 + round, "round {round}: {requests:?}");
        assert_eq!(requests[round], ("refresh_token".to_owned(), 200));
    }
    let log = login.log().await;
    assert_eq!((&log["refused"], &log["calls"]), (&0.into(), &(count * rounds).into()), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_make_one_token_request() {
    processes("strict", 2, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_processes_make_one_token_request() {
    processes("strict", 5, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_make_one_token_request_with_reusable_tokens() {
    processes("none", 5, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: 200 rounds"]
async fn processes_make_one_token_request_in_many_rounds() {
    processes("strict", 2, 200).await;
    processes("strict", 5, 200).await;
}
