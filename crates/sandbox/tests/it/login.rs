//! Both login servers: grants, error responses, rotation policies and replays.

use std::time::Duration;

use serde_json::Value;
use trunkline_sandbox::{Options, RefreshPolicy};

use crate::support::{Bench, small};

const CALLBACK: &str = "http://127.0.0.1:4999/rest/v1/oauth2/callback";
/// The PKCE verifier and challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

async fn refresh(bench: &Bench, token: &str) -> (u16, Value) {
    let (status, body) = bench.valet_token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await;
    (status.as_u16(), body)
}

async fn valet_status(bench: &Bench, bearer: &str) -> u16 {
    bench.valet(bearer, reqwest::Method::GET, "/users/current", Value::Null).await.0
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

/// Requests the sign-in page with approval and returns the code of its redirect.
async fn code(bench: &Bench, extra: &str) -> String {
    let credentials = bench.sandbox.credentials().mediavalet;
    let url = format!(
        "{}?response_type=code&client_id={}&redirect_uri={CALLBACK}&scope=openid%20api%20offline_access&state=a%26b\
         &code_challenge={CHALLENGE}&code_challenge_method=S256{extra}",
        bench.sandbox.endpoints().mediavalet.authorization_url,
        credentials.client_id
    );
    let response = bench.http.get(url).send().await.unwrap();
    assert_eq!(response.status(), 302);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let location = reqwest::Url::parse(&location).unwrap();
    assert!(location.as_str().starts_with(CALLBACK));
    let find = |name: &str| location.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    assert_eq!(find("state"), "a&b");
    find("code")
}

async fn redeem(bench: &Bench, code: &str, verifier: &str) -> (u16, Value) {
    let form =
        [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK), ("code_verifier", verifier)];
    let (status, body) = bench.valet_token(&form).await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn the_sign_in_page_asks_for_approval_and_rejects_foreign_redirect_uris() {
    let bench = Bench::new(small()).await;
    let page = bench.sandbox.endpoints().mediavalet.authorization_url;
    let client = bench.sandbox.credentials().mediavalet.client_id;
    let get = |query: String| {
        let url = format!("{page}?client_id={client}&response_type=code&scope=openid%20api&{query}");
        let request = bench.http.get(url);
        async move { request.send().await.unwrap() }
    };
    let approval = get(format!("redirect_uri={CALLBACK}&state=%3Cx%3E")).await;
    assert_eq!(approval.status(), 200);
    let html = approval.text().await.unwrap();
    assert!(html.contains("Approve") && html.contains("&lt;x&gt;") && !html.contains("<x>"));
    for foreign in [
        "http://127.0.0.1:80@evil.example/rest/v1/oauth2/callback",
        "http://localhost:80/rest/v1/oauth2/callback",
        "http://127.0.0.1:80/rest/v1/oauth2/callback/x",
        "https://evil.example/rest/v1/oauth2/callback",
    ] {
        let rejected = get(format!("redirect_uri={foreign}&approve=1")).await;
        assert_eq!(rejected.status(), 400, "{foreign}");
        assert!(!rejected.headers().contains_key("location"));
    }
    let url = format!("{page}?client_id={client}&response_type=code&scope=api&redirect_uri={CALLBACK}&approve=1");
    let narrow = bench.http.get(url).send().await.unwrap();
    assert!(narrow.headers()["location"].to_str().unwrap().contains("error=invalid_scope"));
}

#[tokio::test]
async fn a_code_works_once_and_its_replay_revokes_the_tokens() {
    let bench = Bench::new(small()).await;
    let first = code(&bench, "&approve=1").await;
    assert_eq!(redeem(&bench, &first, &VERIFIER.replace('d', "e")).await.1["error"], "invalid_grant");
    let second = code(&bench, "&approve=1").await;
    let (status, tokens) = redeem(&bench, &second, VERIFIER).await;
    assert_eq!(status, 200, "{tokens}");
    assert!(tokens["id_token"].is_string());
    assert_eq!(valet_status(&bench, text(&tokens, "access_token")).await, 200);
    assert_eq!(redeem(&bench, &second, VERIFIER).await.1["error"], "invalid_grant");
    assert_eq!(valet_status(&bench, text(&tokens, "access_token")).await, 401);
    assert_eq!(refresh(&bench, text(&tokens, "refresh_token")).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn each_rotation_policy_treats_a_used_refresh_token_as_documented() {
    let grace = Duration::from_secs(3600);
    for policy in [RefreshPolicy::Reuse, RefreshPolicy::OneTimeGrace(grace), RefreshPolicy::OneTime] {
        let bench = Bench::new(Options { refresh_policy: policy, ..small() }).await;
        let user = bench.sandbox.credentials().mediavalet;
        let tokens = bench.valet_user(&user.username, &user.password).await;
        let old = text(&tokens, "refresh_token");
        let (status, renewed) = refresh(&bench, old).await;
        assert_eq!(status, 200);
        assert!(text(&renewed, "refresh_token").len() > 10 && text(&renewed, "refresh_token") != old);
        let (again, _) = refresh(&bench, old).await;
        let renewed_status = valet_status(&bench, text(&renewed, "access_token")).await;
        let (next, _) = refresh(&bench, text(&renewed, "refresh_token")).await;
        if policy == RefreshPolicy::OneTime {
            assert_eq!((again, renewed_status, next), (400, 401, 400));
            assert_eq!(bench.sandbox.report().token_refreshes, 1);
        } else {
            assert_eq!((again, renewed_status, next), (200, 200, 200));
            assert_eq!(bench.sandbox.report().token_refreshes, 3);
        }
    }
}

#[tokio::test]
async fn a_used_refresh_token_is_rejected_after_its_grace_period() {
    let policy = RefreshPolicy::OneTimeGrace(Duration::from_millis(1));
    let bench = Bench::new(Options { refresh_policy: policy, ..small() }).await;
    let user = bench.sandbox.credentials().mediavalet;
    let tokens = bench.valet_user(&user.username, &user.password).await;
    assert_eq!(refresh(&bench, text(&tokens, "refresh_token")).await.0, 200);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(refresh(&bench, text(&tokens, "refresh_token")).await.0, 400);
}

#[tokio::test]
async fn the_token_endpoint_returns_the_error_codes_of_rfc_6749() {
    let bench = Bench::new(small()).await;
    let user = bench.sandbox.credentials().mediavalet;
    let url = bench.sandbox.endpoints().mediavalet.token_url;
    let password = |scope, password| {
        [("grant_type", "password"), ("username", "viewer@example.com"), ("password", password), ("scope", scope)]
    };
    let cases = [
        (password("api", "sandbox-viewer").to_vec(), "invalid_scope"),
        (password("openid api nonsense", "sandbox-viewer").to_vec(), "invalid_scope"),
        (password("openid api", "wrong").to_vec(), "invalid_grant"),
        (vec![("grant_type", "device_code")], "unsupported_grant_type"),
        (vec![("scope", "api")], "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "nonsense")], "invalid_grant"),
    ];
    for (form, error) in cases {
        let (status, body) = bench.valet_token(&form).await;
        assert_eq!((status.as_u16(), text(&body, "error")), (400, error), "{form:?}");
    }
    let (status, body) = bench.token(&url, &[("grant_type", "password"), ("client_id", &user.client_id)]).await;
    assert_eq!((status.as_u16(), text(&body, "error")), (401, "invalid_client"));
    let in_query = format!("{url}?client_secret={}", user.client_secret);
    assert_eq!(bench.token(&in_query, &password("openid api", "sandbox-viewer")).await.1["error"], "invalid_request");

    let basic = bench.http.post(&url).basic_auth(&user.client_id, Some(&user.client_secret));
    let form = password("openid api", "sandbox-viewer");
    let granted: Value = basic.form(&form).send().await.unwrap().json().await.unwrap();
    assert!(granted["access_token"].is_string() && granted.get("refresh_token").is_none());
    let (status, service) = bench.valet_token(&[("grant_type", "client_credentials"), ("scope", "api")]).await;
    assert_eq!(status, 200);
    assert!(service.get("refresh_token").is_none());
    assert_eq!(bench.sandbox.report().token_refreshes, 0);
}

#[tokio::test]
async fn a_revoked_refresh_token_is_rejected_and_userinfo_names_the_user() {
    let bench = Bench::new(small()).await;
    let user = bench.sandbox.credentials().mediavalet;
    let tokens = bench.valet_user(&user.username, &user.password).await;
    let login = format!("{}/mediavalet-login", bench.base());
    let about: Value = bench
        .http
        .get(format!("{login}/connect/userinfo"))
        .bearer_auth(text(&tokens, "access_token"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(about["Email"], user.username.as_str());
    let found: Value =
        bench.http.get(format!("{login}/.well-known/openid-configuration")).send().await.unwrap().json().await.unwrap();
    let form = [
        ("token", text(&tokens, "refresh_token")),
        ("client_id", &user.client_id),
        ("client_secret", &user.client_secret),
    ];
    assert_eq!(bench.token(text(&found, "revocation_endpoint"), &form).await.0, 200);
    assert_eq!(refresh(&bench, text(&tokens, "refresh_token")).await.0, 400);
}

#[tokio::test]
async fn mediaflow_returns_an_empty_refresh_token_for_a_refresh() {
    let bench = Bench::new(small()).await;
    let keys = bench.sandbox.credentials().mediaflow;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", keys.client_id.as_str()),
        ("client_secret", &keys.client_secret),
        ("refresh_token", &keys.refresh_token),
    ];
    for path in ["/1/oauth2/token", "/oauth2/token", "/1/oauth2/token"] {
        let (status, body) = bench.token(&format!("{}/mediaflow-login{path}", bench.base()), &form).await;
        assert_eq!(status, 200);
        assert_eq!((&body["refresh_token"], &body["token_type"]), (&Value::from(""), &Value::from("Bearer")));
    }
    assert_eq!(bench.sandbox.report().token_refreshes, 2);
    let query = form.map(|(name, value)| format!("{name}={value}")).join("&");
    let legacy = bench.http.get(format!("{}/mediaflow/1/oauth2/token?{query}", bench.base())).send().await.unwrap();
    assert_eq!(legacy.status(), 400);
    let requests: Value =
        bench.http.get(format!("{}/_sandbox/requests", bench.base())).send().await.unwrap().json().await.unwrap();
    assert_eq!(requests[0]["grant_type"], "refresh_token");
    assert!(!requests.to_string().contains(&keys.refresh_token), "the request log contains no secret");
}

#[tokio::test]
async fn both_systems_reject_expired_tokens() {
    let bench = Bench::new(small()).await;
    let (flow, valet) = (bench.flow_bearer().await, bench.valet_bearer().await);
    assert_eq!(bench.flow(&flow, "/users/me").await.status(), 200);
    assert_eq!(valet_status(&bench, &valet).await, 200);
    bench.sandbox.expire_tokens();
    let rejected = bench.flow(&flow, "/users/me").await;
    assert_eq!(rejected.status(), 401);
    assert_eq!(rejected.json::<Value>().await.unwrap()["status"], 401);
    assert_eq!(valet_status(&bench, &valet).await, 401);
    let short = Bench::new(Options { token_lifetime: Duration::ZERO, ..small() }).await;
    let bearer = short.flow_bearer().await;
    assert_eq!(short.flow(&bearer, "/users/me").await.status(), 401);
}
