//! The token endpoints of both login servers (RFC 6749).
//!
//! Errors have the codes of RFC 6749, section 5.2: `invalid_client` has status 401, all others 400. A request with a
//! secret in its query is rejected even if it is correct otherwise.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::http::request_log::GrantType;
use crate::http::{self, Call, HttpResponse, find};
use crate::state::{Event, Grant, LoginServer, RefreshToken, State, random};
use crate::{Credentials, Options, RefreshPolicy};

/// The family of the tokens that Mediaflow's server key is exchanged for. No sign-in issued that key.
const SERVER_KEY_FAMILY: &str = "mediaflow-server-key";

/// The scopes that MediaValet's login server knows.
const KNOWN_SCOPES: [&str; 4] = ["openid", "api", "offline_access", "api:service_principal"];

type Form = Vec<(String, String)>;

/// The only client of a login server, with the names and passwords of its users.
pub(crate) struct Client {
    pub id: String,
    pub secret: String,
    pub users: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn of(app: &App, server: LoginServer) -> Client {
        let (flow, valet) = (&app.credentials.mediaflow, &app.credentials.mediavalet);
        let pair = |user: &String, password: &String| (user.clone(), password.clone());
        match server {
            LoginServer::Mediaflow => Client {
                id: flow.client_id.clone(),
                secret: flow.client_secret.clone(),
                users: vec![pair(&flow.username, &flow.password)],
            },
            LoginServer::Mediavalet => Client {
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

/// Returns the event that creates the refresh token ("server key") that a customer gets from Mediaflow's support.
pub(crate) fn server_key(credentials: &Credentials) -> Event {
    Event::Refresh(RefreshToken {
        token: credentials.mediaflow.refresh_token.clone(),
        grant: Grant {
            server: LoginServer::Mediaflow,
            user: credentials.mediaflow.username.clone(),
            scope: String::new(),
            family: SERVER_KEY_FAMILY.to_owned(),
        },
        used: None,
    })
}

/// Returns an error response (RFC 6749, section 5.2).
pub(crate) fn error(status: u16, code: &str, text: &str) -> HttpResponse {
    let mut response = http::json(status, &json!({ "error": code, "error_description": text }));
    http::set(&mut response, "cache-control", "no-store");
    if status == 401 {
        http::set(&mut response, "www-authenticate", "Basic realm=\"sandbox\"");
    }
    response
}

/// Serves a token request.
pub(crate) async fn serve(app: &App, server: LoginServer, call: &mut Call) -> HttpResponse {
    let form = match authenticated_form(app, server, call).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let grant_type = find(&form, "grant_type").unwrap_or_default();
    let mut response = match grant_type {
        "" => error(400, "invalid_request", "the grant_type is missing"),
        "authorization_code" => code_grant(app, server, &form),
        "refresh_token" => refresh_grant(app, server, &form),
        "password" => password_grant(app, server, &form),
        "client_credentials" if server == LoginServer::Mediavalet => client_grant(app, &form),
        _ => error(400, "unsupported_grant_type", "this grant is not offered here"),
    };
    response.extensions_mut().insert(GrantType(grant_type.to_owned()));
    response
}

/// Reads the form of a request to a token or revocation endpoint, and authenticates its client. The error is the
/// response to send.
pub(crate) async fn authenticated_form(app: &App, server: LoginServer, call: &mut Call) -> Result<Form, HttpResponse> {
    let secrets = ["client_secret", "password", "refresh_token", "code", "token", "code_verifier"];
    if secrets.iter().any(|name| call.query(name).is_some()) {
        return Err(error(400, "invalid_request", "a secret in the query is not accepted; send it in the form body"));
    }
    if call.method != axum::http::Method::POST {
        return Err(error(405, "invalid_request", "the token endpoint accepts POST only"));
    }
    if call.content_type() != "application/x-www-form-urlencoded" {
        return Err(error(400, "invalid_request", "the body has to be application/x-www-form-urlencoded"));
    }
    let bytes = call.bytes().await.map_err(|text| error(400, "invalid_request", &text))?;
    let form = http::form(&String::from_utf8_lossy(&bytes));
    let mut names: Vec<&str> = form.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(error(400, "invalid_request", "a parameter is repeated"));
    }
    let client = Client::of(app, server);
    let basic = match call.header("authorization") {
        Some(header) => Some(basic(header).ok_or_else(|| {
            error(401, "invalid_client", "the Authorization header is not valid Basic authentication")
        })?),
        None => None,
    };
    if basic.is_some() && find(&form, "client_secret").is_some() {
        return Err(error(400, "invalid_request", "the client uses two authentication methods in one request"));
    }
    let (id, secret) = basic.unwrap_or_else(|| {
        let field = |name| find(&form, name).unwrap_or_default().to_owned();
        (field("client_id"), field("client_secret"))
    });
    if id != client.id || secret != client.secret || find(&form, "client_id").is_some_and(|other| other != id) {
        return Err(error(401, "invalid_client", "unknown client, or wrong client secret"));
    }
    Ok(form)
}

/// Parses a Basic `Authorization` header into client id and secret (RFC 6749, section 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, text) = header.split_once(' ')?;
    let bytes = scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(text.trim()).ok())??;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |part: &str| http::form(&format!("x={part}")).pop().map(|(_, value)| value);
    Some((decoded(id)?, decoded(secret)?))
}

/// Checks the scopes of a MediaValet sign-in: all are known, and `openid` and `api` are among them. The error is a
/// sentence for the response.
pub(crate) fn check_scopes(text: &str) -> Result<(), String> {
    let requested: Vec<&str> = text.split_ascii_whitespace().collect();
    if let Some(unknown) = requested.iter().find(|scope| !KNOWN_SCOPES.contains(scope)) {
        return Err(format!("the scope {unknown} is not known"));
    }
    if ["openid", "api"].iter().all(|needed| requested.contains(needed)) {
        Ok(())
    } else {
        Err("the scopes openid and api are required".to_owned())
    }
}

fn contains_scope(scope: &str, name: &str) -> bool {
    scope.split_ascii_whitespace().any(|part| part == name)
}

/// The member `refresh_token` of a token response.
enum RefreshTokenMember {
    /// The response has no such member.
    Absent,
    /// The member is an empty string, as in Mediaflow's responses.
    Empty,
    /// The member is a new refresh token.
    New,
}

/// Issues an access token for the grant and returns the response (RFC 6749, section 5.1).
fn token_response(
    app: &App,
    state: &mut State,
    grant: &Grant,
    refresh_token: RefreshTokenMember,
    nonce: Option<&str>,
) -> HttpResponse {
    let lifetime = app.options.token_lifetime;
    let milliseconds = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
    let mut body = json!({
        "access_token": state.issue_access_token(grant, milliseconds),
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
    });
    match refresh_token {
        RefreshTokenMember::Absent => {}
        RefreshTokenMember::Empty => body["refresh_token"] = "".into(),
        RefreshTokenMember::New => body["refresh_token"] = state.issue_refresh_token(grant).into(),
    }
    if grant.server == LoginServer::Mediavalet {
        body["scope"] = grant.scope.as_str().into();
        if contains_scope(&grant.scope, "openid") {
            body["id_token"] = id_token(app, grant, nonce).into();
        }
    }
    let mut response = http::json(200, &body);
    http::set(&mut response, "cache-control", "no-store");
    response
}

/// Returns an ID token without a signature. The sandbox has no signing key, as its discovery document says.
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

/// Returns whether the first token response of a sign-in has a refresh token.
fn first_refresh_token(server: LoginServer, scope: &str) -> RefreshTokenMember {
    match server {
        LoginServer::Mediavalet if !contains_scope(scope, "offline_access") => RefreshTokenMember::Absent,
        _ => RefreshTokenMember::New,
    }
}

/// The authorization code grant (RFC 6749, section 4.1.3).
fn code_grant(app: &App, server: LoginServer, form: &Form) -> HttpResponse {
    let (Some(code), Some(redirect_uri)) = (find(form, "code"), find(form, "redirect_uri")) else {
        return error(400, "invalid_request", "code and redirect_uri are required");
    };
    app.state.with(|state| {
        let code = match state.redeem_code(server, code) {
            Ok(code) => code,
            Err(text) => return error(400, "invalid_grant", text),
        };
        if code.redirect_uri != redirect_uri {
            return error(400, "invalid_grant", "the redirect_uri differs from the one of the sign-in");
        }
        if !verifier_matches(code.challenge.as_ref(), find(form, "code_verifier")) {
            return error(400, "invalid_grant", "the code_verifier does not match the code_challenge");
        }
        let refresh_token = first_refresh_token(server, &code.grant.scope);
        token_response(app, state, &code.grant, refresh_token, code.nonce.as_deref())
    })
}

/// Returns whether the PKCE verifier matches the challenge of the sign-in (RFC 7636, section 4.6).
fn verifier_matches(challenge: Option<&(String, String)>, verifier: Option<&str>) -> bool {
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

/// The refresh token grant (RFC 6749, section 6).
fn refresh_grant(app: &App, server: LoginServer, form: &Form) -> HttpResponse {
    let Some(token) = find(form, "refresh_token") else {
        return error(400, "invalid_request", "the refresh_token is missing");
    };
    let Options { refresh_policy, .. } = app.options;
    let policy = if server == LoginServer::Mediaflow { RefreshPolicy::Reuse } else { refresh_policy };
    app.state.with(|state| {
        if server == LoginServer::Mediavalet
            && let Some(scope) = find(form, "scope")
            && let Some(known) = state.refresh.get(token)
            && !scope.split_ascii_whitespace().all(|part| contains_scope(&known.grant.scope, part))
        {
            return error(400, "invalid_scope", "the scope exceeds that of the refresh token");
        }
        let grant = match state.use_refresh_token(server, token, policy) {
            Ok(grant) => grant,
            Err(text) => return error(400, "invalid_grant", text),
        };
        let first_use = (grant.family == SERVER_KEY_FAMILY).then(|| SERVER_KEY_FAMILY.to_owned());
        state.record(Event::TokenResponse(first_use));
        let refresh_token =
            if server == LoginServer::Mediaflow { RefreshTokenMember::Empty } else { RefreshTokenMember::New };
        token_response(app, state, &grant, refresh_token, None)
    })
}

/// The password grant (RFC 6749, section 4.3).
fn password_grant(app: &App, server: LoginServer, form: &Form) -> HttpResponse {
    let (Some(user), Some(password)) = (find(form, "username"), find(form, "password")) else {
        return error(400, "invalid_request", "username and password are required");
    };
    let scope = find(form, "scope").unwrap_or_default();
    if server == LoginServer::Mediavalet
        && let Err(text) = check_scopes(scope)
    {
        return error(400, "invalid_scope", &text);
    }
    if !Client::of(app, server).users.iter().any(|(name, secret)| name == user && secret == password) {
        return error(400, "invalid_grant", "invalid_username_or_password");
    }
    let grant = Grant { server, user: user.to_owned(), scope: scope.to_owned(), family: random() };
    app.state.with(|state| {
        state.record(Event::TokenResponse(Some(format!("{server:?} password {user}"))));
        let refresh_token = first_refresh_token(server, &grant.scope);
        token_response(app, state, &grant, refresh_token, None)
    })
}

/// The client credentials grant of MediaValet's service principal (RFC 6749, section 4.4). There is no user, so the
/// response has neither an ID token nor a refresh token.
fn client_grant(app: &App, form: &Form) -> HttpResponse {
    let requested = find(form, "scope").unwrap_or("api");
    if let Some(unknown) = requested.split_ascii_whitespace().find(|scope| !KNOWN_SCOPES.contains(scope)) {
        return error(400, "invalid_scope", &format!("the scope {unknown} is not known"));
    }
    if !contains_scope(requested, "api") && !contains_scope(requested, "api:service_principal") {
        return error(400, "invalid_scope", "the scope api is required");
    }
    let granted: Vec<&str> = requested.split_ascii_whitespace().filter(|scope| scope.starts_with("api")).collect();
    let user = app.credentials.mediavalet.client_id.clone();
    let grant = Grant { server: LoginServer::Mediavalet, user, scope: granted.join(" "), family: random() };
    app.state.with(|state| {
        state.record(Event::TokenResponse(Some("Mediavalet client_credentials".to_owned())));
        token_response(app, state, &grant, RefreshTokenMember::Absent, None)
    })
}
