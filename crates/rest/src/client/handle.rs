//! The client of a connection.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value, json};
use trunkline_core::{
    Authorization, Context, Error, ErrorKind, Page, Redactor, Result, Secret, SignInClient, async_trait,
};
use url::Url;

use super::{auth::Signer, refusals::Refusals, response::Classify};
use crate::{
    budget::Budget,
    oauth::{Tokens, sign_in},
    paging::{PageResponse, SET_MULTIPLES, announced_by_header},
    table::{Call, CompiledRow, Request, TableHandle, follow},
    transport::{ClientLimits, HttpChannel, SsrfPolicy, excerpt},
};

/// Calls the operations of a [`Table`](crate::Table) on one connection.
///
/// Clones are cheap and share tokens, budget and connections.
///
/// ```
/// use trunkline_core::{ConnectionContext, Context, MemoryVault};
/// use trunkline_rest::{Auth, Client, Table};
/// # use std::sync::Arc;
/// static OPERATIONS: Table = Table::new("shop", &[("order.toml", r#"
///     [[operation]]
///     name  = "order.get"
///     title = "Get an order"
///     route = "GET /orders/{orderId}"
///     input.orderId = { type = "integer" }
/// "#)]);
/// # fn main() -> trunkline_core::Result<()> {
/// let context = ConnectionContext::new("my shop", Arc::new(MemoryVault::default()));
/// let base = "https://shop.example.com/v1".parse().expect("a URL");
/// let client = Client::builder("Shop", base, &OPERATIONS)
///     .auth(Auth::Bearer("token".into()), context)
///     .rate(10)
///     .build()?;
/// // client.call("order.get", json!({ "orderId": 7 }), &cx).await?
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) service: Arc<str>,
    pub(crate) base: Url,
    pub(crate) table: TableHandle,
    pub(crate) http: HttpChannel,
    pub(crate) storage: HttpChannel,
    pub(crate) guard: SsrfPolicy,
    pub(crate) headers: HeaderMap,
    /// Takes the idempotency key, see `ClientBuilder::idempotency_header`.
    pub(crate) idempotency_header: Option<HeaderName>,
    pub(crate) signer: Signer,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) redactor: Redactor,
    pub(crate) budget: Arc<Budget>,
    pub(crate) classify: Option<Classify>,
    pub(crate) refusals: Refusals,
    pub(crate) limits: ClientLimits,
    pub(crate) connection: String,
    /// A path to read in a check of the connection; reading it has no effect.
    pub(crate) check_path: String,
    /// JSON pointer to the warnings in a response, see `ClientBuilder::warnings`.
    pub(crate) warnings: Option<&'static str>,
}

impl Client {
    /// Calls an operation and returns its result, or the first page as `{"items": [..], "next": ..}` if it lists.
    ///
    /// Missing and unknown inputs are refused. Inputs are not checked against their schemas: the registry does that.
    ///
    /// # Errors
    ///
    /// `not_found` for an unknown operation, `config` for a broken table, `invalid_input` before anything is sent,
    /// `unknown_outcome` for a `Create` whose outcome is unclear, `cancelled`, `unavailable` after the deadline, else
    /// the error that the response stands for.
    pub async fn call(&self, operation: &str, input: Value, cx: &Context) -> Result<Value> {
        self.run(self.0.table.operation(operation)?, input, cx).await
    }

    pub(crate) async fn run(&self, operation: &CompiledRow, input: Value, cx: &Context) -> Result<Value> {
        if operation.paging.is_some() {
            let page = self.page_of(operation, input, None, cx).await?;
            return Ok(json!({ "items": page.items, "next": page.next }));
        }
        let request = operation.request(&self.0.base, &operation.accept(input)?)?;
        let mut accepted = self.execute(&operation.call(), request, cx).await?;
        Ok(accepted.body.pointer_mut(&operation.result).map(Value::take).unwrap_or_default())
    }

    /// Returns one page of a list: the first one, or the one that begins at `from`, the `next` of the page before it.
    ///
    /// # Errors
    ///
    /// Those of [`Client::call`], and `config` if the operation does not return a list, `limit` for a list without end,
    /// and `unexpected` for a response that is neither a page nor the end of the list by the row's paging.
    pub async fn page(&self, operation: &str, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        self.page_of(self.0.table.operation(operation)?, input, from, cx).await
    }

    pub(crate) async fn page_of(
        &self,
        operation: &CompiledRow,
        input: Value,
        from: Option<Value>,
        cx: &Context,
    ) -> Result<Page> {
        let Some(paging) = &operation.paging else {
            // A list without paging is one page.
            return match Box::pin(self.run(operation, input, cx)).await? {
                Value::Array(items) => Ok(Page { items, ..Page::default() }),
                _ => {
                    let message = format!("{} does not list anything", operation.name());
                    Err(Error::new(ErrorKind::Config, message).with("action", operation.name()))
                }
            };
        };
        let named = |error: Error| error.with("action", operation.name()).with("service", &self.0.service);
        let mut input: Map<String, Value> = operation.accept(input)?;
        let page_request = paging.request(&mut input, |name| operation.default(name), from).map_err(named)?;
        let mut request = operation.request(&self.0.base, &input)?;
        if let Some(link) = &page_request.link {
            let headers = request.headers;
            request = Request { headers, ..follow(&self.0.base, &request.url, link).map_err(named)? };
        }
        let current = request.url.clone();
        let call = Call { ends: paging.end_status(&page_request), ..operation.call() };
        let accepted = self.execute(&call, request, cx).await;
        let accepted = accepted.map_err(|error| if page_request.overlaps() { not_a_page(error) } else { error })?;
        // A relative URL is resolved now, since the next call does not know this page.
        let absolute = |link: String| current.join(&link).map(String::from).unwrap_or(link);
        let link = accepted.link().map(|link| link.map(absolute));
        let previous = match paging.request_previous(&page_request, &mut input) {
            true => Some(self.execute(&operation.call(), operation.request(&self.0.base, &input)?, cx).await?.body),
            false => None,
        };
        let (status, body) = (accepted.status.as_u16(), &accepted.body);
        let header = announced_by_header(|name| accepted.headers.get(name)?.to_str().ok());
        let response = PageResponse { status, body, link, previous: previous.as_ref(), header };
        paging.read(&page_request, &response).map_err(|fault| {
            let (number, name, text) = (page_request.number(), operation.name(), body.to_string());
            let text = self.excerpt(text.as_bytes());
            let message = format!("page {number} of {name} at {} {}: {text}", self.0.service, fault.message);
            named(Error::new(ErrorKind::Unexpected, message).hint(fault.hint))
        })
    }

    /// Streams the pages of a list. Each page is requested when the stream is polled for it.
    pub fn pages<'a>(&'a self, operation: &'a str, input: Value, cx: &'a Context) -> BoxStream<'a, Result<Page>> {
        enum Next {
            First,
            From(Value),
            End,
        }
        futures::stream::try_unfold((input, Next::First), move |(input, next)| async move {
            let from = match next {
                Next::First => None,
                Next::From(from) => Some(from),
                Next::End => return Ok(None),
            };
            cx.check_cancelled()?;
            let page = self.page(operation, input.clone(), from, cx).await?;
            let next = page.next.clone().map_or(Next::End, Next::From);
            Ok(Some((page, (input, next))))
        })
        .into_stream()
        .boxed()
    }

    /// Returns the number of tokens that the login server has issued to this client and its clones.
    pub fn token_refreshes(&self) -> u64 {
        self.0.signer.tokens().map_or(0, Tokens::refreshes)
    }

    /// Returns the beginning of a text of the service for an error message, without secrets.
    pub(crate) fn excerpt(&self, text: &[u8]) -> String {
        excerpt(text, &self.secrets(), &self.0.redactor)
    }

    /// Returns the secrets that no message may quote.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = self.0.secrets.clone();
        secrets.extend(self.0.signer.tokens().into_iter().flat_map(Tokens::secrets));
        secrets
    }
}

/// Names the cure if a service refuses the page that begins with the last item of the page before.
fn not_a_page(error: Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::NotFound => {
            error.hint(format!("the page begins with the last item of the one before; {SET_MULTIPLES}"))
        }
        _ => error,
    }
}

#[async_trait]
impl SignInClient for Client {
    fn begin_authorization(&self, redirect_uri: &str) -> Result<Authorization> {
        sign_in::begin(self.0.signer.tokens(), &self.0.service, redirect_uri)
    }

    async fn finish_authorization(&self, begun: &Authorization, callback: &str) -> Result<()> {
        sign_in::finish(self.0.signer.tokens(), &self.0.service, begun, callback).await
    }

    async fn sign_out(&self, content: &Secret) -> Result<()> {
        match self.0.signer.tokens() {
            Some(tokens) => tokens.sign_out(content).await,
            None => Ok(()),
        }
    }
}
