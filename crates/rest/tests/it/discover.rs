//! Discovery: the URLs of a login server, and the documents that are not accepted.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_core::ErrorKind;
use trunkline_rest::{ClientAuth, discover};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::support::{environment, fact};

/// Returns a server with this response in the place of the document, and its issuer below `/tenant`.
async fn serves(answer: impl FnOnce(&str) -> ResponseTemplate) -> (MockServer, String) {
    let server = MockServer::start().await;
    let issuer = format!("{}/tenant", server.uri());
    let place = path("/tenant/.well-known/openid-configuration");
    Mock::given(place).respond_with(answer(&issuer)).mount(&server).await;
    (server, issuer)
}

fn document(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/token"),
        "authorization_endpoint": "https://login.example.com/authorize",
        "revocation_endpoint": format!("{issuer}/revoke"),
        "userinfo_endpoint": format!("{issuer}/me"),
        "scopes_supported": ["openid", "offline_access", "api"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "something_else": [{}],
    })
}

#[tokio::test]
async fn a_document_has_the_urls_of_the_login_server() {
    let (_server, issuer) = serves(|issuer| ResponseTemplate::new(200).set_body_json(document(issuer))).await;
    let found = discover(&environment(), &issuer, true).await.unwrap();
    assert_eq!(found.issuer, issuer);
    assert_eq!(found.token_url.as_str(), format!("{issuer}/token"));
    assert_eq!(found.authorization_url.as_ref().unwrap().as_str(), "https://login.example.com/authorize");
    assert_eq!(found.revocation_url.as_ref().unwrap().as_str(), format!("{issuer}/revoke"));
    assert_eq!(found.user_info_url.as_ref().unwrap().as_str(), format!("{issuer}/me"));
    assert_eq!((found.scopes.len(), found.grants.len(), found.client_auth), (3, 2, ClientAuth::Form));
    // The issuer may be copied in several ways.
    for spelled in [format!("{issuer}/"), format!(" {issuer}\n"), format!("{issuer}/.well-known/openid-configuration")]
    {
        assert_eq!(discover(&environment(), &spelled, true).await.unwrap(), found, "{spelled}");
    }
}

#[tokio::test]
async fn missing_members_have_defaults() {
    let bare = |issuer: &str| json!({ "issuer": format!("{issuer}/"), "token_endpoint": format!("{issuer}/token") });
    let (_server, issuer) = serves(|issuer| ResponseTemplate::new(200).set_body_json(bare(issuer))).await;
    let found = discover(&environment(), &issuer, true).await.unwrap();
    assert_eq!(found.issuer, format!("{issuer}/"), "spelled as in the document");
    assert_eq!((found.grants, found.client_auth), (vec!["authorization_code".to_owned()], ClientAuth::Basic));
    assert!(found.authorization_url.is_none() && found.revocation_url.is_none() && found.scopes.is_empty());
}

#[tokio::test]
async fn untrustworthy_documents_are_refused() {
    let with = |name: &str, value: Value| {
        let name = name.to_owned();
        move |issuer: &str| {
            let mut document = document(issuer);
            document[name] = value;
            ResponseTemplate::new(200).set_body_json(document)
        }
    };
    type Response = Box<dyn FnOnce(&str) -> ResponseTemplate>;
    let cases: Vec<(&str, ErrorKind, Response)> = vec![
        (
            "cannot be read",
            ErrorKind::Unexpected,
            Box::new(|_| ResponseTemplate::new(200).set_body_raw("<html>sign in</html>", "text/html")),
        ),
        ("cannot be read", ErrorKind::Unexpected, Box::new(|_| ResponseTemplate::new(200))),
        ("cannot be read", ErrorKind::Unexpected, Box::new(|_| ResponseTemplate::new(200).set_body_json(json!([])))),
        ("cannot be read", ErrorKind::Unexpected, Box::new(with("scopes_supported", json!("openid")))),
        ("evil.example", ErrorKind::Unexpected, Box::new(with("issuer", json!("https://evil.example")))),
        ("cannot be read", ErrorKind::Unexpected, Box::new(with("issuer", Value::Null))),
        ("no token endpoint", ErrorKind::Unexpected, Box::new(with("token_endpoint", Value::Null))),
        (
            "token endpoint",
            ErrorKind::Unexpected,
            Box::new(with("token_endpoint", json!("http://login.example.com/t"))),
        ),
        ("token endpoint", ErrorKind::Unexpected, Box::new(with("token_endpoint", json!("/token")))),
        ("token endpoint", ErrorKind::Unexpected, Box::new(with("token_endpoint", json!("https://a:b@example.com/t")))),
        (
            "authorization endpoint",
            ErrorKind::Unexpected,
            Box::new(with("authorization_endpoint", json!("javascript:alert(1)"))),
        ),
        ("revocation", ErrorKind::Unexpected, Box::new(with("revocation_endpoint", json!("http://10.0.0.1/")))),
        ("longer than", ErrorKind::Unexpected, Box::new(with("something_else", json!("x".repeat(300 << 10))))),
        ("404", ErrorKind::NotFound, Box::new(|_| ResponseTemplate::new(404))),
        ("503", ErrorKind::Unavailable, Box::new(|_| ResponseTemplate::new(503))),
    ];
    for (text, kind, answer) in cases {
        let (_server, issuer) = serves(answer).await;
        let error = discover(&environment(), &issuer, true).await.unwrap_err();
        assert!(error.message().contains(text), "{text}: {error:?}");
        assert_eq!((error.kind(), fact(&error, "issuer")), (kind, Some(&*issuer)), "{error:?}");
        assert!(error.advice().is_some(), "{error:?}");
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (other, elsewhere) = serves(|issuer| ResponseTemplate::new(200).set_body_json(document(issuer))).await;
    for status in [301, 302, 303, 307, 308] {
        let place = format!("{elsewhere}/.well-known/openid-configuration");
        let (_server, issuer) = serves(|_| ResponseTemplate::new(status).insert_header("location", place)).await;
        let error = discover(&environment(), &issuer, true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{status}: {error:?}");
    }
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn invalid_issuers_are_not_asked() {
    for issuer in [
        "",
        "login.example.com",
        "http://login.example.com",
        "ftp://login.example.com",
        "file:///etc/passwd",
        "https://user:pw@login.example.com",
        "https://login.example.com?tenant=1",
        "https://login.example.com/#x",
        "mailto:someone@example.com",
    ] {
        let error = discover(&environment(), issuer, true).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{issuer}: {error:?}");
        assert!(!format!("{error:?}").contains("user:pw"), "{error:?}");
    }
    // No server listens on this port.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unused = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let asked = tokio::time::timeout(Duration::from_secs(60), discover(&environment(), &unused, true)).await.unwrap();
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::Unavailable);
}
