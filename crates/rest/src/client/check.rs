//! The check of a connection, in stages: name, TCP and TLS of every host that it needs, a token, the discovery document
//! of the login server, and last a harmless call. Each failure names the setting to look at.
//!
//! The idea: a failed call alone does not show which of ten settings is wrong, but the first stage that fails does.
//! Credentials are used as in every call: a check uses a valid token that the connection already has and does not ask
//! for another one.

use std::{cmp::Ordering, future::Future};

use bytes::Bytes;
use futures::{TryFutureExt, future::join_all};
use http::Method;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use trunkline_core::{
    CheckReport, ConnectStage, Connections, Context, Diagnostic, Effect, Error, ErrorDetail, ErrorKind, OAuthErrorCode,
    Retry, Severity, StageOutcome, TextPlaces,
};
use url::{Position, Url};

use super::{auth::Signer, handle::Client};
use crate::{
    oauth::{Grant, OAuth, Token, Tokens, discover_over},
    table::{Call, ExpectedBody, Target, Verb},
    transport::{self, Body, Failure, HttpRequest, RawResponse, url_policy},
};

const ENDPOINT: &str = "/endpointUrl";
const TOKEN: &str = "/tokenUrl";
const AUTHORIZATION: &str = "/authorizationUrl";

/// A host of the connection, and the settings that name it.
struct Host<'a> {
    url: &'a Url,
    settings: Vec<&'static str>,
}

impl Client {
    /// Checks the connection in stages, of which the last one calls a harmless `operation` with this `input`. Returns
    /// the outcome of each stage, and a finding with its setting for each failure.
    pub async fn check(&self, operation: &str, input: Value) -> CheckReport {
        let cx = self.check_context();
        let call = async { self.call(operation, input, &cx).await.err() };
        self.stages(operation, ENDPOINT, call).await
    }

    /// Checks the connection as [`Client::check`] does; the last stage reads the path of
    /// [`ClientBuilder::check_path`](crate::ClientBuilder::check_path). Any response with a successful status will do.
    pub async fn check_path(&self) -> CheckReport {
        let (path, setting) = (&self.0.check_path, "/checkPath");
        let route = format!("GET {path}");
        let call = async {
            let call = Call {
                name: "check",
                route: &route,
                effect: Effect::Read,
                expects: ExpectedBody::Bytes,
                ends: &[],
                inputs: &[],
                texts: &TextPlaces::default(),
            };
            match Target::path(path).request(&self.0.base, &self.0.headers, Verb::Get, Body::Bytes(Bytes::new())) {
                Ok(request) => self.execute(&call, request, &self.check_context()).await.err(),
                Err(error) => Some(error.setting(setting)),
            }
        };
        self.stages(&route, setting, call).await
    }

    /// Returns a token. A refusal that may be a hiccup is checked once more, so that the check has a result.
    async fn check_token(&self, tokens: &Tokens, host: &str) -> Result<Token, Error> {
        // A response that comes later than this is still awaited, but not by the check.
        let time = self.0.limits.attempt;
        let ask = || async {
            let asked = timeout(time, tokens.end_backoff().and_then(|()| tokens.access())).await;
            asked.unwrap_or_else(|_| Err(transport::timed_out(host, time)))
        };
        match ask().await {
            Err(error) if is_unconfirmed(&error) => {
                sleep(self.0.limits.confirm).await;
                ask().await
            }
            asked => asked,
        }
    }

    fn check_context(&self) -> Context {
        Context::new("check", &self.0.connection, Connections::default()).with_timeout(self.0.limits.attempt)
    }

    /// Runs all stages; `call` is the last one. `not_found` is the setting to look at if the service does not have what
    /// it calls.
    async fn stages(
        &self,
        name: &str,
        not_found: &'static str,
        call: impl Future<Output = Option<Error>> + Send,
    ) -> CheckReport {
        let mut report = CheckReport::default();
        let unreachable = self.check_hosts(&mut report).await;
        let mut blocked = unreachable.contains(&ENDPOINT);
        let mut scopes_missing = false;
        if let Signer::Tokens(tokens) = &self.0.signer {
            let (oauth, issuer) = (&tokens.endpoint().oauth, &tokens.endpoint().issuer);
            let host = url_policy::host(&oauth.token_url);
            if unreachable.contains(&TOKEN) {
                report.stage("token", host, StageOutcome::Skipped);
                blocked = true;
            } else {
                match self.check_token(tokens, &host).await {
                    Ok(token) => {
                        report.stage("token", host, StageOutcome::Ok);
                        let missing = token.missing_scopes(&oauth.scopes);
                        scopes_missing = !missing.is_empty();
                        report.findings.extend(scopes_missing.then(|| not_granted(&missing)));
                    }
                    Err(error) => {
                        let down = error.kind() == ErrorKind::Unavailable;
                        let error = if down { transport::at_setting(error, TOKEN) } else { error };
                        report.failed("token", host, &error);
                        if is_invalid_client(&error) && !unreachable.contains(&AUTHORIZATION) {
                            self.check_client_id(oauth, &mut report).await;
                        }
                        blocked = true;
                    }
                }
            }
            if let Some(issuer) = issuer {
                self.check_issuer(issuer, &oauth.token_url, &mut report).await;
            }
        }
        let target = format!("{name} at {}", url_policy::host(&self.0.base));
        if blocked {
            report.stage("call", target, StageOutcome::Skipped);
            return report;
        }
        match call.await {
            None => report.stage("call", target, StageOutcome::Ok),
            Some(error) => report.failed("call", target, &self.name_setting(error, not_found, scopes_missing)),
        }
        report
    }

    /// Checks name, TCP and TLS of all hosts. Returns the settings whose host cannot be reached.
    async fn check_hosts(&self, report: &mut CheckReport) -> Vec<&'static str> {
        let mut urls = vec![(ENDPOINT, &self.0.base)];
        if let Signer::Tokens(tokens) = &self.0.signer {
            let oauth = &tokens.endpoint().oauth;
            urls.push((TOKEN, &oauth.token_url));
            if let (Grant::AuthorizationCode, Some(url)) = (&oauth.grant, &oauth.authorization_url) {
                urls.push((AUTHORIZATION, url));
            }
        }
        let mut hosts: Vec<Host<'_>> = Vec::new();
        for (setting, url) in urls {
            match hosts.iter_mut().find(|known| url_policy::same_origin(known.url, url)) {
                Some(known) => known.settings.push(setting),
                None => hosts.push(Host { url, settings: vec![setting] }),
            }
        }
        let mut unreachable = Vec::new();
        let probed = join_all(hosts.iter().map(|host| self.probe(host.url))).await;
        for (host, error) in hosts.into_iter().zip(probed) {
            let (name, tls) = (host.url.domain().is_some(), host.url.scheme() == "https");
            let at_proxy = error.as_ref().and_then(failed_at) == Some(ConnectStage::Proxy.as_str());
            let stages = [at_proxy.then_some("proxy"), name.then_some("name"), Some("tcp"), tls.then_some("tls")];
            let stages: Vec<_> = stages.into_iter().flatten().collect();
            let failed = error.as_ref().map(|error| {
                let named = stages.iter().position(|stage| failed_at(error) == Some(stage));
                named.unwrap_or(stages.len() - 1)
            });
            for (at, stage) in stages.into_iter().enumerate() {
                let outcome = match failed.map(|failed| at.cmp(&failed)) {
                    None | Some(Ordering::Less) => StageOutcome::Ok,
                    Some(Ordering::Equal) => StageOutcome::Failed,
                    Some(Ordering::Greater) => StageOutcome::Skipped,
                };
                report.stage(stage, url_policy::host(host.url), outcome);
            }
            let Some(error) = error else { continue };
            for setting in host.settings {
                let pointer = if at_proxy { String::new() } else { setting.to_owned() };
                let found = Diagnostic { pointer, ..Diagnostic::from(&error) };
                // Only the browser uses this URL, and it may reach hosts that this machine does not.
                let severity = if setting == AUTHORIZATION { Severity::Warning } else { Severity::Error };
                report.findings.push(Diagnostic { severity, ..found });
                unreachable.push(setting);
            }
        }
        unreachable
    }

    /// Connects to this host. Returns the error if no connection is possible. The response does not matter, nor does a
    /// missing one.
    async fn probe(&self, url: &Url) -> Option<Error> {
        let root = Url::parse(&url[..Position::BeforePath]).ok()?;
        let sent = self.request(Method::HEAD, root).await;
        sent.err().filter(|failure| failure.refused).map(|failure| failure.error)
    }

    /// Sends one request without credentials.
    async fn request(&self, method: Method, url: Url) -> Result<RawResponse, Failure> {
        // The client is built without this check of the authorization URL, because only the browser uses it.
        self.0.guard.check("URL", &url).map_err(Failure::refused)?;
        let time = self.0.limits.attempt.min(transport::CONNECT * 2);
        let request = HttpRequest::new(method, url);
        transport::exchange(&self.0.http, request, Bytes::new().into(), time, self.0.limits.answer).await
    }

    /// Checks whether the login server knows the client ID, after it refused the client. A token endpoint seldom says
    /// whether the ID or the secret is wrong. The authorization page takes the client ID alone, so its error response
    /// may say.
    async fn check_client_id(&self, oauth: &OAuth, report: &mut CheckReport) {
        let Some(mut url) = oauth.authorization_url.clone() else { return };
        // Another server is asked only if the connection needs it.
        let allowed =
            url_policy::same_origin(&url, &oauth.token_url) || matches!(oauth.grant, Grant::AuthorizationCode);
        if !allowed {
            return;
        }
        url.query_pairs_mut().append_pair("response_type", "code").append_pair("client_id", &oauth.client_id);
        let Some(reply) = self.request(Method::GET, url).await.ok().filter(|reply| reply.status.is_client_error())
        else {
            return;
        };
        let text = String::from_utf8_lossy(&reply.body).to_lowercase();
        let unknown = ["invalid_client", "unknown client", "client not found", "no such client", "client is invalid"];
        if let Some(found) = report.findings.last_mut().filter(|_| unknown.iter().any(|words| text.contains(words))) {
            found.pointer = "/clientId".to_owned();
            found.message += "; its authorization page does not know the client ID";
            found.next = vec!["copy the client ID again; it must be registered at this login server".into()];
        }
    }

    async fn check_issuer(&self, issuer: &str, token_url: &Url, report: &mut CheckReport) {
        let host = Url::parse(issuer).map_or_else(|_| issuer.to_owned(), |url| url_policy::host(&url));
        match discover_over(&self.0.http, &self.0.guard, issuer).await {
            Err(error) => report.failed("discovery", host, &error.setting("/issuer")),
            Ok(found) => {
                report.stage("discovery", host, StageOutcome::Ok);
                if found.token_url != *token_url {
                    let message = format!("the login server {issuer} issues its tokens at {}", found.token_url);
                    let found = Diagnostic::warning("/issuer", format!("{message}, not at {token_url}"));
                    report
                        .findings
                        .push(found.hint("compare issuer and token URL: they must belong to the same login server"));
                }
            }
        }
    }

    /// Adds the setting to look at when the harmless call fails, and what to do there.
    fn name_setting(&self, error: Error, not_found: &'static str, scopes_missing: bool) -> Error {
        if error.setting_pointer().is_some() {
            return error;
        }
        match (error.kind(), &self.0.signer) {
            (ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::Unexpected, _) => {
                let hint = match not_found {
                    ENDPOINT => "compare the endpoint URL, path included, with the vendor's documentation",
                    _ => "choose a path that this service has and that is harmless to read",
                };
                error.setting(not_found).hint(hint)
            }
            (ErrorKind::Unavailable, _) => transport::at_setting(error, ENDPOINT),
            (ErrorKind::Auth, Signer::Fixed { setting: Some(setting), .. }) => error.setting(*setting),
            (ErrorKind::Auth, Signer::Tokens(_)) => {
                let error = if scopes_missing { error.setting("/scopes") } else { error };
                error.hint(
                    "the API does not accept the token of the login server: endpoint URL, token URL and scopes must belong \
                     to the same environment of the vendor",
                )
            }
            (ErrorKind::Permission, signer) => match signer.owner_setting() {
                Some(setting) => error.setting(setting),
                None => error,
            },
            _ => error,
        }
    }
}

/// Returns whether the login server is to be asked once more, because its refusal may be a hiccup.
fn is_unconfirmed(error: &Error) -> bool {
    let refused = error.details().iter().any(|detail| matches!(detail, ErrorDetail::TokenRefused { .. }));
    refused && matches!(error.retryable(), Retry::After(_))
}

/// Returns whether the login server does not know the client, or does not accept its secret.
fn is_invalid_client(error: &Error) -> bool {
    error.has(&ErrorDetail::TokenRefused { code: OAuthErrorCode::InvalidClient })
}

/// Returns the stage of the connection that failed.
fn failed_at(error: &Error) -> Option<&'static str> {
    error.details().iter().find_map(|detail| match detail {
        ErrorDetail::NoConnection { stage } => Some(stage.as_str()),
        _ => None,
    })
}

/// Returns the warning about scopes that the login server did not grant.
fn not_granted(missing: &[&str]) -> Diagnostic {
    let message = format!("the login server granted a token without {}", missing.join(" "));
    Diagnostic::warning("/scopes", message)
        .hint("ask the vendor to allow these scopes for the client, or remove them from the settings")
}
