//! The builder of a [`Client`].
//!
//! The idea: nothing is checked before [`ClientBuilder::build`], and each error names the setting that it comes from.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use trunkline_core::{ConnectionContext, Error, ErrorKind, MemoryVault, Result, Secret};
use url::Url;

use super::{
    auth::{Auth, Signer},
    handle::{Client, Inner},
    refusals::Refusals,
    response::{Classify, Response},
};
use crate::{
    budget::{Bounds, Identity},
    environment::HttpEnvironment,
    oauth::ClientParts,
    settings::HttpSettings,
    table::{TableHandle, Target},
    transport::{ClientLimits, HttpChannel, SsrfPolicy, header_is_free, plain_header, secret_header, url_policy},
};

/// Builds a [`Client`]; made by [`Client::builder`].
pub struct ClientBuilder {
    service: Arc<str>,
    base: Url,
    table: TableHandle,
    auth: Auth,
    context: Option<ConnectionContext>,
    secret_headers: Vec<SecretHeader>,
    plain_headers: Vec<(String, String)>,
    rate: u32,
    at_once: u32,
    classify: Option<Classify>,
    limits: ClientLimits,
    warnings: Option<&'static str>,
    check_path: String,
    private_network: bool,
    data_hosts: Vec<String>,
    issuer: Option<String>,
    idempotency_header: Option<String>,
}

/// A header with a secret value, and the setting that the value comes from.
struct SecretHeader {
    name: &'static str,
    value: Secret,
    setting: Option<&'static str>,
}

impl Client {
    /// Starts to build a client. `service` is the product's name for messages; routes are appended to `base`. `table` is
    /// a `static`, or in an `Arc` if it was read at run time.
    pub fn builder(service: impl Into<Arc<str>>, base: Url, table: impl Into<TableHandle>) -> ClientBuilder {
        ClientBuilder::new(service.into(), base, table.into())
    }
}

impl ClientBuilder {
    fn new(service: Arc<str>, base: Url, table: TableHandle) -> ClientBuilder {
        ClientBuilder {
            service,
            base,
            table,
            auth: Auth::None,
            context: None,
            secret_headers: Vec::new(),
            plain_headers: Vec::new(),
            rate: 0,
            at_once: 0,
            classify: None,
            limits: ClientLimits::default(),
            warnings: None,
            check_path: "/".to_owned(),
            private_network: false,
            data_hosts: Vec::new(),
            issuer: None,
            idempotency_header: None,
        }
    }

    /// Sets the authentication scheme of the connection, and what the host gives to it: the vault entry that holds its
    /// tokens, the redactor, the clock and the [`HttpEnvironment`]. Without it, requests carry no credentials, and the
    /// client shares nothing with others.
    pub fn auth(mut self, auth: Auth, context: ConnectionContext) -> Self {
        self.auth = auth;
        self.context = Some(context);
        self
    }

    /// Sets the issuer of the login server, from the setting `/issuer`; [`discover`](crate::discover) returns it. The
    /// client then refuses a sign-in in the browser that another issuer answers (RFC 9207), and an ID token of another
    /// issuer.
    pub fn issuer(mut self, issuer: Option<String>) -> Self {
        self.issuer = issuer;
        self
    }

    /// Adds a header with a secret value, such as a subscription key, and the setting that the value comes from
    /// (`/subscriptionKey`). It is sent to the API only.
    pub fn header(mut self, name: &'static str, value: Secret, setting: Option<&'static str>) -> Self {
        self.secret_headers.push(SecretHeader { name, value, setting });
        self
    }

    /// Sets the path that [`Client::check_path`] reads, from the setting `/checkPath`. The default is `/`.
    pub fn check_path(mut self, path: String) -> Self {
        self.check_path = path;
        self
    }

    /// Sets the JSON pointer of the list of warnings in a response, such as `/warnings`. Warnings of a successful call
    /// are recorded and shown with its step.
    pub fn warnings(mut self, pointer: &'static str) -> Self {
        self.warnings = Some(pointer);
        self
    }

    /// Adds a header that is not secret, such as the version of the API.
    pub fn plain_header(mut self, name: &str, value: &str) -> Self {
        self.plain_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the header in which the service accepts an idempotency key, from the setting `/idempotencyHeader`. Each
    /// call that does more than read carries the key of its context; all tries of a call carry the same key.
    pub fn idempotency_header(mut self, name: Option<String>) -> Self {
        self.idempotency_header = name;
        self
    }

    /// Sets the most requests per second on this connection, from the setting `/requestsPerSecond`. The limit holds for
    /// all clients of the connection in one host together; after an idle second, that many requests may be sent at
    /// once. 0 = no limit but the service's own throttling.
    pub fn rate(mut self, per_second: u32) -> Self {
        self.rate = per_second;
        self
    }

    /// Sets the most requests in flight on this connection, from the setting `/requestsAtOnce`. The limit holds for all
    /// clients of the connection in this process together. 0 = [`ClientLimits::at_once`].
    pub fn at_once(mut self, requests: u32) -> Self {
        self.at_once = requests;
        self
    }

    /// Sets the connector's own classification of responses, also of those with status 200. It returns the error that a
    /// response means, or `None` for the usual classification. A 401 for which it returns an error is not taken for an
    /// expired token.
    pub fn classify(mut self, classify: fn(&Response) -> Option<Error>) -> Self {
        self.classify = Some(classify);
        self
    }

    /// Sets whether the connection may reach private networks and this machine, from the setting
    /// `/allowPrivateNetwork`. By default, such addresses are refused, also if a name resolves to one.
    pub fn private_network(mut self, allowed: bool) -> Self {
        self.private_network = allowed;
        self
    }

    /// Adds hosts of files besides the host of the endpoint: names, suffixes of names (`*.blob.core.windows.net`), or
    /// `*` for any public host if the vendor does not document its hosts. Signed URLs on other hosts, and redirects to
    /// them, are refused. A second call adds more hosts, such as those of the setting `/dataHosts`.
    pub fn data_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.data_hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Sets the pace and the reach of the connection from the settings that all connectors share.
    pub fn settings(self, settings: &HttpSettings) -> Self {
        self.rate(settings.requests_per_second.unwrap_or_default())
            .at_once(settings.requests_at_once.unwrap_or_default())
            .private_network(settings.allow_private_network)
    }

    /// Replaces the default limits.
    pub fn limits(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the client. Sends nothing.
    ///
    /// # Errors
    ///
    /// `config`, with the setting, if an endpoint, token, authorization or issuer URL is not https (http is allowed on
    /// this machine), has a user name, password or fragment, or leads to a private network without permission, if a
    /// header has an invalid name or cannot carry its value, or if the check path or a data host cannot be used.
    pub fn build(self) -> Result<Client> {
        url_policy::check_base("endpoint URL", &self.base).map_err(|error| error.setting("/endpointUrl"))?;
        if let Some(issuer) = &self.issuer {
            let checked = Url::parse(issuer).map_err(|error| {
                Error::new(ErrorKind::Config, "the issuer is not a URL")
                    .source(error)
                    .hint("write it as https://host/path")
            });
            let checked = checked.and_then(|url| url_policy::check_base("issuer", &url));
            checked.map_err(|error| error.setting("/issuer"))?;
        }
        // A host of another form would never fit, and the first download would fail.
        if let Some(odd) = self.data_hosts.iter().find(|host| !is_host_pattern(host)) {
            let message = format!("the data host {odd:?} is not a host name, *.domain or *");
            return Err(Error::new(ErrorKind::Config, message)
                .setting("/dataHosts")
                .hint("write the name alone, without https://, port and path: files.example.com"));
        }
        Target::path(&self.check_path)
            .url(&self.base)
            .map_err(|error| error.into_kind(ErrorKind::Config).setting("/checkPath"))?;
        let context = self.context.unwrap_or_else(no_context);
        let environment = HttpEnvironment::of(&context);
        environment.network().check_private(self.private_network)?;
        let ssrf = SsrfPolicy::new(self.private_network, self.data_hosts, environment.network().clone());
        ssrf.check("endpoint URL", &self.base).map_err(|error| error.setting("/endpointUrl"))?;
        let http = HttpChannel::api(environment.transport(), &ssrf);
        let (connection, redactor) = (context.connection().to_owned(), context.redactor().clone());
        let keys = self.secret_headers.iter().map(|header| header.value.expose());
        let identifying = self.auth.identifying().into_iter().chain(keys);
        let identity = Identity::new(&connection, &self.base, identifying);
        let limits = self.limits.clone();
        let parts = ClientParts {
            http: http.clone(),
            service: self.service.clone(),
            limits,
            issuer: self.issuer,
            token_requests: environment.token_requests(),
        };
        let (signer, mut secrets) = Signer::new(self.auth, context, parts, &ssrf)?;
        secrets.extend(self.secret_headers.iter().map(|header| header.value.expose().trim().into()));
        // Most of them are known from the settings, but not what was made of them.
        secrets.iter().for_each(|secret| redactor.add(secret));
        let bounds = Bounds::new(&self.limits, self.at_once, self.rate);
        let headers = headers(self.plain_headers, &self.secret_headers)?;
        let idempotency_header = self.idempotency_header.map(|name| idempotency_header(name, &signer)).transpose()?;
        Ok(Client(Arc::new(Inner {
            budget: environment.budgets().shared(&self.service, identity, bounds),
            service: self.service,
            base: self.base,
            table: self.table,
            http,
            storage: HttpChannel::storage(environment.transport(), &ssrf),
            guard: ssrf,
            headers,
            idempotency_header,
            signer,
            secrets,
            redactor,
            classify: self.classify,
            refusals: Refusals::default(),
            limits: self.limits,
            connection,
            warnings: self.warnings,
            check_path: self.check_path,
        })))
    }
}

/// Returns whether this is the name of a host, or one with an asterisk for the names below it.
fn is_host_pattern(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    host == "*" || (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')))
}

fn idempotency_header(name: String, signer: &Signer) -> Result<HeaderName> {
    let free = name.parse().ok().filter(|header| header_is_free(&name) && !signer.uses(header));
    free.ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("`{name}` is not a header that can carry an idempotency key"))
            .setting("/idempotencyHeader")
            .hint("write the name from the service's reference, such as Idempotency-Key")
    })
}

/// Returns the headers of every request to the API. A secret header replaces a plain one of the same name.
fn headers(plain: Vec<(String, String)>, secret: &[SecretHeader]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in plain {
        let (name, value) = plain_header(&name, &value)?;
        headers.insert(name, value);
    }
    for SecretHeader { name, value, setting } in secret {
        let value = secret_header(value.expose().trim()).map_err(|error| match *setting {
            Some(setting) => error.setting(setting),
            None => error,
        })?;
        headers.insert(header_name(name)?, value);
    }
    Ok(headers)
}

fn header_name(name: &str) -> Result<HeaderName> {
    name.parse().map_err(|_| Error::new(ErrorKind::Internal, format!("`{name}` is not a valid header name")))
}

/// Returns the context of a connection without a host: nothing outlives the process.
fn no_context() -> ConnectionContext {
    ConnectionContext::new("", Arc::new(MemoryVault::default()))
}
