//! Actions of a fake connector: a name, an effect and a function.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trunkline_core::{ActionSpec, AnyAction, AnyClient, Context, Effect, Error, ErrorKind, Page, Result, schema_of};

use super::system::{FakeReply, FakeSystem};

/// One call of a fake action.
#[derive(Clone)]
pub struct FakeCall {
    /// The system that is called.
    pub system: Arc<FakeSystem>,
    /// The input.
    pub input: Value,
    /// The cursor of the page to list; `None` for the first page and for calls that list nothing.
    pub from: Option<Value>,
    /// The context of the call.
    pub cx: Context,
}

impl FakeCall {
    /// Reads the input as a type.
    ///
    /// # Errors
    ///
    /// `invalid_input` if it does not fit.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.input.clone())
            .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("the input does not fit: {error}")))
    }
}

type Function<T> = Arc<dyn Fn(FakeCall) -> BoxFuture<'static, Result<T>> + Send + Sync>;

fn function<T, F>(function: impl Fn(FakeCall) -> F + Send + Sync + 'static) -> Function<T>
where
    F: Future<Output = Result<T>> + Send + 'static,
{
    Arc::new(move |call| Box::pin(function(call)))
}

/// An action of a fake connector.
#[derive(Clone)]
pub struct FakeAction {
    spec: ActionSpec,
    run: Option<Function<Value>>,
    page: Option<Function<Page>>,
    reconcile: Option<Function<Option<Value>>>,
}

impl FakeAction {
    /// Creates an action that a function runs. It takes any object and returns any value.
    pub fn new<F>(name: &str, effect: Effect, run: impl Fn(FakeCall) -> F + Send + Sync + 'static) -> FakeAction
    where
        F: Future<Output = Result<Value>> + Send + 'static,
    {
        FakeAction { spec: spec(name, effect), run: Some(function(run)), page: None, reconcile: None }
    }

    /// Creates an action that lists items page by page.
    pub fn list<F>(name: &str, page: impl Fn(FakeCall) -> F + Send + Sync + 'static) -> FakeAction
    where
        F: Future<Output = Result<Page>> + Send + 'static,
    {
        let spec = ActionSpec { lists: true, ..spec(name, Effect::Read) };
        FakeAction { spec, run: None, page: Some(function(page)), reconcile: None }
    }

    /// Adds the function that finds out whether an earlier attempt took effect. Without it, the outcome stays unknown.
    pub fn reconciled_by<F>(self, reconcile: impl Fn(FakeCall) -> F + Send + Sync + 'static) -> FakeAction
    where
        F: Future<Output = Result<Option<Value>>> + Send + 'static,
    {
        FakeAction { reconcile: Some(function(reconcile)), ..self }
    }

    /// Sets the JSON Schemas of input and output.
    pub fn with_schemas(mut self, input: Value, output: Value) -> FakeAction {
        (self.spec.input, self.spec.output) = (input, output);
        self
    }

    /// Sets the JSON Schemas of input and output to those of two types. Other members of the input are refused, as for
    /// hand-written actions.
    pub fn with_types<I: JsonSchema, O: JsonSchema>(self) -> FakeAction {
        let mut input = schema_of::<I>();
        input["additionalProperties"] = false.into();
        self.with_schemas(input, schema_of::<O>())
    }

    fn call(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<FakeCall> {
        // The client of a fake is its system; the handle that a call keeps is the same system.
        let system = client.downcast_ref::<FakeSystem>().map(FakeSystem::handle);
        let system = system.ok_or_else(|| Error::new(ErrorKind::Internal, "called with another connector's client"))?;
        Ok(FakeCall { system, input, from: None, cx: cx.clone() })
    }

    /// Plays the scripted reply of a call; `None` if there is none and the action decides itself.
    async fn scripted(&self, call: &FakeCall) -> Option<Result<FakeReply>> {
        match call.system.next_reply(&self.spec.name)? {
            FakeReply::Fails(error) => Some(Err(error)),
            FakeReply::Delay(delay) => {
                tokio::time::sleep(delay).await;
                None
            }
            other => Some(Ok(other)),
        }
    }
}

fn spec(name: &str, effect: Effect) -> ActionSpec {
    ActionSpec {
        name: name.to_owned(),
        title: name.to_owned(),
        group: String::new(),
        about: String::new(),
        effect,
        route: None,
        lists: false,
        scopes: Vec::new(),
        input: json!({ "type": "object" }),
        output: json!(true),
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::UnknownOutcome, "the response was lost")
}

#[async_trait]
impl AnyAction for FakeAction {
    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn looks_up(&self) -> bool {
        self.reconcile.is_some()
    }

    async fn run(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Value> {
        let call = self.call(client, input, cx)?;
        let run = self.run.as_ref().ok_or_else(|| Error::new(ErrorKind::Config, "the action only lists"))?;
        call.system.count(&self.spec.name);
        call.system.count(cx.idempotency_key());
        match self.scripted(&call).await.transpose()? {
            Some(FakeReply::Returns(output)) => Ok(output),
            Some(FakeReply::Lost) => {
                run(call).await?;
                Err(lost())
            }
            _ => run(call).await,
        }
    }

    async fn page(&self, client: &AnyClient, input: Value, from: Option<Value>, cx: &Context) -> Result<Page> {
        let call = FakeCall { from, ..self.call(client, input, cx)? };
        let page = self.page.as_ref().ok_or_else(|| Error::new(ErrorKind::Config, "the action lists nothing"))?;
        call.system.count(&self.spec.name);
        match self.scripted(&call).await.transpose()? {
            Some(FakeReply::Returns(Value::Array(items))) => Ok(Page { items, ..Page::default() }),
            Some(FakeReply::Lost) => Err(lost()),
            _ => page(call).await,
        }
    }

    async fn reconcile(&self, client: &AnyClient, input: Value, cx: &Context) -> Result<Option<Value>> {
        let call = self.call(client, input, cx)?;
        match &self.reconcile {
            Some(reconcile) => reconcile(call).await,
            None => Err(Error::new(ErrorKind::UnknownOutcome, "cannot be known")),
        }
    }
}
