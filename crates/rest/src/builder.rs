//! A client in the making: everything is checked at the end, and what is wrong names its setting.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use trunkline_core::{Error, ErrorKind, Result, Secret, VaultSlot};
use url::Url;

use crate::{
    Auth, Client, ClientLimits, Table,
    auth::{Signer, secret_header},
    budget::{Bounds, Budget, Identity, Lane},
    client::{Inner, no_slot},
    operation::header_is_free,
    response::{Classify, Response},
    ssrf::SsrfPolicy,
    tokens::Parts,
    transport, url_policy,
};

/// Puts a [`Client`] together.
pub struct ClientBuilder {
    service: &'static str,
    base: Url,
    table: &'static Table,
    auth: Auth,
    slot: Option<VaultSlot>,
    headers: Vec<(&'static str, Secret, Option<&'static str>)>,
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

impl ClientBuilder {
    pub(crate) fn new(service: &'static str, base: Url, table: &'static Table) -> ClientBuilder {
        ClientBuilder {
            service,
            base,
            table,
            auth: Auth::None,
            slot: None,
            headers: Vec::new(),
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

    /// How the connection says who it is, and where its tokens live.
    pub fn auth(mut self, auth: Auth, slot: VaultSlot) -> Self {
        self.auth = auth;
        self.slot = Some(slot);
        self
    }

    /// Who the login server says it is, from the setting `/issuer`, as [`discover`](crate::discover) tells it: a sign-in in
    /// the browser that another one answers is refused (RFC 9207), and so is another one's ID token.
    pub fn issuer(mut self, issuer: Option<String>) -> Self {
        self.issuer = issuer;
        self
    }

    /// A header with a secret in it, such as a subscription key, and the setting it comes from (`/subscriptionKey`). It is
    /// sent to the API only.
    pub fn header(mut self, name: &'static str, value: Secret, setting: Option<&'static str>) -> Self {
        self.headers.push((name, value, setting));
        self
    }

    /// A path that can be read without harm, from the setting `/checkPath`: for [`Client::check_path`]. `/` if absent.
    pub fn check_path(mut self, path: String) -> Self {
        self.check_path = path;
        self
    }

    /// Where an answer has a list of warnings beside its result, as a JSON pointer (`/warnings`): they go into the step's
    /// record and are shown, though the call succeeded.
    pub fn warnings(mut self, pointer: &'static str) -> Self {
        self.warnings = Some(pointer);
        self
    }

    /// A header that everybody may know, such as the version of the API.
    pub fn plain_header(mut self, name: &str, value: &str) -> Self {
        self.plain_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The header in which the service takes an idempotency key, from the setting `/idempotencyHeader`: each call that does
    /// more than read carries the key of its context, the same however often it is sent.
    pub fn idempotency_header(mut self, name: Option<String>) -> Self {
        self.idempotency_header = name;
        self
    }

    /// The most calls a second on this connection (setting `/requestsPerSecond`), all its clients in this process together; as
    /// many may come at once after some quiet. 0 = no limit but what the service's own throttling sets.
    pub fn rate(mut self, per_second: u32) -> Self {
        self.rate = per_second;
        self
    }

    /// The most requests that are under way at once on this connection (setting `/requestsAtOnce`), all its clients in this
    /// process together. 0 = [`ClientLimits::at_once`].
    pub fn at_once(mut self, requests: u32) -> Self {
        self.at_once = requests;
        self
    }

    /// Asks the connector first what an answer means, also one with status 200: an error, or `None` for the usual reading.
    /// A 401 that it has an error for is not taken as a token that ran out.
    pub fn classify(mut self, classify: fn(&Response) -> Option<Error>) -> Self {
        self.classify = Some(classify);
        self
    }

    /// Whether the connection may reach private networks and this machine (setting `/allowPrivateNetwork`). Without it such
    /// addresses are refused, also where a name leads to one.
    pub fn private_network(mut self, allowed: bool) -> Self {
        self.private_network = allowed;
        self
    }

    /// Hosts where files lie, beside the endpoint's own: names, or `*.` and the end of names (`*.blob.core.windows.net`), or
    /// `*` for any public host, where the vendor does not say.
    /// Signed addresses on other hosts are refused, and redirects to them. Can be called again to add more, such as those of
    /// the setting `/dataHosts`.
    pub fn data_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.data_hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Other bounds than the usual ones.
    pub fn limits(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The client. Sends nothing.
    ///
    /// # Errors
    /// Of kind `config`, with the setting: an endpoint, token or authorization URL that is not https (or http towards this
    /// machine), a secret that no header can carry.
    pub fn build(self) -> Result<Client> {
        url_policy::check_base("endpoint URL", &self.base).map_err(|error| error.setting("/endpointUrl"))?;
        if let Some(issuer) = &self.issuer {
            let checked = Url::parse(issuer).map_err(|error| {
                Error::new(ErrorKind::Config, "the issuer is no address")
                    .source(error)
                    .hint("write it as https://host/path")
            });
            checked.and_then(|url| url_policy::check("issuer", &url)).map_err(|error| error.setting("/issuer"))?;
        }
        let guard = SsrfPolicy::new(self.private_network, self.data_hosts);
        guard.check("endpoint URL", &self.base).map_err(|error| error.setting("/endpointUrl"))?;
        let http = transport::api(&guard)?;
        let slot = self.slot.unwrap_or_else(no_slot);
        let connection = slot.connection().to_owned();
        let shown = self.auth.shown().into_iter().chain(self.headers.iter().map(|(_, value, _)| value.expose()));
        let identity = Identity::new(&connection, &self.base, shown);
        let limits = self.limits.clone();
        let parts = Parts { http: http.clone(), service: self.service, limits, issuer: self.issuer };
        let (signer, mut secrets) = Signer::new(self.auth, slot, parts, &guard)?;
        let idempotency_header = self.idempotency_header.map(|name| {
            let free = name.parse().ok().filter(|_| header_is_free(&name));
            free.ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("`{name}` is no header that can take an idempotency key"))
                    .setting("/idempotencyHeader")
                    .hint("write the name from the service's reference, such as Idempotency-Key")
            })
        });
        let mut headers = HeaderMap::new();
        for (name, value) in self.plain_headers {
            let value = HeaderValue::from_str(&value).map_err(|_| {
                Error::new(ErrorKind::Config, format!("the header {name} has a value that no header can carry"))
            })?;
            headers.insert(header_name(&name)?, value);
        }
        for (name, value, setting) in self.headers {
            let header = secret_header(value.expose().trim()).map_err(|error| match setting {
                Some(setting) => error.setting(setting),
                None => error,
            })?;
            headers.insert(header_name(name)?, header);
            secrets.push(value.expose().trim().into());
        }
        Ok(Client(Arc::new(Inner {
            service: self.service,
            base: self.base,
            table: self.table,
            http,
            storage: transport::storage(&guard)?,
            guard,
            headers,
            idempotency_header: idempotency_header.transpose()?,
            signer,
            secrets,
            budget: Budget::shared(self.service, identity, Bounds::new(&self.limits, self.at_once, self.rate)),
            lane: Lane::new(),
            classify: self.classify,
            limits: self.limits,
            connection,
            warnings: self.warnings,
            check_path: self.check_path,
        })))
    }
}

fn header_name(name: &str) -> Result<HeaderName> {
    name.parse().map_err(|_| Error::new(ErrorKind::Internal, format!("`{name}` is no name of a header")))
}
