//! A simulated login server that rotates refresh tokens, with an API that accepts its access tokens. A refresh token
//! that is used twice ends the sign-in.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use trunkline_core::*;
use trunkline_rest::*;
use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{path, path_regex},
};

use super::{builder, cx, slot};

/// The login server; its state is shared with the API.
#[derive(Clone)]
pub struct Login(pub Arc<State>);

pub struct State {
    pub refresh: Mutex<String>,
    pub access: Mutex<String>,
    pub revoked: AtomicBool,
    pub asked: AtomicUsize,
    /// The lifetime of access tokens in seconds.
    pub lifetime: Mutex<Value>,
    pub delay: Mutex<Duration>,
    /// Responses to send instead, the last one first.
    pub instead: Mutex<Vec<ResponseTemplate>>,
    pub forms: Mutex<Vec<HashMap<String, String>>>,
    pub rotates: AtomicBool,
    /// Whether the API refuses all calls.
    pub closed: AtomicBool,
}

impl Respond for Login {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let state = &self.0;
        assert!(request.url.query().is_none(), "a secret in a URL: {}", request.url);
        let form: HashMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
        state.forms.lock().unwrap().push(form.clone());
        let number = state.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let delay = *state.delay.lock().unwrap();
        if let Some(instead) = state.instead.lock().unwrap().pop() {
            return instead.set_delay(delay);
        }
        let refuse = |code: &str| ResponseTemplate::new(400).set_body_json(json!({ "error": code }));
        let mut refresh = state.refresh.lock().unwrap();
        if form["grant_type"] == "refresh_token" {
            if state.revoked.load(Ordering::SeqCst) || form["refresh_token"] != *refresh {
                state.revoked.store(true, Ordering::SeqCst);
                return refuse("invalid_grant");
            }
        } else if form["grant_type"] == "password" && form["password"] != "right" {
            return refuse("invalid_grant");
        }
        let mut answer = json!({ "access_token": format!("access-{number}"), "token_type": "bearer" });
        answer["expires_in"] = state.lifetime.lock().unwrap().clone();
        *state.access.lock().unwrap() = format!("access-{number}");
        if state.rotates.load(Ordering::SeqCst) {
            *refresh = format!("refresh-{number}");
            answer["refresh_token"] = refresh.clone().into();
        } else {
            answer["refresh_token"] = "".into();
        }
        ResponseTemplate::new(200).set_body_json(answer).set_delay(delay)
    }
}

/// The API that accepts the current access token.
pub struct Api(Login);

impl Respond for Api {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let state = &self.0.0;
        let bearer = request.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let good = bearer == format!("Bearer {}", state.access.lock().unwrap());
        match good && !state.revoked.load(Ordering::SeqCst) && !state.closed.load(Ordering::SeqCst) {
            true => ResponseTemplate::new(200).set_body_json(json!("done")),
            false => ResponseTemplate::new(401).set_body_string("no"),
        }
    }
}

pub async fn login() -> (Login, MockServer) {
    let state = State {
        refresh: Mutex::new("refresh-0".into()),
        access: Mutex::new(String::new()),
        revoked: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
        lifetime: Mutex::new(3600.into()),
        delay: Mutex::default(),
        instead: Mutex::default(),
        forms: Mutex::default(),
        rotates: AtomicBool::new(true),
        closed: AtomicBool::new(false),
    };
    let (login, server) = (Login(Arc::new(state)), MockServer::start().await);
    Mock::given(path("/token")).respond_with(login.clone()).mount(&server).await;
    Mock::given(path_regex("^/things")).respond_with(Api(login.clone())).mount(&server).await;
    (login, server)
}

impl Login {
    pub fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
    pub fn form(&self) -> HashMap<String, String> {
        self.0.forms.lock().unwrap().last().unwrap().clone()
    }
    pub fn instead(&self, answer: ResponseTemplate) {
        self.0.instead.lock().unwrap().push(answer);
    }
    pub fn lifetime(&self, seconds: u64) {
        *self.0.lifetime.lock().unwrap() = seconds.into();
    }
    pub fn delay(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }
}

pub fn refresh_token() -> Grant {
    Grant::RefreshToken { refresh_token: "refresh-0".into() }
}

pub fn oauth(server: &MockServer, grant: Grant) -> OAuth {
    OAuth {
        client_id: "client".into(),
        client_secret: Some("client-secret".into()),
        client_auth: ClientAuth::Form,
        token_url: format!("{}/token", server.uri()).parse().unwrap(),
        authorization_url: Some("https://login.example.com/authorize?audience=api".parse().unwrap()),
        revocation_url: None,
        redirect_uri: None,
        scopes: vec!["openid".into(), "api".into()],
        grant,
    }
}

pub fn with(server: &MockServer, oauth: OAuth, vault: &Arc<MemoryVault>) -> Client {
    builder(&server.uri()).auth(Auth::OAuth(oauth), slot(vault)).build().unwrap()
}

pub async fn get(client: &Client) -> Result<Value> {
    client.call("thing.get", json!({ "id": 1 }), &cx()).await
}

pub async fn record(vault: &Arc<MemoryVault>) -> Value {
    serde_json::from_str(slot(vault).vault_entry().await.unwrap().unwrap().content.expose()).unwrap()
}
