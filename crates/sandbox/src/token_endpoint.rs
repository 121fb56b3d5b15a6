//! The token endpoints of both login servers (RFC 6749). Errors carry the RFC's codes: `invalid_client` is 401, all
//! others 400. A secret in the query is refused, whatever else is right.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::http::{self, Answer, Call, find};
use crate::options::{Credentials, RefreshPolicy};
use crate::requests::GrantType;
use crate::state::{Event, World};
use crate::tokens::{Grant, Refresh, Server, random};
use crate::{App, Options};

/// Family of the tokens made with Mediaflow's server key, which was never issued by a sign-in.
const SERVER_KEY_FAMILY: &str = "mediaflow-server-key";

/// Scopes MediaValet's login server knows.
const KNOWN_SCOPES: [&str; 4] = ["openid", "api", "offline_access", "api:service_principal"];

type Form = Vec<(String, String)>;

/// The one client of a login server, with the users it may sign in.
pub(crate) struct Client {
    pub id: String,
    pub secret: String,
    pub users: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn of(app: &App, server: Server) -> Client {
        let (flow, valet) = (&app.credentials.mediaflow, &app.credentials.mediavalet);
        let pair = |user: &String, password: &String| (user.clone(), password.clone());
        match server {
            Server::Mediaflow => Client {
                id: flow.client_id.clone(),
                secret: flow.client_secret.clone(),
                users: vec![pair(&flow.username, &flow.password)],
            },
            Server::Mediavalet => Client {
                id: valet.client_id.clone(),
                secret: valet.client_secret.clone(),
                users: vec![
                    pair(&valet.username, &valet.password),
                    pair(&valet.viewer_username, &valet.viewer_password),
                ],
            },
        }
    }
}

/// The refresh token that Mediaflow's support would hand out.
pub(crate) fn server_key(credentials: &Credentials) -> Event {
    Event::Refresh(Refresh {
        token: credentials.mediaflow.refresh_token.clone(),
        server: Server::Mediaflow,
        user: credentials.mediaflow.username.clone(),
        scope: String::new(),
        family: SERVER_KEY_FAMILY.to_owned(),
        used: None,
    })
}

pub(crate) fn error(status: u16, code: &str, text: &str) -> Answer {
    let mut response = http::json(status, &json!({ "error": code, "error_description": text }));
    http::set(&mut response, "cache-control", "no-store");
    if status == 401 {
        http::set(&mut response, "www-authenticate", "Basic realm=\"sandbox\"");
    }
    response
}

pub(crate) async fn serve(app: &App, server: Server, call: &mut Call) -> Answer {
    let form = match form_of(app, server, call).await {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    let grant_type = find(&form, "grant_type").unwrap_or_default();
    let mut response = match grant_type {
        "" => error(400, "invalid_request", "the grant_type is missing"),
        "authorization_code" => by_code(app, server, &form),
        "refresh_token" => by_refresh(app, server, &form),
        "password" => by_password(app, server, &form),
        "client_credentials" if server == Server::Mediavalet => by_client(app, &form),
        _ => error(400, "unsupported_grant_type", "this grant is not offered here"),
    };
    response.extensions_mut().insert(GrantType(grant_type.to_owned()));
    response
}

/// Reads and authenticates a form request of a token or revocation endpoint.
pub(crate) async fn form_of(app: &App, server: Server, call: &mut Call) -> Result<Form, Answer> {
    let secrets = ["client_secret", "password", "refresh_token", "code", "token", "code_verifier"];
    if secrets.iter().any(|name| call.query(name).is_some()) {
        return Err(error(400, "invalid_request", "secrets do not belong into the query; send a form"));
    }
    if call.method != axum::http::Method::POST {
        return Err(error(405, "invalid_request", "the token endpoint takes POST only"));
    }
    if call.content_type() != "application/x-www-form-urlencoded" {
        return Err(error(400, "invalid_request", "the body has to be application/x-www-form-urlencoded"));
    }
    let bytes = call.bytes().await.map_err(|text| error(400, "invalid_request", &text))?;
    let form = http::form(&String::from_utf8_lossy(&bytes));
    let mut names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(error(400, "invalid_request", "a parameter is there twice"));
    }
    let client = Client::of(app, server);
    let basic = match call.header("authorization") {
        Some(header) => Some(basic(header).ok_or_else(|| error(401, "invalid_client", "the header is not Basic"))?),
        None => None,
    };
    if basic.is_some() && find(&form, "client_secret").is_some() {
        return Err(error(400, "invalid_request", "the client authenticates in two ways at once"));
    }
    let (id, secret) = basic.unwrap_or_else(|| {
        let field = |name| find(&form, name).unwrap_or_default().to_owned();
        (field("client_id"), field("client_secret"))
    });
    if id != client.id || secret != client.secret || find(&form, "client_id").is_some_and(|other| other != id) {
        return Err(error(401, "invalid_client", "the client is not known or its secret is wrong"));
    }
    Ok(form)
}

fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, text) = header.split_once(' ')?;
    let bytes = scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(text.trim()).ok())??;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |part: &str| http::form(&format!("x={part}")).pop().map(|(_, value)| value);
    Some((decoded(id)?, decoded(secret)?))
}

/// Checks the scopes of a MediaValet sign-in: known ones, and `openid` and `api` among them.
pub(crate) fn scopes(text: &str) -> Result<(), String> {
    let asked: Vec<&str> = text.split_ascii_whitespace().collect();
    if let Some(unknown) = asked.iter().find(|scope| !KNOWN_SCOPES.contains(scope)) {
        return Err(format!("the scope {unknown} is not known"));
    }
    if ["openid", "api"].iter().all(|needed| asked.contains(needed)) {
        Ok(())
    } else {
        Err("the scopes openid and api are needed".to_owned())
    }
}

fn has(scope: &str, name: &str) -> bool {
    scope.split_ascii_whitespace().any(|part| part == name)
}

/// What an answer carries beside the access token.
enum Beside {
    Nothing,
    /// Mediaflow's habit: the member is there and empty.
    Blank,
    New,
}

fn answer(app: &App, world: &mut World, grant: &Grant, beside: Beside, nonce: Option<&str>) -> Answer {
    let lifetime = app.options.token_lifetime;
    let milliseconds = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
    let mut body = json!({
        "access_token": world.issue_access(grant, milliseconds),
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
    });
    match beside {
        Beside::Nothing => {}
        Beside::Blank => body["refresh_token"] = "".into(),
        Beside::New => body["refresh_token"] = world.issue_refresh(grant).into(),
    }
    if grant.server == Server::Mediavalet {
        body["scope"] = grant.scope.as_str().into();
        if has(&grant.scope, "openid") {
            body["id_token"] = id_token(app, grant, nonce).into();
        }
    }
    let mut response = http::json(200, &body);
    http::set(&mut response, "cache-control", "no-store");
    response
}

/// An identity token without a signature: the sandbox has no key, and its discovery document says so.
fn id_token(app: &App, grant: &Grant, nonce: Option<&str>) -> String {
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let now = crate::state::now() / 1000;
    let mut claims = json!({
        "iss": format!("{}/mediavalet-login", app.base),
        "sub": grant.user,
        "aud": app.credentials.mediavalet.client_id,
        "iat": now,
        "exp": now + 300,
    });
    if let Some(nonce) = nonce {
        claims["nonce"] = nonce.into();
    }
    format!("{}.{}.", part(json!({ "alg": "none", "typ": "JWT" })), part(claims))
}

fn offline(server: Server, scope: &str) -> Beside {
    match server {
        Server::Mediavalet if !has(scope, "offline_access") => Beside::Nothing,
        _ => Beside::New,
    }
}

fn by_code(app: &App, server: Server, form: &Form) -> Answer {
    let (Some(code), Some(redirect_uri)) = (find(form, "code"), find(form, "redirect_uri")) else {
        return error(400, "invalid_request", "code and redirect_uri are needed");
    };
    app.state.with(|world| {
        let code = match world.use_code(server, code) {
            Ok(code) => code,
            Err(text) => return error(400, "invalid_grant", text),
        };
        if code.redirect_uri != redirect_uri {
            return error(400, "invalid_grant", "the redirect_uri is not the one of the sign-in");
        }
        if !proves(code.challenge.as_ref(), find(form, "code_verifier")) {
            return error(400, "invalid_grant", "the code_verifier does not fit the code_challenge");
        }
        let grant = Grant { server, user: code.user, scope: code.scope, family: code.family };
        let beside = offline(server, &grant.scope);
        answer(app, world, &grant, beside, code.nonce.as_deref())
    })
}

fn proves(challenge: Option<&(String, String)>, verifier: Option<&str>) -> bool {
    match (challenge, verifier) {
        (None, verifier) => verifier.is_none(),
        (Some(_), None) => false,
        (Some((challenge, method)), Some(verifier)) if method == "S256" => {
            (43..=128).contains(&verifier.len())
                && BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == challenge.as_str()
        }
        (Some((challenge, _)), Some(verifier)) => challenge == verifier,
    }
}

fn by_refresh(app: &App, server: Server, form: &Form) -> Answer {
    let Some(token) = find(form, "refresh_token") else {
        return error(400, "invalid_request", "the refresh_token is missing");
    };
    let Options { refresh_policy, .. } = app.options;
    let policy = if server == Server::Mediaflow { RefreshPolicy::Reuse } else { refresh_policy };
    app.state.with(|world| {
        if server == Server::Mediavalet
            && let Some(scope) = find(form, "scope")
            && let Some(known) = world.refresh.get(token)
            && !scope.split_ascii_whitespace().all(|part| has(&known.scope, part))
        {
            return error(400, "invalid_scope", "the refresh token was not given that scope");
        }
        let grant = match world.use_refresh(server, token, policy) {
            Ok(grant) => grant,
            Err(text) => return error(400, "invalid_grant", text),
        };
        let first = (grant.family == SERVER_KEY_FAMILY).then(|| SERVER_KEY_FAMILY.to_owned());
        world.record(Event::Answered(first));
        let beside = if server == Server::Mediaflow { Beside::Blank } else { Beside::New };
        answer(app, world, &grant, beside, None)
    })
}

fn by_password(app: &App, server: Server, form: &Form) -> Answer {
    let (Some(user), Some(password)) = (find(form, "username"), find(form, "password")) else {
        return error(400, "invalid_request", "username and password are needed");
    };
    let scope = find(form, "scope").unwrap_or_default();
    if server == Server::Mediavalet
        && let Err(text) = scopes(scope)
    {
        return error(400, "invalid_scope", &text);
    }
    if !Client::of(app, server).users.iter().any(|(name, secret)| name == user && secret == password) {
        return error(400, "invalid_grant", "invalid_username_or_password");
    }
    let grant = Grant { server, user: user.to_owned(), scope: scope.to_owned(), family: random() };
    app.state.with(|world| {
        world.record(Event::Answered(Some(format!("{server:?} password {user}"))));
        let beside = offline(server, &grant.scope);
        answer(app, world, &grant, beside, None)
    })
}

/// MediaValet's service principal: no user, so neither an identity nor a refresh token.
fn by_client(app: &App, form: &Form) -> Answer {
    let asked = find(form, "scope").unwrap_or("api");
    if let Some(unknown) = asked.split_ascii_whitespace().find(|scope| !KNOWN_SCOPES.contains(scope)) {
        return error(400, "invalid_scope", &format!("the scope {unknown} is not known"));
    }
    if !has(asked, "api") && !has(asked, "api:service_principal") {
        return error(400, "invalid_scope", "the scope api is needed");
    }
    let kept: Vec<&str> = asked.split_ascii_whitespace().filter(|scope| scope.starts_with("api")).collect();
    let user = app.credentials.mediavalet.client_id.clone();
    let grant = Grant { server: Server::Mediavalet, user, scope: kept.join(" "), family: random() };
    app.state.with(|world| {
        world.record(Event::Answered(Some("Mediavalet client_credentials".to_owned())));
        answer(app, world, &grant, Beside::Nothing, None)
    })
}
