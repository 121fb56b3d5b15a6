//! The check of a connection, in stages: name, TCP and TLS of every host it needs, a token, the login server's own account of
//! itself, and last a harmless call. What fails is told at the setting to look at.
//!
//! The idea: a call that fails says little about which of ten settings is to blame; the first stage that fails says much.
//! Credentials go the way they go with every call: a token that is good is used, so a check spends none.

use std::{cmp::Ordering, future::Future};

use bytes::Bytes;
use futures::{TryFutureExt, future::join_all};
use http::Method;
use serde_json::Value;
use trunkline_core::{CheckReport, Connections, Context, Diagnostic, Effect, Error, ErrorKind, Severity, StageOutcome};
use url::{Position, Url};

use crate::{
    Client, Grant, OAuth,
    auth::Signer,
    discover, generic,
    payload::Body,
    response::{Call, ExpectedBody},
    transport::{self, Failure, RawResponse},
    url_policy,
};

const ENDPOINT: &str = "/endpointUrl";
const TOKEN: &str = "/tokenUrl";
const AUTHORIZATION: &str = "/authorizationUrl";

/// A host of the connection and the settings it stands in.
struct Host<'a> {
    url: &'a Url,
    settings: Vec<&'static str>,
}

impl Client {
    /// Tries the connection in stages; the last one calls an operation that does no harm.
    pub async fn check(&self, operation: &str, input: Value) -> CheckReport {
        let cx = self.check_context();
        let call = async { self.call(operation, input, &cx).await.err() };
        self.stages(operation, ENDPOINT, call).await
    }

    /// The same with the path that [`ClientBuilder::check_path`](crate::ClientBuilder::check_path) was given, whatever it
    /// answers as long as that is no refusal.
    pub async fn check_path(&self) -> CheckReport {
        let (path, setting) = (&self.0.check_path, "/checkPath");
        let route = format!("GET {path}");
        let call = async {
            let call = Call { name: "check", route: &route, effect: Effect::Read, expects: ExpectedBody::Any };
            match generic::Target::path(path).request(self, generic::Verb::Get, Body::Bytes(Bytes::new())) {
                Ok(request) => self.execute(&call, request, &self.check_context()).await.err(),
                Err(error) => Some(error.setting(setting)),
            }
        };
        self.stages(&route, setting, call).await
    }

    fn check_context(&self) -> Context {
        Context::new("check", &self.0.connection, Connections::default()).with_timeout(self.0.limits.attempt)
    }

    /// `not_found` is the setting to look at if the service does not know what is called.
    async fn stages(
        &self,
        name: &str,
        not_found: &'static str,
        call: impl Future<Output = Option<Error>> + Send,
    ) -> CheckReport {
        let mut checked = CheckReport::default();
        let unreachable = self.check_hosts(&mut checked).await;
        let mut blocked = unreachable.contains(&ENDPOINT);
        let mut narrow = false;
        if let Signer::Tokens(tokens) = &self.0.signer {
            let (oauth, issuer) = (&tokens.endpoint().oauth, &tokens.endpoint().issuer);
            let host = url_policy::host(&oauth.token_url);
            if unreachable.contains(&TOKEN) {
                checked.stage("token", host, StageOutcome::Skipped);
                blocked = true;
            } else {
                match tokens.try_again().and_then(|()| tokens.access()).await {
                    Ok(token) => {
                        checked.stage("token", host, StageOutcome::Ok);
                        let missing = token.missing(&oauth.scopes);
                        narrow = !missing.is_empty();
                        checked.findings.extend(narrow.then(|| not_granted(&missing)));
                    }
                    Err(error) => {
                        let down = error.kind() == ErrorKind::Unavailable;
                        let error = if down { error.setting(TOKEN) } else { error };
                        checked.failed("token", host, &error);
                        if error.context("oauth") == Some("invalid_client") && !unreachable.contains(&AUTHORIZATION) {
                            self.tell_id_from_secret(oauth, &mut checked).await;
                        }
                        blocked = true;
                    }
                }
            }
            if let Some(issuer) = issuer {
                self.check_issuer(issuer, &oauth.token_url, &mut checked).await;
            }
        }
        let target = format!("{name} at {}", url_policy::host(&self.0.base));
        if blocked {
            checked.stage("call", target, StageOutcome::Skipped);
            return checked;
        }
        match call.await {
            None => checked.stage("call", target, StageOutcome::Ok),
            Some(error) => checked.failed("call", target, &self.blame(error, not_found, narrow)),
        }
        checked
    }

    /// Name, TCP and TLS of the hosts: the settings whose host cannot be reached.
    async fn check_hosts(&self, checked: &mut CheckReport) -> Vec<&'static str> {
        let mut addresses = vec![(ENDPOINT, &self.0.base)];
        if let Signer::Tokens(tokens) = &self.0.signer {
            let oauth = &tokens.endpoint().oauth;
            addresses.push((TOKEN, &oauth.token_url));
            if let (Grant::AuthorizationCode, Some(url)) = (&oauth.grant, &oauth.authorization_url) {
                addresses.push((AUTHORIZATION, url));
            }
        }
        let mut hosts: Vec<Host<'_>> = Vec::new();
        for (setting, url) in addresses {
            match hosts.iter_mut().find(|known| url_policy::same_origin(known.url, url)) {
                Some(known) => known.settings.push(setting),
                None => hosts.push(Host { url, settings: vec![setting] }),
            }
        }
        let mut unreachable = Vec::new();
        let probed = join_all(hosts.iter().map(|host| self.probe(host.url))).await;
        for (host, error) in hosts.into_iter().zip(probed) {
            let (name, tls) = (host.url.domain().is_some(), host.url.scheme() == "https");
            let stages = [name.then_some("name"), Some("tcp"), tls.then_some("tls")];
            let stages: Vec<_> = stages.into_iter().flatten().collect();
            let failed = error.as_ref().map(|error| {
                let named = stages.iter().position(|stage| error.context("stage") == Some(stage));
                named.unwrap_or(stages.len() - 1)
            });
            for (at, stage) in stages.into_iter().enumerate() {
                let outcome = match failed.map(|failed| at.cmp(&failed)) {
                    None | Some(Ordering::Less) => StageOutcome::Ok,
                    Some(Ordering::Equal) => StageOutcome::Failed,
                    Some(Ordering::Greater) => StageOutcome::Skipped,
                };
                checked.stage(stage, url_policy::host(host.url), outcome);
            }
            let Some(error) = error else { continue };
            for setting in host.settings {
                let found = Diagnostic { pointer: setting.to_owned(), ..Diagnostic::from(&error) };
                // There a browser goes, which may reach what this machine does not.
                let severity = if setting == AUTHORIZATION { Severity::Warning } else { Severity::Error };
                checked.findings.push(Diagnostic { severity, ..found });
                unreachable.push(setting);
            }
        }
        unreachable
    }

    /// Whether a connection to this host comes about. What is answered then is not looked at, nor is it whether anything is.
    async fn probe(&self, url: &Url) -> Option<Error> {
        let root = Url::parse(&url[..Position::BeforePath]).ok()?;
        let sent = self.look(Method::HEAD, root).await;
        sent.err().filter(|failure| failure.refused).map(|failure| failure.error)
    }

    /// One request without credentials.
    async fn look(&self, method: Method, url: Url) -> Result<RawResponse, Failure> {
        // The authorization URL is for the browser: nobody has looked yet where it leads.
        self.0.guard.check("address", &url).map_err(Failure::refused)?;
        let time = self.0.limits.attempt.min(transport::CONNECT * 2);
        let request = reqwest::Request::new(method, url);
        transport::exchange(&self.0.http, request, Bytes::new().into(), time, self.0.limits.answer).await
    }

    /// A token endpoint that refuses the client seldom says whether it knows the client ID. The page for the browser, which
    /// is given the client ID alone, may.
    async fn tell_id_from_secret(&self, oauth: &OAuth, checked: &mut CheckReport) {
        let Some(mut url) = oauth.authorization_url.clone() else { return };
        // Elsewhere it is asked only if the connection does need it.
        let its_own =
            url_policy::same_origin(&url, &oauth.token_url) || matches!(oauth.grant, Grant::AuthorizationCode);
        if !its_own {
            return;
        }
        url.query_pairs_mut().append_pair("response_type", "code").append_pair("client_id", &oauth.client_id);
        let Some(reply) = self.look(Method::GET, url).await.ok().filter(|reply| reply.status.is_client_error()) else {
            return;
        };
        let said = String::from_utf8_lossy(&reply.body).to_lowercase();
        let unknown = ["invalid_client", "unknown client", "client not found", "no such client", "client is invalid"];
        if let Some(found) = checked.findings.last_mut().filter(|_| unknown.iter().any(|words| said.contains(words))) {
            found.pointer = "/clientId".to_owned();
            found.message += "; its page for the browser does not know the client ID";
            found.hint = Some("copy the client ID again; it has to be one of this login server".to_owned());
        }
    }

    async fn check_issuer(&self, issuer: &str, token_url: &Url, checked: &mut CheckReport) {
        let host = Url::parse(issuer).map_or_else(|_| issuer.to_owned(), |url| url_policy::host(&url));
        match discover(issuer, self.0.guard.private()).await {
            Err(error) => checked.failed("discovery", host, &error.setting("/issuer")),
            Ok(found) => {
                checked.stage("discovery", host, StageOutcome::Ok);
                if found.token_url != *token_url {
                    let message = format!("the login server {issuer} gives out its tokens at {}", found.token_url);
                    let found = Diagnostic::warning("/issuer", format!("{message}, not at {token_url}"));
                    checked
                        .findings
                        .push(found.hint("compare issuer and token URL: they have to be of one login server"));
                }
            }
        }
    }

    /// The setting to look at when the harmless call fails, and what to do there.
    fn blame(&self, error: Error, not_found: &'static str, narrow: bool) -> Error {
        if error.context("setting").is_some() {
            return error;
        }
        match (error.kind(), &self.0.signer) {
            (ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::Unexpected, _) => {
                let hint = match not_found {
                    ENDPOINT => "compare the endpoint URL, path included, with the vendor's documentation",
                    _ => "choose a path that this service has, and that may be read without harm",
                };
                error.setting(not_found).hint(hint)
            }
            (ErrorKind::Unavailable, _) => error.setting(ENDPOINT),
            (ErrorKind::Auth, Signer::Fixed(_, Some(setting))) => error.setting(setting),
            (ErrorKind::Auth, Signer::Tokens(_)) => {
                let error = if narrow { error.setting("/scopes") } else { error };
                error.hint(
                    "the login server gave a token that the API does not take: endpoint URL, token URL and scopes have to \
                     be of the same environment at the vendor",
                )
            }
            (ErrorKind::Permission, signer) => match signer.owner() {
                Some(setting) => error.setting(setting),
                None => error,
            },
            _ => error,
        }
    }
}

fn not_granted(missing: &[&str]) -> Diagnostic {
    let message = format!("the login server gave a token without {}", missing.join(" "));
    Diagnostic::warning("/scopes", message)
        .hint("have the vendor allow these scopes to the client, or do not ask for them")
}
