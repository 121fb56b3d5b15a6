//! Sign-ins whose callback is `serve`: against the simulator, and against a login server of another project.

use std::{net::TcpListener, time::Duration};

use reqwest::Url;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use trunkline_sandbox::Sandbox;
use trunkline_tests::{
    Cli, approve, document, few,
    login::{Login, walk},
    sandbox,
};

use super::Serve;

const CALLBACK: &str = "/rest/v1/oauth2/callback";

async fn prepared(cli: &Cli) -> Sandbox {
    let sandbox = sandbox(few(1)).await;
    let mut settings = document(&sandbox, "mediavalet");
    settings["flows"] = "authorization_code".into();
    for only in ["username", "password"] {
        settings.as_object_mut().unwrap().remove(only);
    }
    cli.add(&settings).await;
    sandbox
}

async fn begin(serve: &Serve, name: &str) -> Value {
    let (status, begun) = serve.post(&format!("/rest/v1/connections/{name}/authorize"), &json!({})).await;
    assert_eq!(status, 200, "{begun}");
    begun
}

/// Opens a URL as a browser does, which follows a redirect. Returns status and page.
async fn open(serve: &Serve, url: &str) -> (u16, String) {
    let get = async |url: Url| {
        let answer = serve.http.get(url).send().await.unwrap();
        assert_eq!(answer.headers()["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        answer
    };
    let mut answer = get(url.parse().unwrap()).await;
    if answer.status() == 303 {
        let next = answer.url().join(answer.headers()["location"].to_str().unwrap()).unwrap();
        assert!(next.query().is_none() && next.path().starts_with(CALLBACK), "no code and no state: {next}");
        answer = get(next).await;
    }
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn is_signed_in(serve: &Serve) -> bool {
    let (_, listed) = serve.get("/rest/v1/connections").await;
    assert!(!listed.to_string().contains("ecret"), "no secret appears: {listed}");
    listed["items"][0]["sign_in"]["state"] == "ok"
}

#[tokio::test]
async fn the_callback_signs_the_connection_in() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let serve = Serve::start(&cli).await;
    assert!(!is_signed_in(&serve).await);
    let begun = begin(&serve, "mediavalet").await;
    assert_eq!(begun["redirect_uri"], serve.url(CALLBACK));
    let back = approve(begun["open"].as_str().unwrap()).await;
    let (status, page) = open(&serve, &back).await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("mediavalet is signed in"), "{page}");
    assert!(is_signed_in(&serve).await);
    let (status, reply) = serve.post("/rest/v1/connections/other/authorize", &json!({})).await;
    assert_eq!((status, &reply["kind"]), (404, &json!("not_found")));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_callback_that_was_broken_off_shows_the_outcome_to_the_next_one() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let serve = Serve::start(&cli).await;
    for round in 0..20 {
        let begun = begin(&serve, "mediavalet").await;
        let back = approve(begun["open"].as_str().unwrap()).await;
        let (_, query) = back.split_once('?').unwrap();
        let host = serve.address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let head = format!("GET {CALLBACK}?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The browser goes away at another moment in each round.
        tokio::time::sleep(Duration::from_millis(round / 2)).await;
        drop(stream);
        let (first, second) = tokio::join!(open(&serve, &back), open(&serve, &back));
        for (status, page) in [first, second] {
            assert_eq!((status, page.contains("mediavalet is signed in")), (200, true), "round {round}: {page}");
        }
    }
    assert!(is_signed_in(&serve).await);
    sandbox.stop().await;
}

#[tokio::test]
async fn only_a_callback_with_the_right_state_ends_a_sign_in() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let serve = Serve::start(&cli).await;
    let begun = begin(&serve, "mediavalet").await;
    let back = approve(begun["open"].as_str().unwrap()).await;
    let (_, query) = back.split_once('?').unwrap();
    let state = query.split('&').find(|part| part.starts_with("state=")).unwrap();
    let altered = query.replace(state, &format!("{}x", &state[..state.len() - 1]));
    for stray in
        ["", "code=x", "error=access_denied", "code=x&state=", &query.replace(state, "state=guessed"), &altered]
    {
        let (status, page) = open(&serve, &format!("{}?{stray}", serve.url(CALLBACK))).await;
        assert_eq!((status, page.contains("Not signed in")), (400, true), "{stray}: {page}");
    }
    assert!(!is_signed_in(&serve).await);
    assert_eq!(open(&serve, &back).await.0, 200, "stray callbacks did not end it");
    assert!(is_signed_in(&serve).await);
    // Another server does not know the sign-in: it is in memory, and so is its verifier.
    serve.kill().await;
    let serve = Serve::start(&cli).await;
    assert_eq!(open(&serve, &format!("{}?{query}", serve.url(CALLBACK))).await.0, 400);
    sandbox.stop().await;
}

/// The sabotage twin: a callback with the right state ends the sign-in, whatever else it contains.
#[tokio::test]
async fn a_stray_callback_with_the_right_state_ends_the_sign_in() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let serve = Serve::start(&cli).await;
    let begun = begin(&serve, "mediavalet").await;
    let back = approve(begun["open"].as_str().unwrap()).await;
    let state = back.split(['?', '&']).find(|part| part.starts_with("state=")).unwrap();
    let (status, page) = open(&serve, &format!("{}?error=access_denied&{state}", serve.url(CALLBACK))).await;
    assert_eq!(status, 400, "{page}");
    let (status, again) = open(&serve, &back).await;
    assert_eq!((status, again == page), (400, true), "the first result is kept: {again}");
    assert!(!is_signed_in(&serve).await);
    sandbox.stop().await;
}

#[tokio::test]
async fn values_from_the_callback_are_escaped() {
    let cli = Cli::default();
    let sandbox = prepared(&cli).await;
    let serve = Serve::start(&cli).await;
    let begun = begin(&serve, "mediavalet").await;
    let back = approve(begun["open"].as_str().unwrap()).await;
    let state = back.split(['?', '&']).find(|part| part.starts_with("state=")).unwrap();
    let hostile = "%3Cscript%3Ealert(1)%3C/script%3E%22%27%26";
    let url = format!("{}?error=x&error_description={hostile}&{state}", serve.url(CALLBACK));
    let (status, page) = open(&serve, &url).await;
    assert_eq!(status, 400);
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
    assert!(!is_signed_in(&serve).await);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_strict_login_server_gets_one_request_however_often_the_callback_is_opened() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let redirect = format!("http://127.0.0.1:{port}{CALLBACK}");
    let Some(login) = Login::start(&["--redirect-uri", &redirect, "--delay", "20"]).await else { return };
    let cli = Cli::default();
    cli.add(&login.document()).await;
    let serve = Serve::with(&cli, &["--listen", &format!("127.0.0.1:{port}")]).await;
    let begun = begin(&serve, "login").await;
    let back = walk(begun["open"].as_str().unwrap()).await;
    assert!(back.starts_with(&redirect), "{back}");
    let pages = futures::future::join_all((0..10).map(|_| open(&serve, &back))).await;
    for (status, page) in pages {
        assert_eq!((status, page.contains("login is signed in")), (200, true), "{page}");
    }
    assert_eq!(
        login.token_requests().await,
        [("authorization_code".to_owned(), 200)],
        "a code is valid for one request"
    );
    assert!(is_signed_in(&serve).await);
}
