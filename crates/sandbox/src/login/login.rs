//! The other pages of both login servers: sign-in and its redirect (RFC 6749, section 4.1), OpenID Connect discovery,
//! user info, and revocation (RFC 7009). The token endpoints are in [`token_endpoint`].

use serde_json::json;

use super::token_endpoint::{self, Client, check_scopes};
use crate::app::App;
use crate::http::{self, Call, HttpResponse, Service};
use crate::state::{AuthorizationCode, CODE_LIFETIME, Event, Grant, LoginServer, now, random};

/// The path of the only registered redirect URI. Any port of 127.0.0.1 is allowed (RFC 8252, section 7.3).
const CALLBACK: &str = "/rest/v1/oauth2/callback";

/// Serves a login server.
pub(crate) async fn serve(app: &App, service: Service, mut call: Call) -> HttpResponse {
    let server = if service == Service::MediaflowLogin { LoginServer::Mediaflow } else { LoginServer::Mediavalet };
    let (method, path) = call.route();
    match (server, method, path.as_slice()) {
        (LoginServer::Mediaflow, "GET", ["authorize"]) | (LoginServer::Mediavalet, "GET", ["connect", "authorize"]) => {
            authorize(app, server, &call)
        }
        (LoginServer::Mediaflow, _, ["1", "oauth2", "token"] | ["oauth2", "token"])
        | (LoginServer::Mediavalet, _, ["connect", "token"]) => token_endpoint::serve(app, server, &mut call).await,
        (LoginServer::Mediavalet, "GET", [".well-known", "openid-configuration"]) => http::json(200, &discovery(app)),
        (LoginServer::Mediavalet, "GET", [".well-known", "openid-configuration", "jwks"]) => {
            http::json(200, &json!({ "keys": [] }))
        }
        (LoginServer::Mediavalet, "GET" | "POST", ["connect", "userinfo"]) => userinfo(app, &call),
        (LoginServer::Mediavalet, "POST", ["connect", "revocation"]) => revoke(app, &mut call).await,
        _ => http::empty(404),
    }
}

fn discovery(app: &App) -> serde_json::Value {
    let issuer = format!("{}/mediavalet-login", app.base);
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/openid-configuration/jwks"),
        "authorization_endpoint": format!("{issuer}/connect/authorize"),
        "token_endpoint": format!("{issuer}/connect/token"),
        "userinfo_endpoint": format!("{issuer}/connect/userinfo"),
        "revocation_endpoint": format!("{issuer}/connect/revocation"),
        "scopes_supported": ["openid", "api", "offline_access", "api:service_principal"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token", "password"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["none"],
        "authorization_response_iss_parameter_supported": true,
    })
}

fn userinfo(app: &App, call: &Call) -> HttpResponse {
    let access = call
        .bearer()
        .and_then(|token| app.state.with(|state| state.valid_access_token(LoginServer::Mediavalet, token)));
    match access {
        Some(access) => http::json(
            200,
            &json!({ "sub": access.user, "UserName": access.user, "Email": access.user, "email": access.user }),
        ),
        None => {
            let mut response = http::empty(401);
            http::set(&mut response, "www-authenticate", "Bearer error=\"invalid_token\"");
            response
        }
    }
}

async fn revoke(app: &App, call: &mut Call) -> HttpResponse {
    let form = match token_endpoint::authenticated_form(app, LoginServer::Mediavalet, call).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let Some(token) = http::find(&form, "token") else {
        return token_endpoint::error(400, "invalid_request", "the token is missing");
    };
    app.state.with(|state| {
        let family = state.refresh.get(token).filter(|refresh| refresh.grant.server == LoginServer::Mediavalet);
        if let Some(family) = family.map(|refresh| refresh.grant.family.clone()) {
            state.record(Event::RevokeFamily(family));
        }
        if state.access.contains_key(token) {
            state.record(Event::RevokeAccess(token.to_owned()));
        }
    });
    http::empty(200)
}

fn authorize(app: &App, server: LoginServer, call: &Call) -> HttpResponse {
    let client = Client::of(app, server);
    if call.query("client_id") != Some(client.id.as_str()) {
        return page(400, "Unknown client", "<p>The client_id is missing or unknown.</p>");
    }
    let redirect_uri = match call.query("redirect_uri") {
        Some(uri) if is_registered(uri) => uri,
        _ => {
            let text =
                format!("<p>The redirect_uri is not registered. Registered: http://127.0.0.1:PORT{CALLBACK}</p>");
            return page(400, "Redirect URI rejected", &text);
        }
    };
    if call.query("response_type") != Some("code") {
        return redirect(redirect_uri, &[("error", "unsupported_response_type")], call);
    }
    let scope = call.query("scope").unwrap_or_default();
    if server == LoginServer::Mediavalet
        && let Err(reason) = check_scopes(scope)
    {
        return redirect(redirect_uri, &[("error", "invalid_scope"), ("error_description", &reason)], call);
    }
    let method = call.query("code_challenge_method").unwrap_or("plain");
    let challenge = call.query("code_challenge").map(|text| (text.to_owned(), method.to_owned()));
    if challenge.is_some() && !matches!(method, "plain" | "S256") {
        let text = "the code_challenge_method has to be plain or S256";
        return redirect(redirect_uri, &[("error", "invalid_request"), ("error_description", text)], call);
    }
    if call.query("approve") != Some("1") {
        return approval_page(call);
    }
    let user = match call.query("login_hint") {
        Some(hint) if client.users.iter().any(|(name, _)| name == hint) => hint,
        _ => &client.users[0].0,
    };
    let code = AuthorizationCode {
        code: format!("code-{}", random()),
        grant: Grant { server, user: user.to_owned(), scope: scope.to_owned(), family: random() },
        redirect_uri: redirect_uri.to_owned(),
        challenge,
        nonce: call.query("nonce").map(str::to_owned),
        expires: now() + CODE_LIFETIME,
        used: false,
    };
    let text = code.code.clone();
    app.state.with(|state| state.record(Event::Code(code)));
    let issuer = format!("{}/mediavalet-login", app.base);
    let session = random();
    match server {
        LoginServer::Mediaflow => redirect(redirect_uri, &[("code", &text)], call),
        LoginServer::Mediavalet => {
            let pairs = [("code", text.as_str()), ("scope", scope), ("session_state", &session), ("iss", &issuer)];
            redirect(redirect_uri, &pairs, call)
        }
    }
}

/// Returns whether the URI is exactly `http://127.0.0.1:PORT/rest/v1/oauth2/callback`.
fn is_registered(uri: &str) -> bool {
    let port = uri.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix(CALLBACK));
    port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// Redirects the browser to the redirect URI, with `pairs` and the `state` of the request in the query.
fn redirect(redirect_uri: &str, pairs: &[(&str, &str)], call: &Call) -> HttpResponse {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    if let Some(state) = call.query("state") {
        query.append_pair("state", state);
    }
    let mut response = http::empty(302);
    http::set(&mut response, "location", &format!("{redirect_uri}?{}", query.finish()));
    http::set(&mut response, "cache-control", "no-store");
    response
}

/// Returns the page that asks the user to approve the sign-in. Its form repeats the parameters of the request.
fn approval_page(call: &Call) -> HttpResponse {
    let fields: String = call
        .query
        .iter()
        .map(|(name, value)| format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", escape(name), escape(value)))
        .collect();
    let body = format!(
        "<p>An application requests access to this sandbox on your behalf.</p>\
         <form method=\"get\">{fields}<input type=\"hidden\" name=\"approve\" value=\"1\">\
         <button type=\"submit\">Approve</button></form>"
    );
    page(200, "Sign in to the sandbox", &body)
}

fn page(status: u16, title: &str, body: &str) -> HttpResponse {
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>{body}</html>"
    );
    http::html(status, text)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
